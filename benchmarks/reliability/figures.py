"""A figure: what was measured, in words and numbers, beside its target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """`of` is whose it is. `failures` name what missed, one a line. `met` is None where a figure has no target."""

    name: str
    words: str
    target: str
    met: bool | None
    numbers: Mapping[str, float] = field(default_factory=dict)
    failures: Sequence[str] = ()
    of: str = ""

    @property
    def verdict(self) -> str:
        return "" if self.met is None else "met" if self.met else "MISSED"

    def line(self) -> str:
        whose = f"{self.of}: " if self.of else ""
        return f"{self.name:<4} {whose}{self.words}   target: {self.target}   {self.verdict}".rstrip()

    def json(self) -> str:
        told = {"figure": self.name, "of": self.of or "skill-agent", "met": self.met, **self.numbers}
        return json.dumps({**told, "failures": len(self.failures)})


def quantile(values: Sequence[float], share: float) -> float:
    """Of the values themselves, none between two; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
