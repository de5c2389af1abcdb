"""Runs that end: calls that lead nowhere, and budgets of calls and of money."""

from __future__ import annotations

import json
from pathlib import Path

from messages import ToolCall, Usage
from providers.scripted import Play, ScriptedProvider, call
from settings import Settings
from tests.agents import agent_of


def price(item: str) -> str:
    return f"{item}: 3 euros"


def closings(provider: ScriptedProvider) -> list[str]:
    """What each model call was told of its tools."""
    return [request.options.tool_choice.mode for request in provider.requests]


async def test_the_third_same_call_is_warned_of_and_the_fifth_is_not_made() -> None:
    made: list[str] = []

    def look(item: str) -> str:
        made.append(item)
        return "nothing new"

    same = [[call("look", item="tea")], [ToolCall("x", "look", '{ "item": "tea" }')]] * 9
    agent, provider = agent_of([*same[:5], "It is tea."], look)
    finish = await agent.run("go")
    assert (finish.text, finish.reason, finish.limit) == ("It is tea.", "stop", "repeated_calls")
    assert len(made) == 4 and provider.calls == 6
    results = [result.text for message in finish.messages for result in message.results]
    assert ["made 3 times" in text or "made 4 times" in text for text in results] == [False, False, True, True, False]
    assert "made 5 times; it is not made again" in results[-1]
    assert closings(provider) == ["auto"] * 5 + ["none"]


async def test_calls_with_other_arguments_are_not_the_same() -> None:
    agent, provider = agent_of([*[[call("price", item=f"tea {n}")] for n in range(9)], "Done."], price)
    assert (await agent.run("go")).limit == "" and provider.calls == 10


async def test_three_turns_that_cannot_be_read_end_with_an_answer() -> None:
    bad = [[call("nothing")], [ToolCall("x", "price", "{broken")], [call("price", wrong=1)]]
    agent, provider = agent_of([*bad, "Sorry."], price)
    finish = await agent.run("go")
    assert (finish.text, finish.limit, closings(provider)[-1]) == ("Sorry.", "malformed_calls", "none")
    agent, provider = agent_of([*bad[:2], [call("price", item="tea")], *bad[:2], "3 euros."], price)
    assert (await agent.run("go")).limit == "" and provider.calls == 6


async def test_a_budget_of_tool_calls_ends_with_an_answer() -> None:
    calls = [[call("price", item=f"{n}a"), call("price", item=f"{n}b")] for n in range(4)]
    agent, _ = agent_of([*calls[:2], "Three are known."], price, settings=Settings(max_tool_calls=3))
    finish = await agent.run("go")
    assert (finish.text, finish.limit) == ("Three are known.", "max_tool_calls")
    results = [result.is_error for message in finish.messages for result in message.results]
    assert results == [False, False, False, True]


async def test_a_model_that_goes_on_calling_when_it_may_not_is_ended() -> None:
    agent, provider = agent_of([[call("price", item="tea")]] * 9, price)
    finish = await agent.run("go")
    assert (finish.reason, finish.limit, provider.calls) == ("length", "repeated_calls", 6)
    assert all(len(message.results) == 1 for message in finish.messages if message.role == "tool")


async def test_a_budget_of_money_ends_a_run_where_prices_are_known(tmp_path: Path) -> None:
    prices = {"match": "model", "window": 1000, "prices": {"input": 10, "output": 10}}
    (tmp_path / "models.json").write_text(json.dumps({"models": [prices]}))
    spent = Usage(50_000, 0, total=50_000)
    settings = Settings(max_cost=1.0, models=tmp_path / "models.json")
    plays = [Play([call("price", item=str(n))], usage=spent) for n in range(9)]
    agent, provider = agent_of(plays, price, settings=settings)
    finish = await agent.run("go")
    assert (finish.reason, finish.limit, provider.calls) == ("length", "max_cost", 2)
