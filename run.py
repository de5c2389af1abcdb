"""The state of one run: the conversation as it grows, what is spent, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, TypeVar

from history import legal
from messages import (
    Done,
    Event,
    Finish,
    Message,
    Options,
    ProviderEvent,
    Reasoning,
    Step,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolEnd,
    ToolResult,
    ToolSpec,
    Turn,
    Usage,
    assistant,
    user,
)
from skill_tools import READING
from structured import TOOL, Structure
from tools import Toolbox

S = TypeVar("S", bound=Step)
Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class OutOfTime(Exception):
    """The run's seconds are spent."""


class Run:
    """Begun with the caller's messages; `finish` tells what was added to them."""

    def __init__(
        self,
        messages: Sequence[Message],
        client_tools: Sequence[ToolSpec],
        options: Options,
        max_seconds: float,
        structure: Structure | None = None,
    ) -> None:
        self.messages = list(messages)
        self.options = structure.options(options) if structure else options
        self.structure = structure
        self.hold = structure is not None
        self.toolbox = Toolbox(())
        self.turns = 0
        self.nudged = False
        self.ended = False
        self.deadline = asyncio.get_running_loop().time() + max_seconds
        self.activated: list[str] = []
        self.calls: tuple[ToolCall, ...] = ()
        self._client_tools = client_tools
        self._wire: dict[str, str] = {}
        self._theirs: dict[str, str] = {}
        self._added: list[Message] = []
        self._usage = Usage()
        self._steps: list[Step] = []
        self._text: list[str] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._kept = 0
        self._fresh_turn = False
        self._visible: dict[int, int] = {}
        self._visible_calls = 0
        self._reason: Reason = "stop"
        self._limit = ""
        self._model = ""

    def offer(self, toolbox: Toolbox) -> None:
        """The agent's tools beside the client's, whose names are made legal and unlike ours for the provider."""
        self.toolbox = toolbox
        if self.options.tool_choice.mode == "none" and toolbox:
            # The client's word on its own tools; the agent still needs its.
            self._client_tools = ()
            self.options = replace(self.options, tool_choice=ToolChoice())
        for tool in self._client_tools:
            wire = legal(tool.name)
            while wire in toolbox or wire in self._theirs or wire == TOOL:
                wire = legal(f"client_{wire}")
            self._wire[tool.name], self._theirs[wire] = wire, tool.name
        self.messages = [self._on_the_wire(message) for message in self.messages]
        choice = self.options.tool_choice
        if choice.name in self._wire:
            self.options = replace(self.options, tool_choice=replace(choice, name=self._wire[choice.name]))

    def _on_the_wire(self, message: Message) -> Message:
        """With the names that the provider knows the client's tools by."""
        return _with_calls(message, lambda call: call if call.own else _named(call, self._wire))

    def _off_the_wire(self, message: Message) -> Message:
        """With the names that the client gave its tools; the agent's may have the same ones."""
        return _with_calls(
            message,
            lambda call: _named(call, self._theirs) if self.is_clients(call.name) else replace(call, own=True),
        )

    @property
    def specs(self) -> list[ToolSpec]:
        theirs = [replace(tool, name=self._wire[tool.name]) for tool in self._client_tools]
        answer = self.structure.spec if self.structure else None
        return [*self.toolbox.specs, *theirs, *([answer] if answer else ())]

    def is_clients(self, name: str) -> bool:
        """Whether a call of this name is the client's to answer: an agent without tools has none of its own."""
        if name in self._theirs:
            return True
        return not self.toolbox and not (self.structure and self.structure.by_tool and name == TOOL)

    @property
    def client_calls(self) -> tuple[ToolCall, ...]:
        """With the names that the client gave them."""
        return tuple(_named(call, self._theirs) for call in self.calls if self.is_clients(call.name))

    @property
    def own_calls(self) -> tuple[ToolCall, ...]:
        return tuple(call for call in self.calls if not self.is_clients(call.name))

    def shown(self, event: ProviderEvent) -> Iterator[Event]:
        """What the caller sees of a model's events: not the agent's own calls."""
        if isinstance(event, TextDelta) and self.hold:
            return
        if isinstance(event, TextDelta):
            if self._fresh_turn and self._text and not self._text[-1].endswith("\n"):
                yield self._say(TextDelta("\n\n"))
            yield self._say(event)
        elif isinstance(event, ToolCallDelta):
            yield from self._shown_call(event)
        elif not isinstance(event, Done):
            yield event

    def say_whole(self, text: str) -> TextDelta:
        """The text of an answer that was held back until it was whole; it stands for the model's last message."""
        if self.calls:
            self._added[-1] = self.messages[-1] = assistant(text)
            self.calls = ()
        return self._say(TextDelta(text))

    def _say(self, delta: TextDelta) -> TextDelta:
        self._fresh_turn = False
        self._text.append(delta.text)
        self._logprobs += delta.logprobs
        return delta

    def _shown_call(self, delta: ToolCallDelta) -> Iterator[Event]:
        if delta.name and self.is_clients(delta.name):
            self._visible[delta.index] = self._visible_calls
            self._visible_calls += 1
        if delta.index in self._visible:
            name = self._theirs.get(delta.name, delta.name)
            yield ToolCallDelta(self._visible[delta.index], delta.id, name, delta.arguments)

    def take(self, done: Done) -> Turn:
        """The model's message becomes part of the conversation."""
        self.answer = done
        self.calls = done.message.calls
        self.turns += 1
        self._usage += done.usage
        self._model = done.model or self._model
        self._fresh_turn = done.stop != "pause"
        self._kept = len(self._text)
        self.add(done.message)
        return self.step(Turn(self.turns, done.usage, done.model))

    def add(self, message: Message) -> None:
        if message.parts:
            self.messages.append(message)
            self._added.append(message)

    def object(self, words: str, refusals: tuple[ToolResult, ...]) -> None:
        """The answer is given back to the model: as its call's result, where it was one."""
        self.add(Message("tool", refusals) if refusals else user(words))

    def nudge(self, words: str) -> None:
        """The empty answer is forgotten: a message that holds only reasoning is refused when it comes back."""
        self.nudged = True
        if self.answer.message.parts:
            self.messages.pop()
            self._added.pop()
        self.add(user(words))

    @property
    def said_nothing(self) -> bool:
        """Whether the last answer holds neither a word nor anything else for the caller; reasoning is not."""
        parts = (part for part in self.answer.message.parts if not isinstance(part, Reasoning))
        return all(isinstance(part, Text) and not part.text.strip() for part in parts)

    def answer_calls(self, results: Sequence[ToolResult]) -> None:
        """Also ends a tool choice that these calls have met, as it would force calls for ever."""
        self.add(Message("tool", tuple(results)))
        choice = self.options.tool_choice
        theirs = self.is_clients(choice.name) if choice.mode == "tool" else bool(self._client_tools)
        answering = self.structure is not None and self.structure.by_tool
        if results and choice.mode in ("required", "tool") and not theirs and not answering:
            self.options = replace(self.options, tool_choice=ToolChoice())

    def step(self, step: S) -> S:
        self._steps.append(step)
        return step

    @property
    def has_acted(self) -> bool:
        """Whether a tool has run that does more than read a skill."""
        return any(isinstance(s, ToolEnd) and s.call.name not in READING for s in self._steps)

    def newly_active(self) -> list[str]:
        """The skills activated since the last look."""
        new = list(self.activated)
        del self.activated[: len(new)]  # tools in threads may add to it meanwhile
        return new

    async def work(self, call: ToolCall) -> tuple[ToolResult, float]:
        """A call's result, and the seconds it took."""
        begun = time.monotonic()
        return await self.toolbox.run(call), time.monotonic() - begun

    def seconds_left(self) -> float:
        return max(self.deadline - asyncio.get_running_loop().time(), 0.0)

    def check_budgets(self, turns: int, tokens: int | None) -> None:
        if self.ended:
            return
        if self.turns >= turns:
            self.end("length", limit="max_turns")
        elif tokens is not None and self._usage.total >= tokens:
            self.end("length", limit="max_tokens")

    def end(self, reason: Reason, limit: str = "") -> None:
        self.ended = True
        self._reason = reason
        self._limit = limit

    def cut_short(self) -> None:
        """The time is over; what the model has said of its last answer stays in the conversation."""
        if said := "".join(self._text[self._kept :]).strip():
            self.add(assistant(said))
        self.end("length", limit="max_seconds")

    def finish(self) -> Finish:
        return Finish(
            self._reason,
            "".join(self._text),
            tuple(self._off_the_wire(message) for message in self._added),
            self._usage,
            tuple(self._steps),
            self.client_calls,
            self._limit,
            self._model,
            tuple(self._logprobs),
        )


def _with_calls(message: Message, change: Callable[[ToolCall], ToolCall]) -> Message:
    if not message.calls:
        return message
    parts = tuple(change(part) if isinstance(part, ToolCall) else part for part in message.parts)
    return replace(message, parts=parts)


def _named(call: ToolCall, names: Mapping[str, str]) -> ToolCall:
    return replace(call, name=names.get(call.name, call.name))


async def in_time(events: AsyncGenerator[ProviderEvent, None], deadline: float) -> AsyncGenerator[ProviderEvent, None]:
    """`events`, until `deadline` on the loop's clock. Raises `OutOfTime`."""
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout_at(deadline) as limit:
                    event = await anext(events, None)
            except TimeoutError as error:
                if limit.expired():
                    raise OutOfTime from error
                raise
            if event is None:
                return
            yield event
