"""What the kernel is asked for by number: prctl(2), Landlock, and a filter of system calls.

The numbers are those of Linux' headers: prctl.h, capability.h, landlock.h, seccomp.h, filter.h, audit.h.
"""

from __future__ import annotations

import os
import stat
import struct

TYPE_CHECKING = False  # known to mypy; `typing` would have to be imported for every script
if TYPE_CHECKING:
    from collections.abc import Sequence

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_SECUREBITS = 1, 4, 22, 28
PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 36, 38, 47, 2
CAPABILITY_VERSION, CAP_DAC_OVERRIDE = 0x20080522, 1
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
MAKE_CHAR, MAKE_BLOCK, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}
"""By machine: its number in audit.h, and that of the system call `socket`."""
IO_URING_SETUP = 425


def prctl(option: int, value: int, address: int = 0) -> None:
    """Raises OSError."""
    _call("prctl", option, value, address, 0, 0)


def _call(name: str, *arguments: int | bytes | None) -> int:
    """A function of the C library. Raises OSError."""
    import ctypes  # late, as bubblewrap leaves nothing to do for it

    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    returned = int(function(*(ctypes.c_long(given) if isinstance(given, int) else given for given in arguments)))
    if returned < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return returned


def become(user: int, passes: bool) -> None:
    """The process, which is root, has a user without rights then; where it `passes`, one whom no mode of a file or
    folder holds back, also in programs that it executes. That is for those whom Landlock holds back."""
    os.setgroups([])
    os.setgid(user)
    if not passes:
        return os.setuid(user)
    prctl(PR_SET_KEEPCAPS, 1)
    os.setuid(user)
    kept = 1 << CAP_DAC_OVERRIDE
    _call("capset", struct.pack("Ii", CAPABILITY_VERSION, 0), struct.pack("IIIIII", kept, kept, kept, 0, 0, 0))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)
    return None


def landlock_version() -> int:
    """Raises OSError where the kernel has none."""
    return _call("syscall", LANDLOCK_CREATE_RULESET, None, 0, 1)


def landlock(readable: Sequence[str], writable: Sequence[str], devices: Sequence[str]) -> None:
    """Files beneath the given paths only, no TCP from version 4 on, no signals to processes outside from 6 on."""
    version = landlock_version()
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    asked = struct.pack("QQQ", every, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _call("syscall", LANDLOCK_CREATE_RULESET, asked, len(asked), 0)
    for paths, rights in (
        (readable, EXECUTE | READ_FILE | READ_DIR),
        (writable, every & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)),
        (devices, READ_FILE | WRITE_FILE | TRUNCATE),
    ):
        for path in paths:
            _allow(rules, path, rights & every)
    _call("syscall", LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_FILES
        _call("syscall", LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def no_sockets() -> None:
    """The system call `socket` fails, also through io_uring and for programs of another word size.

    Pairs of sockets still work; they lead nowhere but to each other.
    """
    import ctypes

    machine = os.uname().machine
    if machine not in SOCKET:
        raise OSError(f"the system calls of {machine} are not known")
    architecture, number = SOCKET[machine]
    refused, missing = 0x00050000 | 13, 0x00050000 | 38  # EACCES, ENOSYS
    load, equal, at_least, give_back = 0x20, 0x15, 0x35, 0x06
    steps = (
        (load, 0, 0, 4),  # the architecture
        (equal, 0, 5, architecture),
        (load, 0, 0, 0),  # the number of the call
        (at_least, 3, 0, 0x40000000),  # x32
        (equal, 2, 0, IO_URING_SETUP),
        (equal, 2, 0, number),
        (give_back, 0, 0, 0x7FFF0000),
        (give_back, 0, 0, missing),
        (give_back, 0, 0, refused),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(program))
