"""Puts tool calls together from the deltas of Chat Completions, which few servers send as the format says.

Seen in real streams: ids missing, empty, late, repeated on each delta or reused for the next call; indexes
missing or always 0; names repeated; whole calls in one chunk; arguments as an object; `{}` before the real ones.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from messages import ToolCall, ToolCallDelta
from providers.errors import string

EXTRA = "extra_content"
"""Where Gemini has the signature of its thoughts, which has to come back with the call:
https://ai.google.dev/gemini-api/docs/openai"""


@dataclass(slots=True)
class _Call:
    """A call on its way. `sent` counts the characters of `arguments` that have gone out as deltas.

    `index` and `id` are the server's; `position` and `key` are ours, set when the call first goes out.
    """

    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""
    position: int = -1
    key: str = ""
    sent: int = 0
    extra: Any = None


class CallAssembler:
    """Feed it deltas, send on what it yields, and take `calls()` at the end.

    `taken` are ids of the conversation so far: some models begin to count anew in each message.
    """

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._calls: list[_Call] = []

    def feed(self, delta: Mapping[str, Any]) -> Iterator[ToolCallDelta]:
        function = delta.get("function") or {}
        id, name = string(delta.get("id")), string(function.get("name"))
        arguments = _as_text(function.get("arguments"))
        call = self._find(delta.get("index"), id, name, arguments)
        if id and call.id == id and call.arguments == arguments and _whole(arguments):
            return  # told twice
        call.extra = delta.get(EXTRA) or call.extra
        call.id = call.id or id
        call.name = call.name or name
        if call.arguments == "{}" and arguments.lstrip().startswith("{"):
            call.arguments = ""
        call.arguments += arguments
        yield from self._news(call)

    def finish(self) -> Iterator[ToolCallDelta]:
        """What was held back; a call without arguments has an empty object of them."""
        for call in self._calls:
            call.arguments = call.arguments or "{}"
            yield from self._news(call, last=True)

    def calls(self) -> tuple[ToolCall, ...]:
        out = sorted((c for c in self._calls if c.position >= 0), key=lambda c: c.position)
        return tuple(ToolCall(c.key, c.name, c.arguments or "{}", {EXTRA: c.extra} if c.extra else None) for c in out)

    def _find(self, index: int | None, id: str, name: str, arguments: str) -> _Call:
        """The call that a delta goes on with, or a new one."""
        known = next((c for c in reversed(self._calls) if id and c.id == id and _same(c, index)), None)
        if known is not None and not _begins_another(known, id, name, arguments):
            return known
        alike = (c for c in reversed(self._calls) if index is None or c.index == index)
        open_call = next(alike, None)
        if open_call is not None and not _begins_another(open_call, id, name, arguments):
            return open_call
        call = _Call(index)
        self._calls.append(call)
        return call

    def _news(self, call: _Call, last: bool = False) -> Iterator[ToolCallDelta]:
        """A call goes out with its name, so that calls keep their order; `{}` waits, as it may not be meant."""
        if not call.name:
            return
        head: dict[str, str] = {}
        if call.position < 0:
            call.position = sum(c.position >= 0 for c in self._calls)
            call.key = self._unique(call.id)
            head = {"id": call.key, "name": call.name}
        fresh = call.arguments[call.sent :] if last or call.arguments != "{}" else ""
        call.sent += len(fresh)
        if head or fresh:
            yield ToolCallDelta(call.position, arguments=fresh, **head)

    def _unique(self, id: str) -> str:
        if not id or id in self._taken:
            id = f"call_{uuid.uuid4().hex[:24]}"
        self._taken.add(id)
        return id


def _same(call: _Call, index: int | None) -> bool:
    return index is None or call.index is None or call.index == index


def _begins_another(call: _Call, id: str, name: str, arguments: str) -> bool:
    """Whether a delta at this call's index is the next call's: another name or id, or a second whole object."""
    if not name:
        return False
    if call.name and name != call.name:
        return True
    if id and call.id and id != call.id:
        return True
    repeated = bool(id) and arguments == call.arguments
    behind_whole = arguments.lstrip().startswith("{") and call.arguments != "{}" and _whole(call.arguments)
    return behind_whole and not repeated


def _whole(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _as_text(arguments: object) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
