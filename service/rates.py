"""Rates: how many requests, and tokens, a caller may have models work on in a window of time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bodies import ApiError
from key_forms import Rate

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import FixedWindowRateLimiter

HEADERS = [f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")]


@dataclass(frozen=True, slots=True)
class _Standing:
    """Of one caller in one rate; `reset` is in seconds from now."""

    rate: Rate
    remaining: int
    reset: float


class Rates:
    """Counted in this process, by the library `limits`. A window begins with its first request."""

    def __init__(self) -> None:
        from limits.aio.storage import MemoryStorage
        from limits.aio.strategies import FixedWindowRateLimiter

        self._limiter: FixedWindowRateLimiter = FixedWindowRateLimiter(MemoryStorage())

    async def count(self, who: str, rate: Rate, amount: int) -> None:
        """Also beyond the rate: what has been spent has been spent."""
        await self._limiter.hit(_item(rate), who, cost=amount)

    async def standing(self, who: str, rate: Rate) -> _Standing:
        stats = await self._limiter.get_window_stats(_item(rate), who)
        return _Standing(rate, max(stats.remaining, 0), max(stats.reset_time - time.time(), 0.0))


def _item(rate: Rate) -> RateLimitItem:
    from limits import RateLimitItemPerSecond

    return RateLimitItemPerSecond(rate.amount, rate.seconds, namespace=rate.of)


@dataclass(frozen=True, slots=True)
class Meter:
    """The rates of one caller."""

    who: str
    of: Sequence[Rate]
    counted: Rates

    async def check(self) -> None:
        """Raises `ApiError` 429 where there are no more requests, or where the tokens are spent."""
        for standing in await self._standings():
            if not standing.remaining:
                raise _refusal(standing, await self.headers())

    async def begin(self) -> None:
        """Counts a request. Raises as `check` does."""
        await self.check()
        for rate in self.of:
            if rate.of == "requests":
                await self.counted.count(self.who, rate, 1)

    async def charge(self, tokens: int) -> None:
        """After they were used: the next request is refused where that was more than there were."""
        for rate in self.of:
            if rate.of == "tokens" and tokens > 0:
                await self.counted.count(self.who, rate, tokens)

    async def headers(self) -> dict[str, str]:
        """As OpenAI tells them; of several rates the one that is nearest to its end."""
        told: dict[str, str] = {}
        for standing in sorted(await self._standings(), key=lambda each: -each.remaining):
            of = standing.rate.of
            told[f"x-ratelimit-limit-{of}"] = str(standing.rate.amount)
            told[f"x-ratelimit-remaining-{of}"] = str(standing.remaining)
            told[f"x-ratelimit-reset-{of}"] = _duration(standing.reset)
        return told

    async def _standings(self) -> list[_Standing]:
        return [await self.counted.standing(self.who, rate) for rate in self.of]


def _refusal(standing: _Standing, headers: dict[str, str]) -> ApiError:
    rate = standing.rate
    words = f"Rate limit reached: {rate.amount} {rate.of} in {_duration(rate.seconds)}."
    wait = max(math.ceil(standing.reset), 1)
    told = {**headers, "retry-after": str(wait)}
    return ApiError(429, f"{words} Try again in {wait} s.", "rate_limit_exceeded", type=rate.of, headers=told)


def _duration(seconds: float) -> str:
    """As Go writes them, and OpenAI with it: 6m0s, 1.5s."""
    minutes, rest = divmod(math.ceil(seconds * 1000) / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{round(rest, 3):g}s"
