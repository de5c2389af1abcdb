"""Runs that go on without their client: every event is stored, so that any number of clients can follow, from any
point, in any of the service's processes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import orjson

from bodies import ApiError
from messages import Event, Finish
from service.log import NAME
from service.packing import pack
from service.record import Record
from service.response_answer import ResponseAnswer
from service.storage import Storage

log = logging.getLogger(NAME)
FLUSH_SECONDS = 0.05
"""How long events are gathered before they are written."""
BEAT_SECONDS = 5.0
"""How often a silent run shows that it lives."""
LOST_SECONDS = 60.0
"""Without a sign for so long, a run's process is taken for dead."""
RETRIES = (0.5, 2.0, 5.0)
"""Seconds between attempts to write."""
LOOK_SECONDS = 0.5
"""How often the store is asked for the events of a run in another process."""
STOPPED = ApiError(500, "the service was stopped before the answer was finished", "server_shutting_down")
LOST = ApiError(500, "the process that made this answer is gone", "server_error")


class Background:
    def __init__(self, storage: Storage, told: Callable[[Exception], ApiError]) -> None:
        self._storage = storage
        self._told = told
        self._runs: dict[str, _Run] = {}

    async def start(
        self, record: Record, answer: ResponseAnswer, events: AsyncGenerator[Event, None]
    ) -> asyncio.Task[None]:
        """The run's task, when the run is in the store."""
        await (await self._storage.open()).put(record)
        run = _Run(record, answer)
        self._runs[record.id] = run
        run.task = asyncio.create_task(self._work(run, events))
        run.task.add_done_callback(lambda _: self._runs.pop(record.id, None))
        return run.task

    async def aclose(self) -> None:
        tasks = [run.task for run in self._runs.values() if run.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, run: _Run, events: AsyncGenerator[Event, None]) -> None:
        writing = asyncio.create_task(self._write_along(run))
        writing.add_done_callback(lambda _: run.stop())
        try:
            async with aclosing(events):
                async for event in events:
                    run.take(event)
        except asyncio.CancelledError:
            run.fail(STOPPED)
            raise
        except Exception as error:
            run.fail(self._told(error))
        finally:
            run.over = True
            run.more.set()
            await asyncio.shield(writing)

    async def _write_along(self, run: _Run) -> None:
        """Until the run is over and all of it is written, or nobody wants it any more."""
        while True:
            over = run.over
            if not await self._written(run) or over:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await run.more.wait()
            if not run.over:
                await asyncio.sleep(FLUSH_SECONDS)

    async def _written(self, run: _Run) -> bool:
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

    async def _write(self, run: _Run) -> bool:
        """Whether the run is still wanted."""
        run.more.clear()
        waiting, run.waiting = run.waiting, []
        try:
            store = await self._storage.open()
            wanted = await store.progress(replace(run.record, beat=time.time()), waiting)
        except Exception:
            run.waiting = [*waiting, *run.waiting]
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
            await _sleep(changed)

    async def current(self, id: str, owner: str) -> Record | None:
        """The response as it stands. One whose process is gone has failed."""
        store = await self._storage.open()
        record = await store.get(id, owner)
        if record is None or not record.live or id in self._runs or time.time() - record.beat < LOST_SECONDS:
            return record
        error = {"code": LOST.code, "message": LOST.message}
        return await self._end(record, "failed", "response.failed", error=error)

    async def cancel(self, record: Record) -> Record | None:
        """The response when nothing works on it any more, here at once, in another process with its next event."""
        ended = await self._end(record, "cancelled", "response.incomplete") if record.live else record
        if (run := self._runs.get(record.id)) and run.task:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        return ended

    async def _end(self, record: Record, status: str, event: str, **fields: Any) -> Record | None:
        store = await self._storage.open()
        body = {**orjson.loads(record.body), "status": status, **fields}

        def last(number: int) -> bytes:
            return orjson.dumps({"type": event, "sequence_number": number, "response": body})

        await store.end(replace(record, status=status, body=orjson.dumps(body)), last)
        return await store.get(record.id, record.owner)


class _Run:
    """`more` tells the writer that events wait, `changed` tells followers that events are stored."""

    def __init__(self, record: Record, answer: ResponseAnswer) -> None:
        self.record = replace(record, status="in_progress", body=orjson.dumps(answer.resource))
        self.task: asyncio.Task[None] | None = None
        self.waiting: list[tuple[int, bytes]] = []
        self.over = False
        self.more = asyncio.Event()
        self.changed = asyncio.Event()
        self._answer = answer
        self._add(answer.begin())

    def stop(self) -> None:
        """Nobody wants it any more, or it cannot be written: it would work for nothing."""
        if not self.over and self.task:
            self.task.cancel()

    def take(self, event: Event) -> None:
        self._add(self._answer.feed(event))
        if isinstance(event, Finish):
            self._settle(pack(event.messages))

    def fail(self, error: ApiError) -> None:
        self._add(self._answer.fail(error))
        self._settle(b"[]")

    def _settle(self, said: bytes) -> None:
        resource = self._answer.resource
        self.record = replace(self.record, status=resource["status"], body=orjson.dumps(resource), said=said)

    def _add(self, events: Iterable[dict[str, Any]]) -> None:
        self.waiting += [(event["sequence_number"], orjson.dumps(event)) for event in events]
        self.more.set()


async def _sleep(changed: asyncio.Event | None) -> None:
    """Until the run here has stored more, or for a while where it is elsewhere."""
    if changed is None:
        await asyncio.sleep(LOOK_SECONDS)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(BEAT_SECONDS):
            await changed.wait()
