"""Keeps calls away from a model that fails, until it is likely to answer again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

FEWEST = 5
"""Calls without which nothing is said of a model."""
FAILED_PART = 0.5
WINDOW = 60.0
"""Seconds of calls that are looked at."""
SHORTEST, LONGEST = 5.0, 60.0
"""Seconds that calls are kept away: the first time, doubled with each failed probe, and at most."""


class Breaker:
    """One model's: closed while it answers, open when half of its last calls have failed, then half open: a single
    call, the probe, tells whether it answers again.

    https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[tuple[float, bool]] = deque()
        self._until: float | None = None
        self._seconds = SHORTEST
        self._probing = False

    @property
    def is_closed(self) -> bool:
        return self._until is None

    def is_due(self) -> bool:
        """Whether it is time for a probe."""
        return self._until is not None and not self._probing and self._clock() >= self._until

    def probe(self) -> None:
        """One begins; `succeeded`, `failed` or `ended` is its end."""
        self._probing = True

    def succeeded(self, probe: bool = False) -> None:
        """Also a call that was made though the breaker was open."""
        if self._until is not None:
            self._calls.clear()
            self._until, self._seconds = None, SHORTEST
        self.ended(probe)
        self._note(True)

    def failed(self, probe: bool = False) -> None:
        if probe:
            self._seconds = min(self._seconds * 2, LONGEST)
            self._until = self._clock() + self._seconds
        elif self._until is None:
            self._note(False)
            failures = sum(not good for _, good in self._calls)
            if len(self._calls) >= FEWEST and failures >= FAILED_PART * len(self._calls):
                self._until = self._clock() + self._seconds
        self.ended(probe)

    def ended(self, probe: bool = False) -> None:
        """A call that says nothing of the model: it was cancelled, or the request was at fault."""
        if probe:
            self._probing = False

    def _note(self, good: bool) -> None:
        now = self._clock()
        self._calls.append((now, good))
        while self._calls[0][0] < now - WINDOW:
            self._calls.popleft()
