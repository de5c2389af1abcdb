"""The tools of a turn, run side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

from agent import approval
from agent.budget import OutOfTime
from agent.run import Run
from messages import Event, SkillActivated, ToolCall, ToolEnd, ToolResult, ToolStart
from tools import failed

Work: TypeAlias = Sequence[tuple[ToolCall, Coroutine[Any, Any, tuple[ToolResult, float]]]]
OVER = "it was stopped, as the time for this answer is over"


async def run_tools(run: Run) -> AsyncGenerator[Event, None]:
    """The agent's calls, but for those that a client is asked about."""
    calls = run.ask_client()
    if calls:
        async with aclosing(_side_by_side(run, [(call, run.work(call)) for call in calls])) as events:
            async for event in events:
                yield event
        run.note_malformed()
    for asked in run.questions():
        yield asked


async def resume(run: Run) -> AsyncGenerator[Event, None]:
    """The calls that have waited for their client's word: made if it is a yes."""
    heard = approval.waiting(run.messages)
    if heard:
        work = [(call, run.work(call, approved=True) if yes else run.refuse(call)) for call, yes in heard]
        async with aclosing(_side_by_side(run, work)) as events:
            async for event in events:
                yield event


async def _side_by_side(run: Run, work: Work) -> AsyncGenerator[Event, None]:
    """The results stand in the order of the calls."""
    tasks = {asyncio.create_task(doing): call for call, doing in work}
    try:
        for call, _ in work:
            yield run.step(ToolStart(call))
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=run.budget.seconds_left, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                run.answer_calls([_finished(task) or failed(call, OVER) for task, call in tasks.items()])
                raise OutOfTime
            for task in (task for task in tasks if task in done):
                result, seconds = task.result()
                for name in run.newly_active():
                    yield run.step(SkillActivated(name))
                yield run.step(ToolEnd(tasks[task], result, seconds))
        run.answer_calls([task.result()[0] for task in tasks])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _finished(task: asyncio.Task[tuple[ToolResult, float]]) -> ToolResult | None:
    return task.result()[0] if task.done() else None
