"""R11: the process is killed while it works in the background, and started again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.reliability.figures import Figure
from benchmarks.reliability.heard import SURFACES, body_for
from benchmarks.reliability.service import Bench, Server

RUNS = 20
PATIENCE = 90.0
OVER = ("completed", "failed", "incomplete", "cancelled")


async def measure(bench: Bench) -> Figure:
    """Half of the runs at least are in the answer that comes after their tool; the others may be anywhere."""
    server = await bench.start()
    keys = [f"fault-tool_then_long-r11n{number}" for number in range(RUNS)]
    await bench.upstream.control("outage/on")
    try:
        ids = await asyncio.gather(*[_begin(server, key) for key in keys])
        await _under_way(bench, keys)
    finally:
        server.kill()
    await bench.upstream.control("outage/off")
    again = await bench.restart(server.log.parent)
    begun = time.monotonic()
    try:
        ends = await asyncio.gather(*[_end(again, id) for id in ids])
        took = time.monotonic() - begun
        marks = _marks(again.log.parent)
        wrong = [f"{where}: its tool ran {runs} times" for where, runs in marks.items() if runs > 1]
    finally:
        await again.stop()
    told = Counter(ends)
    lost = sum(count for end, count in told.items() if end.partition(" ")[0] not in OVER)
    words = f"{RUNS - lost} of {RUNS} background runs found again, {took:.0f} s after the start: "
    words += ", ".join(f"{count} {end}" for end, count in told.most_common())
    words += f"; of {marks.total()} tools {len(wrong)} run twice"
    numbers = {"lost": lost, "tools_twice": len(wrong), "seconds": round(took, 1)}
    return Figure("R11", words, "0 lost, each over, no tool run twice", not lost and not wrong, numbers, wrong)


async def _begin(server: Server, key: str) -> str:
    body = body_for("responses", False, "skill-agent", key, background=True, skill_agent={"activate": "faulty"})
    answer = await server.client.post(SURFACES["responses"], body)
    return str((answer.json() or {}).get("id"))


async def _under_way(bench: Bench, keys: list[str]) -> None:
    """Until half of them have got as far as their answer."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        seen = await asyncio.gather(*[bench.upstream.seen(key) for key in keys])
        if sum(len(each) > 1 for each in seen) >= RUNS // 2:
            return
        await asyncio.sleep(0.1)


async def _end(server: Server, id: str) -> str:
    """How it ended, with the code of its error; what it is where it does not."""
    until = time.monotonic() + PATIENCE
    while True:
        answer = await server.client.get(f"/v1/responses/{id}")
        found: Any = answer.json() or {}
        status = str(found.get("status") or f"lost ({answer.status})")
        if status in OVER or answer.status != 200 or time.monotonic() > until:
            code = (found.get("error") or {}).get("code")
            return f"{status} ({code})" if code else status
        await asyncio.sleep(0.5)


def _marks(folder: Path) -> Counter[str]:
    """How often the script ran in each conversation: every run of it leaves a file of its own."""
    return Counter(path.parent.name for path in folder.rglob("ran-*"))
