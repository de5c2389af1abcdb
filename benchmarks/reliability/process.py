"""What Linux tells of a process: memory, processor time, descriptors, children."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024


@dataclass(frozen=True, slots=True)
class Held:
    """What a process has open: descriptors in all, sockets among them, and the processes below it."""

    descriptors: int
    sockets: int
    children: int


def memory(pid: int) -> float:
    """Resident MB of the process and those below it."""
    return sum(_status(each, "VmRSS") for each in family(pid)) / KIB


def peak(pid: int) -> float:
    """The most resident MB that the process itself has had."""
    return _status(pid, "VmHWM") / KIB


def forget_peak(pid: int) -> None:
    """`peak` begins anew (proc(5), clear_refs), where we may: a process that hides is root's alone."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def seconds(pid: int) -> float:
    """Processor time of the process and those below it."""
    return sum(_seconds(each) for each in family(pid))


def held(pid: int) -> Held:
    links = [_link(entry) for entry in _entries(f"/proc/{pid}/fd")]
    return Held(len(links), sum(link.startswith("socket:") for link in links), len(family(pid)) - 1)


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in _entries(f"/proc/{pid}/task"):
        try:
            below = Path(task, "children").read_text().split()
        except OSError:
            continue
        found += [each for child in below for each in family(int(child))]
    return found


def _status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _entries(folder: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder)]
    except OSError:
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
