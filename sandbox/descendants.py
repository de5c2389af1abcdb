"""The processes below a process, found in /proc: children, theirs and so on."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enums of `signal`
import os

TYPE_CHECKING = False  # known to mypy; `typing` would have to be imported for every script
if TYPE_CHECKING:
    from collections.abc import Iterable


def kill_below(root: int) -> None:
    """SIGKILL for all that descends from a process; first they are stopped, so that none forks away meanwhile."""
    stopped = set[int]()
    for _ in range(100):
        if not (new := descendants(root) - stopped):
            break
        send(signal.SIGSTOP, new)
        stopped |= new
    send(signal.SIGKILL, stopped)


def send(number: int, pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def descendants(root: int) -> set[int]:
    """The children of a process, theirs and so on, zombies too. Empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        # The command's name stands in brackets and may have any character.
        after = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if len(after) > 1:
            children.setdefault(int(after[1]), []).append(pid)
    found, waiting = set[int](), [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def read(path: str) -> bytes:
    """All, or nothing where the process is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
