"""How the service stops: first no new work is taken, then what is not finished in time ends with a word that says so.

A server that is told to stop would close its door at once, and cut its streams in the middle or wait for them without
end. So the signals come here first, and go on to the server when the answers are over.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import math
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

from starlette.types import ASGIApp, Receive, Scope, Send

from bodies import ApiError
from patience import Patience, bounded
from service.access import response_of
from service.log import NAME
from service.sending import Sent

log = logging.getLogger(NAME)
T = TypeVar("T")
Handler: TypeAlias = Callable[[int, FrameType | None], Any]

LAME_DUCK = 0.1
"""The part of the time for which the door stays open though nothing runs: load balancers see that we are not ready
before they meet a closed one. Not after Ctrl-C."""
LAST_WORDS = 0.5
"""Seconds for answers that are cut to say so, and then for requests that were not answers yet."""
PATIENCE = 2.0
"""Seconds beyond the drain after which the process ends, whatever still hangs in it (a name that is looked up)."""


TOO_LATE = "the service is stopping and takes nothing new; ask again"


class Stopping(ApiError):
    def __init__(self, words: str = "the service is stopping and could not finish this answer; ask again") -> None:
        again = {"retry-after": "1", "x-should-retry": "true"}
        super().__init__(503, words, "server_shutting_down", type="api_error", headers=again)


class Drain:
    """`begun`: new work is refused. `over`: what still runs is cut. `seconds` lie between the two.

    `quits`: the process is ours to end. Safe to be told twice.
    """

    def __init__(self, seconds: float = 10.0, quits: bool = False) -> None:
        self.seconds = seconds
        self.quits = quits
        self.begun = False
        self.over = False
        self._held = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._signals = 0
        self._runs: WeakSet[Patience] = WeakSet()
        self._requests: set[asyncio.Timeout] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._end = math.inf

    @property
    def left(self) -> float:
        """Seconds until the process is ended, whatever still hangs in it."""
        return self._end - asyncio.get_running_loop().time()

    # What is waited for

    @contextmanager
    def held(self) -> Iterator[None]:
        """Something that should be over before the service stops."""
        self._held += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._held -= 1
            if not self._held:
                self._idle.set()

    def uncut(self, events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """`events`, as long as there is time. Raises `Stopping` then."""
        patience = Patience(0.0 if self.over else math.inf)
        self._runs.add(patience)
        return bounded(events, patience, Stopping)

    @contextmanager
    def request(self, limit: asyncio.Timeout) -> Iterator[None]:
        self._requests.add(limit)
        try:
            with self.held():
                yield
        finally:
            self._requests.discard(limit)

    # Who tells it

    def watch(self) -> None:
        """Takes the signals that the server would take. In a thread nobody gets any."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                server: Any = signal.getsignal(number)
                if callable(server) and server is not signal.default_int_handler:
                    signal.signal(number, partial(self._told, loop, server))

    def _told(self, loop: asyncio.AbstractEventLoop, server: Handler, number: int, _: FrameType | None) -> None:
        """A second signal goes to the server at once."""
        self._signals += 1
        go = partial(server, number, None)
        if self._signals > 1:
            go()
            go()
        else:
            if self.quits:
                self._end = loop.time() + self.seconds + PATIENCE
                faulthandler.dump_traceback_later(self.seconds + PATIENCE, exit=True)
            loop.call_soon_threadsafe(self._stop, go, self.seconds * LAME_DUCK if number == signal.SIGTERM else 0.0)

    def _stop(self, go: Callable[[], Any], lame_duck: float) -> None:
        self._stopping = asyncio.create_task(self._stopped(go, lame_duck))

    async def _stopped(self, go: Callable[[], Any], lame_duck: float) -> None:
        self.begin()
        end = asyncio.get_running_loop().time() + self.seconds
        await asyncio.sleep(lame_duck)
        await self._quiet(end)
        await self.cut()
        go()

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            log.info("the service stops: %d in progress have %g s", self._held, self.seconds)

    async def cut(self) -> None:
        """Returns when nothing is held any more, or nearly at once."""
        self.begin()
        self.over = True
        clock = asyncio.get_running_loop().time
        if self._held:
            for patience in list(self._runs):
                patience.until = clock()
            await self._quiet(clock() + LAST_WORDS)
        if self._held:
            for limit in [limit for limit in self._requests if not limit.expired()]:
                limit.reschedule(clock())
            await self._quiet(clock() + LAST_WORDS)

    async def _quiet(self, end: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._idle.wait()


class Drained:
    """Pure ASGI middleware: no new work while the service stops, and an end for each request."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        late = self._drain.begun and _is_work(scope)
        if late or not await self._answered(scope, receive, send):
            response = response_of(Stopping(TOO_LATE) if late else Stopping())
            response.headers["connection"] = "close"
            await response(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """False where there is no time left, and nothing has been said yet."""
        try:
            async with asyncio.timeout(None) as limit:
                with self._drain.request(limit):
                    await self.app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            return Sent.of(scope).status > 0
        return True


def _is_work(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and not scope["path"].endswith("/cancel"))
