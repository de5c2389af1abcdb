"""What of the machine a script may see: programs and their libraries, no users, no data, no code of ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from sandbox.ran import SandboxError

PARTS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share", "include")
"""Of a prefix. The rest of it may hold anything: images keep their application in /usr/src/app."""
ETC = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "fonts", "mime.types"),
    *("ssl/openssl.cnf", "ssl/certs", "pki/tls/openssl.cnf", "pki/tls/certs", "crypto-policies"),
)
KERNEL = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@cache
def prefixes() -> tuple[str, ...]:
    """Of the running Python: its environment, and where it is from."""
    real = os.path.dirname(os.path.dirname(interpreter()))
    found = (sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix), real)
    return tuple(dict.fromkeys(found))


def interpreter() -> str:
    """The program that runs us, without links. Raises SandboxError."""
    if not sys.executable:
        raise SandboxError("scripts cannot be run, as it is not known where Python is")
    return os.path.realpath(sys.executable)


@cache
def system() -> tuple[str, ...]:
    """Files, folders and links that can be read, the outer ones first."""
    files = [f"{prefix}/pyvenv.cfg" for prefix in prefixes()]
    inside = [f"{prefix}/{part}" for prefix in ("/usr", "/usr/local", *prefixes()) for part in PARTS]
    found = [*(f"/{part}" for part in PARTS[:6]), *inside, *files, *(f"/etc/{name}" for name in ETC)]
    return tuple(sorted({os.path.normpath(path) for path in found if os.path.exists(path)}, key=depth))


def search_path() -> str:
    """PATH of a script: the running Python's programs, then the system's."""
    folders = [f"{prefix}/bin" for prefix in (sys.prefix, sys.base_prefix, "/usr/local", "/usr")]
    return ":".join(dict.fromkeys((*folders, "/bin")))


def existing(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if os.path.exists(path)]


def depth(path: str) -> int:
    return path.rstrip("/").count("/")


def both(path: Path) -> Iterator[str]:
    """A path as it is given and as it really is. Raises SandboxError where it is not there."""
    try:
        yield str(path.resolve(strict=True))
    except (OSError, RuntimeError) as error:
        raise SandboxError(f"{path} is not there, so no script can read it") from error
    yield os.path.abspath(path)


def closed(used: Iterable[str], readable: Iterable[str] = ()) -> str:
    """What a user without rights cannot enter above the one paths, or read of the others; empty if there is nothing."""
    for folder in (above for path in used for above in Path(path).parents):
        if not os.stat(folder).st_mode & 0o001:
            return str(folder)
    for path in readable:
        needed = 0o005 if os.path.isdir(path) else 0o004
        if os.stat(path).st_mode & needed != needed:
            return path
    return ""
