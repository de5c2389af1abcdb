"""The question before a tool that a person has to allow."""

from __future__ import annotations

import asyncio
import sys
import termios
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from agent.approval import TOOL as APPROVE
from agent.approval import asked_about
from messages import Finish, Message, Text, ToolResult
from terminal.notes import note
from terminal.text import ends, harmless

ASKED = 2_000
"""Characters of a tool's arguments that are shown where they are asked about."""


async def ask(tool: str, arguments: str) -> bool:
    """Where there is no terminal the answer is no. Ctrl-C ends the wait with the run."""
    shown = f"{harmless(tool)} {ends(arguments, ASKED)}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        note(f"· {shown} needs your word, and there is no terminal to ask at: not allowed")
        return False
    with echoing():
        print(f"Allow {shown}? [y/N] ", end="", file=sys.stderr, flush=True)
        return (await _line()).strip().lower() in ("y", "yes")


async def refuse(*_: object) -> bool:
    """Where nobody is there to ask."""
    return False


async def words_on(finish: Finish, allow: Callable[[str, str], Awaitable[bool]]) -> Message | None:
    """The word on each question that a server's answer ends with, None where it has none."""
    questions = [call for call in finish.calls if call.name == APPROVE]
    words = [(call.id, await allow(*asked_about(call))) for call in questions]
    results = tuple(ToolResult(id, (Text("yes" if yes else "no"),)) for id, yes in words)
    return Message("tool", results) if results else None


async def _line() -> str:
    """A line of standard input, without blocking what else goes on."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin.fileno())


@contextmanager
def silent_keys(raw: bool = False) -> Iterator[None]:
    """What is typed while an answer is printed is kept for the next question, and does not show among its lines.
    `raw`: key by key, as a line editor reads it; Ctrl-C is a signal all the same."""
    with _changed(lambda flags: _Flags(flags.input & ~termios.ICRNL, flags.local & ~_LINES) if raw else flags.silent):
        yield


@contextmanager
def echoing(flush: bool = True) -> Iterator[None]:
    """For a question, to which what was typed before it was asked is no answer: that is flushed."""
    with suppress(termios.error, OSError, ValueError):
        if flush:
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    with _changed(lambda flags: _Flags(flags.input | termios.ICRNL, flags.local | _LINES)):
        yield


_LINES = termios.ICANON | termios.ECHO


@dataclass(frozen=True, slots=True)
class _Flags:
    """Of a terminal, as in termios(3)."""

    input: int
    local: int

    @property
    def silent(self) -> _Flags:
        return _Flags(self.input, self.local & ~termios.ECHO)


@contextmanager
def _changed(change: Callable[[_Flags], _Flags]) -> Iterator[None]:
    """Until the end of the block, where standard input is a terminal."""
    try:
        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
    except (termios.error, OSError, ValueError):
        yield
        return
    flags = change(_Flags(before[0], before[3]))
    termios.tcsetattr(fd, termios.TCSANOW, [flags.input, *before[1:3], flags.local, *before[4:]])
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
