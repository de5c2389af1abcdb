"""What becomes of the files of a workspace while something runs."""

from __future__ import annotations

from typing import TypeAlias

from agent.workspace import Workspace

Stamp: TypeAlias = tuple[int, float]
"""Size in bytes and time of the last change."""


def stamps(workspace: Workspace) -> dict[str, Stamp]:
    """Of the regular files, by path."""
    files = (entry for entry in workspace.walk() if not entry.fault and not entry.is_folder)
    return {entry.path: (entry.size, entry.modified) for entry in files}


def changed(workspace: Workspace, before: dict[str, Stamp]) -> dict[str, Stamp]:
    """The files that are new or other than before."""
    return {path: stamp for path, stamp in stamps(workspace).items() if before.get(path) != stamp}
