"""Messages as bytes and back, whole: with opaque fields and origins, for the store and for sealed items.

A value is an object with its type's name under `is`; fields that have their default are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, TypeAlias

import orjson

from messages import Audio, File, Image, Message, ProviderBlock, Reasoning, Refusal, Text, ToolCall, ToolResult

Value: TypeAlias = Message | Text | Refusal | Image | File | Audio | Reasoning | ProviderBlock | ToolCall | ToolResult
KINDS: dict[str, type[Value]] = {
    kind.__name__: kind
    for kind in (Message, Text, Refusal, Image, File, Audio, Reasoning, ProviderBlock, ToolCall, ToolResult)
}


def pack(messages: Sequence[Message]) -> bytes:
    return orjson.dumps([_packed(message) for message in messages])


def unpack(data: bytes) -> list[Message]:
    """Raises `ValueError` where the bytes are not from `pack`."""
    try:
        return [_unpacked(value) for value in orjson.loads(data)]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not packed messages: {error!r}") from error


def _packed(value: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"is": type(value).__name__}
    for field in fields(value):
        found = getattr(value, field.name)
        if found != _default(field):
            told[field.name] = [_packed(part) for part in found] if field.name == "parts" else found
    return told


def _unpacked(told: dict[str, Any]) -> Any:
    given = {name: value for name, value in told.items() if name != "is"}
    if "parts" in given:
        given["parts"] = tuple(_unpacked(part) for part in given["parts"])
    return KINDS[told["is"]](**given)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default is not MISSING else MISSING
