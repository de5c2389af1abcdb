"""Answers in the dialect of Chat Completions, as the servers that claim to speak it really send them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from messages import Message, Options, Reasoning, Refusal, Request, Text, ToolCall, ToolResult, Usage, user
from providers.base import BadResponse, Overloaded, ProviderDown, ProviderError
from providers.base import ModelInfo as Info
from providers.http import Http, bearer
from providers.openai import ChatCompletions, Quirks
from tests.asking import TOOL, Heard, ask
from tests.upstream import Reply, Upstream, chat_chunks, json_reply, sse

TEA, CAKE = '{"item": "tea"}', '{"item": "cake"}'
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def model(up: Upstream) -> AsyncIterator[ChatCompletions]:
    model = ChatCompletions(
        Http(backoff=0.01), f"{up.url}/v1/chat/completions", bearer("k"), Info("openai/m"), Quirks()
    )
    yield model
    await model.aclose()


def _delta(_finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": _finish}]}


def _call(index: int | None = None, id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    """A delta of a call; what is None is not there at all."""
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    rest = {k: v for k, v in (("index", index), ("id", id)) if v is not None}
    return {**rest, "type": "function", "function": function}


def _calls(*calls: dict[str, Any], finish: str = "tool_calls") -> list[dict[str, Any]]:
    """One call a chunk."""
    return [*(_delta(tool_calls=[call]) for call in calls), _delta(finish)]


async def _hear(up: Upstream, model: ChatCompletions, payloads: Sequence[object], done: bool = True) -> Heard:
    up.reply(sse(payloads, done=done))
    return await ask(model, tools=[TOOL])


def _made(heard: Heard) -> list[tuple[str, str]]:
    """Names and arguments; the ids are there and each another."""
    calls = heard.done.message.calls
    assert len({call.id for call in calls}) == len(calls) and all(call.id for call in calls)
    assert heard.done.stop == ("tool_calls" if calls else "stop")
    return [(call.name, call.arguments) for call in calls]


# Tool calls

BOTH = [("price", TEA), ("price", CAKE)]
SPLIT = (TEA[:5], TEA[5:])
ONE = {
    "as the format says": [_call(0, "c1", "price", ""), *(_call(0, arguments=a) for a in SPLIT)],
    "whole in one delta": [_call(0, "c1", "price", TEA)],
    "no index": [_call(None, "c1", "price", ""), *(_call(arguments=a) for a in SPLIT)],
    "no id": [_call(0, None, "price", ""), *(_call(0, arguments=a) for a in SPLIT)],
    "empty id": [_call(0, "", "price", ""), *(_call(0, "", "", a) for a in SPLIT)],
    "late id": [_call(0, None, "price", SPLIT[0]), _call(0, "c1", None, SPLIT[1])],
    "late name": [_call(0, "c1", None, SPLIT[0]), _call(0, None, "price", SPLIT[1])],
    "repeated id": [_call(0, "c1", "price", ""), *(_call(0, "c1", None, a) for a in SPLIT)],
    "repeated id and name": [_call(0, "c1", "price", a) for a in ("", *SPLIT)],
    "repeated name, no id": [_call(0, None, "price", a) for a in ("", *SPLIT)],
    "repeated name, no index": [_call(None, None, "price", a) for a in ("", *SPLIT)],
    "told twice": [_call(0, "c1", "price", TEA), _call(0, "c1", "price", TEA)],
    "braces first": [_call(0, "c1", "price", "{}"), *(_call(0, arguments=a) for a in SPLIT)],
    "braces first, one byte": [_call(0, "c1", "price", "{}"), *(_call(0, arguments=a) for a in TEA)],
    "object": [_call(0, "c1", "price", json.loads(TEA))],
    "index from one": [_call(1, "c1", "price", TEA)],
    "null arguments": [
        {"index": 0, "id": "c1", "function": {"name": "price", "arguments": None}},
        _call(0, arguments=TEA),
    ],
    "null fields": [
        _call(0, "c1", "price", ""),
        {"index": 0, "id": None, "function": {"name": None, "arguments": TEA}},
    ],
    "no function": [{"index": 0, "id": "c1"}, _call(0, None, "price", TEA)],
}
TWO = {
    "as the format says": [
        *(_call(i, f"c{i}", "price", "") for i in (0, 1)),
        *(_call(i, arguments=a) for i, a in ((0, TEA), (1, CAKE))),
    ],
    "interleaved": [
        *(_call(i, f"c{i}", "price", "") for i in (0, 1)),
        *(_call(i, arguments=a) for i, a in ((1, CAKE[:9]), (0, TEA[:4]), (1, CAKE[9:]), (0, TEA[4:]))),
    ],
    "index always 0": [_call(0, "c1", "price", TEA), _call(0, "c2", "price", CAKE)],
    "index always 0, split": [
        *(_call(0, "c1", "price", ""), _call(0, arguments=TEA)),
        *(_call(0, "c2", "price", ""), _call(0, arguments=CAKE)),
    ],
    "index always 0, no id": [_call(0, None, "price", TEA), _call(0, None, "price", CAKE)],
    "no index": [_call(None, "c1", "price", TEA), _call(None, "c2", "price", CAKE)],
    "no index, no id": [_call(None, None, "price", TEA), _call(None, None, "price", CAKE)],
    "no index, ids on each": [
        *(_call(None, "c1", "price", TEA[:4]), _call(None, "c1", None, TEA[4:])),
        *(_call(None, "c2", "price", CAKE[:4]), _call(None, "c2", None, CAKE[4:])),
    ],
    "no index, interleaved by id": [
        *(_call(None, "c1", "price", TEA[:4]), _call(None, "c2", "price", CAKE[:4])),
        *(_call(None, "c1", None, TEA[4:]), _call(None, "c2", None, CAKE[4:])),
    ],
    "same id": [_call(0, "c1", "price", TEA), _call(1, "c1", "price", CAKE)],
    "same id and index": [_call(0, "c1", "price", TEA), _call(0, "c1", "price", CAKE)],
    "no id": [_call(0, None, "price", TEA), _call(1, None, "price", CAKE)],
    "objects": [_call(0, "c1", "price", json.loads(TEA)), _call(0, "c2", "price", json.loads(CAKE))],
    "braces first": [
        *(_call(i, f"c{i}", "price", "{}") for i in (0, 1)),
        *(_call(i, arguments=a) for i, a in ((0, TEA), (1, CAKE))),
    ],
}


@pytest.mark.parametrize("how", ONE)
async def test_one_call_is_put_together(up: Upstream, model: ChatCompletions, how: str) -> None:
    heard = await _hear(up, model, _calls(*ONE[how]))
    assert _made(heard) == BOTH[:1]
    assert heard.calls[0][0] == "c1" or " id" in how or "no" in how


@pytest.mark.parametrize("how", TWO)
async def test_two_calls_are_told_apart(up: Upstream, model: ChatCompletions, how: str) -> None:
    assert _made(await _hear(up, model, _calls(*TWO[how]))) == BOTH


@pytest.mark.parametrize("how", TWO)
async def test_two_calls_may_come_in_one_chunk(up: Upstream, model: ChatCompletions, how: str) -> None:
    assert _made(await _hear(up, model, [_delta("tool_calls", tool_calls=TWO[how])])) == BOTH


@pytest.mark.parametrize("how", TWO)
async def test_two_calls_may_come_in_a_whole_answer(up: Upstream, model: ChatCompletions, how: str) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": TWO[how]}
    up.reply(json_reply({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    assert _made(await ask(model)) == BOTH


async def test_two_names_are_two_calls_whatever_the_index(up: Upstream, model: ChatCompletions) -> None:
    for id in ("c1", None):
        calls = [_call(0, id, "price", TEA), _call(0, id, "stock", TEA)]
        assert _made(await _hear(up, model, _calls(*calls))) == [("price", TEA), ("stock", TEA)]


@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
async def test_a_call_may_have_no_arguments(up: Upstream, model: ChatCompletions, arguments: object) -> None:
    heard = await _hear(up, model, _calls(_call(0, "c1", "now", arguments), _call(1, "c2", "price", TEA)))
    assert _made(heard) == [("now", "{}"), ("price", TEA)]


async def test_a_call_without_a_name_is_none(up: Upstream, model: ChatCompletions) -> None:
    assert _made(await _hear(up, model, _calls(_call(0, "c1", None, TEA)))) == []


async def test_arguments_are_passed_on_as_they_are(up: Upstream, model: ChatCompletions) -> None:
    for arguments in ('{"item": "te', " {\n}", '{"a": 1}{"b": 2}', "null", "[1]", "tea"):
        assert _made(await _hear(up, model, _calls(_call(0, "c1", "price", arguments)))) == [("price", arguments)]


async def test_ids_that_start_anew_in_each_round_do_not_collide(up: Upstream, model: ChatCompletions) -> None:
    """Kimi's."""
    round_one = Message("assistant", (ToolCall("functions.price:0", "price", TEA),), "openai/m")
    said = [user("hi"), round_one, Message("tool", (ToolResult("functions.price:0", (Text("3"),)),))]
    up.always(sse(_calls(_call(0, "functions.price:0", "price", CAKE))))
    first = await ask(model, said)
    second = await ask(model, [*said, first.done.message, Message("tool", (ToolResult(first.calls[0][0]),))])
    assert len({"functions.price:0", first.calls[0][0], second.calls[0][0]}) == 3
    sent = [m for m in up.requests[1].json["messages"] if m["role"] != "user"]
    assert [m.get("tool_call_id") or m["tool_calls"][0]["id"] for m in sent[::2]] == [
        m["tool_call_id"] for m in sent[1::2]
    ]


