"""Agents over scripts, for the tests of the loop: nothing is read from the environment, nothing goes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from agent_loop import Agent
from messages import Event, Finish, Message, ProviderEvent, Request, TextDelta, ToolEnd, ToolResult
from providers.base import ModelInfo
from providers.scripted import Line, ScriptedProvider
from settings import Settings


def agent_of(
    script: Iterable[Line], *tools: Callable[..., Any], info: ModelInfo | None = None, **how: Any
) -> tuple[Agent, ScriptedProvider]:
    """An agent, and the provider that knows what it was asked."""
    provider = ScriptedProvider(script, info)
    how = {"system_prompt": "", "settings": Settings(), **how}
    return Agent(provider=provider, tools=tools, **how), provider


async def heard(events: AsyncGenerator[Event, None]) -> list[Event]:
    async with aclosing(events):
        return [event async for event in events]


def finish_of(events: list[Event]) -> Finish:
    last = events[-1]
    assert isinstance(last, Finish) and sum(isinstance(event, Finish) for event in events) == 1
    return last


def results_of(finish: Finish) -> list[ToolResult]:
    """In the order in which the model reads them."""
    return [result for message in finish.messages for result in message.results]


def ended(finish: Finish) -> list[ToolEnd]:
    return [step for step in finish.steps if isinstance(step, ToolEnd)]


def system_text(request: Request) -> str:
    return "".join(message.text for message in request.messages if message.role == "system")


def spoken(messages: Iterable[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in messages]


def write_skill(parent: Path, name: str, description: str, body: str = "Do it well.", more: str = "") -> Path:
    folder = parent / name
    folder.mkdir(parents=True, exist_ok=True)
    text = f"---\nname: {name}\ndescription: {description}\n{more}---\n\n{body}\n"
    (folder / "SKILL.md").write_text(text, "utf-8")
    return folder


class Stuck:
    """A provider that says a word and then nothing, and notes when its stream is closed."""

    def __init__(self) -> None:
        self.info = ModelInfo("stuck/model")
        self.closed = asyncio.Event()

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        try:
            yield TextDelta("Well, ")
            yield TextDelta("I")
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def aclose(self) -> None:
        return None


class Unfinished(Stuck):
    """A provider whose stream just ends, against what it has promised."""

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        yield TextDelta("Well")
