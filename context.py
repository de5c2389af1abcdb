"""What fits into a model's window."""

from __future__ import annotations

from collections.abc import Sequence

from messages import Message, Text

CHARACTERS = 3.5
"""Of a token, on the low side for English prose, so that the estimate is on the high side."""


def tokens(text: str) -> int:
    """An estimate."""
    return int(len(text) / CHARACTERS) + 1


def cut(text: str, limit: int) -> str:
    """The head of `text` that fits into `limit` tokens, ending with a line where that costs less than half of it."""
    if tokens(text) <= limit:
        return text
    head = text[: max(int((limit - 1) * CHARACTERS), 0)]
    line = head.rfind("\n")
    return head[:line] if line > len(head) // 2 else head


def recent(messages: Sequence[Message], limit: int) -> list[Message]:
    """The newest messages that fit into `limit` tokens, the last one in any case (its head, if need be)."""
    kept: list[Message] = []
    for message in reversed(messages):
        size = tokens(message.text)
        if size > limit and not kept:
            return [Message(message.role, (Text(cut(message.text, limit)),), message.origin)]
        if size > limit:
            break
        limit -= size
        kept.insert(0, message)
    return kept