async def test_ids_are_the_same_in_the_deltas_and_the_message(up: Upstream, model: ChatCompletions) -> None:
    heard = await _hear(up, model, _calls(*TWO["no id"]))
    assert [call[0] for call in heard.calls] == [call.id for call in heard.done.message.calls]


async def test_the_call_before_there_were_tools(up: Upstream, model: ChatCompletions) -> None:
    deltas = [_delta(function_call={"name": "price", "arguments": ""}), _delta(function_call={"arguments": TEA})]
    assert _made(await _hear(up, model, [*deltas, _delta("function_call")])) == [("price", TEA)]


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "tool_use", "eos", "unheard-of"])
async def test_calls_end_with_tool_calls_whatever_is_said(up: Upstream, model: ChatCompletions, finish: str) -> None:
    assert _made(await _hear(up, model, _calls(_call(0, "c1", "price", TEA), finish=finish))) == BOTH[:1]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_cut_calls_are_not_to_be_run(up: Upstream, model: ChatCompletions, finish: str) -> None:
    heard = await _hear(up, model, _calls(_call(0, "c1", "price", TEA[:5]), finish=finish))
    assert heard.done.stop == finish


# Text, reasoning, refusals


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_told_and_goes_back_in_its_field(up: Upstream, model: ChatCompletions, field: str) -> None:
    deltas = [_delta(**{field: "h"}, content=""), _delta(**{field: "m"}), _delta(content="so")]
    heard = await _hear(up, model, [*deltas, *_calls(_call(0, "c1", "price", TEA))])
    assert (heard.reasoning, heard.text) == ("hm", "so")
    assert heard.done.message.parts[:2] == (Reasoning("hm", {field: "hm"}), Text("so"))
    await _hear(up, model, [_delta("stop", content="3")])
    up.reply(sse([_delta("stop", content="3")]))
    await ask(model, [user("hi"), heard.done.message, Message("tool", (ToolResult("c1", (Text("3"),)),))])
    assert up.requests[-1].json["messages"][1][field] == "hm"


