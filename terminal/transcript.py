"""A conversation as a Markdown document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from messages import File, Image, Message, Text, ToolCall
from terminal.text import fenced


def as_markdown(messages: Sequence[Message]) -> str:
    """Who said what, and which tools were called; pictures and files by name only."""
    return "\n\n".join(section for message in messages for section in _sections(message)) + "\n"


def _sections(message: Message) -> Iterator[str]:
    if message.role in ("user", "assistant") and (parts := [*_parts(message)]):
        yield f"## {'You' if message.role == 'user' else 'Agent'}"
        yield from parts


def _parts(message: Message) -> Iterator[str]:
    for part in message.parts:
        match part:
            case Text(text) if text.strip():
                yield text.strip()
            case Image():
                yield f"*(a picture, {part.media_type or part.url})*"
            case File():
                yield f"*(a file, {part.name})*"
            case ToolCall():
                yield fenced(part.arguments, f"json {part.name}")
