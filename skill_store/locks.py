"""The lock files of a store, read again when they change, and which skills they let pass."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from skill_store.files import SKILL_FILE, SkillError, shown
from skill_store.lock import Digests, Lock, differing, digests_of, lock_beside
from skill_store.skill import Skill
from skill_store.trust import Parent

# File systems stamp times coarsely: an edit so soon after another can carry the same stamp.
_SETTLED_NS = 2_000_000_000


class Locks:
    """`path` is the one lock for all parents; without it each has the file beside it, if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._read: dict[Path, tuple[tuple[int, ...], Lock]] = {}

    def of(self, parent: Parent) -> Lock | None:
        path = self.path or lock_beside(parent)
        try:
            info = os.stat(path)
        except OSError:
            return Lock(path) if self.path or os.path.lexists(path) else None
        state = (info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino)
        known = self._read.get(path)
        if known is None or known[0] != state or _is_fresh(*state[:2]):
            known = self._read[path] = state, Lock(path)
        return known[1]

    def admitted(self, skill: Skill, lock: Lock, found: str, thorough: bool) -> Skill:
        """The skill with what its files are held to; `found` is the digest of its SKILL.md, and only where it is
        `thorough` are the other files looked at. Raises SkillError where one is not as in the lock.
        """
        held = lock.digests(str(skill.folder))
        changed = differing(held, digests_of(skill.folder)) if thorough else _changed(skill, held, found)
        if changed:
            raise SkillError(f"is not as in {lock.path}: {changed}")
        return replace(skill, digests=held)


def _changed(skill: Skill, held: Digests, found: str) -> str:
    """Whether SKILL.md, which may be a link, is as it is held to be, in words."""
    path, real = SKILL_FILE, SKILL_FILE
    with suppress(OSError):
        if os.path.islink(skill.file):
            path = f"link:{os.readlink(skill.file)}"
            real = Path(os.path.relpath(os.path.realpath(skill.file), skill.folder)).as_posix()
    same = held.get(real) == found and (path == SKILL_FILE or held.get(SKILL_FILE) == path)
    return "" if same else f"{shown(SKILL_FILE)} has changed"


def _is_fresh(*times: int) -> bool:
    return time.time_ns() - max(times) < _SETTLED_NS
