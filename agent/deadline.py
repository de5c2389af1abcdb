"""The end of a run's time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from messages import ProviderEvent


class OutOfTime(Exception):
    """The run's seconds are spent."""


async def in_time(events: AsyncGenerator[ProviderEvent, None], deadline: float) -> AsyncGenerator[ProviderEvent, None]:
    """`events`, until `deadline` on the loop's clock. Raises `OutOfTime`."""
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout_at(deadline) as limit:
                    event = await anext(events, None)
            except TimeoutError as error:
                if limit.expired():
                    raise OutOfTime from error
                raise
            if event is None:
                return
            yield event
