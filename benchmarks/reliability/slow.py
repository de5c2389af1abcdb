"""R8: three hundred connections that send nothing, or next to nothing, without end."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

from benchmarks.reliability.client import Call, Client
from benchmarks.reliability.figures import Figure, quantile
from benchmarks.reliability.service import Bench

CONNECTIONS = 300
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
LIMITS = {"idle": 10.0, "half a head": 10.0, "dripping head": 10.0, "half a body": 30.0, "dripping body": 30.0}
"""Seconds after which the service closes each kind."""
GRACE = 1.0
LONGEST_CHECK = 0.1
"""Seconds that a health check may take meanwhile, but for one in a hundred."""


async def measure(bench: Bench) -> Figure:
    kinds = list(itertools.islice(itertools.cycle(LIMITS), CONNECTIONS))
    async with bench.service() as server:
        checks: list[float] = []
        watching = asyncio.create_task(_check(server.client, checks))
        lasted = await asyncio.gather(*[_hold(server.client, kind) for kind in kinds])
        watching.cancel()
    late = Counter(kind for kind, took in zip(kinds, lasted, strict=True) if took > LIMITS[kind] + GRACE)
    p99 = quantile(checks, 0.99) * 1000
    words = f"{CONNECTIONS - late.total()} of {CONNECTIONS} slow connections closed in time; /health p99 {p99:.0f} ms"
    target = f"all within the limit + {GRACE:g} s, /health < {LONGEST_CHECK * 1000:g} ms"
    failures = [f"{count} x {kind}" for kind, count in late.items()]
    met = not late and p99 < LONGEST_CHECK * 1000
    return Figure("R8", words, target, met, {"late": late.total(), "health_p99_ms": round(p99)}, failures)


async def _hold(client: Client, kind: str) -> float:
    """Seconds until the service closes; a little more than its limit where it does not."""
    begun = time.monotonic()
    call = await client.send(b"" if kind == "idle" else HEAD)
    if kind.endswith("body"):
        call.writer.write(f"authorization: Bearer {client.key}\r\ncontent-length: 1000\r\n\r\n{{".encode())
    dripping = asyncio.create_task(_drip(call, kind))
    await call.rest(LIMITS[kind] + 2 * GRACE)
    dripping.cancel()
    return time.monotonic() - begun


async def _drip(call: Call, kind: str) -> None:
    """A header, or a byte of the body, a second."""
    if not kind.startswith("dripping"):
        return
    for number in itertools.count():
        call.writer.write(b" " if kind.endswith("body") else f"x-{number}: y\r\n".encode())
        await asyncio.sleep(1.0)


async def _check(client: Client, took: list[float]) -> None:
    while True:
        answer = await client.get("/health")
        took.append(answer.seconds if answer.status == 200 else LONGEST_CHECK)
        await asyncio.sleep(0.05)
