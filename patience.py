"""A limit of time around many short waits, as those for the events of a stream: one timer in all, where
`asyncio.timeout` would take one for each.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Expired(Exception):
    """The time is over."""


class Patience:
    """`with` it around each wait, whichever task waits; the wait that `until` comes in raises `Expired`, as all do
    behind it. `until` is on the loop's clock and may be moved at any time. Close it when nothing is waited for.
    """

    __slots__ = ("__weakref__", "_cancelling", "_ended", "_loop", "_task", "_timer", "_until")

    def __init__(self, until: float = math.inf) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = until
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._ended = False

    @property
    def until(self) -> float:
        return self._until

    @until.setter
    def until(self, until: float) -> None:
        """Later is for nothing: the timer looks at it when its own time comes."""
        self._until = until
        if self._timer is not None and until < self._timer.when():
            self.close()
        if self._task is not None and self._timer is None:
            self._set()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        if self._loop.time() >= self._until:
            raise Expired
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101 - nothing else can wait
        self._cancelling = self._task.cancelling()
        if self._timer is None:
            self._set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task, self._task = self._task, None
        if self._ended and task is not None:
            self._ended = False
            # As in asyncio.timeout: somebody else may have cancelled the task as well.
            if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise Expired from error

    def _set(self) -> None:
        if self._until < math.inf:
            self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._until:
            self._set()
        elif self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()


async def bounded(
    events: AsyncGenerator[T, None], patience: Patience, late: Callable[[], Exception]
) -> AsyncGenerator[T, None]:
    """`events`, as long as there is patience; then `late()` is raised."""
    try:
        async with aclosing(events):
            while True:
                try:
                    with patience:
                        event = await anext(events, None)
                except Expired:
                    raise late() from None
                if event is None:
                    return
                yield event
    finally:
        patience.close()
