"""The line at the bottom that says that something goes on, and for how long."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from terminal.notes import CLEAR, has_colour
from terminal.text import end_of, one_line, start_of, wide

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BEAT = 0.1
"""Seconds between two frames."""
PATIENCE = 0.3
"""Seconds before it shows: what is quick needs none."""


class Spinner:
    """`may_show` is asked before each frame, and `preview` for text that is on its way, whose end is shown. It is drawn
    over itself; `stop` leaves nothing of it."""

    def __init__(self, out: TextIO, may_show: Callable[[], bool], preview: Callable[[], str] = str) -> None:
        self.label = ""
        self._out = out
        self._may_show = may_show
        self._preview = preview
        self._task: asyncio.Task[None] | None = None
        self._paused = self._drawn = False
        self._since = 0.0

    def start(self, label: str) -> None:
        self.label, self._since = label, time.monotonic()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._turn())

    def say(self, label: str) -> None:
        """Another thing to wait for; its seconds count anew."""
        if label != self.label:
            self.label, self._since = label, time.monotonic()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """For what needs the line for itself."""
        self._paused = True
        self._clear()
        try:
            yield
        finally:
            self._paused = False

    def _clear(self) -> None:
        if self._drawn:
            self._put(CLEAR)
            self._drawn = False

    async def _turn(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(BEAT)
            number += 1
            self._draw(FRAMES[number % len(FRAMES)])

    def _draw(self, frame: str) -> None:
        waited = time.monotonic() - self._since
        if self._paused or waited < PATIENCE or not self._may_show():
            return
        width = shutil.get_terminal_size().columns - 1
        seconds = f" {waited:.0f} s" if waited >= 1 else ""
        text = start_of(one_line(f"{frame} {self.label}{seconds}"), width)
        room = width - wide(text) - 4
        if room > 0 and (coming := one_line(self._preview()[-4 * room :])):
            text += f"  …{end_of(coming, room)}" if wide(coming) > room else f"  {coming}"
        self._put(f"{CLEAR}\033[2m{text}\033[0m" if has_colour(self._out) else f"{CLEAR}{text}")
        self._drawn = True

    def _put(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
