"""A cage: one way to keep a script in, and how it is built for one job."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Literal, TypeAlias

from sandbox import descendants, kernel, launch, removal
from sandbox.limits import Limits
from sandbox.paths import DEVICES, KERNEL, closed, depth, existing, interpreter, prefixes, search_path, system
from sandbox.ran import SandboxError

if TYPE_CHECKING:
    from sandbox.launch import Order

Level: TypeAlias = Literal["bubblewrap", "landlock", "rlimits"]
LEVELS: tuple[Level, ...] = ("bubblewrap", "landlock", "rlimits")
"""The strongest first."""

LAUNCHER = """
import marshal, os, sys
with os.fdopen(int(sys.argv[1]), "rb") as file:
    modules, order = marshal.load(file)
for name, code in modules:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
module.main(order, int(sys.argv[2]))
"""
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
"""What root keeps until it becomes the script's user."""
USERS = ((0x70000000, 0x0FFFFFFF), (61184, 4336))
"""First and number of user ids that nobody has: in containers the second, which systemd has for the same purpose."""
PRIVATE_TMP = "/tmp"  # noqa: S108


@dataclass(frozen=True, slots=True)
class Job:
    """All paths are absolute and there, `folder` without links. `probe`: what to try instead of the command."""

    command: tuple[str, ...]
    folder: Path
    limits: Limits
    readable: tuple[str, ...] = ()
    stdin: bytes = b""
    environment: Mapping[str, str] | None = None
    probe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cage:
    """`bwrap` is bubblewrap's program. `other_user`: we are root, and each working folder gets a user of its own.
    `sealed`: no further user namespaces. These and the rest are what not every kernel, container and version gives.
    """

    level: Level
    bwrap: str = ""
    other_user: bool = False
    user_namespace: bool = False
    sealed: bool = False
    own_proc: bool = False
    sized_tmp: bool = False
    socketless: bool = False

    @property
    def supervised(self) -> bool:
        """Whether a process outside ends what the script leaves; in a PID namespace the kernel does."""
        return self.level != "bubblewrap"

    def argv(self, job: Job, order: int, status: int) -> list[str]:
        """`order` and `status` are the descriptors that the launcher is given."""
        started = [interpreter(), "-I", "-S", "-c", LAUNCHER, str(order), str(status)]
        return started if self.supervised else [self.bwrap, *self._bubblewrap(job), "--", *started]

    def order(self, job: Job, temporary: str) -> Order:
        """What the launcher is told. `temporary` is the folder for temporary files; bubblewrap has its own."""
        folder = str(job.folder)
        owned = [folder, temporary] if temporary else [folder]
        landlock = self.level == "landlock"
        return {
            "command": list(job.command),
            "environment": {**_environment(folder, temporary), **(job.environment or {})},
            "folder": folder,
            "temporary": temporary,
            "supervised_for": os.getpid() if self.supervised else 0,
            "user": _user_of(folder) if self.other_user else 0,
            "passes": self._passes(job, temporary),
            "owned": owned,
            "limits": job.limits.of_a_process(),
            "processes": job.limits.processes,
            "landlock": landlock,
            "readable": [*system(), *existing(KERNEL), *job.readable] if landlock else [],
            "writable": owned,
            "devices": existing(DEVICES),
            "socketless": self.socketless,
            "probe": list(job.probe),
        }

    def _passes(self, job: Job, temporary: str) -> bool:
        """Whether the script's user has to pass what is closed to all but root, such as /root. Landlock can allow
        that. Raises SandboxError where nothing else would hold that user back."""
        if not self.other_user:
            return False
        used = () if self.level == "bubblewrap" else (str(job.folder), temporary, *job.readable)
        if not (path := closed(used, job.readable)):
            return self.level == "landlock" and bool(closed((interpreter(), *prefixes())))
        if self.level != "landlock":
            raise SandboxError(
                f"scripts are run as another user than root, and that user cannot enter or read {path}: open it to "
                "all users, or do not run the service as root"
            )
        return True

    def _bubblewrap(self, job: Job) -> Iterator[str]:
        yield from ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        yield from ("--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL")
        if self.user_namespace:
            yield from ("--unshare-user", *(("--disable-userns",) if self.sealed else ()))
            yield from () if os.getuid() else ("--uid", "1000", "--gid", "1000")
        else:
            for name in CAPABILITIES:
                yield from ("--cap-add", f"CAP_{name}")
        yield from ("--dev", "/dev")
        yield from self._memory_folder("/dev/shm", job.limits.memory)  # noqa: S108
        yield from self._memory_folder(PRIVATE_TMP, job.limits.memory)
        if self.own_proc:
            yield from ("--proc", "/proc")
        yield from _mounts(job)
        yield from ("--remount-ro", "/dev", "--remount-ro", "/")

    def _memory_folder(self, path: str, size: int) -> Iterator[str]:
        if not self.user_namespace:
            yield from ("--perms", "1777")
        if self.sized_tmp:
            yield from ("--size", str(size))
        yield from ("--tmpfs", path)


def _mounts(job: Job) -> Iterator[str]:
    """The outer ones first, as the inner ones lie on them. Folders above them are made open for every user."""
    folder = str(job.folder)
    mounted = {*system(), *job.readable, folder}
    above = {str(parent) for path in mounted for parent in Path(path).parents} - mounted - {"/", PRIVATE_TMP}
    for path in sorted(mounted | above, key=depth):
        if path in above:
            yield from ("--dir", path)
        else:
            yield from ("--bind" if path == folder else "--ro-bind", path, path)


@cache
def launch_modules() -> list[tuple[str, CodeType]]:
    """By name, in the order in which they import each other. To compile them takes as long as to start Python."""
    files = {module.__name__: Path(str(module.__file__)) for module in (kernel, descendants, removal, launch)}
    codes = {name: compile(file.read_bytes(), str(file), "exec", dont_inherit=True) for name, file in files.items()}
    return [(__package__, compile("", "sandbox", "exec")), *codes.items()]


def _environment(folder: str, temporary: str) -> dict[str, str]:
    return {"PATH": search_path(), "HOME": folder, "LANG": "C.UTF-8", "TMPDIR": temporary or PRIVATE_TMP}


def _user_of(folder: str) -> int:
    """The same for each run in a folder, another one elsewhere: scripts of two conversations are no peers."""
    first, number = next(users for users in USERS if _can_have(sum(users) - 1))
    return first + zlib.crc32(os.fsencode(folder)) % number


def _can_have(user: int) -> bool:
    """Whether the user id exists in our user namespace."""
    with open("/proc/self/uid_map") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(first <= user < first + count for first, _, count in ranges)


def can_change_user() -> bool:
    return os.getuid() == 0 and os.path.exists("/proc/self/uid_map") and any(_can_have(sum(u) - 1) for u in USERS)
