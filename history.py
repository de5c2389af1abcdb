"""Makes a conversation valid for any provider: deterministic, without a clock, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from messages import Message, Part, ProviderBlock, Reasoning, Text, ToolCall, ToolResult
from nesting import is_deeper

LOST = "No result was recorded for this call."


def repair(messages: Sequence[Message]) -> list[Message]:
    """Every call gets exactly one result, in the message behind it; results without a call are dropped."""
    repaired: list[Message] = []
    seen: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            continue
        if not message.calls:
            repaired.append(message)
            continue
        answers = _answers_behind(messages, index)
        message, results = _paired(message, answers, seen)
        repaired += [message, Message("tool", results)]
    return repaired


def _answers_behind(messages: Sequence[Message], index: int) -> list[ToolResult]:
    """The results up to the next assistant message: some clients put a user's word between."""
    answers: list[ToolResult] = []
    for message in messages[index + 1 :]:
        if message.role == "assistant":
            break
        answers += message.results
    return answers


def _paired(message: Message, answers: list[ToolResult], seen: set[str]) -> tuple[Message, tuple[ToolResult, ...]]:
    """The message with unique ids and arguments that parse, and a result for each of its calls."""
    parts: list[Part] = []
    results: list[ToolResult] = []
    for part in message.parts:
        if not isinstance(part, ToolCall):
            parts.append(part)
            continue
        call = replace(part, id=unique(part.id, seen), arguments=valid_json(part.arguments))
        answer = next((a for a in answers if a.call_id == part.id), None)
        if answer is None:
            answer = ToolResult(call.id, (Text(LOST),), is_error=True)
        else:
            answers.remove(answer)
        parts.append(call)
        results.append(replace(answer, call_id=call.id))
    return replace(message, parts=tuple(parts)), tuple(results)


def unique(id: str, seen: set[str]) -> str:
    """`id`, or where it is empty or taken one made from it; the choice is noted in `seen`."""
    base = id or "call"
    found, number = base, 1
    while found in seen or not found:
        number += 1
        found = f"{base}_{number}"
    seen.add(found)
    return found


def valid_json(arguments: str) -> str:
    """`arguments` if it is a JSON object, else one that holds the text: an invalid one is refused for ever."""
    try:
        found = json.loads(arguments or "{}")
        if isinstance(found, dict) and not is_deeper(found):
            return arguments or "{}"
    except (ValueError, RecursionError):
        pass
    return json.dumps({"INVALID_JSON": arguments})


def legal(name: str, limit: int = 64) -> str:
    """`name` in the letters and length that every provider takes; a changed one ends in a digest of the old."""
    if re.fullmatch(rf"[A-Za-z0-9_-]{{1,{limit}}}", name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[: limit - 9]}_{digest}"


def own(message: Message, origin: str) -> Message:
    """The message as `origin` may see it: another model's reasoning, blocks and echo fields are left out."""
    if not message.origin or message.origin == origin:
        return message
    kept = (part for part in message.parts if not isinstance(part, Reasoning | ProviderBlock))
    return replace(message, parts=tuple(_plain(part) for part in kept))


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """The conversation for a model that knows no tools: calls are left out, and their results are the user's words."""
    told: list[Message] = []
    for message in repair(messages):
        if message.role == "tool":
            told.append(Message("user", tuple(Text(f"(found by a tool)\n{result.text}") for result in message.results)))
        elif parts := tuple(part for part in message.parts if not isinstance(part, ToolCall)):
            told.append(replace(message, parts=parts))
    return merged(told)


def _plain(part: Part) -> Part:
    return replace(part, opaque=None) if isinstance(part, Text | ToolCall) else part


def merged(messages: Iterable[Message]) -> list[Message]:
    """Neighbours of the same role as one message."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role:
            joined[-1] = replace(joined[-1], parts=joined[-1].parts + message.parts)
        else:
            joined.append(message)
    return joined
