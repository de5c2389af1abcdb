"""Which tools the active skills leave to the agent: their `allowed-tools` narrow, and never grant.

Field: https://agentskills.io/specification. Its tools go by the names of Claude Code's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skill_store import Skill

ALWAYS = frozenset(("activate_skill", "find_skill", "read_skill_file", "write_todos"))
"""Tools of the agent itself, without which no skill could be followed."""
MEANT: Mapping[str, tuple[str, ...]] = {
    "read": ("read_file", "ls"),
    "ls": ("ls",),
    "write": ("write_file",),
    "edit": ("edit_file",),
    "multiedit": ("edit_file",),
    "glob": ("glob", "ls"),
    "grep": ("grep",),
    "bash": ("run_skill_script", "execute"),
    "task": ("task",),
}


def refusal(tool: str, active: Iterable[Skill]) -> str:
    """Why the tool may not be used now, "" where it may. What any of the narrowing skills names is left; those that are
    not trusted are asked by themselves, so that they widen nothing.
    """
    found = [skill for skill in active if skill.allowed_tools]
    for trusted in (True, False):
        narrowing = [skill for skill in found if skill.trusted == trusted]
        if narrowing and tool not in ALWAYS and not any(_names(skill, tool) for skill in narrowing):
            return _words(tool, narrowing)
    return ""


def _words(tool: str, narrowing: Iterable[Skill]) -> str:
    skills = ", ".join(f"{skill.name} ({' '.join(skill.allowed_tools)})" for skill in narrowing)
    return f"{tool} is not among the allowed tools of the active skill: {skills}"


def _names(skill: Skill, tool: str) -> bool:
    for allowed in skill.allowed_tools:
        name = allowed.partition("(")[0]
        if name == tool or tool in MEANT.get(name.lower(), ()) or (name and tool.startswith(f"{name}__")):
            return True
    return False
