"""What a caller may use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bodies import ApiError
from key_forms import ApiKey
from messages import Event, Finish, ReasoningDelta, TextDelta, ToolCallDelta, Turn
from service.rates import Meter, Rates
from settings import Settings


@dataclass(frozen=True, slots=True)
class Grant:
    """`models` and `skills` are globs of names, None for all that are served. Without `meter` nothing is counted."""

    models: Sequence[str] | None = None
    skills: Sequence[str] | None = None
    meter: Meter | None = None

    def has_model(self, name: str) -> bool:
        return self.models is None or any(fnmatchcase(name, glob) for glob in self.models)

    def has_skill(self, name: str) -> bool:
        return self.skills is None or any(fnmatchcase(name, glob) for glob in self.skills)

    def charging(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """The events of a run, whose tokens are charged turn by turn."""
        return _charging(self.meter, events) if self.meter else events


EVERYTHING = Grant()


class Grants:
    """What each caller may use, as the settings have it."""

    def __init__(self, settings: Settings) -> None:
        self._keys = settings.api_keys
        self._rates = settings.rates
        # Where nobody has a rate, the library that counts is not imported.
        counting = settings.rates or any(key.rates for key in settings.api_keys)
        self._counted = Rates() if counting else None

    def of(self, who: str, key: ApiKey | None) -> Grant:
        """`who` is what is counted by: the caller, or the address of one who has no name."""
        own = key.rates if key else ()
        rates = [*own, *(rate for rate in self._rates if rate.of not in {each.of for each in own})]
        meter = Meter(who, rates, self._counted) if rates and self._counted else None
        return Grant(key.models, key.skills, meter) if key else Grant(meter=meter)

    def of_owner(self, owner: str) -> Grant:
        """Of the caller that something stored belongs to. Raises `ApiError` where it has no key any more."""
        kind, _, name = owner.partition(":")
        key = next((key for key in self._keys if key.name == name), None) if kind == "key" else None
        if kind == "key" and key is None:
            raise ApiError(401, "the key that asked for this is not accepted any more", "invalid_api_key")
        return self.of(owner, key) if owner else EVERYTHING


CHARACTERS = 4
"""Of a token, about."""


async def _charging(meter: Meter, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Of a turn that was broken off nobody tells the tokens: what it had written is estimated."""
    charged = written = 0
    try:
        async with aclosing(events):
            async for event in events:
                match event:
                    case TextDelta() | ReasoningDelta():
                        written += len(event.text)
                    case ToolCallDelta():
                        written += len(event.arguments)
                    case Turn() | Finish():
                        # The end tells all, also what subagents and repeated calls took.
                        used = event.usage.total - (charged if isinstance(event, Finish) else 0)
                        await meter.charge(used)
                        charged, written = charged + used, 0 if used else written
                yield event
    finally:
        await meter.charge(-(-written // CHARACTERS))
