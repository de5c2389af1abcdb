"""R5: two minutes of mixed work with faults and clients that leave; memory must not grow."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.reliability import process
from benchmarks.reliability.figures import Figure, quantile, slope
from benchmarks.reliability.heard import SURFACES, body_for, hear
from benchmarks.reliability.service import Bench, Server

CLIENTS = 20
SECONDS, SETTLED = 120.0, 30.0
EVERY = 1.0
"""Seconds between two looks at the memory."""
LEAVING = FAULTY = 0.1
MOST_GROWTH = 1.0
"""MB a minute."""
FAULTS = ("400", "401", "500", "malformed_after", "cut_after", "ends_after", "nothing")
GOOD = ("ok", "ok", "ok", "short", "unknown")


@dataclass(slots=True)
class Soak:
    bench: Bench
    server: Server
    until: float
    seconds: list[float]
    unexpected: Counter[str]
    asked: int = 0

    async def client(self, number: int) -> None:
        """One that asks again as soon as it has its answer."""
        choice = random.Random(number)
        while time.monotonic() < self.until:
            self.asked += 1
            await self._one(choice, f"r5c{number}n{self.asked}")

    async def _one(self, choice: random.Random, id: str) -> None:
        faulty = choice.random() < FAULTY
        case = choice.choice(FAULTS if faulty else GOOD)
        surface, stream = choice.choice(list(SURFACES)), choice.random() < 0.5
        body = body_for(surface, stream, f"openai/fault-{case}-{id}")
        if choice.random() < 0.5:
            body = body_for(surface, stream, "skill-agent", f"fault-{case}-{id}")
        call = await self.server.client.begin(SURFACES[surface], body)
        if choice.random() < LEAVING:
            await asyncio.sleep(choice.random() * 0.1)
            call.reset()
            return
        answer = await call.rest()
        heard = hear(answer, surface)
        if heard.told != faulty:
            self.unexpected[f"{case} {surface}: {heard.status} {heard.code}"] += 1
        if case == "ok":
            self.seconds.append(answer.seconds)


async def measure(bench: Bench) -> Figure:
    length = SECONDS / 4 if bench.quick else SECONDS
    settled = SETTLED / 4 if bench.quick else SETTLED
    async with bench.service() as server:
        begun = time.monotonic()
        soak = Soak(bench, server, begun + length, [], Counter())
        watching = asyncio.create_task(_watch(server, begun, soak.until))
        await asyncio.gather(*[soak.client(number) for number in range(CLIENTS)])
        points = await watching
    growth = slope([point for point in points if point[0] >= settled]) * 60
    errors = sum(soak.unexpected.values())
    p99 = quantile(soak.seconds, 0.99) * 1000
    words = f"{soak.asked} requests in {length:.0f} s, {growth:+.1f} MB a minute (at the end {points[-1][1]:.0f} MB), "
    words += f"{errors} unexpected answers, p99 {p99:.0f} ms"
    numbers = {"requests": soak.asked, "mb_a_minute": round(growth, 2), "unexpected": errors, "p99_ms": round(p99)}
    failures = [f"{count} x {what}" for what, count in soak.unexpected.most_common()]
    met = growth <= MOST_GROWTH and not errors
    return Figure("R5", words, f"<= {MOST_GROWTH:g} MB a minute, 0 unexpected", met, numbers, failures)


async def _watch(server: Server, begun: float, until: float) -> list[tuple[float, float]]:
    """Seconds and MB."""
    points = []
    while time.monotonic() < until:
        points.append((time.monotonic() - begun, process.memory(server.pid)))
        await asyncio.sleep(EVERY)
    return points
