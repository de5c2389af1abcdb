"""R2: hostile requests, some hundred fixed ones and a thousand of arbitrary JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks.reliability.client import Answer, Client
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.hostile import Hostile, fixed, generated
from benchmarks.reliability.service import Bench

AT_ONCE = 8
LARGE = 1 << 19
"""Bytes of requests that are sent one at a time, as each of them takes a while to read."""
PATIENCE = 2.0
TRACE = b"Traceback (most recent call last)"


async def measure(bench: Bench) -> Figure:
    wanted = list(fixed())
    listed = len(wanted)
    wanted += generated(100 if bench.quick else 1000)
    failures: list[str] = []
    room = asyncio.Semaphore(AT_ONCE)
    async with bench.service() as server:

        async def one(hostile: Hostile) -> None:
            async with room:
                failures.extend(f"{hostile.name}: {each}" for each in await _wrong(server.client, hostile))

        await asyncio.gather(*[one(hostile) for hostile in wanted if len(hostile.request) < LARGE])
        for hostile in wanted:
            if len(hostile.request) >= LARGE:
                await one(hostile)
        lives = (await server.client.get("/health")).status == 200
    traces = server.log.read_bytes().count(TRACE)
    failures += [] if lives else ["the service is gone"]
    failures += [f"{traces} tracebacks in the log"] if traces else []
    words = f"{len(wanted) - len(failures)} of {len(wanted)} hostile requests refused or served in order"
    words += f" ({listed} fixed), {traces} tracebacks"
    numbers = {"requests": len(wanted), "wrong": len(failures), "tracebacks": traces}
    target = f"no 5xx, none over {PATIENCE:g} s, no traceback, errors in OpenAI's shape"
    return Figure("R2", words, target, not failures, numbers, failures)


async def _wrong(client: Client, hostile: Hostile) -> list[str]:
    try:
        call = await client.send(hostile.request)
    except OSError as error:
        return [f"no connection: {error}"]
    return list(_problems(hostile, await call.rest(PATIENCE)))


def _problems(hostile: Hostile, answer: Answer) -> Iterator[str]:
    if not hostile.parsed:
        if answer.status >= 500 or TRACE in answer.body:
            yield f"status {answer.status}"
        return
    if answer.status == 0:
        yield f"no answer within {PATIENCE:g} s" if answer.seconds >= PATIENCE else "the connection is closed"
    elif answer.status >= 500:
        yield f"status {answer.status}: {answer.body[:120]!r}"
    elif answer.status >= 400 and not _in_shape(answer):
        yield f"status {answer.status} not in OpenAI's shape: {answer.body[:80]!r}"
    if TRACE in answer.body:
        yield "a traceback"


def _in_shape(answer: Answer) -> bool:
    """HEAD has no body."""
    found = answer.json()
    if not answer.body:
        return answer.headers.get("content-type") == "application/json"
    error = found.get("error") if isinstance(found, dict) else None
    return isinstance(error, dict) and {"message", "type", "param", "code"} <= error.keys()
