"""Answers in JSON, over every way that a provider has of giving one."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from agent.structured import HINT, SchemaError, Structure
from agent_loop import Agent
from messages import JsonFormat, Options, TextDelta, ToolCall
from providers.base import BadResponse, ModelInfo
from providers.scripted import Line, ScriptedProvider, call

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number", "minimum": 1}},
    "required": ["name", "price"],
    "additionalProperties": False,
}
GOOD = '{"name": "Harbor Fog", "price": 3}'
BAD = '{"name": "Harbor Fog", "price": 0}'
WANTED = Options(response_format=JsonFormat(SCHEMA, "cookie"))
Way = Literal["native", "asked", "tool"]


def look_up(item: str) -> str:
    """Look something up."""
    return f"{item} is nice"


def agent_of(script: list[Line], way: Way, tools: bool = False) -> tuple[Agent, ScriptedProvider]:
    provider = ScriptedProvider(script, ModelInfo("scripted/model", json=way))
    return Agent(provider=provider, system_prompt="", tools=[look_up] if tools else ()), provider


def told(answer: str, way: Way) -> Line:
    """How a model of this kind gives its answer."""
    return [ToolCall("", "final_answer", answer)] if way == "tool" else answer


@pytest.mark.parametrize("way", ["native", "asked", "tool"])
@pytest.mark.parametrize("tools", [True, False])
async def test_the_answer_is_the_json_alone_whole_and_streamed(way: Way, tools: bool) -> None:
    agent, provider = agent_of([told(GOOD, way), told(GOOD, way)], way, tools)
    whole = await agent.run("a cookie", options=WANTED)
    assert (json.loads(whole.text), whole.reason, whole.calls) == (json.loads(GOOD), "stop", ())
    deltas = [e.text async for e in agent.stream("a cookie", options=WANTED) if isinstance(e, TextDelta)]
    assert "".join(deltas) == whole.text == whole.messages[-1].text
    asked = provider.requests[0]
    assert (asked.options.response_format is None) == (way == "tool")
    assert ("final_answer" in [tool.name for tool in asked.tools]) == (way == "tool")


@pytest.mark.parametrize("way", ["asked", "tool"])
async def test_tools_are_used_before_the_answer_and_what_is_said_beside_them_is_not_part_of_it(way: Way) -> None:
    agent, provider = agent_of([["Let me look.", call("look_up", item="tea")], told(GOOD, way)], way, tools=True)
    finish = await agent.run("a cookie", options=WANTED)
    assert finish.text == GOOD
    assert provider.requests[1].messages[-1].results[0].text == "tea is nice"
    assert provider.requests[1].options.tool_choice.mode == ("required" if way == "tool" else "auto")


@pytest.mark.parametrize("way", ["asked", "tool"])
async def test_the_model_may_mend_its_answer_once(way: Way) -> None:
    agent, provider = agent_of([told(BAD, way), told(GOOD, way)], way)
    assert (await agent.run("a cookie", options=WANTED)).text == GOOD
    said = provider.requests[1].messages[-1]
    assert "price: 0 is less than the minimum of 1" in (said.text or said.results[0].text)
    agent, _ = agent_of([told(BAD, way), told("no", way)], way)
    with pytest.raises(BadResponse, match="not JSON"):
        await agent.run("a cookie", options=WANTED)


async def test_a_fence_around_the_json_is_taken_off() -> None:
    agent, _ = agent_of([f"```json\n{GOOD}\n```"], "asked")
    assert (await agent.run("a cookie", options=WANTED)).text == GOOD


@pytest.mark.parametrize("way", ["native", "asked", "tool"])
async def test_any_object_will_do_where_there_is_no_schema(way: Way) -> None:
    agent, provider = agent_of(["[1]", '{"a": 1}'] if way != "native" else ['{"a": 1}'], way)
    finish = await agent.run("json please", options=Options(response_format=JsonFormat()))
    assert finish.text == '{"a": 1}'
    assert (HINT in str(provider.requests[0].messages)) == (way != "native")


async def test_a_schema_that_is_no_object_is_wrapped_for_the_tool() -> None:
    wanted = Options(response_format=JsonFormat({"type": "array", "items": {"type": "integer"}}))
    agent, provider = agent_of([told('{"answer": [1, 2]}', "tool")], "tool")
    assert (await agent.run("numbers", options=wanted)).text == "[1, 2]"
    assert provider.requests[0].tools[0].parameters["required"] == ["answer"]


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"type": 5}, {"$ref": "http://127.0.0.1:1/schema.json"}])
def test_what_is_no_schema_is_refused_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="not a JSON schema"):
        Structure(JsonFormat(schema), by_tool=False)
