"""What a caller may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bodies import ApiError
from key_forms import ApiKey
from messages import Usage
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

    @asynccontextmanager
    async def charging(self) -> AsyncIterator[Callable[[Usage], None]]:
        """What a run tells its tokens to; all are charged at the end."""
        if self.meter is None:
            yield lambda _: None
            return
        charges: list[asyncio.Task[None]] = []
        charge = self.meter.charge
        try:
            yield lambda usage: charges.append(asyncio.create_task(charge(usage.total)))
        finally:
            if charges:
                await asyncio.wait(charges)


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
