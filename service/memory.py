"""The memory of a process that is the service's alone: garbage is looked for seldom, and what is free is given back."""

from __future__ import annotations

import asyncio
import ctypes
import gc

COLLECTIONS = (20_000, 10, 10)
"""Thresholds of the garbage collector: new objects, and how often each generation before the next. A thousand streams
are half a million objects, none of them garbage; an answer leaves some twenty that are, those of its connection.
"""
TRIM_SECONDS = 10.0


def spare_collections() -> None:
    """What has been made by now stays: it need not be looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


async def give_back() -> None:
    """Without end, what is free goes back to the system, where the C library can: glibc keeps what lies between pieces
    that are in use (malloc_trim(3)). It takes less than a millisecond.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(trim, 0)
