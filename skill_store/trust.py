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


def is_trusted(real: str, found_in: Parent, parents: Sequence[Parent]) -> bool:
    """Of a skill's real folder: as the deepest of the parents that it lies in, however it was found."""
    roots = [(os.path.realpath(parent), not isinstance(parent, Untrusted)) for parent in parents]
    holding = [(len(root), not trusted) for root, trusted in roots if is_below(real, root)]
    return not max(holding)[1] if holding else not isinstance(found_in, Untrusted)


def is_below(path: str, folder: str) -> bool:
    """Both are real paths; a folder counts as below itself."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
