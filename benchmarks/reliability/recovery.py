"""R10: a provider that is down for ten seconds under load: how much it is asked, and how soon answers come after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from benchmarks.reliability.client import Client
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.heard import SURFACES, body_for
from benchmarks.reliability.service import Bench

RATE = 50
"""Requests a second."""
OUTAGE, AFTER, SETTLING = 10.0, 6.0, 2.0
"""Seconds: of the outage, after it, and until the breaker or the budget may be expected to act."""
MOST_RATIO, SOONEST = 1.2, 2.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """`attempts` that the provider saw for each request, once the service could know. `first`: seconds from the end of
    the outage to the first good answer; None where there was none."""

    attempts: float
    first: float | None
    good: int
    asked: int


async def measure(bench: Bench) -> Figure:
    async with bench.service() as server:
        return figure(await recover(bench, server.client, "openai/", "ours"))


def figure(found: Recovery, of: str = "") -> Figure:
    first = "never" if found.first is None else f"after {found.first:.1f} s"
    words = f"{found.attempts:.2f} attempts a request during the outage, first answer {first}, "
    words += f"then {found.good} of {found.asked} good"
    target = f"<= {MOST_RATIO:g} attempts, answer within {SOONEST:g} s"
    met = found.attempts <= MOST_RATIO and found.first is not None and found.first <= SOONEST
    numbers = {"attempts": round(found.attempts, 2), "first_s": round(-1 if found.first is None else found.first, 2)}
    return Figure("R10", words, target, met, numbers, of=of)


async def recover(bench: Bench, client: Client, model: str, id: str) -> Recovery:
    key = f"fault-outage-{id}"
    body = body_for("chat", False, f"{model}{key}")
    await client.post(SURFACES["chat"], body)
    good: list[float] = []
    sent: list[float] = []
    await bench.upstream.control("outage/on")
    begun = time.monotonic()
    healthy = begun + OUTAGE

    async def one() -> None:
        sent.append(time.monotonic())
        answer = await client.post(SURFACES["chat"], body, timeout=30)
        if answer.status == 200:
            good.append(time.monotonic())

    asking = [asyncio.create_task(_at(begun + number / RATE, one)) for number in range(int((OUTAGE + AFTER) * RATE))]
    await asyncio.sleep(healthy - time.monotonic())
    seen = await bench.upstream.seen(key)
    await bench.upstream.control("outage/off")
    healthy = time.monotonic()
    await asyncio.gather(*asking)
    known = begun + SETTLING
    requests = sum(known <= at < healthy for at in sent)
    attempts = sum(known <= each["at"] < healthy for each in seen)
    soon = [at - healthy for at in good if at >= healthy]
    late = sum(at >= healthy + SOONEST for at in sent)
    answered = sum(at >= healthy + SOONEST for at in good)
    return Recovery(attempts / max(requests, 1), min(soon, default=None), min(answered, late), late)


async def _at(when: float, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(when - time.monotonic())
    await ask()
