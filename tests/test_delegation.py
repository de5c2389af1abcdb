"""Plans, work that is given away, skills that the user calls, and tools that skills leave to the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from messages import SkillActivated, Usage, user
from providers.scripted import Line, Play, call
from settings import Settings
from tests.agents import agent_of, results_of, write_skill
from tools import Tool


def price(item: str) -> str:
    """What an item costs."""
    return f"{item}: 3 euros"


async def test_a_plan_replaces_the_one_before() -> None:
    plans = [["[>] look", "[ ] tell"], ["[x] look", "[x] tell  \n now"]]
    agent, _ = agent_of([*[[call("write_todos", todos=plan)] for plan in plans], "Done."], groups=("todos",))
    assert [result.text for result in results_of(await agent.run("go"))] == ["0 of 2 done.", "2 of 2 done."]
    agent, _ = agent_of([[call("write_todos", todos=["[ ] x"] * 51)], "Done."], groups=("todos",))
    assert results_of(await agent.run("go"))[0].is_error


async def test_a_task_has_a_context_of_its_own_and_one_report() -> None:
    script: list[Line] = [
        [call("task", prompt="Price of tea?")],
        [call("price", item="tea")],
        "Tea is 3 euros.",
        "It is 3 euros.",
    ]
    agent, provider = agent_of(script, price, groups=("task", "todos"))
    finish = await agent.run("What does tea cost?")
    assert finish.text == "It is 3 euros." and results_of(finish)[0].text == "Tea is 3 euros."
    _, inner, *_ = provider.requests
    assert [message.text for message in inner.messages] == ["Price of tea?"]
    names = [[tool.name for tool in request.tools] for request in provider.requests]
    assert names[0] == ["price", "task", "write_todos"] and names[1] == ["price", "write_todos"]
    assert finish.usage == Usage(4, 4, total=8)


async def test_tasks_go_on_side_by_side() -> None:
    both = [call("task", prompt="one"), call("task", prompt="two")]
    agent, provider = agent_of([both, [0.05, "first"], "second", "Both."], groups=("task",))
    assert sorted(result.text for result in results_of(await agent.run("go"))) == ["first", "second"]
    assert provider.calls == 4


async def test_a_task_is_on_its_parents_budget() -> None:
    endless = [[call("task", prompt="go")], *[[call("price", item=f"{n}")] for n in range(99)]]
    agent, provider = agent_of(endless, price, groups=("task",), max_turns=6)
    finish = await agent.run("go")
    assert (provider.calls, finish.reason, finish.limit) == (6, "length", "max_turns")
    spent = Usage(60, 0, total=60)
    plays = [Play([call("task", prompt="go")], usage=spent), Play([call("price", item="x")], usage=spent)]
    agent, provider = agent_of(plays * 3, price, groups=("task",), max_tokens=100)
    assert (await agent.run("go")).limit == "max_tokens" and provider.calls == 2


async def test_a_task_that_finds_nothing_is_an_error_result() -> None:
    agent, _ = agent_of([[call("task", prompt="go")], Play([""], stop="length"), "Nothing."], groups=("task",))
    (result,) = results_of(await agent.run("go"))
    assert result.is_error and "nothing to report" in result.text


@pytest.mark.parametrize("text", ["/tea", "/tea with milk", "  /tea\nplease"])
async def test_a_skill_is_called_by_its_name(tmp_path: Path, text: str) -> None:
    write_skill(tmp_path, "tea", "Brew tea.", more="disable-model-invocation: true\n", body="Steep it.")
    agent, provider = agent_of(["Steeped."], skills=tmp_path)
    finish = await agent.run([user("/coffee"), user(text)])
    assert finish.steps[0] == SkillActivated("tea")
    assert "Steep it." in provider.requests[0].messages[0].text


@pytest.mark.parametrize("text", ["/coffee", "tea", "a /tea", "/", "/tea/milk", "/etc/passwd"])
async def test_other_words_call_no_skill(tmp_path: Path, text: str) -> None:
    write_skill(tmp_path, "tea", "Brew tea.")
    agent, _ = agent_of(["Hm."], skills=tmp_path)
    assert not [step for step in (await agent.run(text)).steps if isinstance(step, SkillActivated)]


def write_file(path: str, content: str) -> str:
    return f"wrote {path}"


READ, WRITE = call("read_skill_file", skill="tea", path="a.md"), call("write_file", path="a", content="b")


async def refused(tmp_path: Path, *skills: tuple[str, str]) -> list[bool]:
    """Which of the tools are refused when these skills are active."""
    for name, allowed in skills:
        folder = write_skill(tmp_path, name, f"About {name}.", more=f"allowed-tools: {allowed}\n" if allowed else "")
        (folder / "a.md").write_text("x")
    turns = [[call("activate_skill", name=name)] for name, _ in skills]
    price_call = call("mcp__shop__price", item="tea")
    shop = Tool.of(price)
    shop = Tool(type(shop.spec)("mcp__shop__price", "", shop.spec.parameters), shop.arguments, shop.run)
    agent, _ = agent_of([*turns, [READ, WRITE, price_call], "Done."], write_file, skills=tmp_path, settings=Settings())
    agent.tools = (*agent.tools, shop)
    return [result.is_error for result in results_of(await agent.run("go"))][len(skills) :]


@pytest.mark.parametrize(
    ("skills", "expected"),
    [
        ([("tea", "")], [False, False, False]),
        ([("tea", "Read Grep")], [False, True, True]),
        ([("tea", "Write, Bash(git log:*)")], [False, False, True]),
        ([("tea", "write_file")], [False, False, True]),
        ([("tea", "mcp__shop")], [False, True, False]),
        ([("tea", "mcp__shop__price")], [False, True, False]),
        ([("tea", "Everything")], [False, True, True]),
        ([("tea", "Read"), ("milk", "Write")], [False, False, True]),
        ([("tea", "Read"), ("milk", "")], [False, True, True]),
    ],
)
async def test_allowed_tools_narrow_and_never_widen(
    tmp_path: Path, skills: list[tuple[str, str]], expected: list[bool]
) -> None:
    assert await refused(tmp_path, *skills) == expected
