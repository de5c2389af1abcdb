"""A stored response, and what a run in the background is gone on from."""

from __future__ import annotations

from dataclasses import dataclass

from messages import Stop

LIVE = ("queued", "in_progress")


@dataclass(frozen=True, slots=True)
class Record:
    """Times are seconds since the epoch.

    `previous` is the response that it goes on from. `body` is the resource as JSON, `items` the input as JSON,
    `heard` and `said` are packed messages: what came in, and what the run added. `beat` is when a run in the
    background last gave a sign. `workspace` names where its files are.
    """

    id: str
    owner: str
    created: float
    status: str
    body: bytes
    items: bytes = b"[]"
    heard: bytes = b"[]"
    said: bytes = b"[]"
    previous: str = ""
    conversation: str = ""
    background: bool = False
    beat: float = 0.0
    workspace: str = ""

    @property
    def live(self) -> bool:
        return self.status in LIVE


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a run in the background is, and what a process needs that goes on with it.

    `request` is what was asked as JSON, without its input, of the `model` of that name. `said` are packed messages:
    whole turns, and the results of tools as they come; `stop` is why the last turn ended. `usage` is JSON, of the model
    calls so far. The response's `body` is as it was at the event of this `number`. `worker` works on it, "" for nobody,
    and gave its last sign at `beat`. `taken` counts the processes that took it up.
    """

    id: str
    owner: str
    created: float
    model: str
    request: bytes
    said: bytes = b"[]"
    stop: Stop = "stop"
    usage: bytes = b"{}"
    number: int = -1
    worker: str = ""
    beat: float = 0.0
    taken: int = 0
