"""R3: a thousand streams held at once by one process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.reliability import process
from benchmarks.reliability.client import HI, Client
from benchmarks.reliability.figures import Figure, quantile
from benchmarks.reliability.heard import SURFACES
from benchmarks.reliability.scripts import FRAMES
from benchmarks.reliability.service import Bench, Server, bare_environment, free_port, spawn

STREAMS = 1000
PATIENCE = 90.0
MOST_MB, MOST_RATIO = 150, 3.0
KEY = "fault-steady-r3"
WORD, DONE = b'"word "', b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Held:
    """What it took to hold the streams. `first` is each stream's seconds until its first word."""

    whole: int
    streams: int
    seconds: float
    megabytes: float
    cpu: float
    first: list[float]


async def measure(bench: Bench) -> list[Figure]:
    """Of a plain model that the service passes on, and of the agent with all of its tools."""
    streams = count(bench)
    async with bare(bench) as server:
        least = await hold(server, streams, "bare")
    async with bench.service() as server:
        plain = await hold(server, streams, f"openai/{KEY}")
    async with bench.service() as server:
        agent = await hold(server, streams, "skill-agent")
    return [figure(plain, least, "R3"), figure(agent, least, "R3a")]


def count(bench: Bench) -> int:
    return STREAMS // 5 if bench.quick else STREAMS


def figure(held: Held, least: Held, name: str, of: str = "") -> Figure:
    """`least` is the bare generator's."""
    ratio = held.cpu / least.cpu
    p50, p99 = (quantile(held.first, share) * 1000 for share in (0.5, 0.99))
    words = (
        f"{held.whole} of {held.streams} streams, {held.megabytes:.0f} MB, {ratio:.1f} x bare"
        f" ({held.cpu:.1f} s of {least.cpu:.1f} s), first word p50 {p50:.0f} ms p99 {p99:.0f} ms"
        f" (bare {quantile(least.first, 0.5) * 1000:.0f}, {quantile(least.first, 0.99) * 1000:.0f})"
    )
    met = held.whole == held.streams and held.megabytes < MOST_MB and ratio <= MOST_RATIO
    numbers = {"whole": held.whole, "mb": round(held.megabytes), "ratio": round(ratio, 2), "first_p99_ms": round(p99)}
    numbers |= {"first_p50_ms": round(p50), "cpu_s": round(held.cpu, 2), "bare_cpu_s": round(least.cpu, 2)}
    return Figure(name, words, f"all, < {MOST_MB} MB, <= {MOST_RATIO:g} x", met, numbers, of=of)


async def hold(server: Server, streams: int, model: str) -> Held:
    """So many streams at once, after one that warms the server up."""
    request = _request(server.client, model)
    await (await server.client.send(request)).rest()
    process.forget_peak(server.pid)
    cpu, begun = process.seconds(server.pid), time.monotonic()
    listeners = [_Listener(request) for _ in range(streams)]
    # In a few steps, as the kernel's queue of connections is no longer than 4096 and often 128.
    for at in range(0, streams, 100):
        await asyncio.gather(*[each.connect(server.client.port) for each in listeners[at : at + 100]])
    await asyncio.wait([each.over for each in listeners], timeout=PATIENCE)
    took = process.seconds(server.pid) - cpu
    whole = [each for each in listeners if each.whole]
    first = [each.first for each in whole]
    return Held(len(whole), streams, time.monotonic() - begun, process.peak(server.pid), took, first)


class _Listener(asyncio.Protocol):
    """A client that does nothing but count."""

    def __init__(self, request: bytes) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.whole = False
        self.first = 0.0
        self._request = request
        self._data = bytearray()

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._begun = time.monotonic()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.first and WORD in self._data:
            self.first = time.monotonic() - self._begun

    def connection_lost(self, exc: Exception | None) -> None:
        self.whole = self._data.count(WORD) == FRAMES and DONE in self._data
        self._data.clear()
        if not self.over.done():
            self.over.set_result(None)


def _request(client: Client, model: str) -> bytes:
    said = [*HI, {"role": "user", "content": KEY}]
    body = json.dumps({"model": model, "messages": said, "stream": True}).encode()
    head = f"POST {SURFACES['chat']} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    named = (
        f"authorization: Bearer {client.key}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return (head + named).encode() + body


@asynccontextmanager
async def bare(bench: Bench) -> AsyncIterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.reliability.bare", str(port)]
    server = spawn(command, bare_environment(), bench.folder / "bare.log", Client(port))
    try:
        await server.healthy("/health")
        yield server
    finally:
        await server.stop()
