"""Answers that end when their client leaves, and streams that are never silent for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

KEEP_ALIVE = b": keep-alive\n\n"
"""Not `: ping`, which one client takes for the end."""
BURST = 4
"""Chunks that are sent in one go before the loop may see that the client has left; asyncio complains at the fifth."""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves: uvicorn itself would let it run on."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


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


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
        self._last = 0.0
        self._beating: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):
            await while_connected(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = asyncio.ensure_future(anext(self._chunks))
        try:
            await asyncio.wait({first}, timeout=self._hold)
            if first.done() and isinstance(error := first.exception(), Exception):
                response = await self._failed(error)
                await response(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._pump(first, send)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    async def _pump(self, first: asyncio.Future[bytes], send: Send) -> None:
        clock = asyncio.get_running_loop().time
        if not first.done():
            await send({"type": "http.response.body", "body": self._opening() + KEEP_ALIVE, "more_body": True})
        self._last = clock()
        try:
            with self._heart(send):
                await send({"type": "http.response.body", "body": await first, "more_body": True})
                sent = 0
                async for chunk in self._chunks:
                    self._last = clock()
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    sent += 1
                    if sent % BURST == 0:
                        await asyncio.sleep(0)
        finally:
            if self._beating:
                self._beating.cancel()
                await asyncio.gather(self._beating, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextmanager
    def _heart(self, send: Send) -> Iterator[None]:
        """A timer and no task, as few streams are silent for so long."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            is_blocked = self._beating is not None and not self._beating.done()
            if loop.time() - self._last >= self._beat and not is_blocked:
                self._last = loop.time()
                self._beating = loop.create_task(_beat(send))
            timer = loop.call_later(max(self._last + self._beat - loop.time(), self._beat / 10), look)

        timer = loop.call_later(self._beat, look)
        try:
            yield
        finally:
            timer.cancel()


async def _beat(send: Send) -> None:
    await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
