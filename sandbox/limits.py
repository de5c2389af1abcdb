"""What one script may use."""

from __future__ import annotations

import resource
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024
OPEN_FILES = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds. `cpu_seconds` and `file_bytes` bind each process and file, the others a script as a whole:
    `memory` and `processes` are looked at a few times a second, and bind each process at once.

    A stream longer than `output_bytes` is told with its head and tail, and its first `spill_bytes` are kept; one
    longer than `file_bytes` ends the script.
    """

    seconds: float = 30.0
    cpu_seconds: int = 30
    memory: int = 512 * MIB
    processes: int = 64
    file_bytes: int = 64 * MIB
    output_bytes: int = 16_000
    spill_bytes: int = 4 * MIB

    def of_a_process(self) -> list[tuple[int, int]]:
        """Of setrlimit(2). Memory is RLIMIT_DATA, private memory that can be written, as RLIMIT_AS also counts what
        is only reserved: Node.js reserves more than any sane limit and would not start."""
        return [
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, self.cpu_seconds),
            (resource.RLIMIT_DATA, self.memory),
            (resource.RLIMIT_FSIZE, self.file_bytes),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
        ]


def in_words(size: int) -> str:
    """A number of bytes for people."""
    if size >= MIB and size % MIB == 0:
        return f"{size // MIB} MiB"
    return f"{size // KIB} KiB" if size >= KIB and size % KIB == 0 else f"{size} bytes"
