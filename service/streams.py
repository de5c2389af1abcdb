"""Answers that end when their client leaves, and streams that are never silent for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.log import NAME

log = logging.getLogger(NAME)
T = TypeVar("T")

KEEP_ALIVE = b": keep-alive\n\n"
"""Not `: ping`, which one client takes for the end."""
BURST = 1024
"""Bytes that a stream may send in one turn of the event loop, or a single chunk: others are served between, and the
loop sees when the client has left.
"""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves: uvicorn itself would let it run on."""
    try:
        async with asyncio.timeout(None) as limit:
            gone = asyncio.create_task(_disconnected(receive, lambda: limit.reschedule(0)))
            try:
                return await work
            finally:
                gone.cancel()
    except Exception as error:
        if not limit.expired():
            raise
        if not isinstance(error, TimeoutError):
            log.warning("an answer that nobody waits for did not end well", exc_info=True)
        raise ClientLeft from None


async def side_by_side(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """The events of several streams as they come, numbered. A stream that fails ends all."""
    if len(streams) == 1:
        async with aclosing(streams[0]):
            async for event in streams[0]:
                yield 0, event
        return
    waiting = {asyncio.ensure_future(anext(stream)): number for number, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(future)
                with suppress(StopAsyncIteration):
                    event = future.result()
                    waiting[asyncio.ensure_future(anext(streams[number]))] = number
                    yield number, event
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


async def _disconnected(receive: Receive, left: Callable[[], None]) -> None:
    with suppress(Exception):  # of a server other than uvicorn
        while (await receive())["type"] != "http.disconnect":
            pass
    left()


class Turns:
    """Counts the turns of an event loop while it is asked, so that one stream does not take them from others."""

    def __init__(self) -> None:
        self._number = 0
        self._is_counting = False

    @property
    def current(self) -> int:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._next)
        return self._number

    def _next(self) -> None:
        self._is_counting = False
        self._number += 1


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


class EventStream(Response):
    """Server-sent events from `chunks`. The status waits for the first chunk, `hold` seconds at most: an error
    before it is answered with its own status, by `failed`. Then silence is broken every `beat` seconds.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        opening: Callable[[], bytes],
        failed: Callable[[Exception], Awaitable[Response]],
        hold: float = 5.0,
        beat: float = 10.0,
    ) -> None:
        super().__init__()
        self._chunks = chunks
        self._opening = opening
        self._failed = failed
        self._hold = hold
        self._beat = beat
        self._begun = False
        self._last = 0.0
        self._beating: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):
            await while_connected(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._start_beating(send)
            try:
                await self._pump(send)
            finally:
                await self._stop_beating()
        except Exception as error:
            if self._begun:
                raise
            response = await self._failed(error)
            await response(scope, receive, send)
        else:
            await send(_part(b"", more=False))

    async def _pump(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        turns = _turns.setdefault(loop, Turns())
        turn, sent = -1, 0
        async for chunk in self._chunks:
            if self._beating and not self._beating.done():
                await self._beating
            if not self._begun:
                self._begun = True
                await send(_start())
            self._last = loop.time()
            if turn != turns.current:
                turn, sent = turns.current, 0
            elif sent >= BURST:
                await asyncio.sleep(0)
                turn, sent = turns.current, 0
            sent += len(chunk)
            await send(_part(chunk))

    def _start_beating(self, send: Send) -> None:
        """With a timer and no task, as few streams are silent for so long."""
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        self._timer = loop.call_later(self._hold, self._look, loop, send)

    def _look(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        silence = self._beat if self._begun else self._hold
        is_blocked = self._beating is not None and not self._beating.done()
        if loop.time() - self._last >= silence and not is_blocked:
            self._last = loop.time()
            self._beating = loop.create_task(self._say(send, self._sign_of_life()))
        again = max(self._last + silence - loop.time(), self._beat / 10)
        self._timer = loop.call_later(again, self._look, loop, send)

    async def _stop_beating(self) -> None:
        self._timer.cancel()
        if self._beating:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    def _sign_of_life(self) -> Sequence[Message]:
        if self._begun:
            return [_part(KEEP_ALIVE)]
        return [_start(), _part(self._opening() + KEEP_ALIVE)]

    async def _say(self, send: Send, messages: Sequence[Message]) -> None:
        self._begun = True
        for message in messages:
            await send(message)


def _start() -> Message:
    return {"type": "http.response.start", "status": 200, "headers": HEADERS}


def _part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