async def test_reasoning_in_two_fields_at_once_is_told_once(up: Upstream, model: ChatCompletions) -> None:
    deltas = [_delta(reasoning_content="hm", reasoning="hm", reasoning_details=[{"text": "hm"}])]
    assert (await _hear(up, model, [*deltas, _delta("stop", content="so")])).reasoning == "hm"


@pytest.mark.parametrize(
    "thought",
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
        {"type": "thinking", "thinking": "hm"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "abc"}]},
    ],
    ids=["mistral", "plain", "databricks"],
)
@pytest.mark.parametrize("whole", [False, True])
async def test_content_may_be_a_list(
    up: Upstream, model: ChatCompletions, thought: dict[str, Any], whole: bool
) -> None:
    content = [thought, {"type": "text", "text": "so"}, {"type": "text", "text": ""}, {"type": "image_url"}]
    message = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    up.reply(json_reply(message) if whole else sse([_delta(content=content[:1]), _delta("stop", content=content[1:])]))
    heard = await ask(model)
    assert (heard.reasoning, heard.text) == ("hm", "so")
    assert heard.done.message.parts == (Reasoning("hm"), Text("so"))


async def test_a_refusal_is_told(up: Upstream, model: ChatCompletions) -> None:
    deltas = [_delta(content="", refusal=None), _delta(refusal="I "), _delta(refusal="won't")]
    heard = await _hear(up, model, [*deltas, _delta("stop")])
    assert (heard.refusal, heard.text) == ("I won't", "")
    assert heard.done.message.parts == (Refusal("I won't"),)


