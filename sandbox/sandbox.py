"""The sandbox: the strongest cage of this machine, and the scripts that are run in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Literal, TypeAlias

from sandbox.cage import LEVELS, Job, Level
from sandbox.limits import Limits
from sandbox.paths import both
from sandbox.probe import Found, find
from sandbox.process import run
from sandbox.ran import Ran, SandboxError

Least: TypeAlias = Literal["required", "best", "off"]
USUAL = Limits()


class Sandbox:
    """`least` is what is demanded: `required` refuses to run scripts that are not kept from our files, `best` takes
    what there is, `off` takes limits alone. The machine is tried once, when it is first needed, for the strongest
    of `levels`."""

    def __init__(self, least: Least = "best", limits: Limits = USUAL, *, levels: tuple[Level, ...] = LEVELS) -> None:
        self.least = least
        self.limits = limits
        self._levels = LEVELS[-1:] if least == "off" else levels
        self._found: Found | None = None
        self._one_at_a_time = Lock()

    @property
    def level(self) -> Level:
        """Takes a fraction of a second at first. Raises SandboxError where no script can be run at all."""
        return self._strongest().cage.level

    def describe(self) -> str:
        """One line: the level, what it lacks, and why there is no stronger one."""
        try:
            found = self._strongest()
        except SandboxError as error:
            return f"none: {error}"
        return found.describe() + ("; scripts are refused, as a sandbox is required" if self._refuses(found) else "")

    async def run(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        readable: Sequence[Path] = (),
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Ran:
        """Runs a command in `folder`, which it may write to, until it ends or a limit does that.

        It can read programs, libraries and `readable`, at the paths that they have outside; nothing in `folder`
        may be among those. `environment` is added to PATH, HOME, LANG and TMPDIR. As root, the files in `folder`
        come to belong to another user, and `readable` is what all users can read, except at the level `landlock`.
        Raises SandboxError when nothing could be run; cancelling kills everything.
        """
        found = await asyncio.to_thread(self._strongest) if self._found is None else self._found
        if self._refuses(found):
            raise SandboxError(f"scripts are not run, as a sandbox is required and there is none: {found.describe()}")
        where = _working_folder(folder)
        if not command:
            raise SandboxError("there is no command to run")
        can_read = tuple(path for given in readable for path in both(given))
        if inside := [path for path in can_read if Path(path).is_relative_to(where)]:
            raise SandboxError(f"{inside[0]} is in the working folder, where scripts can replace it")
        job = Job(tuple(command), where, limits or self.limits, can_read, stdin, environment)
        return await run(found.cage, job)

    def _refuses(self, found: Found) -> bool:
        return self.least == "required" and found.cage.level == "rlimits"

    def _strongest(self) -> Found:
        with self._one_at_a_time:
            if (found := self._found) is None:
                with ThreadPoolExecutor(1) as thread:  # as this one may have a running loop
                    found = self._found = thread.submit(asyncio.run, find(self._levels)).result()
            return found


def _working_folder(folder: Path) -> Path:
    try:
        found = folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise SandboxError(f"the working folder {folder} is not there") from error
    if not found.is_dir():
        raise SandboxError(f"the working folder {folder} is not a folder")
    return found
