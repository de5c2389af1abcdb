"""A provider that plays a script: for tests, demos and embedders' own tests. No network.

ScriptedProvider(["Hello"])                                    # one answer
ScriptedProvider([[call("price", item="tea")], "It is 3 euros"])    # a tool call, then an answer
ScriptedProvider([RateLimited("slow down"), "Hello"])          # an error for the first call
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from messages import (
    Done,
    Message,
    Part,
    ProviderEvent,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Request,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from providers.base import ModelInfo, ProviderError


@dataclass(frozen=True, slots=True)
class Play:
    """One answer: `parts` in order (a str is text, a float a pause in seconds, an error is raised there)."""

    parts: Sequence[Part | str | float | ProviderError]
    stop: Stop | None = None
    usage: Usage = field(default_factory=lambda: Usage(1, 1, total=2))


Line: TypeAlias = str | ProviderError | Play | Sequence[Part | str | float | ProviderError]


def call(tool: str, id: str = "", **arguments: Any) -> ToolCall:
    """A tool call; an empty id is numbered by the provider."""
    return ToolCall(id, tool, json.dumps(arguments))


class ScriptedProvider:
    """Plays its lines one a model call; `requests` holds what it was asked. A script that runs out is an error."""

    def __init__(self, script: Iterable[Line], info: ModelInfo | None = None) -> None:
        self.info = info or ModelInfo("scripted/model")
        self.requests: list[Request] = []
        self._lines = iter(script)
        self._numbers = 0

    @property
    def calls(self) -> int:
        return len(self.requests)

    async def aclose(self) -> None:
        return None

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        self.requests.append(request)
        line = next(self._lines, None)
        if line is None:
            raise ProviderError("the script has no more lines", provider="scripted")
        play = _play(line)
        parts: list[Part] = []
        for part in play.parts:
            if isinstance(part, ProviderError):
                raise part
            if isinstance(part, int | float):
                await asyncio.sleep(part)
                continue
            said = self._said(part)
            parts.append(said)
            for event in _events(said, sum(isinstance(p, ToolCall) for p in parts) - 1, self.info.id):
                yield event
        message = Message("assistant", tuple(parts), self.info.id)
        stop: Stop = play.stop or ("tool_calls" if message.calls else "stop")
        yield Done(message, stop, play.usage, self.info.name)

    def _said(self, part: Part | str) -> Part:
        if isinstance(part, str):
            return Text(part)
        if isinstance(part, ToolCall) and not part.id:
            self._numbers += 1
            return ToolCall(f"call_{self._numbers}", part.name, part.arguments, part.opaque)
        return part


def _play(line: Line) -> Play:
    if isinstance(line, Play):
        return line
    return Play([line]) if isinstance(line, str | ProviderError) else Play(line)


def _events(part: Part, position: int, origin: str) -> list[ProviderEvent]:
    match part:
        case Text(text):
            words = text.split(" ")
            return [TextDelta(word if i == 0 else f" {word}") for i, word in enumerate(words) if word or i]
        case Reasoning(text):
            return [*([ReasoningDelta(text)] if text else ()), ReasoningDone(part, origin)]
        case ToolCall(id, name, arguments):
            return [ToolCallDelta(position, id, name, arguments)]
        case _:
            return []
