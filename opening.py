"""How a run opens: the system prompt, and the skills that the model may use or is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from context import cut, recent, tokens
from messages import Message, Text
from providers.base import ModelInfo
from skill_match import match
from skill_store import Skill, activation_text, catalog_text

ANSWER = 1024
"""Tokens kept free for the answer of a model with a small window."""
MARK = re.compile(r'<skill_content name="([^"]+)">')


def with_catalog(messages: Sequence[Message], prompt: str, skills: Mapping[str, Skill], pinned: str) -> list[Message]:
    """For a model that calls tools: the catalog, and whole the skill that the caller pins."""
    parts = [prompt, catalog_text(skills.values())]
    if pinned:
        parts.append(activation_text(skills[pinned]))
    return _opened(messages, parts)


def with_body(messages: Sequence[Message], prompt: str, skill: Skill | None, info: ModelInfo) -> list[Message]:
    """For a model that cannot call tools: the skill's instructions, and what fits of the conversation."""
    parts = [prompt, skill.body() if skill else ""]
    if not info.window:
        return _opened(messages, parts)
    room = max(info.window - ANSWER, info.window // 2)
    parts = [cut("\n\n".join(part for part in parts if part), room // 2)]
    return _opened(recent(messages, room - tokens(parts[0])), parts)


def fitting(messages: Sequence[Message], skills: Mapping[str, Skill]) -> Skill | None:
    """The skill that fits the user's newest words, or the last of the earlier ones that any skill fits."""
    offered = [skill for skill in skills.values() if not skill.hidden]
    asked = [message.text for message in messages if message.role == "user"]
    return next((skill for text in reversed(asked) if (skill := match(text, offered))), None)


def active_in(messages: Sequence[Message]) -> list[str]:
    """The skills whose instructions stand in the conversation."""
    return [name for m in messages for result in m.results for name in MARK.findall(result.text)]


def _opened(messages: Sequence[Message], parts: Sequence[str]) -> list[Message]:
    """One system message: the agent's text first, as it stays the same, then the caller's."""
    theirs = 0
    while theirs < len(messages) and messages[theirs].role == "system":
        theirs += 1
    texts = [part.strip() for part in (*parts, *(m.text for m in messages[:theirs])) if part.strip()]
    opened = [Message("system", (Text("\n\n".join(texts)),))] if texts else []
    return [*opened, *messages[theirs:]]
