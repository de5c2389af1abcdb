"""A stored response."""

from __future__ import annotations

from dataclasses import dataclass

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
