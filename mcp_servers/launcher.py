"""Runs a stdio server so that it and all that it has started end together, and no later than the service.

python -I -S launcher.py PARENT COMMAND [ARGUMENT…]

PARENT is the service's process id. The group of processes that this one leads is killed when the server ends, and by
the kernel's word when the service is gone, however that ended (Linux; elsewhere the server sees its input end).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>"""


def _end(_: int, __: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def _wait_on(_: int, __: FrameType | None) -> None:
    """The group is told to end; the server takes its time, and this process leaves after it."""


def _end_with(parent: int) -> None:
    signal.signal(signal.SIGUSR1, _end)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:
        _end(0, None)


def main(parent: str, *command: str) -> None:
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _wait_on)
    _end_with(int(parent))
    server = os.posix_spawnp(command[0], command, os.environ)
    nothing = os.open(os.devnull, os.O_RDWR)
    for pipe in (0, 1):  # which would stay open behind the server's back
        os.dup2(nothing, pipe)
    _, status = os.waitpid(server, 0)
    print(f"ended with {os.waitstatus_to_exitcode(status)}", file=sys.stderr, flush=True)  # noqa: T201
    _end(0, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