# Usage, odd chunks, ends


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("where", ["behind", "on last", "on each", "nowhere"])
async def test_usage_may_be_anywhere(up: Upstream, model: ChatCompletions, where: str, done: bool) -> None:
    chunks = chat_chunks("Hello world", usage=None)
    if where == "behind":
        chunks += [{"choices": [], "usage": USAGE}]
    if where == "on last":
        chunks[-1]["usage"] = USAGE
    for at, chunk in enumerate(chunks if where == "on each" else ()):
        chunk["usage"] = {**USAGE, "completion_tokens": at, "total_tokens": 10 + at}
    chunks[-1]["usage"] = chunks[-1].get("usage") if where == "nowhere" else chunks[-1].get("usage") or USAGE
    if where == "on each":
        chunks[-1]["usage"] = USAGE
    heard = await _hear(up, model, chunks, done)
    assert heard.text == "Hello world"
    assert heard.done.usage == (Usage() if where == "nowhere" else Usage(10, 5, total=15))


@pytest.mark.parametrize(
    ("extra", "usage"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 4}}, Usage(10, 5, cache_read=4, total=15)),
        ({"completion_tokens_details": {"reasoning_tokens": 3}}, Usage(10, 5, reasoning=3, total=15)),
        ({"reasoning_tokens": 3}, Usage(10, 5, reasoning=3, total=15)),
        ({"cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}, Usage(10, 5, 4, 2, total=15)),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Usage(10, 5, total=15)),
        ({"total_tokens": None}, Usage(10, 5, total=15)),
        ({"total_tokens": 99}, Usage(10, 5, total=99)),
    ],
)
async def test_the_details_of_usage_have_many_names(
    up: Upstream, model: ChatCompletions, extra: dict[str, Any], usage: Usage
) -> None:
    heard = await _hear(up, model, [*chat_chunks("hi", usage=None), {"choices": [], "usage": {**USAGE, **extra}}])
    assert heard.done.usage == usage


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
        {"choices": None},
        {"id": "x", "object": "chat.completion.chunk"},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        {"choices": [{"delta": {"role": "assistant", "content": None, "tool_calls": None, "function_call": None}}]},
        {"choices": [{"delta": {"content": "", "tool_calls": []}}], "error": None, "usage": None},
        {"type": "ping"},
    ],
)
async def test_a_chunk_that_says_nothing_is_passed_over(
    up: Upstream, model: ChatCompletions, chunk: dict[str, Any]
) -> None:
    chunks = chat_chunks("hi")
    heard = await _hear(up, model, [chunk, chunks[0], chunk, *chunks[1:], chunk])
    assert (heard.text, heard.done.usage.total, heard.done.model) == ("hi", 15, "test-model")


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        *[("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("max_tokens", "length")],
        *[("eos", "stop"), ("end_turn", "stop"), ("tool_calls", "stop"), ("unheard-of", "stop")],
    ],
)
async def test_ends_are_named_alike(up: Upstream, model: ChatCompletions, finish: str, stop: str) -> None:
    assert (await _hear(up, model, chat_chunks("hi", finish=finish))).done.stop == stop


@pytest.mark.parametrize(("finish", "kind"), [("error", ProviderDown), ("insufficient_system_resource", Overloaded)])
async def test_an_end_may_be_an_error(
    up: Upstream, model: ChatCompletions, finish: str, kind: type[ProviderError]
) -> None:
    up.reply(sse(chat_chunks("hi", finish=finish)))
    with pytest.raises(kind):
        await ask(model)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("text", ["", "hi"])
async def test_an_answer_without_an_end_is_an_error(
    up: Upstream, model: ChatCompletions, done: bool, text: str
) -> None:
    up.always(sse(chat_chunks(text, finish=""), done=done))
    with pytest.raises(BadResponse) as caught:
        await ask(model)
    assert caught.value.code == "upstream_truncated" and len(up.requests) == (1 if text else 3)


@pytest.mark.parametrize("cut", ["fin", "rst"])
async def test_a_cut_behind_the_end_is_no_error(up: Upstream, model: ChatCompletions, cut: Any) -> None:
    up.reply(sse(chat_chunks("hi", usage=None), done=False).but(cut=cut))
    assert (await ask(model)).text == "hi"


async def test_an_error_before_output_is_retried_and_after_it_raised(up: Upstream, model: ChatCompletions) -> None:
    error = {"error": {"message": "busy", "type": "overloaded_error", "code": None}}
    up.reply(sse([_delta(role="assistant", content=""), error]), sse(chat_chunks("hi")))
    assert (await ask(model)).text == "hi"
    up.reply(sse([_delta(content="half"), error, *chat_chunks("hi")]))
    heard = Heard()
    with pytest.raises(Overloaded):
        await ask(model, heard=heard)
    assert heard.text == "half" and len(up.requests) == 3


