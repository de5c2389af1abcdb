"""R6: told to stop while answers are made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from benchmarks.reliability.client import Call
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.heard import SURFACES, Heard, body_for, hear
from benchmarks.reliability.service import Bench, Server

SHORT, LONG, WHOLE = 10, 10, 5
DRAIN = 4.0
GRACE = 2.0


@dataclass(slots=True)
class Drained:
    """`exited`: seconds after the signal, None where it was killed for not going."""

    short: list[Heard]
    long: list[Heard]
    whole: list[Heard]
    exited: float | None
    wrong: list[str] = field(default_factory=list)

    @property
    def cut(self) -> int:
        """Answers that ended without a word about it."""
        return sum(not heard.closed for heard in (*self.short, *self.long, *self.whole))

    @property
    def finished(self) -> int:
        return sum(heard.finish == "stop" for heard in (*self.short, *self.whole))


async def measure(bench: Bench) -> Figure:
    settings = {"SKILL_AGENT_DRAIN_SECONDS": f"{DRAIN:g}"}
    server = await bench.start(settings=settings)
    try:
        id = await _background(server)
        drained = await drain(server, "openai/")
        if not bench.lifespan_ended(server):
            drained.wrong.append("the lifespan did not end")
    finally:
        server.kill()
    again = await bench.restart(server.log.parent, settings=settings)
    try:
        again_answer = await again.client.get(f"/v1/responses/{id}")
        status = (again_answer.json() or {}).get("status")
    finally:
        await again.stop()
    if again_answer.status != 200:
        drained.wrong.append(f"the background response is not there: {again_answer.status}")
    return figure(drained, f", background {status}")


def figure(drained: Drained, more: str = "", of: str = "") -> Figure:
    told = sum(bool(heard.code) for heard in drained.long)
    exited = "killed" if drained.exited is None else f"exit after {drained.exited:.1f} s"
    words = f"{drained.finished} of {SHORT + WHOLE} short ones finished, {told} of {LONG} long ones told, "
    words += f"{drained.cut} cut, {exited}{more}"
    in_time = drained.exited is not None and drained.exited <= DRAIN + GRACE
    met = drained.finished == SHORT + WHOLE and not drained.cut and in_time and not drained.wrong
    numbers = {"finished": drained.finished, "told": told, "cut": drained.cut, "exit_s": round(drained.exited or -1, 2)}
    return Figure("R6", words, f"all finished, 0 cut, exit <= {DRAIN + GRACE:g} s", met, numbers, drained.wrong, of)


async def drain(server: Server, model: str) -> Drained:
    short = [await _begin(server, f"{model}fault-short-d{n}", True) for n in range(SHORT)]
    whole = [await _begin(server, f"{model}fault-short-w{n}", False) for n in range(WHOLE)]
    long = [await _begin(server, f"{model}fault-long-l{n}", True) for n in range(LONG)]
    await asyncio.gather(*[call.until(b"word") for call in (*short, *long)])
    server.signal()
    ending = asyncio.create_task(server.ended(DRAIN * 5))
    heard = [await asyncio.gather(*[_heard(call) for call in calls]) for calls in (short, long, whole)]
    return Drained(heard[0], heard[1], heard[2], await ending)


async def _begin(server: Server, model: str, stream: bool) -> Call:
    return await server.client.begin(SURFACES["chat"], body_for("chat", stream, model))


async def _heard(call: Call) -> Heard:
    return hear(await call.rest(DRAIN * 5), "chat")


async def _background(server: Server) -> str:
    body = body_for("responses", False, "openai/fault-long-bg", background=True)
    answer = await server.client.post(SURFACES["responses"], body)
    return str((answer.json() or {}).get("id"))
