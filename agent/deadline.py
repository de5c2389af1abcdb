"""The end of a run's time."""

from __future__ import annotations


class OutOfTime(Exception):
    """The run's seconds are spent."""
