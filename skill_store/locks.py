"""The lock files of a store, read again when they change, and which skills they let pass."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from skill_store.files import SkillError
from skill_store.lock import Digests, Lock, State, differing, digests_of, lock_beside, state_of
from skill_store.skill import Skill
from skill_store.trust import Parent

# File systems stamp times coarsely: an edit so soon after another can carry the same stamp.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class _Compared:
    """What a skill's files were like when they were last compared, and what was not as in the lock."""

    state: State
    held: Digests
    changed: str


class Locks:
    """`path` is the one lock for all parents; without it each has the file beside it, if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._read: dict[Path, tuple[tuple[int, ...], Lock]] = {}
        self._compared: dict[str, _Compared] = {}

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

    def admitted(self, skill: Skill, lock: Lock) -> Skill:
        """The skill with what its files are held to. Raises SkillError where one is not as in the lock."""
        held = lock.digests(str(skill.folder))
        if changed := self._changed(skill.folder, held):
            raise SkillError(f"is not as in {lock.path}: {changed}")
        return replace(skill, digests=held)

    def _changed(self, folder: Path, held: Digests) -> str:
        known = self._compared.get(str(folder))
        with suppress(OSError):
            state = state_of(folder)
            fresh = any(_is_fresh(int(mtime), int(ctime)) for _, mtime, ctime, *_ in state)
            if known is None or known.state != state or known.held != held or fresh:
                known = _Compared(state, held, differing(held, digests_of(folder)))
                self._compared[str(folder)] = known
            return known.changed
        return "its files cannot be read"


def _is_fresh(*times: int) -> bool:
    return time.time_ns() - max(times) < _SETTLED_NS
