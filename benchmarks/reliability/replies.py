"""What the upstream can answer: bytes and pauses, in the dialect of the request."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from benchmarks.reliability.dialects import ChatStream, ChatWhole, ClaudeStream, ClaudeWhole, Dialect

Step: TypeAlias = bytes | float
"""A write, or a pause in seconds."""
FOREVER = math.inf
TEXT = "All is well."


@dataclass(frozen=True, slots=True)
class Reply:
    """Without a `status` the steps are the bare wire. An end other than "whole" leaves the framing unfinished."""

    status: int
    steps: Iterable[Step] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    end: Literal["whole", "fin", "rst"] = "whole"
    framing: Literal["chunked", "close"] = "chunked"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `attempt` counts those of its key from 1; `reused`: its connection has carried one before."""

    provider: str
    stream: bool
    attempt: int
    reused: bool
    results: int
    """Tool results in it."""
    outage: bool = False

    @property
    def dialect(self) -> Dialect:
        if self.provider == "anthropic":
            return ClaudeStream() if self.stream else ClaudeWhole()
        return ChatStream() if self.stream else ChatWhole()


def answer(asked: Asked, *steps: Step, end: Literal["whole", "fin", "rst"] = "whole") -> Reply:
    return Reply(200, steps, {"content-type": asked.dialect.kind}, end)


def good(asked: Asked, text: str = TEXT, reason: str = "stop") -> Reply:
    d = asked.dialect
    return answer(asked, d.begun(), d.words(text), d.end(reason))


def calling(asked: Asked, *calls: tuple[str, str, Any]) -> Reply:
    d = asked.dialect
    told = [(id, name, given if isinstance(given, str) else json.dumps(given)) for id, name, given in calls]
    return answer(asked, d.begun(), d.calls(told), d.end("tool_calls"))


def refused(asked: Asked, status: int, kind: str, code: str = "", words: str = "No.", **headers: str) -> Reply:
    """An error in the provider's shape."""
    shapes: dict[str, Any] = {
        "anthropic": {"type": "error", "error": {"type": kind, "message": words}},
        "databricks": {"error_code": (code or kind).upper(), "message": words},
    }
    body = shapes.get(asked.provider) or {
        "error": {"message": words, "type": kind, "param": None, "code": code or None}
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, [json.dumps(body).encode()], {"content-type": "application/json", **named})
