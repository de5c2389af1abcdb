"""A skill that is loaded, and its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from skill_store.files import SKILL_FILE, SkillError, read_inside, safe_path, shown, walk
from skill_store.lock import Digests, differing, digest, digests_of
from skill_store.reader import Problem, body_of


@dataclass(frozen=True, slots=True)
class Skill:
    """One loaded skill.

    `folder` is the real folder and `file` its SKILL.md. A `hidden` skill is for the user to call, not for
    the model. `allowed_tools` are what the author asks for, such as "Bash(git log:*)"; they grant nothing. One that is
    not `trusted` runs no scripts. `digests` are those of a lock file, None where there is none.
    """

    name: str
    description: str
    folder: Path
    file: Path
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    allowed_tools: tuple[str, ...] = ()
    hidden: bool = False
    problems: tuple[Problem, ...] = ()
    trusted: bool = True
    digests: Digests | None = field(default=None, hash=False, repr=False)

    def body(self) -> str:
        """The instructions as they are on disk now; raises SkillError when they are gone."""
        return body_of(self.read(SKILL_FILE))

    def files(self) -> tuple[str, ...]:
        """Relative POSIX paths of the regular files, sorted, without SKILL.md."""
        return tuple(sorted(path for path, fault in walk(self.folder) if path != SKILL_FILE and not fault))

    def read(self, path: str) -> bytes:
        """One of the skill's own files, at most MAX_BYTES.

        `path` is relative to the folder, with slashes. A link counts as long as it ends inside the folder.
        Raises SkillError, which says what is wrong with the path or which files there are.
        """
        try:
            data = read_inside(self.folder, safe_path(path))
        except FileNotFoundError:
            raise SkillError(f"there is no file {shown(path)}; {self._nearest(path)}") from None
        self._compare(path, data)
        return data

    def _compare(self, path: str, data: bytes) -> None:
        if self.digests is not None:
            real = os.path.relpath(os.path.realpath(self.folder / safe_path(path)), self.folder)
            if self.digests.get(Path(real).as_posix()) != digest(data):
                raise SkillError(f"{shown(path)} is not as in the lock file, so it is not used")

    def refuse_changed(self) -> None:
        """Raises SkillError where any file is not as in the lock file; reads all of them."""
        if self.digests is not None and (changed := differing(self.digests, digests_of(self.folder))):
            raise SkillError(f"the skill is not as in the lock file: {changed}")

    def _nearest(self, path: str) -> str:
        import difflib

        files = self.files()
        if not files:
            return "the skill has no files besides SKILL.md"
        if near := difflib.get_close_matches(path[:200], files, cutoff=0.5):
            return f"did you mean {' or '.join(near)}?"
        more = f" and {len(files) - 20} more" if len(files) > 20 else ""
        return f"the files are {', '.join(files[:20])}{more}"
