"""R4: five hundred clients that leave, in five ways, and what is left of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.reliability.client import Call
from benchmarks.reliability.figures import Figure, quantile
from benchmarks.reliability.heard import SURFACES, body_for
from benchmarks.reliability.process import held
from benchmarks.reliability.service import Bench, Server

CLIENTS = 500
AT_ONCE = 25
NOTICED = 1.0
"""Seconds within which the provider has to see that the answer's client has left."""
SETTLING = 5.0
"""Seconds that descriptors and tasks may take to go."""
COUNTED = ("tasks", "sockets", "descriptors", "children")
KEPT = ("sockets", "descriptors")
"""Of which a connection that is kept for the provider's next answer has one."""


@dataclass(frozen=True, slots=True)
class Way:
    """How clients leave: with what asked and heard, and where the agent is meant, in the middle of its script."""

    name: str
    script: str
    stream: bool = True
    mark: bytes = b""
    agent: bool = False


WAYS = (
    Way("in the middle of a stream", "long", mark=b"word"),
    Way("before the first byte", "silence"),
    Way("while the provider stalls", "stall_after", mark=b"Two words"),
    Way("of a whole answer", "stall_after", stream=False),
    Way("during a script", "script_sleep", agent=True),
)


async def measure(bench: Bench) -> Figure:
    async with bench.service() as server:
        return await leave(bench, server, WAYS)


async def leave(bench: Bench, server: Server, ways: tuple[Way, ...], of: str = "", model: str = "openai/") -> Figure:
    clients = (CLIENTS // 5 if bench.quick else CLIENTS) // 5 * len(ways)
    await _warm(server, bench, ways, model)
    before = await _settled(bench, server, None)
    late: list[float] = []
    unseen = 0
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        nonlocal unseen
        async with room:
            took = await _client(bench, server, ways[number % len(ways)], f"r4{of[:1].lower()}{number}", model)
        if took is None:
            unseen += 1
        else:
            late.append(took)

    await asyncio.gather(*[one(number) for number in range(clients)])
    after = await _settled(bench, server, before)
    left = {name: after[name] - before[name] for name in before}
    slow = sum(took > NOTICED for took in late) + unseen
    p99 = quantile(late, 0.99) * 1000
    told = ", ".join(f"{count} {name}" for name, count in left.items())
    words = f"{clients} clients left in {len(ways)} ways; left behind: {told}; "
    words += f"seen by the provider p99 {p99:.0f} ms, late {slow}"
    met = not any(count > 0 for count in left.values()) and not slow
    numbers = {"clients": clients, **left, "late": slow, "seen_p99_ms": round(p99)}
    return Figure("R4", words, "0 left, each seen within 1 s", met, numbers, of=of)


async def _client(bench: Bench, server: Server, way: Way, id: str, model: str) -> float | None:
    """Seconds until the provider saw that it left; None where it never did. A script's provider has no answer open."""
    key = f"fault-{way.script}-{id}"
    body: dict[str, Any] = body_for("chat", way.stream, f"{model}{key}")
    if way.agent:
        body = body_for("chat", way.stream, "skill-agent", key, skill_agent={"activate": "faulty"})
    call = await server.client.begin(SURFACES["chat"], body)
    await bench.upstream.came(key)
    await (call.until(way.mark) if way.mark else asyncio.sleep(0.3 if way.agent else 0.05))
    return await _go(bench, call, key, way)


async def _go(bench: Bench, call: Call, key: str, way: Way) -> float | None:
    """Some close, others reset."""
    (call.leave if hash(key) % 2 else call.reset)()
    gone = time.monotonic()
    while not way.agent and time.monotonic() < gone + 10 * NOTICED:
        (seen, *_) = await bench.upstream.seen(key)
        if seen["left"]:
            return max(float(seen["left"]) - gone, 0.0)
        await asyncio.sleep(0.1)
    return 0.0 if way.agent else None


async def _warm(server: Server, bench: Bench, ways: tuple[Way, ...], model: str) -> None:
    """Pools, threads and the store are there before anything is counted."""
    how = {"skill_agent": {"activate": "faulty"}}
    asked = [body_for("chat", number % 2 > 0, f"{model}fault-ok-warm") for number in range(2 * AT_ONCE)]
    if any(way.agent for way in ways):
        asked += [body_for("chat", False, "skill-agent", f"fault-script_quick-w{n}", **how) for n in range(AT_ONCE)]
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        await asyncio.gather(*[server.client.post(SURFACES["chat"], body) for body in some])


async def _settled(bench: Bench, server: Server, before: Mapping[str, int] | None) -> dict[str, int]:
    """What the server holds, connections kept for the provider's next answer aside. Waits until it is no more than
    `before`, or for `SETTLING` seconds."""
    await asyncio.sleep(2.0)
    until = time.monotonic() + SETTLING
    while True:
        now = await _counted(bench, server)
        if time.monotonic() > until or (before is not None and all(now[name] <= before[name] for name in now)):
            return now
        await asyncio.sleep(0.25)


async def _counted(bench: Bench, server: Server) -> dict[str, int]:
    state = await bench.upstream.control("state")
    kept = state["open"] - state["busy"] - 1
    stats = await server.client.get("/debug/stats")
    found: dict[str, int] = stats.json() if stats.status == 200 else asdict(held(server.pid))
    counts = {name: found[name] - kept * (name in KEPT) for name in COUNTED if name in found}
    return {**counts, "open upstream": state["busy"] - 1}
