"""One cell of R1's table: a fault in a dialect, on a surface, streamed or whole, against a server under test."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.reliability.client import Answer
from benchmarks.reliability.expected import UNSEEN, Case, Row, Seen
from benchmarks.reliability.heard import MODES, SURFACES, body_for, hear
from benchmarks.reliability.judge import DEADLINE, gross_problems, problems
from benchmarks.reliability.replies import TEXT
from benchmarks.reliability.service import Bench, Server

NOTICED = 1.0
"""Seconds within which the provider is left by an answer whose client has left."""
OWN = ("port", "kept", "leaving", "drain")
"""Where it is the dialect's own server that is asked."""


class Cell(NamedTuple):
    row: int
    provider: str
    surface: str
    stream: bool

    def __str__(self) -> str:
        return f"{self.row} {self.provider} {self.surface} {MODES[0] if self.stream else MODES[1]}"


@dataclass(slots=True)
class Verdict:
    """What is wrong by the table, and what is wrong by any measure."""

    wrong: list[str] = field(default_factory=list)
    gross: list[str] = field(default_factory=list)

    def add(self, case: str, wrong: list[str], gross: list[str]) -> None:
        self.wrong += [f"{case}: {each}" for each in wrong]
        self.gross += [f"{case}: {each}" for each in gross]


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and what it puts in front of the names of models there."""

    server: Server
    prefix: str = ""


class Trial:
    """Tries cells, any number at a time. `places` are by provider, and by what a row is asked of."""

    def __init__(self, bench: Bench, places: Mapping[str, Place]) -> None:
        self._upstream = bench.upstream
        self._places = places
        self._numbers = itertools.count()
        self._stopped: set[str] = set()
        self._scenes: dict[str, Callable[[Place, Cell, Case], Any]] = {
            "kept": self._kept,
            "leaving": self._leaving,
            "full": self._full,
            "drain": self._drained,
        }

    async def verdict(self, row: Row, cell: Cell) -> Verdict | None:
        """None where the row does not apply."""
        place = self._places.get(cell.provider if row.where in OWN else row.where)
        cases = [case for case in row.cases if not case.only or cell.provider in case.only]
        if place is None or not cases:
            return None
        found = Verdict()
        for case in cases:
            wrong, gross = await self._scenes.get(row.where, self._plain)(place, cell, case)
            found.add(case.script, wrong, gross)
        if row.where in OWN and row.where != "drain":
            after = await self._next(place, cell)
            found.add("the next request", after, after)
        return found

    async def _plain(self, place: Place, cell: Cell, case: Case) -> tuple[list[str], list[str]]:
        key = self._key(case)
        answer = await self._ask(place, cell, case, key)
        seen = [] if case.attempts == UNSEEN else await self._upstream.seen(key)
        return _judged(case, cell, answer, seen)

    async def _kept(self, place: Place, cell: Cell, case: Case) -> tuple[list[str], list[str]]:
        """Until a connection has been kept, and closes under the request."""
        for _ in range(5):
            key = self._key(case)
            answer = await self._ask(place, cell, case, key)
            seen = await self._upstream.seen(key)
            if len(seen) > 1 or answer.status != 200:
                break
        return _judged(case, cell, answer, seen)

    async def _leaving(self, place: Place, cell: Cell, case: Case) -> tuple[list[str], list[str]]:
        key = self._key(case)
        call = await place.server.client.begin(SURFACES[cell.surface], self._body(place, cell, case, key))
        await self._upstream.came(key)
        await asyncio.sleep(0.1)
        call.reset()
        left = time.monotonic()
        while time.monotonic() < left + NOTICED:
            if all(each["left"] for each in await self._upstream.seen(key)):
                return [], []
            await asyncio.sleep(0.05)
        wrong = [f"the provider is not left within {NOTICED:g} s"]
        return wrong, wrong

    async def _full(self, place: Place, cell: Cell, case: Case) -> tuple[list[str], list[str]]:
        """While another answer, which is never over, takes all the room."""
        answer = await self._ask(place, cell, case, self._key(case))
        return _judged(case, cell, answer, [])

    async def _drained(self, place: Place, cell: Cell, case: Case) -> tuple[list[str], list[str]]:
        """An answer that has begun is finished; then nothing new is taken on. The first cell stops the server."""
        key = self._key(case)
        asked = asyncio.create_task(self._ask(place, cell, case, key))
        await self._upstream.came(key)
        if cell.provider not in self._stopped:
            self._stopped.add(cell.provider)
            await asyncio.sleep(0.5)
            place.server.signal()
        await asyncio.sleep(0.7)
        new = await self._refused(place, cell)
        wrong, gross = _judged(case, cell, await asked, await self._upstream.seen(key))
        return new + wrong, new + gross

    async def _refused(self, place: Place, cell: Cell) -> list[str]:
        """A closed port is as good as the answer that it is too late."""
        try:
            body = body_for(cell.surface, cell.stream, "skill-agent")
            answer = await place.server.client.post(SURFACES[cell.surface], body)
        except OSError:
            return []
        if answer.status == 0 or (answer.status == 503 and "retry-after" in answer.headers):
            return []
        return [f"a new request is answered with {answer.status}"]

    async def _next(self, place: Place, cell: Cell) -> list[str]:
        answer = await self._ask(place, cell, Case("ok"), self._key(Case("ok")))
        heard = hear(answer, cell.surface)
        return [] if heard.text == TEXT and heard.finish == "stop" else [f"{heard.status} {heard.code}"]

    async def _ask(self, place: Place, cell: Cell, case: Case, key: str) -> Answer:
        body = self._body(place, cell, case, key)
        return await place.server.client.post(SURFACES[cell.surface], body, timeout=DEADLINE * 3)

    def _body(self, place: Place, cell: Cell, case: Case, key: str) -> dict[str, Any]:
        if not case.agent:
            return body_for(cell.surface, cell.stream, f"{place.prefix}{cell.provider}/{key}")
        return body_for(cell.surface, cell.stream, "skill-agent", key, skill_agent={"activate": "faulty"})

    def _key(self, case: Case) -> str:
        return f"fault-{case.script}-{next(self._numbers)}"


def _judged(case: Case, cell: Cell, answer: Answer, seen: Seen) -> tuple[list[str], list[str]]:
    wrong = problems(case, cell.surface, cell.stream, answer, seen)
    return list(wrong), list(gross_problems(case, cell.surface, answer))
