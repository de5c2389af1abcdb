"""The tools that let a model use skills: activate one, read its files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from threading import Lock
from typing import Literal, ParamSpec, TypeVar

from messages import Image, Text
from skill_store import Skill, SkillError, activation_text
from skill_store.find import find, found_text
from tools import Tool, ToolError, as_data

P = ParamSpec("P")
T = TypeVar("T")
ACTIVATE = "activate_skill"
READING = (ACTIVATE, "read_skill_file", "find_skill")
"""Tools that change nothing."""
IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}


def skill_tools(
    skills: Mapping[str, Skill], active: Collection[str], activated: Callable[[str], None], searched: bool = False
) -> list[Tool]:
    """None where there is no skill. `active` are in the conversation already; `activated` is told of new ones."""
    offered = {name: skill for name, skill in skills.items() if not skill.hidden}
    readable = {**offered, **{name: skills[name] for name in active if name in skills}}
    loaded = set(active)
    one_at_a_time = Lock()
    if not readable:
        return []

    def activate_skill(name: str) -> str:
        """Load a skill's full instructions."""
        with one_at_a_time:
            if name in loaded:
                return f"The skill {name} is already loaded: its instructions stand above."
            text = _told(activation_text, _named(offered, name))
            loaded.add(name)
            activated(name)
            return text

    def read_skill_file(skill: str, path: str) -> Text | Image:
        """Read a file of a skill that its instructions refer to.

        Args:
            path: relative to the skill's folder
        """
        found, chosen = _told(_file, _named(readable, skill), path), readable[skill]
        return found if chosen.trusted or isinstance(found, Image) else Text(as_data(found.text))

    def find_skill(query: str) -> str:
        """Find skills by what they are for."""
        found = find(query, offered.values())
        return found_text(found) if found else "No skill is about that."

    if not searched:
        # Enums of the names, so that the model cannot invent one.
        activate_skill.__annotations__["name"] = Literal[tuple(offered)]
        read_skill_file.__annotations__["skill"] = Literal[tuple(readable)]
    tools = (activate_skill, read_skill_file, *((find_skill,) if searched else ())) if offered else (read_skill_file,)
    return [Tool.of(tool) for tool in tools]


def _named(skills: Mapping[str, Skill], name: str) -> Skill:
    if name not in skills:
        raise ToolError(f"there is no skill {name!r}; look for one with find_skill")
    return skills[name]


def _told(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What is wrong with a skill's file is said to the model."""
    try:
        return read(*args, **kwargs)
    except SkillError as error:
        raise ToolError(str(error)) from error


def _file(skill: Skill, path: str) -> Text | Image:
    data = skill.read(path)
    if kind := IMAGES.get(PurePosixPath(path).suffix.lower()):
        return Image(kind, base64.b64encode(data).decode())
    if b"\0" in data:
        raise ToolError(f"{path} is a binary file of {len(data)} bytes")
    return Text(data.decode("utf-8", "replace"))
