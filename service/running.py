"""A run in the background while this process works on it: what is to be written of it, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import orjson

from bodies import ApiError
from messages import Event, Finish, Message, ToolEnd, ToolResult, Turn, Usage
from service.packing import pack, unpack
from service.record import Checkpoint, Record
from service.response_answer import ResponseAnswer

News: TypeAlias = tuple[Record, list[tuple[int, bytes]], Checkpoint, bool]


class Run:
    """`first` are events to begin with. `more` tells the writer that something waits, `changed` tells followers that
    events are stored. `left`: another process is to go on.
    """

    def __init__(
        self, record: Record, checkpoint: Checkpoint, answer: ResponseAnswer, first: Iterable[dict[str, Any]]
    ) -> None:
        self.checkpoint = checkpoint
        self.task: asyncio.Task[None] | None = None
        self.over = self.left = False
        self.more = asyncio.Event()
        self.changed = asyncio.Event()
        self.writing = asyncio.Lock()
        self._waiting: list[tuple[int, bytes]] = []
        self._answer = answer
        self._said: Sequence[Message] = unpack(checkpoint.said)
        self._stop = checkpoint.stop
        self._results: list[ToolResult] = []
        self._usage = Usage(**orjson.loads(checkpoint.usage))
        self._add(first)
        self.record = replace(record, status="in_progress")
        self._reach()

    def stop(self) -> None:
        """Nobody wants it any more, or it cannot be written: it would work for nothing."""
        if not self.over and self.task:
            self.task.cancel()

    def take(self, event: Event) -> bool:
        """Whether the event has to be in the store before the run goes on."""
        self._add(self._answer.feed(event))
        match event:
            case Turn(messages=said) if said:
                self._said, self._stop, self._results = said, event.stop, []
                self._usage += event.usage
                self._reach()
                return True
            case ToolEnd() if event.result.call_id in {call.id for message in self._said for call in message.calls}:
                self._results.append(event.result)
                self._whole = True
            case Finish():
                self._settle(pack(event.messages))
        return False

    def fail(self, error: ApiError) -> None:
        self._add(self._answer.fail(error))
        self._settle(b"[]")

    def news(self, now: float) -> News:
        """What there is to be written, which is then taken for written."""
        self.more.clear()
        waiting, self._waiting = self._waiting, []
        whole, self._whole = self._whole, False
        return replace(self.record, beat=now), waiting, self._reached() if whole else self.checkpoint, whole

    def keep(self, _: Record, waiting: list[tuple[int, bytes]], __: Checkpoint, whole: bool) -> None:
        """Takes back what could not be written."""
        self._waiting = [*waiting, *self._waiting]
        self._whole = self._whole or whole

    def _reach(self) -> None:
        """A place from which another process could go on."""
        self._number = self._answer.last_number
        self._whole = True
        self.record = replace(self.record, body=orjson.dumps(self._answer.resource))

    def _reached(self) -> Checkpoint:
        results = [Message("tool", tuple(self._results))] if self._results else []
        said, usage = pack([*self._said, *results]), orjson.dumps(asdict(self._usage))
        return replace(self.checkpoint, said=said, stop=self._stop, usage=usage, number=self._number)

    def _settle(self, said: bytes) -> None:
        resource = self._answer.resource
        self.record = replace(self.record, status=resource["status"], body=orjson.dumps(resource), said=said)

    def _add(self, events: Iterable[dict[str, Any]]) -> None:
        self._waiting += [(event["sequence_number"], orjson.dumps(event)) for event in events]
        self.more.set()
