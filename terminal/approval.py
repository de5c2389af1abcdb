"""The question before a tool that a person has to allow."""

from __future__ import annotations

import asyncio
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
def silent_keys() -> Iterator[None]:
    """What is typed while an answer is printed is kept for the next question, and does not show among its lines."""
    with _echo(False):
        yield


@contextmanager
def echoing() -> Iterator[None]:
    """For a question: what was typed before it was asked is no answer to it."""
    with suppress(termios.error, OSError, ValueError):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    with _echo(True):
        yield


@contextmanager
def _echo(on: bool) -> Iterator[None]:
    try:
        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
    except (termios.error, OSError, ValueError):
        yield
        return
    now = [*before]
    now[3] = now[3] | termios.ECHO if on else now[3] & ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, now)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
