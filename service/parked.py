"""Runs that wait for their client: what the agent did beside the calls that the client answers.

A client's history holds its own calls only. When it comes back with their results, the message that it saw is put
back as it really was: with the agent's calls and results, reasoning and signatures.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from messages import Finish, Message

SECONDS = 3600.0
MOST = 2000
"""Runs."""


class Parked:
    """Kept in this process; where a run is gone, the conversation goes on without it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: OrderedDict[frozenset[str], tuple[float, tuple[Message, ...]]] = OrderedDict()

    def keep(self, finish: Finish) -> None:
        ids = frozenset(call.id for call in finish.calls)
        if not ids:
            return
        self._forget(self._clock() - SECONDS)
        self._runs[ids] = (self._clock(), finish.messages)

    def restore(self, messages: Sequence[Message]) -> list[Message]:
        """The history with each message that was cut down for its client whole again."""
        self._forget(self._clock() - SECONDS)
        return [whole for message in messages for whole in self._whole(message)]

    def _whole(self, message: Message) -> Sequence[Message]:
        ids = frozenset(call.id for call in message.calls)
        if message.role != "assistant" or ids not in self._runs:
            return (message,)
        return self._runs[ids][1]

    def _forget(self, before: float) -> None:
        while self._runs and (len(self._runs) > MOST or next(iter(self._runs.values()))[0] < before):
            self._runs.popitem(last=False)
