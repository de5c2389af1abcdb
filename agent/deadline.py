"""The end of a run's time."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from messages import ProviderEvent
from patience import Patience, bounded


class OutOfTime(Exception):
    """The run's seconds are spent."""


def in_time(events: AsyncGenerator[ProviderEvent, None], deadline: float) -> AsyncGenerator[ProviderEvent, None]:
    """`events`, until `deadline` on the loop's clock. Raises `OutOfTime`."""
    return bounded(events, Patience(deadline), OutOfTime)
