"""A call that is made again after a passing fault, as long as nothing of its answer has been given out."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import tenacity

from messages import Done, ProviderEvent, ToolCallDelta
from providers.base import BadResponse, ProviderDown, ProviderError
from providers.limits import MOST_CALLS, Timeouts

LONGEST_RETRY_AFTER = 30.0
"""Seconds; a provider that asks for more is not waited for."""
LONGEST_BACKOFF = 8.0
SPREAD = 0.1
"""The part of a told wait that is added at random, so that not all who were told it come back at once."""
SLOW_TRIES = 2
"""How often a call is made that is not answered in time: each time costs minutes."""

log = logging.getLogger("skill_agent.providers")


class RetryBudget:
    """A host's: repeats are a fifth of the calls of the last seconds, and a few where there are few calls.

    So that one that is down is not brought further down. Envoy's budget counts in the same way:
    https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto
    """

    def __init__(
        self, part: float = 0.2, least: int = 3, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._part = part
        self._least = least
        self._seconds = seconds
        self._clock = clock
        self._calls: deque[float] = deque()
        self._repeats: deque[float] = deque()

    def note_call(self) -> None:
        self._forget()
        self._calls.append(self._clock())

    def take(self) -> bool:
        """Whether one more repeat may be made; it counts as made."""
        self._forget()
        granted = len(self._repeats) < max(self._least, math.floor(self._part * len(self._calls)))
        if granted:
            self._repeats.append(self._clock())
        return granted

    def _forget(self) -> None:
        ended = self._clock() - self._seconds
        for times in (self._calls, self._repeats):
            while times and times[0] < ended:
                times.popleft()


@dataclass(slots=True)
class Try:
    """One attempt: how long it may take, and whether its answer has begun. `deadline` is on the loop's clock."""

    provider: str
    limits: Timeouts
    deadline: float
    begun: bool = False

    @property
    def patience(self) -> tuple[float, float]:
        """The loop's time until which the next byte is waited for, and the seconds of the limit that sets it."""
        seconds = self.limits.between_bytes if self.begun else self.limits.first_byte
        return min(asyncio.get_running_loop().time() + seconds, self.deadline), seconds


Attempt: TypeAlias = Callable[[Try], AsyncGenerator[ProviderEvent, None]]
Begun: TypeAlias = tuple[AsyncGenerator[ProviderEvent, None], ProviderEvent | None]
"""An attempt's stream, and its first event."""


class Retries:
    """How the calls of one host are repeated. `backoff` is the most seconds before the second attempt.
    `repeated` counts those made anew, by provider.
    """

    def __init__(self, backoff: float, repeated: Counter[str] | None = None) -> None:
        self.repeated = Counter[str]() if repeated is None else repeated
        self._budget = RetryBudget()
        self._backoff = tenacity.wait_random_exponential(multiplier=backoff, max=LONGEST_BACKOFF)

    async def stream(
        self, attempt: Attempt, provider: str, limits: Timeouts, until: float
    ) -> AsyncGenerator[ProviderEvent, None]:
        """The events of `attempt`. What comes after the first one is told as it is, faults too.

        `until`: a time on the loop's clock; no repeat is waited for beyond it.
        """
        self._budget.note_call()
        stream, first = await _Call(self, attempt, provider, limits, until).begun()
        try:
            async with aclosing(stream):
                if first is not None:
                    yield first
                async for event in stream:
                    _bound(event, provider)
                    yield event
        except ProviderError as error:
            error.begun = first is not None
            raise

    def wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ProviderError) and error.retry_after is not None:
            return error.retry_after * (1 + SPREAD * random.random())  # noqa: S311 - no secret
        return self._backoff(state)

    def may_repeat(self) -> bool:
        return self._budget.take()


class _Call:
    """One call with all its attempts."""

    def __init__(self, retries: Retries, attempt: Attempt, provider: str, limits: Timeouts, until: float) -> None:
        self._retries = retries
        self._attempt = attempt
        self._provider = provider
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + limits.whole
        self._until = min(self._deadline, until)

    async def begun(self) -> Begun:
        retrying = tenacity.AsyncRetrying(
            wait=self._retries.wait, stop=self._ends, retry=tenacity.retry_if_exception(_passing), reraise=True
        )
        try:
            begun: Begun = await retrying(self._begin)
            return begun
        finally:
            # tenacity's state refers to itself: with it all that was asked would wait to be found as garbage.
            retrying.iter_state.reset()

    async def _begin(self) -> Begun:
        this = Try(self._provider, self._limits, self._deadline)
        stream = self._attempt(this)
        try:
            async with _in_time(this):
                first = await anext(stream, None)
        except BaseException:
            await stream.aclose()
            raise
        this.begun = True
        return stream, first

    def _ends(self, state: tenacity.RetryCallState) -> bool:
        """Whether this failure is the last: by its kind, the time that is left, or the host's budget."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ProviderError):
            return True
        error.tried = state.attempt_number
        late = self._clock() + state.upcoming_sleep >= self._until
        if state.attempt_number >= error.tries or late or not self._retries.may_repeat():
            return True
        self._retries.repeated[self._provider] += 1
        log.debug("%s: %s, once more in %.1f s", self._provider, error.code, state.upcoming_sleep)
        return False


def _passing(error: BaseException) -> bool:
    if not (isinstance(error, ProviderError) and error.retryable):
        return False
    return error.retry_after is None or error.retry_after <= LONGEST_RETRY_AFTER


@asynccontextmanager
async def _in_time(this: Try) -> AsyncIterator[None]:
    until, _ = this.patience
    try:
        async with asyncio.timeout_at(until) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise late(this) from error


def late(this: Try) -> ProviderError:
    """That a try's next byte has not come in time, or its end."""
    if asyncio.get_running_loop().time() >= this.deadline:
        words = f"the answer takes longer than {this.limits.whole:g} s"
        return ProviderDown(words, provider=this.provider, code="deadline_exceeded", retryable=False)
    _, seconds = this.patience
    words = f"silence for {seconds:g} s" if this.begun else f"no answer within {seconds:g} s"
    return ProviderDown(words, provider=this.provider, code="upstream_timeout", tries=SLOW_TRIES)


def _bound(event: ProviderEvent, provider: str) -> None:
    calls = event.index + 1 if isinstance(event, ToolCallDelta) else 0
    if isinstance(event, Done):
        calls = len(event.message.calls)
    if calls > MOST_CALLS:
        words = f"an answer with more than {MOST_CALLS} calls"
        raise BadResponse(words, provider=provider, code="upstream_response_too_large", retryable=False)
