"""Names of a client's tools: as it gave them, and as the provider is told them, legal and unlike the agent's own."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace

from history import legal
from messages import Message, ToolCall, ToolSpec


class Names:
    def __init__(self, tools: Sequence[ToolSpec] = (), taken: Container[str] = ()) -> None:
        self._wire: dict[str, str] = {}
        self._theirs: dict[str, str] = {}
        for tool in tools:
            wire = legal(tool.name)
            while wire in taken or wire in self._theirs:
                wire = legal(f"client_{wire}")
            self._wire[tool.name], self._theirs[wire] = wire, tool.name

    def __contains__(self, wire: object) -> bool:
        return wire in self._theirs

    def wire(self, name: str) -> str:
        return self._wire.get(name, name)

    def given(self, wire: str) -> str:
        return self._theirs.get(wire, wire)

    def told(self, message: Message) -> Message:
        """A message as the provider is told it; the agent's own calls may have a client's names."""
        return with_calls(message, lambda call: call if call.own else _named(call, self._wire))

    def returned(self, call: ToolCall) -> ToolCall:
        """A client's call as the client knows it."""
        return _named(call, self._theirs)


def with_calls(message: Message, change: Callable[[ToolCall], ToolCall]) -> Message:
    if not message.calls:
        return message
    parts = tuple(change(part) if isinstance(part, ToolCall) else part for part in message.parts)
    return replace(message, parts=parts)


def _named(call: ToolCall, names: Mapping[str, str]) -> ToolCall:
    return replace(call, name=names.get(call.name, call.name))
