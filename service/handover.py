"""Runs in the background that their process has left: taken up here, and gone on with from their last whole turn."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from fnmatch import fnmatchcase

import orjson

from agent.run import HARMLESS
from bodies import ApiError, fitted
from messages import Usage
from response_schemas import ResponseRequest
from service.admission import Gate, Turn
from service.background import Pace
from service.drain import Drain
from service.grants import Grants
from service.log import NAME
from service.models import Served
from service.packing import unpack
from service.record import Checkpoint, Record
from service.responses import Responses
from service.resumption import Resumption
from service.running import Run
from service.storage import Storage
from service.transcript import no_previous
from skill_store import SkillError

log = logging.getLogger(NAME)
TAKEN = 3
"""How often a run is taken up; one that ends its process each time would go on for ever."""
BROKEN = (ValueError, TypeError, LookupError)
"""Raised for what is stored, such as that of another release."""
RESTARTED = ApiError(500, "the service was restarted too often while it made this answer", "server_restarted")


class Handover:
    """Each run that is taken up has a turn of the gate, as one that is asked for has."""

    def __init__(
        self, responses: Responses, storage: Storage, drain: Drain, grants: Grants, gate: Gate, pace: Pace
    ) -> None:
        self._responses = responses
        self._background = responses.background
        self._storage = storage
        self._drain = drain
        self._grants = grants
        self._gate = gate
        self._pace = pace
        self._problem = ""
        self._owed: list[Checkpoint] = []

    async def watch(self) -> None:
        """Looks for runs that are left, until the service stops."""
        while not self._drain.begun:
            try:
                if await self._storage.has_runs():
                    await self._take_up()
                self._problem = self._problem if self._owed else ""
            except Exception as error:
                self._note(error)
            await asyncio.sleep(self._pace.look)

    def _note(self, error: Exception) -> None:
        """Once, and not each time, as a store may be away for long."""
        if self._problem != str(error):
            self._problem = str(error)
            log.warning("runs in the background cannot be taken up: %s", error)

    async def _take_up(self) -> None:
        """As many as there are free turns; those that nobody has a turn for wait in the store."""
        store = await self._storage.open()
        while self._owed:
            await store.release(self._owed[-1])
            self._owed.pop()
        while not self._drain.begun and (turn := await self._gate.take()):
            try:
                claimed = await store.claim(self._background.worker, self._background.is_left, 1)
                for checkpoint in claimed:
                    await self._try(checkpoint, turn)
            finally:
                turn.end()
            if not claimed:
                break

    async def _try(self, checkpoint: Checkpoint, turn: Turn) -> None:
        """What cannot be gone on with now is left again, with the next look. A fault that passes, as a store's does, is
        none of the run's: it may be taken up as often as if it had not been.
        """
        try:
            await self._taken(checkpoint, turn)
        except BROKEN:
            log.exception("%s cannot be read", checkpoint.id)
            self._owed.append(checkpoint)
        except Exception as error:
            self._note(error)
            self._owed.append(replace(checkpoint, taken=checkpoint.taken - 1))

    async def _taken(self, checkpoint: Checkpoint, turn: Turn) -> None:
        record = await (await self._storage.open()).get(checkpoint.id, checkpoint.owner)
        if record is None or not record.live:
            return
        try:
            await self._go_on(record, checkpoint, turn)
        except (ApiError, SkillError) as error:  # what was asked for is not served any more
            await self._background.fail(record, self._responses.told(error))

    async def _go_on(self, record: Record, checkpoint: Checkpoint, turn: Turn) -> None:
        if checkpoint.taken > TAKEN:
            await self._background.fail(record, RESTARTED)
            return
        asked = fitted(ResponseRequest, orjson.loads(checkpoint.request))
        served = self._responses.models.find(checkpoint.model, self._grants.of_owner(record.owner))
        said, usage = unpack(checkpoint.said), Usage(**orjson.loads(checkpoint.usage))
        resumption = Resumption.of(
            said, usage, _repeatable(served), asked.as_options().response_format is not None, checkpoint.stop
        )
        store = await self._storage.open()
        before = await store.chain(record.previous, record.owner) if record.previous else []
        if record.previous and not before:
            raise no_previous(record.previous)
        earlier = [message for link in before for message in (*unpack(link.heard), *unpack(link.said))]
        heard = [*asked.orders, *earlier, *unpack(record.heard)]
        events, _ = await self._responses.run(asked, served, record.owner, heard, record.workspace, resumption)
        answer = await self._responses.answer(asked, served.name, record.id, record.previous)
        told = [orjson.loads(data) for _, data in await store.events_after(record.id, -1)]
        ends = answer.go_on(orjson.loads(record.body), told, checkpoint.number)
        log.info("%s is gone on with", record.id)
        turn.lend(self._background.go_on(Run(record, checkpoint, answer, [*ends, *answer.begin()]), events))


def _repeatable(served: Served) -> set[str]:
    """Tools whose calls do no more than read, unless a person is asked first."""
    return {name for name in HARMLESS if not any(fnmatchcase(name, glob) for glob in served.agent.settings.ask)}
