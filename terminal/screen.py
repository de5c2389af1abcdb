"""How a run looks: the answer on stdout, what the agent does beside it on stderr."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import stat
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TextIO

from messages import (
    Compacted,
    Event,
    FellBack,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    SkillActivated,
    TextDelta,
    ToolCall,
    ToolEnd,
    ToolStart,
    Turn,
    Usage,
)
from terminal.approval import ask
from terminal.notes import CLEAR, is_smart, note
from terminal.spinner import Spinner
from terminal.text import one_line
from terminal.writers import Drawn, Plain, Writer
from tools import for_people

SHOWN = 100
"""Characters of a tool's arguments and of its error that are shown."""
Cost = Callable[[Usage], float | None]


class Screen:
    """Shows one run after the other. `cost` gives the US dollars of a model call; `first` is what is waited for."""

    def __init__(self, writer: Writer, spinner: Spinner | None, cost: Cost, first: str = "waiting") -> None:
        self.reasoning = ""
        """Of the newest answer."""
        self.spent: float | None = None
        """US dollars of the newest run, None where not known."""
        self._writer = writer
        self._spinner = spinner
        self._cost = cost
        self._first = first
        self._begun = self._thought = 0.0
        self._carried = Usage()
        self._calls: dict[str, ToolCall] = {}
        self._asking = asyncio.Lock()

    async def show(self, events: AsyncGenerator[Event, None]) -> Finish:
        """Prints the answer as it comes; what has come is shown too where the run is stopped or fails."""
        self.reasoning, self._thought = "", 0.0
        self.spent = self.spent if self._carried.total else None
        self._begun = self._begun if self._carried.total else time.monotonic()
        self._start()
        finish: Finish | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    self._take(event)
                    if isinstance(event, Finish):
                        finish = event
        finally:
            if self._spinner:
                await self._spinner.stop()
            self._end_thinking()
            self._writer.end(whole=finish is not None and not finish.calls)
            self._carried = self._carried if finish else Usage()
        if finish is None:
            raise AssertionError("`Finish` is always last")
        self._end(finish)
        return finish

    async def allow(self, tool: str, arguments: str) -> bool:
        """Asks the person at the terminal, one question at a time."""
        async with self._asking:
            self._writer.end(whole=False)
            if self._spinner is None:
                return await ask(tool, arguments)
            with self._spinner.paused():
                return await ask(tool, arguments)

    def _start(self) -> None:
        if self._spinner:
            self._spinner.start(self._first)

    def _say(self, label: str) -> None:
        if self._spinner:
            self._spinner.say(label)

    def _note(self, words: str) -> None:
        if not self._writer.at_margin:
            self._writer.write("\n")
        note(words)

    def _take(self, event: Event) -> None:
        if isinstance(event, TextDelta | RefusalDelta | ToolStart | Finish):
            self._end_thinking()
        match event:
            case TextDelta(text) | RefusalDelta(text):
                self._say("writing")
                self._writer.write(text)
            case ReasoningDelta(text):
                self._thought = self._thought or time.monotonic()
                self.reasoning += text
                self._say("thinking")
            case SkillActivated(name):
                self._note(f"· skill {name}")
            case FellBack(model, instead_of, reason):
                self._note(f"· {model} answers instead of {instead_of} ({reason or 'it failed earlier'})")
            case Compacted(before, after):
                self._note(f"· the conversation was summarised: {before:,} tokens became {after:,}")
            case ToolStart(call):
                self._calls[call.id] = call
                self._say(_called(call))
            case ToolEnd(call, result, seconds) if result.is_error:
                self._note(f"· {call.name} failed after {seconds:.1f} s: {one_line(for_people(result.text), SHOWN)}")
            case ToolEnd(call, _, seconds) if call.name != "activate_skill":
                # A server tells the arguments at the start only.
                self._note(f"· {_called(self._calls.pop(call.id, call))} ({seconds:.1f} s)")
            case Turn(usage=usage):
                self._count(usage)
                self._say("waiting")

    def _end_thinking(self) -> None:
        if self._thought:
            self._note(f"· thought for {time.monotonic() - self._thought:.1f} s")
            self._thought = 0.0

    def _count(self, usage: Usage) -> None:
        if (cost := self._cost(usage)) is not None:
            self.spent = (self.spent or 0.0) + cost

    def _end(self, finish: Finish) -> None:
        if finish.reason == "stop" and finish.limit:
            note(f"· the model was asked to answer without more tools: {finish.limit.replace('_', ' ')}")
        if finish.reason == "length":
            cause = (
                f"{finish.limit.replace('_', ' ')} of this run" if finish.limit else "the model's limit on an answer"
            )
            note(f"· the answer is cut off: {cause} was reached")
        elif finish.reason == "content_filter":
            note("· the model declined to answer")
        if finish.calls:  # it goes on when they are answered
            self._carried += finish.usage
            return
        note(f"· {self._figures(finish.usage + self._carried)}")
        self._carried = Usage()

    def _figures(self, usage: Usage) -> str:
        cached = f" ({usage.cache_read:,} cached)" if usage.cache_read else ""
        money = "" if self.spent is None else f", {dollars(self.spent)}"
        seconds = time.monotonic() - self._begun
        return f"{usage.input:,} tokens in{cached}, {usage.output:,} out{money}, {seconds:.1f} s"


def dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


def _called(call: ToolCall) -> str:
    """A call in a few words: its arguments' values, as their names say little that these do not."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.arguments
    if isinstance(arguments, dict):
        arguments = " ".join(each if isinstance(each, str) else json.dumps(each) for each in arguments.values())
    return one_line(f"{call.name} {arguments}".strip(), SHOWN)


def screen_for(out: TextIO, cost: Cost, first: str = "waiting", apart: bool = False) -> Screen:
    """What the terminal can show; the spinner stands on stderr, unless that has the same lines as a pipe."""
    drawn = is_smart(out) and importlib.util.find_spec("rich") is not None
    writer: Writer = Drawn(out, apart) if drawn else Plain(out, CLEAR if is_smart(out) else "")
    seen = is_smart(sys.stderr) and (out.isatty() or _is_file(out))
    shown = (lambda: writer.at_margin or not out.isatty(), lambda: writer.pending)
    spinner = Spinner(sys.stderr, *shown) if seen else None
    return Screen(writer, spinner, cost, first)


def _is_file(out: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(out.fileno()).st_mode)
    except OSError:
        return False
