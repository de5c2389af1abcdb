"""A limit of time around many waits."""

from __future__ import annotations

import asyncio
import math

import pytest

from patience import Expired, Patience


async def waits(patience: Patience, seconds: float = 60.0) -> str:
    try:
        with patience:
            await asyncio.sleep(seconds)
    except Expired:
        return "expired"
    return "done"


async def test_a_wait_ends_when_the_time_is_over_and_no_other_begins() -> None:
    patience = Patience(asyncio.get_running_loop().time() + 0.05)
    assert await waits(patience, 0) == "done"
    assert await waits(patience) == "expired"
    assert await waits(patience, 0) == "expired"


async def test_any_task_may_wait_and_the_one_that_does_is_told() -> None:
    patience = Patience()
    assert await asyncio.create_task(waits(patience, 0)) == "done"
    waiting = asyncio.create_task(waits(patience))
    await asyncio.sleep(0)
    patience.until = 0.0
    assert await waiting == "expired"
    assert not waiting.cancelling()


async def test_later_is_longer() -> None:
    clock = asyncio.get_running_loop().time
    patience = Patience(clock() + 0.02)
    waiting = asyncio.create_task(waits(patience, 0.2))
    await asyncio.sleep(0)
    patience.until = clock() + 60
    assert await waiting == "done"
    patience.close()


async def test_who_is_cancelled_by_others_stays_so() -> None:
    patience = Patience(math.inf)
    waiting = asyncio.create_task(waits(patience))
    await asyncio.sleep(0)
    waiting.cancel()
    patience.until = 0.0
    await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_of_two_around_one_wait_the_one_that_ends_is_told() -> None:
    outer, inner = Patience(asyncio.get_running_loop().time() + 0.02), Patience()
    told = ""
    try:
        with outer:
            told = await waits(inner)
    except Expired:
        told = "outer"
    assert told == "outer"


async def test_nothing_is_left_behind() -> None:
    patience = Patience(asyncio.get_running_loop().time() + 60)
    assert await waits(patience, 0) == "done"
    patience.close()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()
