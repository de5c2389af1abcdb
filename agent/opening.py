"""How a run opens: the system prompt, and the skills that the model may use or is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import unescape

from agent.context import cut, recent, tokens
from agent.skill_tools import ACTIVATE
from messages import Message, Text
from providers.base import ModelInfo
from skill_store import Skill, activation_text, catalog_text, instructions
from skill_store.match import match
from tools import DATA_RULE, Tool

ANSWER = 1024
"""Tokens kept free for the answer of a model with a small window."""
CATALOG = 6_000
"""Tokens that the names and descriptions of skills may cost in every request, about 80 skills."""
SEARCHED = (
    "There are many skills, which provide specialized instructions for specific tasks. Before a task of some size, "
    "look for one with find_skill; call activate_skill with the name of one that fits before you answer. When its "
    "instructions refer to a file, read it with read_skill_file."
)
LOOK_BACK = 10
"""The user's newest messages among which one is looked for that a skill fits, at a few milliseconds each."""
MARK = re.compile(r'<skill_content name="([^"]+)">')
WHOLE = re.compile(MARK.pattern + r".*?</skill_content>", re.DOTALL)


def with_catalog(messages: Sequence[Message], prompt: str, skills: Mapping[str, Skill], pinned: str) -> list[Message]:
    """For a model that calls tools: the catalog, and whole the skill that the caller pins."""
    parts = [prompt, SEARCHED if is_searched(skills) else catalog_text(skills.values())]
    if pinned:
        parts.append(activation_text(skills[pinned]))
    return _opened(messages, parts)


def with_rule(prompt: str, tools: Iterable[Tool], skills: Mapping[str, Skill]) -> str:
    """With what is to be done with text from outside, where some can come."""
    outside = any(tool.outside for tool in tools) or not all(skill.trusted for skill in skills.values())
    return f"{prompt}\n\n{DATA_RULE}" if outside else prompt


def is_searched(skills: Mapping[str, Skill]) -> bool:
    """Whether there are too many skills to name them all in the prompt: the model looks for them then."""
    return sum(tokens(f"{skill.name} {skill.description}") for skill in skills.values() if not skill.hidden) > CATALOG


def with_body(messages: Sequence[Message], prompt: str, skill: Skill | None, info: ModelInfo) -> list[Message]:
    """For a model that cannot call tools: the skill's instructions, and what fits of the conversation."""
    ours = "\n\n".join(part for part in (prompt.strip(), instructions(skill).strip() if skill else "") if part)
    if not info.window:
        return _opened(messages, [ours])
    room = max(info.window - ANSWER, info.window // 2)
    opened = _opened(messages, [cut(ours, room // 2)])
    systems = 1 if opened and opened[0].role == "system" else 0
    head = recent(opened[:systems], room * 3 // 4)
    return [*head, *recent(opened[systems:], room - sum(tokens(message.text) for message in head))]


def fitting(messages: Sequence[Message], skills: Mapping[str, Skill]) -> Skill | None:
    """The skill that fits the user's newest words, or the last of the earlier ones that any skill fits."""
    offered = [skill for skill in skills.values() if not skill.hidden]
    asked = [message.text for message in messages if message.role == "user"][-LOOK_BACK:]
    return next((skill for text in reversed(asked) if (skill := match(text, offered))), None)


def called_for(messages: Sequence[Message], skills: Mapping[str, Skill]) -> str:
    """The skill that the user calls by `/name` at the start of the newest message, "" for none."""
    newest = next((message.text for message in reversed(messages) if message.role == "user"), "")
    found = re.match(r"\s*/(\S+)", newest)
    return found[1] if found and found[1] in skills else ""


def active_in(messages: Sequence[Message]) -> list[str]:
    """The skills whose instructions stand in the conversation."""
    return [unescape(name) for text in _loaded(messages) for name in MARK.findall(text)]


def skills_in(messages: Sequence[Message]) -> dict[str, str]:
    """The instructions themselves, by the skill's name."""
    found = (match for text in _loaded(messages) for match in WHOLE.finditer(text))
    return {unescape(match[1]): match[0] for match in found}


def _loaded(messages: Sequence[Message]) -> Iterator[str]:
    """The results of loading a skill, and of nothing else: a file or a web page may look like one."""
    loading: set[str] = set()
    for message in messages:
        if message.role == "assistant":
            loading = {call.id for call in message.calls if call.name == ACTIVATE}
        yield from (result.text for result in message.results if result.call_id in loading)


def _opened(messages: Sequence[Message], parts: Sequence[str]) -> list[Message]:
    """One system message: the agent's text first, as it stays the same, then the caller's."""
    theirs = 0
    while theirs < len(messages) and messages[theirs].role == "system":
        theirs += 1
    texts = [part.strip() for part in (*parts, *(m.text for m in messages[:theirs])) if part.strip()]
    opened = [Message("system", (Text("\n\n".join(texts)),))] if texts else []
    return [*opened, *messages[theirs:]]
