"""What a run may cost, one budget for it and for everything that it delegates; and calls that lead nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

from messages import Text, ToolCall, ToolResult, Usage
from settings import Limits

WINDOW = 20
"""Calls among which a repeated one is looked for: a long task may list its files now and then."""
WARNED, STOPPED = 3, 5
"""The how manieth same call is answered with a warning, and is not run any more."""
MALFORMED = 3
"""Turns in a row whose calls cannot be read, after which the model is asked for its answer."""


class OutOfTime(Exception):
    """The run's seconds are spent."""


class Budget:
    """Begins with the run: its seconds are counted on the running loop's clock. `price` gives US dollars. `spend` is
    told the tokens of each turn, and its model, when they are used.
    """

    def __init__(
        self,
        limits: Limits,
        price: Callable[[Usage, str], float | None] = lambda _, __: None,
        spend: Callable[[Usage, str], None] = lambda _, __: None,
    ) -> None:
        self.limits = limits
        self.usage = Usage()
        self.cost = 0.0
        self._price = price
        self._spend = spend
        self._clock = asyncio.get_running_loop().time
        self.deadline = self._clock() + limits.seconds
        self._turns = self._calls = 0

    def take_turn(self, usage: Usage, model: str) -> None:
        """`model` is the `provider/model` that was asked."""
        self._turns += 1
        self.usage += usage
        self.cost += self._price(usage, model) or 0.0
        if usage.total:
            self._spend(usage, model)

    def guess(self, usage: Usage, model: str) -> None:
        """An estimate of what a turn took that nobody counted; the limits are of what is known."""
        self._spend(usage, model)

    def take_call(self) -> bool:
        """Whether one more tool may be run."""
        self._calls += 1
        return self.limits.calls is None or self._calls <= self.limits.calls

    @property
    def seconds_left(self) -> float:
        return max(self.deadline - self._clock(), 0.0)

    @property
    def reached(self) -> str:
        """The limit that ends the run now, "" for none."""
        limits = self.limits
        if self._turns >= limits.turns:
            return "max_turns"
        if limits.tokens is not None and self.usage.total >= limits.tokens:
            return "max_tokens"
        return "max_cost" if limits.cost is not None and self.cost >= limits.cost else ""


class Repeats:
    """Counts calls that are the same, arguments compared as JSON."""

    def __init__(self) -> None:
        self._last: list[str] = []

    def count(self, call: ToolCall) -> int:
        """How often this call has been made of late, this time included."""
        key = _canonical(call)
        self._last = [*self._last, key][-WINDOW:]
        return self._last.count(key)


def warned(result: ToolResult, times: int) -> ToolResult:
    """The result of a call that has been made so often."""
    if times < WARNED:
        return result
    words = f"(This same call has now been made {times} times. Do something else, or answer.)"
    return replace(result, parts=(*result.parts, Text(words)))


def _canonical(call: ToolCall) -> str:
    try:
        return f"{call.name} {json.dumps(json.loads(call.arguments or '{}'), sort_keys=True)}"
    except (ValueError, RecursionError):
        return f"{call.name} {call.arguments}"
