"""A script's process in its cage: begun, read, watched and ended."""

from __future__ import annotations

import asyncio
import marshal
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterable
from contextlib import ExitStack, suppress
from typing import IO, Any, TypeVar, cast

from sandbox.cage import Cage, Job, launch_modules
from sandbox.descendants import descendants, kill_below
from sandbox.kernel import PR_SET_DUMPABLE, prctl
from sandbox.limits import Limits, in_words
from sandbox.output import Capture
from sandbox.ran import Ran, SandboxError, fault
from sandbox.removal import remove

T = TypeVar("T")
LOOK_EVERY = 0.25
"""Seconds between two looks at what a script's processes use."""
PATIENCE = 0.4
"""Seconds that each step of an end is given."""
OF_THE_CAGE = 8
"""How many processes more than a script's own may be seen: bubblewrap's, the launcher, and some that end."""


async def run(cage: Cage, job: Job) -> Ran:
    """Raises SandboxError where the cage or the command cannot be started. Cancelling it ends the script."""
    begun = time.monotonic()
    temporary = tempfile.mkdtemp(prefix="skill-agent-") if cage.supervised else ""
    try:
        process, told = await _ended(cage, job, temporary)
    finally:
        if _is_left(temporary):
            await uninterrupted(asyncio.to_thread(remove, temporary))
    return _ran(process, job, told, time.monotonic() - begun)


def _is_left(temporary: str) -> bool:
    """The supervisor removes it, unless it has no time for it or never began."""
    return os.path.lexists(temporary)


async def _ended(cage: Cage, job: Job, temporary: str) -> tuple[Process, bytes]:
    """The process after its end, and what its launcher has told."""
    process = Process(job.limits, supervised=cage.supervised)
    with ExitStack() as held:
        order = held.enter_context(_file(marshal.dumps((launch_modules(), {**cage.order(job, temporary)}))))
        stdin = held.enter_context(_file(job.stdin))
        told, status = map(held.enter_context, _pipe())
        try:
            await uninterrupted(
                asyncio.get_running_loop().subprocess_exec(
                    lambda: process,
                    *cage.argv(job, order.fileno(), status.fileno()),
                    stdin=stdin,
                    env={"PATH": os.defpath},
                    cwd="/",
                    pass_fds=(order.fileno(), status.fileno()),
                    start_new_session=True,
                )
            )
            status.close()
            await process.over
            return process, told.read(4096) or b""
        except OSError as error:
            raise SandboxError(f"the sandbox cannot be started: {error}") from error
        finally:
            told.close()  # a launcher that lives on, as bubblewrap was killed too early to notice, fails at this
            await uninterrupted(process.close())


def _file(data: bytes) -> IO[bytes]:
    """A file in memory with these bytes, where there are such files."""
    linux = sys.platform == "linux"
    file: IO[bytes] = os.fdopen(os.memfd_create("x"), "w+b") if linux else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return open(reading, "rb", buffering=0), open(writing, "wb", buffering=0)


def _ran(process: Process, job: Job, told: bytes, seconds: float) -> Ran:
    errors = process.streams[2]
    why = process.over.result()
    if not why and not told.startswith(b"+"):
        reason = told or errors.ending().strip().rpartition(b"\n")[2] or b"it ended at once"
        raise SandboxError(f"the sandbox cannot be started: {reason.decode('utf-8', 'replace')}")
    if reason := told[1:]:
        raise SandboxError(f"{job.command[0]!r} cannot be started: {reason.decode('utf-8', 'replace')}")
    code = process.exit_code
    why = why or fault(code, errors.ending(), job.limits)
    return Ran(code, process.streams[1].output(), errors.output(), seconds, why)


class Process(asyncio.SubprocessProtocol):
    """`over` is why the script has to be stopped, empty when it ends of itself."""

    def __init__(self, limits: Limits, *, supervised: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._supervised = supervised
        self._transport: asyncio.SubprocessTransport | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._exited = asyncio.Event()
        self._closed = asyncio.Event()
        self.over: asyncio.Future[str] = self._loop.create_future()
        self.streams = {number: Capture(limits.output_bytes, limits.spill_bytes) for number in (1, 2)}

    @property
    def exit_code(self) -> int:
        code = self._transport.get_returncode() if self._transport else None
        return 137 if code is None else code if code >= 0 else 128 - code

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        late = f"it was stopped after {self._limits.seconds:g} s"
        self._timers = [self._loop.call_later(self._limits.seconds, self._stop, late)]
        if sys.platform == "linux":
            self._look_later()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.streams[fd].add(data)
        if self.streams[fd].size > self._limits.file_bytes:
            self._stop(f"it wrote more than {in_words(self._limits.file_bytes)} to a stream and was stopped")

    def process_exited(self) -> None:
        self._exited.set()
        self._stop("")

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    def _stop(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(reason)
            self._end()

    def _look_later(self) -> None:
        self._timers[1:] = [self._loop.call_later(LOOK_EVERY, self._look)]

    def _look(self) -> None:
        pids = descendants(self._transport.get_pid()) if self._transport else set()
        if len(pids) > self._limits.processes + OF_THE_CAGE:
            self._stop(f"it started more than {self._limits.processes} processes and was stopped")
        elif memory_of(pids, self._limits.memory) > self._limits.memory:
            self._stop(f"it used more than {in_words(self._limits.memory)} of memory and was stopped")
        self._look_later()

    def _end(self) -> None:
        """A supervisor takes all with it that it has below; bubblewrap dies, and with it its PID namespace."""
        self._signal(signal.SIGTERM if self._supervised else signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Not by the transport: that may take the exit code away from the loop, which waits for it."""
        if self._transport and not self._exited.is_set():
            with suppress(ProcessLookupError):
                os.kill(self._transport.get_pid(), number)

    async def close(self) -> None:
        """Returns when all has ended, or after about a second. Nothing is left to wait for then."""
        for timer in self._timers:
            timer.cancel()
        if not self._transport:
            return
        self._end()
        if not await _soon(self._exited):  # a supervisor that the script has stopped
            await asyncio.to_thread(kill_below, self._transport.get_pid())
            self._signal(signal.SIGKILL)
            await _soon(self._exited)
        await _soon(self._closed)  # a process that has got away may still hold a stream
        self._transport.close()
        await _soon(self._closed)


def hide_process() -> None:
    """Keeps this process's memory and environment from other processes of its user, until it executes something.

    Debuggers and core dumps end with it. Scripts below the level `bubblewrap` may be of our user.
    """
    if sys.platform == "linux":
        prctl(PR_SET_DUMPABLE, 0)


async def _soon(event: asyncio.Event) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await event.wait()
    return event.is_set()


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Cancelling waits for the end of the work."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # is looked at, so that nobody complains
        raise asyncio.CancelledError
    return task.result()


def memory_of(pids: Iterable[int], enough: int) -> int:
    """The bytes that processes hold beside files: a quick sum, and where it says more than `enough` a fair one, in
    which pages that several of them share count once."""
    pids = list(pids)
    quick = sum(_kilobytes(f"/proc/{pid}/status", rb"Rss(?:Anon|Shmem)") for pid in pids)
    if quick * 1024 <= enough:
        return quick * 1024
    fair = sum(_kilobytes(f"/proc/{pid}/smaps_rollup", rb"Pss_(?:Anon|Shmem)") for pid in pids)
    return (fair or quick) * 1024


def _kilobytes(path: str, names: bytes) -> int:
    with suppress(OSError), open(path, "rb") as file:
        return sum(map(int, re.findall(rb"^" + names + rb":\s*(\d+) kB", file.read(), re.MULTILINE)))
    return 0
