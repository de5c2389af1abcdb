"""What a caller may use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from fnmatch import fnmatchcase

from messages import Event, Finish, ReasoningDelta, TextDelta, ToolCallDelta, Turn
from service.rates import Meter


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
