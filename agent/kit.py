"""The tools that an agent has of its own in a run, by their groups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING

from agent.delegation import task_tool
from agent.opening import is_searched
from agent.run import Run
from agent.skill_tools import skill_tools
from messages import Finish
from skill_store import Skill
from tools import Tool

if TYPE_CHECKING:
    from agent.script_tools import Workshop


def own_tools(
    groups: Collection[str],
    run: Run,
    skills: Mapping[str, Skill],
    workshop: Workshop,
    delegate: Callable[[str], Awaitable[Finish]],
) -> list[Tool]:
    """A run that is delegated does not delegate."""
    from agent.script_tools import command_tools, script_tools

    tools: list[Tool] = []
    if "skills" in groups:
        tools += skill_tools(skills, run.active, run.activate, is_searched(skills))
        tools += script_tools(skills, run.active, run.workspace, workshop)
    if "files" in groups:
        from agent.file_tools import file_tools

        tools += [*file_tools(run.workspace), *command_tools(run.workspace, workshop)]
    if "todos" in groups:
        tools.append(run.todos.tool())
    if "task" in groups and not run.delegated:
        tools.append(task_tool(delegate))
    return tools
