"""R9: what scripts of skills try against the service, at each level of isolation that this machine has.

The attacks and the table that says which must fail are those of the tests (`tests/test_sandbox_escapes.py`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.figures import Figure
from benchmarks.reliability.service import Bench
from sandbox import Level, Sandbox, SandboxError, remove
from tests.test_sandbox import LEVELS
from tests.test_sandbox_escapes import ATTACKS, Scene, may_end

SECRETS = ("read our environment, or another process's", "read a folder of ours or of another conversation")
"""Attacks that must fail without isolation too, where scripts have a user of their own."""


async def measure(bench: Bench) -> Figure:
    told, failures, tried = [], [], 0
    met = True
    for level in LEVELS:
        sandbox = _sandbox(level)
        if sandbox is None:
            told.append(f"{level}: not on this machine")
            continue
        open_, odd = await _attack(sandbox)
        tried += len(ATTACKS)
        told.append(f"{level} {len(ATTACKS) - len(open_)} of {len(ATTACKS)} stopped")
        failures += [f"{level}: {row}" for row in odd]
        met = met and not odd and not (level == "rlimits" and set(SECRETS) & set(open_) and os.getuid() == 0)
    numbers = {"tried": tried, "unexpected": len(failures)}
    return Figure("R9", ", ".join(told), "each as the table in sandbox/ says", met, numbers, failures)


async def _attack(sandbox: Sandbox) -> tuple[list[str], list[str]]:
    """The attacks that succeeded, and those whose end is not what the table says."""
    open_, odd = [], []
    for row, attack in ATTACKS.items():
        with _scene(sandbox) as scene:
            try:
                escaped = await attack(scene)
            except AssertionError as error:
                odd.append(f"{row}: {str(error)[:100]}")
                continue
            open_ += [row] if escaped else []
            odd += [] if escaped in await may_end(row, scene) else [f"{row}: {'open' if escaped else 'stopped'}"]
    return open_, odd


def _sandbox(level: Level) -> Sandbox | None:
    try:
        sandbox = Sandbox(levels=(level,))
    except SandboxError:
        return None
    return sandbox if sandbox.level == level else None


@contextmanager
def _scene(sandbox: Sandbox) -> Iterator[Scene]:
    """A working folder for the script, and things of the service that it may not touch."""
    base = Path(tempfile.mkdtemp()).resolve()
    base.chmod(0o755)
    folder, ours = base / "work", base / "ours"
    folder.mkdir()
    ours.mkdir(mode=0o700)
    secret = ours / "secret"
    secret.write_text("secret")
    secret.chmod(0o666)
    try:
        with (
            subprocess.Popen([shutil.which("sleep") or "sleep", "600"], env={"KEY": "secret"}) as victim,
            socket.create_server(("127.0.0.1", 0)) as server,
        ):
            try:
                yield Scene(sandbox, folder, ours, victim, server.getsockname()[1])
            finally:
                victim.kill()
    finally:
        remove(base)
