"""What fits into a model's window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from messages import Audio, File, Image, Message, Part, ProviderBlock, Reasoning, Text, ToolCall, ToolResult

CHARACTERS = 3.5
"""Of a token, on the low side for English prose, so that the estimate is on the high side."""
PICTURE = 1600
"""Tokens of a large picture: https://docs.anthropic.com/en/docs/build-with-claude/vision"""
MESSAGE = 8
"""Tokens around each message and each call."""


def tokens(text: str) -> int:
    """An estimate."""
    return int(len(text) / CHARACTERS) + 1


def size(messages: Iterable[Message]) -> int:
    """An estimate of their tokens."""
    return sum(MESSAGE + sum(map(_part_size, message.parts)) for message in messages)


def _part_size(part: Part) -> int:
    match part:
        case ToolCall(_, name, arguments):
            return MESSAGE + tokens(name) + tokens(arguments)
        case ToolResult():
            return MESSAGE + sum(map(_part_size, part.parts))
        case Image() | Audio():
            return PICTURE
        case File(_, data):
            return max(PICTURE, len(data) // 4)
        case Reasoning(text, opaque):
            return max(tokens(text), tokens(str(opaque or "")))
        case ProviderBlock(opaque):
            return tokens(str(opaque))
        case _:
            return tokens(part.text)


def cut(text: str, limit: int) -> str:
    """The head of `text` that fits into `limit` tokens, ending with a line where that costs less than half of it."""
    if tokens(text) <= limit:
        return text
    head = text[: max(int((limit - 1) * CHARACTERS), 0)]
    line = head.rfind("\n")
    return head[:line] if line > len(head) // 2 else head


def ends(text: str, limit: int, between: str) -> str:
    """The head and the tail of `text` that fit into `limit` tokens, three quarters and one, with a line between."""
    head = cut(text, limit * 3 // 4)
    tail = text[-int(limit // 4 * CHARACTERS) :]
    line = tail.find("\n")
    return f"{head}\n{between}\n{tail[line + 1 :] if 0 <= line < len(tail) // 2 else tail}"


def recent(messages: Sequence[Message], limit: int) -> list[Message]:
    """The newest messages that fit into `limit` tokens, the last one in any case (its head, if need be)."""
    kept: list[Message] = []
    for message in reversed(messages):
        needed = tokens(message.text)
        if needed > limit and not kept:
            return [Message(message.role, (Text(cut(message.text, limit)),), message.origin)]
        if needed > limit:
            break
        limit -= needed
        kept.insert(0, message)
    return kept


def as_text(messages: Iterable[Message]) -> str:
    """A conversation to be read, not gone on with: any model takes it, whoever's calls and signatures were in it."""
    return "\n\n".join(line for message in messages for line in _lines(message))


def _lines(message: Message) -> Iterator[str]:
    if message.text.strip():
        yield f"{message.role}: {message.text}"
    for call in message.calls:
        yield f"call {call.id} of {call.name}: {call.arguments}"
    for result in message.results:
        yield f"result of {result.call_id}: {result.text}"
