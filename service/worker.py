"""Who works on a run: a process, named so that others on its machine can tell for sure when it is dead."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress


def name() -> str:
    """A new worker of this process; where Linux does not say which process that is, nobody can tell."""
    return f"{uuid.uuid4().hex[:8]}/{_machine()}/{os.getpid()}/{_began(os.getpid())}"


def is_dead(worker: str) -> bool:
    """Whether the process is surely gone. One on another machine, or in another container, never is."""
    _, _, rest = worker.partition("/")
    machine, _, rest = rest.partition("/")
    pid, _, began = rest.partition("/")
    if not began or not machine or machine != _machine():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _began(int(pid)) not in (began, "")


def _machine() -> str:
    """This start of this machine, and the container in which numbers of processes mean the same."""
    with suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}:{os.stat('/proc/self/ns/pid').st_ino}"
    return ""


def _began(pid: int) -> str:
    """When the process began, in the kernel's ticks, "gone" for one that only waits to be noticed, "" where that is
    not told. Field 22 of https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, the state being the third.
    """
    with suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return "gone" if fields[0] in (b"Z", b"X") else fields[19].decode()
    return ""
