"""How far folders of skills are trusted: `SkillStore("skills", Untrusted("downloads"))`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Untrusted:
    """A folder whose skills come from strangers: they run no scripts, their text is marked, and they take no name
    that a trusted skill has."""

    path: str | Path

    def __fspath__(self) -> str:
        return os.fspath(self.path)


Parent: TypeAlias = str | Path | Untrusted


def roots_of(parents: Sequence[Parent]) -> list[tuple[str, bool]]:
    """Where they really are, and whether they are trusted."""
    return [(os.path.realpath(parent), not isinstance(parent, Untrusted)) for parent in parents]


def is_trusted(real: str, found_in: Parent, roots: Sequence[tuple[str, bool]]) -> bool:
    """Of a skill's real folder: as the deepest of the roots that it lies in, however it was found."""
    holding = [(len(root), not trusted) for root, trusted in roots if is_below(real, root)]
    return not max(holding)[1] if holding else not isinstance(found_in, Untrusted)


def is_below(path: str, folder: str) -> bool:
    """Both are real paths; a folder counts as below itself."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
