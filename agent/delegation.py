"""Work that a run gives to another with a context of its own: one prompt in, one report out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from messages import Finish
from tools import Tool, ToolError


def task_tool(delegate: Callable[[str], Awaitable[Finish]]) -> Tool:
    """`delegate` runs a prompt with the same tools but this one, on the same budget."""

    async def task(prompt: str) -> str:
        """Have a separate part of the work done by a helper that sees only this prompt; returns its report."""
        finish = await delegate(prompt)
        if finish.text.strip():
            return finish.text if not finish.limit else f"{finish.text}\n\n(It was ended early: {finish.limit}.)"
        raise ToolError(f"the helper has nothing to report (it was ended by {finish.limit or finish.reason})")

    return Tool.of(task)
