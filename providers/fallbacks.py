"""Several models as one: where the first cannot answer the next one does."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

from history import without_tools
from messages import FellBack, ProviderEvent, Request, ToolChoice
from providers.base import AuthError, BadRequest, ContextOverflow, ModelInfo, NotFound, Provider, ProviderError
from providers.breaker import Breaker

WAYS: Sequence[Literal["tool", "asked", "native"]] = ("tool", "asked", "native")
"""How JSON is had, from what every model with tools can do to what few can."""

log = logging.getLogger("skill_agent.providers")


@dataclass(frozen=True, slots=True)
class _Member:
    provider: Provider
    breaker: Breaker

    @property
    def info(self) -> ModelInfo:
        return self.provider.info

    @property
    def is_willing(self) -> bool:
        return self.breaker.is_closed or self.breaker.is_due()


class Fallbacks:
    """The first of `providers`, and behind it the others in order. Each call goes through them on its own: to the
    next where one fails before anything of its answer is there, for a reason that is not in the request.

    A model that keeps failing stands behind the others for a while. A run stays with the model that it has come to,
    as that one's thoughts are of use to nobody else. `FellBack` stands before what is not the first model's.
    """

    def __init__(self, providers: Sequence[Provider], clock: Callable[[], float] = time.monotonic) -> None:
        self._take([_Member(provider, Breaker(clock)) for provider in providers])

    def _take(self, members: Sequence[_Member]) -> None:
        self._members = members
        self.info = _shared([member.info for member in members])

    def among(self, has: Callable[[str], bool]) -> Fallbacks:
        """The first and, of those behind it, the ones that `has`: what is known of how they fare is shared."""
        found = Fallbacks.__new__(Fallbacks)
        found._take([each for each in self._members if each is self._members[0] or has(each.info.id)])
        return found

    async def aclose(self) -> None:
        for member in self._members:
            await member.provider.aclose()

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        waiting = self._line(request)
        failed: list[tuple[_Member, ProviderError]] = []
        while True:
            # One that keeps failing is still better than nobody.
            member = next((each for each in waiting if each.is_willing), waiting[0])
            waiting.remove(member)
            notice = self._notice(member, failed)
            try:
                async with aclosing(self._asked(member, request)) as events:
                    async for event in events:
                        if notice is not None:
                            yield notice
                            notice = None
                        yield event
                return
            except ProviderError as error:
                failed.append((member, error))
                if error.begun or not (waiting and _is_replaceable(error)):
                    self._give_up(error, failed)
                log.warning("%s does not answer (%s): the next model is asked", member.info.id, error.code)

    def _line(self, request: Request) -> list[_Member]:
        begun = _begun_by(request)
        return sorted(self._members, key=lambda member: member.info.id != begun)

    def _notice(self, member: _Member, failed: Sequence[tuple[_Member, ProviderError]]) -> FellBack | None:
        if failed:
            return FellBack(member.info.id, failed[0][0].info.id, failed[0][1].code)
        first = self._members[0]
        return None if member is first else FellBack(member.info.id, first.info.id)

    def _give_up(self, error: ProviderError, failed: Sequence[tuple[_Member, ProviderError]]) -> None:
        """The first model's error is the one to mend, unless another model's answer broke off, or would be there if
        the conversation were shorter: the first one's is then its cause.
        """
        told = next((each for member, each in failed if member is self._members[0]), error)
        if error.begun or told is error:
            raise error
        if isinstance(error, ContextOverflow):
            raise error from told
        raise told from error

    async def _asked(self, member: _Member, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        """A member's answer, and what it says of the member."""
        breaker, probe = member.breaker, member.breaker.is_due()
        if probe:
            breaker.probe()
        try:
            async with aclosing(member.provider.stream(_fit(request, member.info))) as events:
                async for event in events:
                    yield event
            breaker.succeeded(probe)
        except ProviderError as error:
            if _counts(error):
                breaker.failed(probe)
            raise
        finally:
            breaker.ended(probe)


def _begun_by(request: Request) -> str:
    """The model that has written last since the user spoke, "" for none."""
    since = takewhile(lambda message: message.role != "user", reversed(request.messages))
    return next((message.origin for message in since if message.role == "assistant"), "")


def _is_replaceable(error: ProviderError) -> bool:
    """Whether another model may succeed: not where the request is at fault, nor who makes it."""
    return not (isinstance(error, BadRequest) or error.callers)


def _counts(error: ProviderError) -> bool:
    """Whether the model is at fault, and not a key, a name or a request."""
    return not isinstance(error, BadRequest | AuthError | NotFound)


def _fit(request: Request, info: ModelInfo) -> Request:
    """The request as this model can take it. The loop has it made for the first one, see `_shared`."""
    options = request.options
    if info.json == "tool" and options.response_format is not None:
        options = replace(options, response_format=None)
    if info.tools:
        return replace(request, options=options)
    options = replace(options, tool_choice=ToolChoice())
    return replace(request, messages=without_tools(request.messages), tools=(), options=options)


def _shared(infos: Sequence[ModelInfo]) -> ModelInfo:
    """The first one's, but for JSON, which is had in the way that all of them know."""
    ways = {info.json for info in infos}
    way = next(way for way in WAYS if way in ways)
    return replace(infos[0], json=way)
