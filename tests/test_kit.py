"""The agent's own tools: which there are, what they cost in every request, and a thousand skills."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent_loop import Agent
from messages import Finish, Request, SkillActivated, ToolSpec
from providers.scripted import Line, ScriptedProvider, call
from settings import TOOL_GROUPS, Settings
from tests.agents import results_of, system_text, write_skill


async def asked(
    skills: Path | tuple[()] = (), script: tuple[Line, ...] = ("Hi.",), **how: Any
) -> tuple[Finish, Request]:
    model = ScriptedProvider(script)
    finish = await Agent(provider=model, skills=skills, **{"settings": Settings(), **how}).run("go")
    return finish, model.requests[0]


def cost(tool: ToolSpec) -> int:
    """Tokens of a tool as it is sent, at four characters each: a real count is about a tenth lower."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return len(json.dumps({"type": "function", "function": function}, separators=(",", ":"))) // 4


async def test_all_tools_together_cost_less_than_a_thousand_tokens(tmp_path: Path) -> None:
    for name in ("cookie-flavor-generator", "market-research", "skill-writer"):
        (write_skill(tmp_path, name, "What it is for.") / "run.py").touch()
    _, request = await asked(tmp_path, groups=TOOL_GROUPS, settings=Settings(execute=True))
    names = [tool.name for tool in request.tools]
    assert names == sorted(names) and len(names) == 12
    assert sum(map(cost, request.tools)) <= 1_000


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        ((), []),
        (("skills",), ["activate_skill", "read_skill_file"]),
        (("files",), ["edit_file", "glob", "grep", "ls", "read_file", "write_file"]),
        (("todos", "task"), ["task", "write_todos"]),
    ],
)
async def test_groups_say_which_there_are(tmp_path: Path, groups: tuple[str, ...], names: list[str]) -> None:
    write_skill(tmp_path, "tea", "Brew tea.")
    _, request = await asked(tmp_path, groups=groups)
    assert [tool.name for tool in request.tools] == names


async def test_a_run_without_skills_has_nothing_of_ours(tmp_path: Path) -> None:
    write_skill(tmp_path, "tea", "Brew tea.")
    model = ScriptedProvider(["A title"])
    await Agent(provider=model, skills=tmp_path, groups=TOOL_GROUPS, settings=Settings()).run("go", skills=[])
    assert not model.requests[0].tools and "tea" not in system_text(model.requests[0])


async def test_tools_that_the_settings_name_are_asked_about() -> None:
    settings = Settings(ask=("write_*",))
    script: tuple[Line, ...] = ([call("write_file", "w", path="a", content="b"), call("ls", "l")],)
    finish, _ = await asked(script=script, groups=("files",), settings=settings)
    assert [made.id for made in finish.calls] == ["approve_w"] and not finish.files


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thousand")
    about = "Handles everything that has to do with subject number {}, from the first question to the last detail."
    for number in range(1_000):
        write_skill(folder, f"subject-{number}", about.format(number))
    write_skill(folder, "tea", "Brews tea of every colour. Use for questions about infusions and kettles.")
    return folder


async def test_a_thousand_skills_are_looked_for_and_not_listed(thousand: Path) -> None:
    script: tuple[Line, ...] = (
        [call("find_skill", query="how long does an infusion take")],
        [call("activate_skill", name="tea")],
        "Three minutes.",
    )
    finish, request = await asked(thousand, script)
    assert "subject-7" not in system_text(request) and sum(map(cost, request.tools)) < 300
    found, activated = results_of(finish)
    assert found.text.startswith("- tea: ") and "<skill_content" in activated.text
    assert SkillActivated("tea") in finish.steps


async def test_what_is_looked_for_in_vain_is_said(thousand: Path) -> None:
    script: tuple[Line, ...] = (
        [call("find_skill", query="zymurgy"), call("activate_skill", name="zymurgy")],
        "None.",
    )
    finish, _ = await asked(thousand, script)
    found, activated = results_of(finish)
    assert found.text == "No skill is about that." and activated.is_error and "find_skill" in activated.text


async def test_a_thousand_skills_that_are_narrowed_to_a_few_are_listed(thousand: Path) -> None:
    model = ScriptedProvider(["Hi."])
    await Agent(provider=model, skills=thousand, settings=Settings()).run("go", skills=["tea", "subject-7"])
    assert "subject-7" in system_text(model.requests[0])
    assert [tool.name for tool in model.requests[0].tools] == ["activate_skill", "read_skill_file"]


async def test_what_is_sent_stays_the_same_so_that_caches_stay_warm(tmp_path: Path) -> None:
    """Each request begins with the one before, and another run begins alike: no clock, no order that changes."""
    for name in ("tea", "cake", "soup"):
        write_skill(tmp_path, name, f"About {name}.")
    script: list[Line] = [[call("activate_skill", "a", name="tea")], [call("ls", "b")], "Done."]
    runs = []
    for _ in range(2):
        model = ScriptedProvider(script)
        await Agent(provider=model, skills=tmp_path, groups=TOOL_GROUPS, settings=Settings()).run("go")
        runs.append(model.requests)
    for before, after in pairwise(runs[0]):
        assert after.messages[: len(before.messages)] == before.messages and after.tools == before.tools
    assert [request.messages for request in runs[0]] == [request.messages for request in runs[1]]
    assert [request.tools for request in runs[0]] == [request.tools for request in runs[1]]
