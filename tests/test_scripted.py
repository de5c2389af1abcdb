"""The provider that plays a script."""

from __future__ import annotations

import time

import pytest

from messages import (
    Message,
    Options,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    system,
    user,
)
from providers.base import ModelInfo, Overloaded, ProviderError, RateLimited
from providers.scripted import Play, ScriptedProvider, call
from tests.asking import TOOL, Heard, ask


async def test_a_text_is_said_word_by_word() -> None:
    provider = ScriptedProvider(["Hello  big world\n"])
    heard = await ask(provider)
    assert heard.events[:-1] == [TextDelta("Hello"), TextDelta(" "), TextDelta(" big"), TextDelta(" world\n")]
    assert heard.done.message == Message("assistant", (Text("Hello  big world\n"),), "scripted/model")
    assert (heard.done.stop, heard.done.usage, heard.done.model) == ("stop", Usage(1, 1, total=2), "model")


async def test_an_empty_answer_is_one() -> None:
    heard = await ask(ScriptedProvider([[]]))
    assert heard.events == [heard.done] and heard.done.message.parts == ()


async def test_calls_are_numbered_through_all_answers() -> None:
    provider = ScriptedProvider([[call("price", item="tea"), "so", call("stock")], [call("price", "own"), call("x")]])
    heard = await ask(provider)
    assert heard.calls == [("call_1", "price", '{"item": "tea"}'), ("call_2", "stock", "{}")]
    assert [event.index for event in heard.events if isinstance(event, ToolCallDelta)] == [0, 1]
    assert heard.done.stop == "tool_calls"
    assert [id for id, _, _ in (await ask(provider)).calls] == ["own", "call_3"]


async def test_parts_are_said_in_order() -> None:
    thought = Reasoning("hm", {"signature": "s"})
    heard = await ask(ScriptedProvider([[thought, "so", ToolCall("c", "price", "{", {"x": 1})]]))
    done = ReasoningDone(thought, "scripted/model")
    assert heard.events[:3] == [ReasoningDelta("hm"), done, TextDelta("so")]
    assert heard.done.message.parts == (thought, Text("so"), ToolCall("c", "price", "{", {"x": 1}))


async def test_an_error_comes_where_it_stands() -> None:
    provider = ScriptedProvider([RateLimited("slow"), ["half ", Overloaded("busy")], "Hello"])
    with pytest.raises(RateLimited, match="slow"):
        await ask(provider)
    heard = Heard()
    with pytest.raises(Overloaded):
        await ask(provider, heard=heard)
    assert heard.text == "half " and (await ask(provider)).text == "Hello" and provider.calls == 3


async def test_a_number_is_a_pause() -> None:
    begun = time.monotonic()
    assert (await ask(ScriptedProvider([["a", 0.1, "b"]]))).text == "ab"
    assert time.monotonic() - begun >= 0.1


async def test_an_end_and_a_usage_may_be_given() -> None:
    heard = await ask(ScriptedProvider([Play(["cut"], "length", Usage(7, 8, total=15))]))
    assert (heard.done.stop, heard.done.usage.total) == ("length", 15)


async def test_what_was_asked_is_kept() -> None:
    provider = ScriptedProvider(["a", "b"], ModelInfo("my/model", tools=False))
    said, options = [system("s"), user("hi")], Options(seed=1)
    heard = await ask(provider, said, [TOOL], options)
    await ask(provider)
    assert [request.messages for request in provider.requests] == [said, [user("hi")]]
    assert (provider.requests[0].tools, provider.requests[0].options) == ([TOOL], options)
    assert (heard.done.message.origin, heard.done.model) == ("my/model", "model")


async def test_a_script_that_runs_out_is_an_error() -> None:
    provider = ScriptedProvider([])
    with pytest.raises(ProviderError, match="no more lines"):
        await ask(provider)
    await provider.aclose()
