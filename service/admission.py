"""How many runs there are at a time: so many, a few that wait for them, and an answer at once for all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bodies import ApiError
from service.rates import Meter
from service.streams import ClientLeft

QUEUE_SECONDS = 2.0
"""That a request may wait for its turn: below the time after which people and clients try again."""
AHEAD = 65_536
"""Bytes of a body that are read while its request waits."""
RETRY = {"retry-after": "1", "x-should-retry": "true"}


class Gate:
    """`limit` runs at a time; a quarter as many may wait, `seconds` at most."""

    def __init__(self, limit: int, seconds: float = QUEUE_SECONDS) -> None:
        self._free = asyncio.Semaphore(limit)
        self._seconds = seconds
        self._places = max(limit // 4, 1)
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    async def enter(self, heard: Heard) -> Turn:
        """Raises `ApiError` 503 where there is no turn in time, and `ClientLeft` where nobody waits for it."""
        if not self._free.locked():
            await self._free.acquire()
            return Turn(self._free)
        if self._waiting >= self._places:
            raise _overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds) as limit:
                with heard.watched(lambda: limit.reschedule(0)):
                    await self._free.acquire()
        except TimeoutError:
            raise (ClientLeft() if heard.left else _overloaded()) from None
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


class Heard:
    """What a client sends while it waits, kept for the app: `AHEAD` bytes, as bodies are to be read by runs. Behind
    those it is not seen to leave.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []
        self.left = False

    async def receive(self) -> Message:
        return self._kept.pop(0) if self._kept else await self._receive()

    @contextmanager
    def watched(self, left: Callable[[], None]) -> Iterator[None]:
        """Calls `left` when the client leaves. Nothing is awaited at the end, as a turn could be lost there."""
        task = asyncio.create_task(self._watch(left))
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self, left: Callable[[], None]) -> None:
        room = AHEAD
        # What is wrong with a body is found again by who reads it.
        with suppress(Exception):
            while room > 0 and not self.left:
                message = await self._receive()
                self._kept.append(message)
                room -= len(message.get("body", b""))
                self.left = message["type"] == "http.disconnect"
        if self.left:
            left()


class Admission:
    """ASGI middleware of the routes that have models work: the caller's rate first, then the gate.

    The turn is taken before the body is read, so that there are never more bodies in memory than runs; and a request
    that gets no turn does not count.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        meter: Meter | None = scope["state"]["grant"].meter
        if meter:
            await meter.check()
        heard = Heard(receive)
        turn = scope["state"]["turn"] = await self._gate.enter(heard)
        try:
            if meter:
                await meter.begin()
            await self.app(scope, heard.receive, _telling(meter, send) if meter else send)
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
