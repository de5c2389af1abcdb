"""Runs that go on without their client: every event is stored, so that any number of clients can follow, from any
point, in any of the service's processes. What a run has said and done is stored too, before its next step: where its
process ends, another one goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import orjson

from bodies import ApiError
from messages import Event
from service import worker
from service.drain import Drain, Stopping
from service.log import NAME
from service.record import Checkpoint, Record
from service.response_answer import ResponseAnswer
from service.running import Run
from service.storage import Storage

log = logging.getLogger(NAME)
FLUSH_SECONDS = 0.05
"""How long events are gathered before they are written."""
LOST_SECONDS = 60.0
"""Without a sign for so long, the process of a run that nobody can go on with is taken for dead."""
RETRIES = (0.5, 2.0, 5.0)
"""Seconds between attempts to write."""
LOOK_SECONDS = 0.5
"""How often the store is asked for the events of a run in another process."""
CLOSING_SECONDS = 2.0
"""How long runs are waited for that are being handed on."""
STOPPED = ApiError(500, "the service was stopped before the answer was finished", "server_shutting_down")
in_background: ContextVar[bool] = ContextVar("in_background", default=False)
"""Whether this task works on a run that no request waits for."""
LOST = ApiError(500, "the process that made this answer is gone", "server_error")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: `beat` is how often a silent run shows that it lives, `lost` without a sign it is taken for dead, and
    every `look` seconds each process looks for runs that are left.
    """

    beat: float = 3.0
    lost: float = 15.0
    look: float = 3.0


class Background:
    def __init__(
        self, storage: Storage, told: Callable[[Exception], ApiError], drain: Drain, pace: Pace | None = None
    ) -> None:
        self.worker = worker.name()
        self._storage = storage
        self._told = told
        self._drain = drain
        self._pace = pace or Pace()
        self._runs: dict[str, Run] = {}
        self._closing = False

    async def start(
        self, record: Record, checkpoint: Checkpoint, answer: ResponseAnswer, events: AsyncGenerator[Event, None]
    ) -> asyncio.Task[None]:
        """The run's task, when the run is in the store."""
        checkpoint = replace(checkpoint, worker=self.worker, beat=record.beat)
        await (await self._storage.open()).put(record, checkpoint)
        return self.go_on(Run(record, checkpoint, answer, answer.begin()), events)

    def go_on(self, run: Run, events: AsyncGenerator[Event, None]) -> asyncio.Task[None]:
        self._runs[run.record.id] = run
        run.task = asyncio.create_task(self._work(run, events))
        run.task.add_done_callback(lambda _: self._runs.pop(run.record.id, None))
        return run.task

    def is_left(self, id: str, worker_of: str, beat: float) -> bool:
        """Whether nobody works on a run any more, judged by its worker and its last sign."""
        silent = time.time() - beat >= self._pace.lost
        return id not in self._runs and (silent or worker.is_dead(worker_of))

    async def aclose(self) -> None:
        """Runs that another process can go on with are handed on; the others fail."""
        self._closing = True
        tasks = [run.task for run in self._runs.values() if run.task]
        if tasks and self._drain.over:
            await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, run: Run, events: AsyncGenerator[Event, None]) -> None:
        in_background.set(True)
        writing = asyncio.create_task(self._write_along(run))
        writing.add_done_callback(lambda _: run.stop())
        try:
            with self._drain.held():
                await self._worked(run, events)
        except asyncio.CancelledError:
            if not self._closing or not self._hand_on(run):
                run.fail(STOPPED)
            raise
        except Exception as error:
            if not isinstance(error, Stopping) or not self._hand_on(run):
                run.fail(self._told(error))
        finally:
            run.over = True
            run.more.set()
            await asyncio.shield(writing)
            if run.left:
                # A process that stops as it should was not ended by its run.
                await (await self._storage.open()).release(replace(run.checkpoint, taken=0))

    async def _worked(self, run: Run, events: AsyncGenerator[Event, None]) -> None:
        """Before its tools are run a turn is in the store: whoever goes on never runs them again."""
        async with aclosing(events):
            async for event in events:
                if run.take(event) and not await self._written(run):
                    return

    def _hand_on(self, run: Run) -> bool:
        run.left = self._storage.lasts
        return run.left

    async def _write_along(self, run: Run) -> None:
        """Until the run is over and all of it is written, or nobody wants it any more."""
        while True:
            over = run.over
            if not await self._written(run) or over:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.beat):
                    await run.more.wait()
            if not run.over:
                await asyncio.sleep(FLUSH_SECONDS)

    async def _written(self, run: Run) -> bool:
        """`_write`, a few times where the store is busy: an answer is not thrown away for that."""
        for pause in RETRIES:
            try:
                return await self._write(run)
            except Exception:
                log.warning("a response in the background cannot be stored yet", exc_info=True)
                await asyncio.sleep(pause)
        try:
            return await self._write(run)
        except Exception:
            log.exception("a response in the background could not be stored")
            return False

    async def _write(self, run: Run) -> bool:
        """Whether the run is still wanted, and still ours."""
        async with run.writing:
            news = run.news(time.time())
            try:
                wanted = await (await self._storage.open()).progress(*news)
            except Exception:
                run.keep(*news)
                raise
        run.changed.set()
        run.changed = asyncio.Event()
        return wanted

    async def follow(self, record: Record, after: int) -> AsyncGenerator[bytes, None]:
        """The events behind that number, as JSON, until the response has ended."""
        store = await self._storage.open()
        while True:
            run = self._runs.get(record.id)
            changed = run.changed if run else None
            now = await self.current(record.id, record.owner)
            for number, data in await store.events_after(record.id, after):
                after = number
                yield data
            if now is None or not now.live:
                return
            await self._sleep(changed)

    async def _sleep(self, changed: asyncio.Event | None) -> None:
        """Until the run here has stored more, or for a while where it is elsewhere."""
        if changed is None:
            await asyncio.sleep(LOOK_SECONDS)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.beat):
                await changed.wait()

    async def current(self, id: str, owner: str) -> Record | None:
        """The response as it stands. One whose process is gone has failed, unless another can go on with it."""
        store = await self._storage.open()
        record = await store.get(id, owner)
        if record is None or not record.live or id in self._runs or time.time() - record.beat < LOST_SECONDS:
            return record
        return record if await store.is_held(id) else await self.fail(record, LOST)

    async def cancel(self, record: Record) -> Record | None:
        """The response when nothing works on it any more, here at once, in another process with its next event."""
        ended = await self._end(record, "cancelled", "response.incomplete") if record.live else record
        if (run := self._runs.get(record.id)) and run.task:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        return ended

    async def fail(self, record: Record, error: ApiError) -> Record | None:
        """Ends the response of a run that cannot go on."""
        told = {"code": error.code or "server_error", "message": error.message}
        return await self._end(record, "failed", "response.failed", error=told)

    async def _end(self, record: Record, status: str, event: str, **fields: Any) -> Record | None:
        store = await self._storage.open()
        body = {**orjson.loads(record.body), "status": status, **fields}

        def last(number: int) -> bytes:
            return orjson.dumps({"type": event, "sequence_number": number, "response": body})

        await store.end(replace(record, status=status, body=orjson.dumps(body)), last)
        return await store.get(record.id, record.owner)
