"""How many runs there are at a time: so many, a few that wait for them, and an answer at once for all others."""

from __future__ import annotations

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bodies import ApiError
from service.rates import Meter

QUEUE_SECONDS = 2.0
"""That a request may wait for its turn: below the time after which people and clients try again."""
RETRY = {"retry-after": "1", "x-should-retry": "true"}


class Gate:
    """`limit` runs at a time; a quarter as many may wait, `seconds` at most."""

    def __init__(self, limit: int, seconds: float = QUEUE_SECONDS) -> None:
        self._free = asyncio.Semaphore(limit)
        self._seconds = seconds
        self._places = max(limit // 4, 1)
        self._waiting = 0

    async def enter(self) -> Turn:
        """Raises `ApiError` 503 where there is no turn in time."""
        if self._free.locked() and self._waiting >= self._places:
            raise _overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise _overloaded() from None
        finally:
            self._waiting -= 1
        return Turn(self._free)

    async def take(self) -> Turn | None:
        """A turn that is free now and that no request waits for."""
        if self._free.locked():
            return None
        await self._free.acquire()  # which does not wait here
        return Turn(self._free)


class Turn:
    """One of the runs. It ends with its request, or with the task that it was lent to."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._lent = False

    def lend(self, task: asyncio.Task[None]) -> None:
        self._lent = True
        task.add_done_callback(lambda _: self._free.release())

    def end(self) -> None:
        if not self._lent:
            self._free.release()


class Admission:
    """ASGI middleware of the routes that have models work: the caller's rate first, then the gate.

    The turn is taken before the body is read, so that there are never more bodies in memory than runs.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        meter: Meter | None = scope["state"]["grant"].meter
        if meter:
            await meter.begin()
        turn = scope["state"]["turn"] = await self._gate.enter()
        try:
            await self.app(scope, receive, _telling(meter, send) if meter else send)
        finally:
            turn.end()


def _telling(meter: Meter, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(await meter.headers())
        await send(message)

    return sending


def _overloaded() -> ApiError:
    words = "All places are taken: try again in a moment."
    return ApiError(503, words, "overloaded", type="api_error", headers=dict(RETRY))
