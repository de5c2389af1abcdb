"""How a script ended."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from sandbox.limits import Limits, in_words
from sandbox.output import Output

OUT_OF_MEMORY = re.compile(rb"MemoryError|[Cc]annot allocate memory|[Oo]ut of memory|bad_alloc")


class SandboxError(Exception):
    """Why nothing was run, in one line for the model or the user."""


@dataclass(frozen=True, slots=True)
class Ran:
    """`exit_code` is 128 and the number of the signal where one has ended the script, as shells have it. `fault` is
    empty or one clause that says why it was stopped or failed; then the streams have what was written until then."""

    exit_code: int
    stdout: Output
    stderr: Output
    seconds: float
    fault: str


def fault(code: int, errors: bytes, limits: Limits) -> str:
    """The limit, or the signal, that a script has ended by of itself, as far as its exit code and errors tell."""
    number = code - 128
    if number == signal.SIGXCPU:
        return f"it used up its {limits.cpu_seconds} s of CPU time"
    if number == signal.SIGXFSZ:
        return f"it wrote a file of more than {in_words(limits.file_bytes)}"
    if code and OUT_OF_MEMORY.search(errors):
        return f"it ran out of memory ({in_words(limits.memory)})"
    if number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
        return f"it was ended by {signal.Signals(number).name}"
    return ""