# What is not in the dialect

WRONG: list[Any] = [
    *["text", 5, [], [5], True, {"choices": "text"}, {"choices": 5}, {"choices": [5]}, {"choices": ["x"]}],
    *[{"choices": [[]]}, {"choices": {"0": {}}}, {"choices": [{"delta": "x"}]}, {"choices": [{"delta": [1]}]}],
    *[_delta(content=5), _delta(content={"text": "x"}), _delta(content=["x"]), _delta(content=[None])],
    *[_delta(content=[{"text": 5}]), _delta(content=[{"text": ["x"]}]), _delta(content=[{"summary": [5]}])],
    *[_delta(refusal=5), _delta(refusal=["x"]), _delta(tool_calls=5), _delta(tool_calls="x"), _delta(tool_calls=[5])],
    *[_delta(tool_calls=[_call(0, 5, "f", "")]), _delta(tool_calls=[_call(0, ["x"], "f", "")])],
    *[_delta(tool_calls=[_call(0, "c", 5, "")]), _delta(tool_calls=[_call(0, "c", {"x": 1}, "")])],
    *[_delta(tool_calls=[{"function": "x"}]), _delta(tool_calls={"x": 1}), _delta(function_call="x")],
    *[{"choices": [{"finish_reason": value}]} for value in (5, ["x"], {"x": 1}, True)],
    *[{"choices": [], "model": 5}, {"choices": [], "usage": {"prompt_tokens": "x"}}],
    *[{"usage": {**USAGE, "prompt_tokens": [1]}}, {"usage": {**USAGE, "prompt_tokens_details": 5}}],
    *[{"usage": {**USAGE, "total_tokens": {"x": 1}}}, {"usage": {**USAGE, "reasoning_tokens": "many"}}],
]


@pytest.mark.parametrize("chunk", WRONG, ids=json.dumps)
async def test_wrong_types_are_a_bad_response(up: Upstream, model: ChatCompletions, chunk: object) -> None:
    up.always(sse([json.dumps(chunk), *chat_chunks("hi")]))
    with pytest.raises(BadResponse) as caught:
        await ask(model)
    assert caught.value.provider == "openai" and len(up.requests) == 3


@pytest.mark.parametrize(
    "frame", ["{bad", '{"choices": [', "\x00", "NaN", "[" * 3000, '{"a": 1} {"b": 2}', "undefined"]
)
async def test_a_frame_that_is_no_json_is_a_bad_response(up: Upstream, model: ChatCompletions, frame: str) -> None:
    up.always(sse([frame, *chat_chunks("hi")]))
    with pytest.raises(BadResponse):
        await ask(model)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b"{}", b'{"choices": []}'])
async def test_a_whole_answer_that_is_none_is_a_bad_response(up: Upstream, model: ChatCompletions, body: bytes) -> None:
    up.always(Reply(200, {"content-type": "application/json"}, [body], "length"))
    with pytest.raises(BadResponse):
        await ask(model)


async def test_options_are_no_part_of_the_answer(up: Upstream, model: ChatCompletions) -> None:
    """One model serves many requests at once; nothing of one shows in another."""
    up.always(lambda request: sse(chat_chunks(request.json["messages"][0]["content"])))
    requests = [Request([user(f"n{i}")], options=Options(seed=i)) for i in range(20)]
    streams = [model.stream(request) for request in requests]
    firsts = [await anext(stream) for stream in streams]
    assert [getattr(event, "text", "") for event in firsts] == [f"n{i}" for i in range(20)]
    for stream in streams:
        await stream.aclose()


async def test_the_signature_of_a_thought_goes_back_with_its_call(up: Upstream, model: ChatCompletions) -> None:
    """Gemini signs the first of parallel calls only, and refuses a history without it."""
    signed = {**_call(0, "a", "price", TEA), "extra_content": {"google": {"thought_signature": "c2ln+/=="}}}
    heard = await _hear(up, model, _calls(signed, _call(1, "b", "price", CAKE)))
    results = Message("tool", (ToolResult("a", (Text("1"),)), ToolResult("b", (Text("2"),))))
    up.reply(sse(chat_chunks("3 euros")))
    await ask(model, [user("hi"), heard.done.message, results], tools=[TOOL])
    calls = up.requests[-1].json["messages"][1]["tool_calls"]
    assert [call.get("extra_content") for call in calls] == [signed["extra_content"], None]
