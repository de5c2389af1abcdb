"""R1: every fault, in every dialect, on both surfaces, streamed and whole."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.reliability import process
from benchmarks.reliability.expected import ROWS, TURNS, Row
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.heard import SURFACES, body_for
from benchmarks.reliability.service import PROVIDERS, Bench, providers_at
from benchmarks.reliability.trial import Cell, Place, Trial, Verdict

AT_ONCE = 32
HEAVY, HEAVY_AT_ONCE = (36, 38, 39), 2
"""Rows that keep a processor busy: beside others they would trip their time limits."""
SETTINGS = {"SKILL_AGENT_MAX_TURNS": str(TURNS)}
FULL = {"SKILL_AGENT_MAX_RUNNING": "1"}
"""The settings under which one answer is as much as the service takes on."""


@dataclass(slots=True)
class Table:
    """The verdict on each cell; None where the row does not apply to it."""

    verdicts: dict[Cell, Verdict | None] = field(default_factory=dict)

    @property
    def tried(self) -> dict[Cell, Verdict]:
        return {cell: verdict for cell, verdict in self.verdicts.items() if verdict is not None}

    @property
    def held(self) -> int:
        return sum(not verdict.wrong for verdict in self.tried.values())

    def sound(self, cells: Iterator[Cell] | None = None) -> tuple[int, int]:
        """In how many of these cells nothing is grossly wrong, and how many of them were tried."""
        tried = self.tried
        among = tried if cells is None else {cell: tried[cell] for cell in cells if cell in tried}
        return sum(not verdict.gross for verdict in among.values()), len(among)


async def measure(bench: Bench) -> tuple[Figure, Table]:
    begun = time.monotonic()
    async with _places(bench) as places:
        table = await run(Trial(bench, places), list(cells()))
        most = max(process.peak(place.server.pid) for place in places.values())
        await run(Trial(bench, places), list(cells(stopping=True)), table)
    seconds = time.monotonic() - begun
    held, tried = table.held, len(table.tried)
    words = f"{held} of {tried} cells hold, in {seconds:.0f} s, at most {most:.0f} MB"
    failures = [f"{cell}: {each}" for cell, verdict in table.tried.items() for each in verdict.wrong]
    numbers = {"held": held, "tried": tried, "seconds": round(seconds, 1), "peak_mb": round(most)}
    return Figure("R1", words, "all", held == tried, numbers, failures), table


def cells(surfaces: Sequence[str] = tuple(SURFACES), stopping: bool = False) -> Iterator[tuple[Row, Cell]]:
    """`stopping`: those that end their server, else all others."""
    for row, provider, surface, stream in itertools.product(ROWS, PROVIDERS, surfaces, (True, False)):
        if (row.where == "drain") is stopping:
            yield row, Cell(row.number, provider, surface, stream)


async def run(
    trial: Trial, wanted: list[tuple[Row, Cell]], table: Table | None = None, at_once: int = AT_ONCE
) -> Table:
    table = table or Table()
    for heavy, most in ((False, at_once), (True, HEAVY_AT_ONCE)):
        room = asyncio.Semaphore(most)

        async def one(row: Row, cell: Cell, room: asyncio.Semaphore = room) -> None:
            async with room:
                table.verdicts[cell] = await trial.verdict(row, cell)

        some = [each for each in wanted if (each[0].number in HEAVY) is heavy]
        await asyncio.gather(*[one(row, cell) for row, cell in some])
    return table


@asynccontextmanager
async def _places(bench: Bench) -> AsyncIterator[dict[str, Place]]:
    """A service for each provider, whose agent is the default, one for each fault of a network, and a full one."""
    async with AsyncExitStack() as stack:

        async def start(default: str, settings: Mapping[str, str] | None = None) -> Place:
            service = bench.service(default, scaled=True, settings={**SETTINGS, **(settings or {})})
            return Place(await stack.enter_async_context(service))

        places = {provider: await start(provider) for provider in PROVIDERS}
        for name, url in networks(bench).items():
            places[name] = await start("openai", providers_at(url))
        places["full"] = await start("openai", FULL)
        client = places["full"].server.client
        holding = await client.begin(SURFACES["chat"], body_for("chat", True, "openai/fault-hold-r1"))
        await holding.until(b"data: ")
        yield places
        holding.reset()


def networks(bench: Bench) -> dict[str, str]:
    """Addresses where nothing is as it should be. Without openssl there is no certificate to refuse."""
    up = bench.upstream
    urls = {"closed": up.at("closed"), "hole": up.at("hole"), "dns": "https://nothing.invalid"}
    return urls | ({"tls": up.at("tls")} if "tls" in up.ports else {})
