"""What fuzzing has found, each held for itself; and that what it starts from holds, in every run of the tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from agent.structured import TOOL as ANSWER
from benchmarks.fuzz.mutation import changed
from benchmarks.fuzz.seeds import SEEDS
from benchmarks.fuzz.targets import TARGETS
from history import valid_json
from messages import Request, ToolCall, user
from providers.anthropic import Messages
from providers.base import BadResponse, ModelInfo, ProviderError, RateLimited
from providers.http import Http, bearer
from providers.openai import ChatCompletions
from providers.scripted import ScriptedProvider
from tests.asking import Heard, ask
from tests.surface import PRICE, service
from tests.upstream import Reply, Upstream, chat_chunks, claude_events, json_reply, sse

Events = list[dict[str, Any]]
DEEP = json.loads('{"a":' * 150 + "1" + "}" * 150)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


async def hear(up: Upstream, reply: Reply, dialect: str = "chat") -> Heard:
    up.always(reply)
    build: Callable[..., ChatCompletions | Messages] = ChatCompletions if dialect == "chat" else Messages
    model = build(Http(backoff=0.01), f"{up.url}/x", bearer("k"), ModelInfo(f"{dialect}/m"))
    try:
        return await ask(model)
    finally:
        await model.aclose()


def claude(*middle: dict[str, Any]) -> Reply:
    """A message around these events."""
    first, _, *last = claude_events("", stop="tool_use")
    return sse([first, *middle, *last], done=False, events=True)


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **what: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **what}}


def use(index: int, id: Any, name: Any = "price") -> dict[str, Any]:
    return begin(index, type="tool_use", id=id, name=name, input={})


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_starts_from_holds_and_so_does_some_of_what_it_makes_of_it(name: str) -> None:
    assert SEEDS.keys() == TARGETS.keys()
    for number, seed in enumerate(SEEDS[name]()):
        TARGETS[name](seed)
        for turn in range(3):
            TARGETS[name](changed(seed, 8192, 3 * number + turn, lambda data: data[::2]))


BROKEN: dict[str, tuple[str, Reply]] = {
    "deep arguments": ("chat", sse([chunk("stop", tool_calls=[{"function": {"name": "f", "arguments": DEEP}}])])),
    "deep signatures": ("chat", sse([chunk("stop", tool_calls=[{"extra_content": DEEP, "function": {"name": "f"}}])])),
    "a deep block": ("anthropic", claude(begin(0, type="later", what=DEEP))),
    "deep input of a block": (
        "anthropic",
        claude(begin(0, type="server_tool_use"), delta(0, "input_json_delta", partial_json=json.dumps(DEEP))),
    ),
    "input of a block without an end": (
        "anthropic",
        claude(begin(0, type="server_tool_use"), delta(0, "input_json_delta", partial_json="[" * 5000)),
    ),
    "more tokens than a number": ("chat", sse([{**chunk("stop"), "usage": {"prompt_tokens": 1e300}}])),
    "more tokens of a message": ("anthropic", sse(claude_events("Hi", usage=(10**300, 1)), done=False)),
    "two blocks at one index": ("anthropic", claude(use(0, "a"), use(0, "b"))),
    "a call without a name": ("anthropic", claude(use(0, "a", ""))),
    "words in another block": ("anthropic", claude(use(0, "a"), delta(0, "text_delta", text="Hi"))),
    "another id behind the call": ("anthropic", claude(use(0, "a"), delta(0, "later_delta", id="b"))),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_could_be_neither_kept_nor_told_is_a_bad_response(up: Upstream, name: str) -> None:
    dialect, reply = BROKEN[name]
    with pytest.raises(BadResponse):
        await hear(up, reply, dialect)


async def test_an_odd_chunk_behind_the_finish_reason_is_heard_as_far_as_it_is_in_the_dialect(up: Upstream) -> None:
    odd = chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "price", "arguments": "{}"}}, 5])
    usage = {"choices": [], "usage": {"prompt_tokens": 1e300}}
    heard = await hear(up, sse([chunk("stop", content="Hi"), odd, usage]))
    assert (heard.text, heard.calls) == ("Hi", [("c", "price", "{}")])
    assert [(call.id, call.name) for call in heard.done.message.calls] == [("c", "price")]


async def test_a_call_that_is_told_twice_is_one_however_deep_its_arguments_are(up: Upstream) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "price", "arguments": "[" * 5000}}
    heard = await hear(up, sse([chunk(tool_calls=[call]), chunk("stop", tool_calls=[call])]))
    assert [(id, name) for id, name, _ in heard.calls] == [("c", "price")]


async def test_calls_are_in_the_order_in_which_they_were_told(up: Upstream) -> None:
    heard = await hear(up, claude(use(3, "a"), use(2, "b")), "anthropic")
    assert [call.id for call in heard.done.message.calls] == [id for id, *_ in heard.calls] == ["a", "b"]


@pytest.mark.parametrize("date", ["Wed, 21 Oct 26666666666666666666 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT"])
async def test_a_date_that_cannot_be_is_no_advice(up: Upstream, date: str) -> None:
    up.always(json_reply({"error": {"message": "no"}}, 429, {"retry-after": date}))
    model = ChatCompletions(Http(backoff=0.01), f"{up.url}/x", bearer("k"), ModelInfo("openai/m"))
    with pytest.raises(ProviderError) as caught:
        async with aclosing(model.stream(Request([user("hi")]))) as events:
            await anext(events)
    await model.aclose()
    assert isinstance(caught.value, RateLimited) and caught.value.retry_after is None


@pytest.mark.parametrize("arguments", [json.dumps(DEEP), "[" * 5000, '{"a":' * 5000])
async def test_arguments_too_deep_to_be_written_again_are_told_as_they_came_and_sent_back_as_a_text(
    up: Upstream, arguments: str
) -> None:
    heard = await hear(up, sse(chat_chunks(tool_calls=[("c", "price", arguments)])))
    assert heard.calls == [("c", "price", arguments)]
    assert json.loads(valid_json(arguments)) == {"INVALID_JSON": arguments}
    up.always(sse(chat_chunks("Well then.")))
    called = {"id": "c", "type": "function", "function": {"name": "price", "arguments": arguments}}
    history = [{"role": "assistant", "tool_calls": [called]}, {"role": "tool", "tool_call_id": "c", "content": "3"}]
    with service(up) as server:
        assert server.whole(messages=history, tools=[PRICE]).text == "Well then."


def test_an_answer_too_deep_to_be_read_is_not_the_servers_failure() -> None:
    call = ToolCall("c", ANSWER, "[" * 5000)
    model = ScriptedProvider([[call]] * 5, ModelInfo("scripted/m", json="tool"))
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}
    with service(provider=model) as server:
        heard = server.whole(response_format=form)
    assert heard.error is not None and (heard.status, heard.error["code"]) == (502, "invalid_json")
