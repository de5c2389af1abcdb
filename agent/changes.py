"""What becomes of the files of a workspace while something runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from agent.workspace import Workspace

_looking = ThreadPoolExecutor(2, "looking")
"""Not the loop's, in which the threads of tools that hang stay: a run ends in time also then."""
Stamp: TypeAlias = tuple[int, float]
"""Size in bytes and time of the last change."""


def stamps(workspace: Workspace) -> dict[str, Stamp]:
    """Of the regular files, by path."""
    files = (entry for entry in workspace.walk() if not entry.fault and not entry.is_folder)
    return {entry.path: (entry.size, entry.modified) for entry in files}


async def looked(workspace: Workspace) -> dict[str, Stamp]:
    """`stamps`, beside the event loop: a walk through a thousand files takes 20 ms."""
    if not workspace.folder.is_dir():
        return {}
    return await asyncio.get_running_loop().run_in_executor(_looking, stamps, workspace)


def changed(after: Mapping[str, Stamp], before: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """The files that are new or other than before."""
    return {path: stamp for path, stamp in after.items() if before.get(path) != stamp}
