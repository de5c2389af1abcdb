"""Answers in the dialect of Anthropic's Messages."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from messages import Message, ProviderBlock, Reasoning, Refusal, Text, ToolCall, ToolResult, Usage, user
from providers.anthropic import Messages
from providers.base import BadResponse, ModelInfo, Overloaded, ProviderDown, ProviderError, RateLimited
from providers.http import HeaderAuth, Http
from tests.asking import Heard, ask
from tests.upstream import Reply, Split, Upstream, claude_events, json_reply, sse

TEA = {"item": "tea ☕"}
START, PING, *_, DELTA, STOP = claude_events("x")
BUSY = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "x"}]}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def model(up: Upstream) -> AsyncIterator[Messages]:
    auth = HeaderAuth("x-api-key", "k")
    model = Messages(Http(backoff=0.01), f"{up.url}/v1/messages", auth, ModelInfo("anthropic/m"))
    yield model
    await model.aclose()


def _sse(events: Sequence[object], split: Split = None) -> Reply:
    return sse(events, done=False, events=True, split=split)


async def _hear(up: Upstream, model: Messages, events: Sequence[object], split: Split = None) -> Heard:
    up.reply(_sse(events, split))
    return await ask(model)


async def _fails(up: Upstream, model: Messages, events: Sequence[object]) -> ProviderError:
    up.reply(*[_sse(events)] * 3)
    with pytest.raises(ProviderError) as caught:
        await ask(model)
    return caught.value


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    begin = {"type": "content_block_start", "index": index, "content_block": block}
    middle = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [begin, *middle, {"type": "content_block_stop", "index": index}]


def _use(id: str = "toolu_1", **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "price", "input": input}


def _json(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _end(stop: str = "end_turn", usage: dict[str, Any] | None = None, **delta: Any) -> list[dict[str, Any]]:
    changed = {"type": "message_delta", "delta": {"stop_reason": stop, **delta}, "usage": usage or {"output_tokens": 5}}
    return [changed, STOP]


# Blocks


@pytest.mark.parametrize("split", [None, 1, "utf8"])
async def test_text_thinking_and_calls(up: Upstream, model: Messages, split: Split) -> None:
    calls = [("toolu_1", "price", TEA), ("toolu_2", "now", {})]
    heard = await _hear(up, model, claude_events("Grüße 🙂", "hm …", "EqQB==", calls), split)
    assert (heard.text, heard.reasoning, heard.refusal) == ("Grüße 🙂", "hm …", "")
    assert [(id, name, json.loads(given or "{}")) for id, name, given in heard.calls] == calls
    done = heard.done
    thinking = {"type": "thinking", "thinking": "hm …", "signature": "EqQB=="}
    assert done.message.parts[:2] == (Reasoning("hm …", thinking), Text("Grüße 🙂"))
    assert (done.stop, done.model, done.usage) == ("tool_calls", "claude-test", Usage(10, 5, total=15))
    assert done.message.origin == "anthropic/m"


async def test_a_whole_answer_is_taken_for_a_stream(up: Upstream, model: Messages) -> None:
    content = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "so"}, _use(**TEA)]
    whole = {**START["message"], "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 1}}
    up.reply(json_reply(whole))
    heard = await ask(model)
    assert (heard.text, heard.reasoning, heard.done.stop) == ("so", "hm", "tool_calls")
    assert [json.loads(call.arguments) for call in heard.done.message.calls] == [TEA]


THOUGHTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "signature only": (
        {"type": "thinking", "thinking": "", "signature": ""},
        [{"type": "signature_delta", "signature": "Eq"}, {"type": "signature_delta", "signature": "QB"}],
    ),
    "no fields at first": (
        {"type": "thinking"},
        [{"type": "thinking_delta", "thinking": "h̀m\n "}, {"type": "signature_delta", "signature": "EqQB"}],
    ),
    "redacted": ({"type": "redacted_thinking", "data": "Emwk/+=="}, []),
    "whole at once": ({"type": "thinking", "thinking": "hm", "signature": "EqQB", "extra": 1}, []),
    "estimate": (
        {"type": "thinking", "thinking": "", "signature": ""},
        [
            {"type": "thinking_delta", "thinking": "", "estimated_tokens": 5},
            {"type": "signature_delta", "signature": "E"},
        ],
    ),
}


@pytest.mark.parametrize("kind", THOUGHTS)
async def test_thinking_is_kept_and_sent_back_as_it_came(up: Upstream, model: Messages, kind: str) -> None:
    block, deltas = copy.deepcopy(THOUGHTS[kind])
    expected = dict(block)
    for delta in deltas:
        for name in ("thinking", "signature"):
            if name in delta:
                expected[name] = expected.get(name, "") + delta[name]
    heard = await _hear(up, model, [START, *_block(0, block, *deltas), *_block(1, _use(**TEA)), *_end("tool_use")])
    assert heard.done.message.parts[0] == Reasoning(expected.get("thinking", ""), expected)
    up.reply(_sse(claude_events("ok")))
    await ask(model, [user("hi"), heard.done.message, Message("tool", (ToolResult("toolu_1"),))])
    assert up.requests[-1].json["messages"][1]["content"][0] == expected


async def test_a_server_tools_blocks_are_kept_and_are_no_calls(up: Upstream, model: Messages) -> None:
    cite = {"type": "citations_delta", "citation": {"url": "u", "cited_text": "x"}}
    text = _block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so"}, cite, cite)
    search = _block(0, copy.deepcopy(SEARCH), *_json("", '{"query": ', '"tea"}'))
    heard = await _hear(up, model, [START, *search, *_block(1, FOUND), *text, *_end()])
    assert (heard.text, heard.calls, heard.done.stop) == ("so", [], "stop")
    cited = {"type": "text", "text": "so", "citations": [cite["citation"]] * 2}
    kept = (ProviderBlock({**SEARCH, "input": {"query": "tea"}}), ProviderBlock(FOUND), Text("so", cited))
    assert heard.done.message.parts == kept
    up.reply(_sse(claude_events("ok")))
    await ask(model, [user("hi"), heard.done.message, user("x")])
    sent = up.requests[-1].json["messages"][1]["content"]
    assert sent == [{**SEARCH, "input": {"query": "tea"}}, FOUND, cited]


async def test_a_server_tools_call_beside_a_clients(up: Upstream, model: Messages) -> None:
    heard = await _hear(up, model, [START, *_block(0, SEARCH), *_block(1, _use(**TEA)), *_end("tool_use")])
    assert [call.name for call in heard.done.message.calls] == ["price"] and heard.done.stop == "tool_calls"
    assert {getattr(event, "index", 0) for event in heard.events} == {0}


@pytest.mark.parametrize(
    ("input", "pieces", "arguments"),
    [
        ({}, ['{"item"', ': "tea"}'], '{"item": "tea"}'),
        ({}, ["", "", '{"a":1}'], '{"a":1}'),
        ({}, [""], "{}"),
        ({}, [], "{}"),
        ({"a": 1}, [], '{"a": 1}'),
        ({}, ['{"item": "te'], '{"item": "te'),
    ],
)
async def test_arguments_are_kept_as_they_are_written(
    up: Upstream, model: Messages, input: dict[str, Any], pieces: list[str], arguments: str
) -> None:
    heard = await _hear(up, model, [START, *_block(0, _use(**input), *_json(*pieces)), *_end("tool_use")])
    assert heard.done.message.calls == (ToolCall("toolu_1", "price", arguments),)


async def test_the_fields_of_a_call_that_are_not_known_are_kept(up: Upstream, model: Messages) -> None:
    block = {**_use(**TEA), "caller": {"type": "direct"}}
    heard = await _hear(up, model, [START, *_block(0, block), *_end()])
    assert heard.done.message.calls[0].opaque == {"caller": {"type": "direct"}} and heard.done.stop == "tool_calls"


async def test_blocks_may_be_interleaved(up: Upstream, model: Messages) -> None:
    first, second = _block(1, _use("a"), *_json('{"a"', ":1}")), _block(3, _use("b"), *_json('{"b"', ":2}"))
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    heard = await _hear(up, model, [START, *mixed, *_end("tool_use")])
    assert heard.calls == [("a", "price", '{"a":1}'), ("b", "price", '{"b":2}')]


# Ends


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        *[("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")],
        *[("model_context_window_exceeded", "length"), ("pause_turn", "pause"), ("unheard-of", "stop")],
    ],
)
async def test_ends_are_named_alike(up: Upstream, model: Messages, reason: str, stop: str) -> None:
    assert (await _hear(up, model, claude_events("hi", stop=reason))).done.stop == stop


@pytest.mark.parametrize(("reason", "stop"), [("end_turn", "tool_calls"), ("max_tokens", "length")])
async def test_calls_end_with_tool_calls_unless_they_are_cut(
    up: Upstream, model: Messages, reason: str, stop: str
) -> None:
    heard = await _hear(up, model, [START, *_block(0, _use(), *_json('{"a"')), *_end(reason)])
    assert heard.done.stop == stop


async def test_a_refusal_may_be_explained(up: Upstream, model: Messages) -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    heard = await _hear(up, model, [START, *_end("refusal", stop_details=details)])
    assert (heard.refusal, heard.done.message.parts) == ("Not this.", (Refusal("Not this."),))
    assert (await _hear(up, model, [START, *_end("refusal")])).done.message.parts == ()


@pytest.mark.parametrize("missing", [{"message_stop"}, {"message_delta"}, {"message_stop", "message_delta"}])
@pytest.mark.parametrize("text", ["", "hi"])
async def test_an_answer_without_an_end_is_an_error(
    up: Upstream, model: Messages, missing: set[str], text: str
) -> None:
    events = [event for event in claude_events(text) if event["type"] not in missing]
    error = await _fails(up, model, events)
    assert isinstance(error, BadResponse) and error.code == "upstream_truncated"
    assert len(up.requests) == (1 if text else 3)


async def test_what_follows_the_end_is_not_read(up: Upstream, model: Messages) -> None:
    assert (await _hear(up, model, [*claude_events("hi"), "{bad", BUSY])).text == "hi"


async def test_a_connection_left_open_behind_the_end_is_not_waited_for(up: Upstream, model: Messages) -> None:
    up.reply(_sse(claude_events("hi")).but(stall=True))
    assert (await ask(model)).text == "hi"


# Usage


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ({"input_tokens": 10, "output_tokens": 1}, {"output_tokens": 5}, Usage(10, 5, total=15)),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1},
            {"output_tokens": 5},
            Usage(130, 5, 100, 20, total=135),
        ),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": None},
            {"input_tokens": 12, "output_tokens": 5, "cache_read_input_tokens": None},
            Usage(15, 5, 3, total=20),
        ),
        ({}, {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 4}}, Usage(0, 5, reasoning=4, total=5)),
        ({}, {"output_tokens_details": None, "server_tool_use": {"web_search_requests": 1}}, Usage()),
    ],
)
async def test_input_counts_what_was_cached(
    up: Upstream, model: Messages, first: dict[str, Any], last: dict[str, Any], usage: Usage
) -> None:
    start = {**START, "message": {**START["message"], "usage": first}}
    assert (await _hear(up, model, [start, *_end(usage=last)])).done.usage == usage


async def test_usage_may_be_missing(up: Upstream, model: Messages) -> None:
    start = {"type": "message_start", "message": {"model": None}}
    end = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, STOP]
    assert (await _hear(up, model, [start, *end])).done.usage == Usage()


# Odd events and errors


async def test_pings_and_unknown_events_are_passed_over(up: Upstream, model: Messages) -> None:
    odd = [PING, {"type": "unheard_of", "x": 1}, b": comment\n\n", b"event: ping\n\n"]
    events = [event for known in claude_events("Hello world") for event in (*odd, known)]
    assert (await _hear(up, model, events)).text == "Hello world"


async def test_an_unknown_delta_is_kept_with_its_block(up: Upstream, model: Messages) -> None:
    block = _block(0, {"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "short"})
    heard = await _hear(up, model, [START, *block, *_end()])
    assert heard.done.message.parts == (ProviderBlock({"type": "compaction", "content": "short"}),)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("overloaded_error", Overloaded), ("rate_limit_error", RateLimited), ("api_error", ProviderDown)],
)
async def test_an_error_before_output_is_retried_and_after_it_raised(
    up: Upstream, model: Messages, kind: str, error: type[ProviderError]
) -> None:
    event = {"type": "error", "error": {"type": kind, "message": "sorry"}}
    up.reply(_sse([START, PING, event]), _sse(claude_events("hi")))
    assert (await ask(model)).text == "hi"
    up.reply(_sse([*claude_events("half", stop=""), event, STOP]))
    heard = Heard()
    with pytest.raises(error, match="sorry"):
        await ask(model, heard=heard)
    assert (heard.text, len(up.requests)) == ("half", 3)


async def test_an_error_without_words_is_an_error(up: Upstream, model: Messages) -> None:
    for event in ({"type": "error"}, {"type": "error", "error": None}, {"type": "error", "error": {}}):
        assert await _fails(up, model, [START, event])


@pytest.mark.parametrize("text", ["", "hi"])
async def test_a_second_message_inside_the_first_is_an_error(up: Upstream, model: Messages, text: str) -> None:
    events = claude_events(text, stop="")
    error = await _fails(up, model, [*events, *claude_events("other")])
    assert isinstance(error, BadResponse) and len(up.requests) == (1 if text else 3)


def _delta(**delta: Any) -> list[dict[str, Any]]:
    return _block(0, {"type": "text", "text": ""}, delta)


WRONG: list[Any] = [
    *["text", 5, [], [5], {}, {"type": "message_start"}],
    *[{"type": "message_start", "message": value} for value in ("x", 5, [1], {"model": 5}, {"content": 5})],
    *[{"type": "message_start", "message": {"usage": 5}}, {"type": "message_start", "message": {"content": ["x"]}}],
    *[{"type": "content_block_start"}, {"type": "content_block_start", "index": 0, "content_block": "x"}],
    *[{"type": "content_block_start", "index": [0], "content_block": {"type": "text"}}],
    *[{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": 5}}],
    *[{"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ["x"]}}],
    *[{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": 5, "name": "f"}}],
    *[{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "c", "name": {}}}],
    *[{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}}],
    *[{"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}}],
    *[{"type": "message_delta", "delta": "x"}, {"type": "message_delta", "usage": [1]}],
]
WRONG_BEHIND: list[Any] = [
    *[_delta(type="text_delta", text=5), _delta(type="text_delta"), _delta(type="thinking_delta", thinking=["x"])],
    *[_delta(type="signature_delta", signature=5), _delta(type="input_json_delta", partial_json={"a": 1}), _delta()],
    *[_delta(type="unheard_of", text=5), [{"type": "content_block_delta", "index": 0, "delta": "x"}]],
    *[_block(0, {"type": "server_tool_use", "input": {}}, *_json('{"cut'))],
    *[_end(usage={"output_tokens": "x"})[:1], _end(usage={"output_tokens": [1]})[:1]],
    *[_end(usage={"input_tokens": {"x": 1}})[:1], _end(usage={"output_tokens_details": 5})[:1]],
    *[[{"type": "message_delta", "delta": {"stop_reason": value}}] for value in (["x"], {"x": 1})],
    *[
        [{"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": value}}]
        for value in ("x", {"explanation": 5})
    ],
]


@pytest.mark.parametrize("event", WRONG, ids=json.dumps)
async def test_wrong_types_are_a_bad_response(up: Upstream, model: Messages, event: object) -> None:
    error = await _fails(up, model, [json.dumps(event), *claude_events("hi")])
    assert isinstance(error, BadResponse) and error.provider == "anthropic" and len(up.requests) == 3


@pytest.mark.parametrize("events", WRONG_BEHIND, ids=json.dumps)
async def test_wrong_types_behind_the_start_are_a_bad_response(
    up: Upstream, model: Messages, events: list[dict[str, Any]]
) -> None:
    end = [] if events[0]["type"] == "message_delta" and "stop_reason" in events[0]["delta"] else [DELTA]
    assert isinstance(await _fails(up, model, [START, *events, *end, STOP]), BadResponse)


@pytest.mark.parametrize("frame", ["{bad", "[DONE]", "\x00", "NaN", "[" * 3000])
async def test_a_frame_that_is_no_json_is_a_bad_response(up: Upstream, model: Messages, frame: str) -> None:
    assert isinstance(await _fails(up, model, [START, frame, *claude_events("hi")[1:]]), BadResponse)


@pytest.mark.parametrize("body", [{}, {"type": "message"}, {"type": "message", "content": [], "stop_reason": None}, []])
async def test_a_whole_answer_that_is_none_is_a_bad_response(up: Upstream, model: Messages, body: object) -> None:
    up.always(json_reply(body))
    with pytest.raises(BadResponse):
        await ask(model)
