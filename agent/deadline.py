"""The end of a run's time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from messages import ProviderEvent
from patience import Expired, Patience


class OutOfTime(Exception):
    """The run's seconds are spent."""


async def in_time(events: AsyncGenerator[ProviderEvent, None], deadline: float) -> AsyncGenerator[ProviderEvent, None]:
    """`events`, until `deadline` on the loop's clock. Raises `OutOfTime`."""
    patience = Patience(deadline)
    try:
        async with aclosing(events):
            while True:
                try:
                    with patience:
                        event = await anext(events, None)
                except Expired as error:
                    raise OutOfTime from error
                if event is None:
                    return
                yield event
    finally:
        patience.close()
