"""R7: clients that ask for a flood and do not read it, beside others that do."""

from __future__ import annotations

import asyncio
import time

from benchmarks.reliability import process
from benchmarks.reliability.client import Call
from benchmarks.reliability.figures import Figure, quantile
from benchmarks.reliability.heard import SURFACES, body_for
from benchmarks.reliability.service import Bench, Server, upstream

STUCK, NORMAL = 50, 20
BUFFER = 4096
SECONDS = 5.0
"""That latency is looked at, without and with the stuck ones."""
LONGEST_SEND = 30.0
"""Seconds after which the service gives up a client that does not read."""
GRACE = 5.0
MOST_MB, MOST_RATIO = 50.0, 2.0


async def measure(bench: Bench) -> Figure:
    """The others' provider is another process: one that floods is itself slow with its other answers."""
    folder = bench.folder / "calm"
    folder.mkdir()
    async with upstream(folder) as calm, bench.service(settings={"AZURE_OPENAI_ENDPOINT": calm.url}) as server:
        await _latency(server, 2.0, "w")
        idle = await _latency(server, SECONDS, "i")
        before = process.memory(server.pid)
        begun = time.monotonic()
        stuck = await asyncio.gather(*[_stuck(server, number) for number in range(STUCK)])
        await _answered(bench)
        busy = await _latency(server, SECONDS, "b")
        grown = process.memory(server.pid) - before
        evicted = await _evicted(bench, begun)
        for call in stuck:
            call.reset()
    p99 = [quantile(times, 0.99) * 1000 for times in (idle, busy)]
    ratio = p99[1] / p99[0]
    gone = "never" if evicted is None else f"after {evicted:.0f} s"
    words = f"{STUCK} stuck readers: {grown:+.0f} MB, given up {gone}; "
    words += f"others p99 {p99[0]:.0f} ms before, {p99[1]:.0f} ms beside them"
    target = f"<= {MOST_MB:g} MB, p99 <= {MOST_RATIO:g} x, given up <= {LONGEST_SEND + GRACE:g} s"
    met = grown <= MOST_MB and ratio <= MOST_RATIO and evicted is not None
    numbers = {"mb": round(grown), "idle_p99_ms": round(p99[0]), "busy_p99_ms": round(p99[1])}
    return Figure("R7", words, target, met, numbers | {"evicted_s": round(evicted or -1, 1)})


async def _stuck(server: Server, number: int) -> Call:
    """A client whose own buffer takes no more than a few frames. Nothing of the answer is read."""
    body = body_for("chat", True, f"openai/fault-gush-r7n{number}")
    call = await server.client.begin(SURFACES["chat"], body, receive_buffer=BUFFER)
    call.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return call


async def _latency(server: Server, seconds: float, name: str) -> list[float]:
    """Of short answers, asked for by clients that ask again after a pause."""
    until = time.monotonic() + seconds
    took: list[float] = []

    async def client(number: int) -> None:
        while time.monotonic() < until:
            body = body_for("chat", True, f"azure/fault-ok-r7{name}{number}")
            took.append((await server.client.post(SURFACES["chat"], body)).seconds)
            await asyncio.sleep(0.2)

    await asyncio.gather(*[client(number) for number in range(NORMAL)])
    return took


async def _answered(bench: Bench) -> None:
    """Until the provider answers all: that so many requests come at once is not what is measured."""
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        if (await bench.upstream.control("state"))["busy"] >= STUCK:
            return
        await asyncio.sleep(0.01)


async def _evicted(bench: Bench, begun: float) -> float | None:
    """Seconds until the provider is rid of all the answers that nobody reads."""
    while time.monotonic() < begun + LONGEST_SEND + GRACE:
        if (await bench.upstream.control("state"))["busy"] <= 1:
            return time.monotonic() - begun
        await asyncio.sleep(0.5)
    return None
