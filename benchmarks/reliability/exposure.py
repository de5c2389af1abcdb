"""R12: the canaries, looked for in all that came out while the other figures were measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability import canaries
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.service import Bench

CHUNK = 1 << 20


def measure(bench: Bench) -> Figure:
    """Answers have been looked through as they came; here are the logs, stores and files that the services left."""
    found = list(bench.leaks)
    files = size = 0
    for path in _written(bench.folder):
        files += 1
        size += path.stat().st_size
        if _holds_canary(path):
            found.append(f"the file {path.relative_to(bench.folder)}")
    words = f"{len(found)} places with a key: answers, and {files} files of {size / CHUNK:.0f} MB (logs, stores)"
    return Figure("R12", words, "0", not found, {"places": len(found), "files": files}, found)


def _written(folder: Path) -> Iterator[Path]:
    """Of the services: each has a folder with a number for a name."""
    for service in folder.iterdir():
        if service.name.isdigit():
            yield from (path for path in service.rglob("*") if path.is_file())


def _holds_canary(path: Path) -> bool:
    longest = max(map(len, canaries.ALL))
    tail = b""
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            if any(canary in tail + data for canary in canaries.ALL):
                return True
            tail = data[-longest:]
    return False
