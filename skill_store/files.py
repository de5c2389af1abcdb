"""The files of one skill: list them and read them, never leaving the skill's folder.

Paths come from models and folders come from strangers, so a path is refused by its form first, then by
where it really leads, and then it is opened step by step without following links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

SKILL_FILE = "SKILL.md"
MAX_BYTES = 1024 * 1024
"""Largest file of a skill that is read, SKILL.md included."""
MAX_DEPTH, MAX_ENTRIES = 8, 2000
"""How deep, and over how many entries, the files of one skill are listed."""

_SKIPPED = frozenset({"node_modules", "__pycache__"})


class SkillError(Exception):
    """What cannot be done with a skill, in one line for the model or the user."""


def plain(name: str) -> bool:
    """Whether a file or folder of this name counts: not hidden, printable, no backslash."""
    return not name.startswith(".") and name not in _SKIPPED and name.isprintable() and "\\" not in name


def shown(path: str) -> str:
    """A path in quotes, escaped and short, for a message."""
    return repr(path if len(path) <= 80 else path[:80] + "…")


def few(names: Iterable[str], most: int = 40) -> str:
    """Names for a message, each short, and no more than `most` of them."""
    found = [name if len(name) <= 80 else f"{name[:80]}…" for name in names]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def safe_path(path: str) -> str:
    """The path without empty and `.` parts; raises SkillError for all that could lead elsewhere."""
    parts = PurePosixPath(path).parts
    if not parts:
        raise SkillError("the path is empty; give the path of a file in the skill's folder")
    if path.startswith(("/", "\\")):
        raise SkillError(f"{shown(path)} is absolute; give a path relative to the skill's folder")
    if ".." in parts:
        raise SkillError(f"{shown(path)} has .. in it; only files in the skill's folder can be read")
    if not all(map(plain, parts)):
        raise SkillError(f"{shown(path)} has a hidden name in it, or a character that is not allowed in paths")
    return "/".join(parts)


def read_inside(folder: Path, path: str) -> bytes:
    """The bytes of a regular file, at most MAX_BYTES, whose real place is inside the real `folder`.

    Raises FileNotFoundError, or SkillError for everything else that prevents it.
    """
    try:
        return _read_beneath(folder, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        # A socket has no data to open.
        reason = "is not a regular file" if error.errno == errno.ENXIO else f"cannot be read: {error.strerror}"
        raise SkillError(f"{shown(path)} {reason}") from error


def _read_beneath(folder: Path, path: str) -> bytes:
    target = Path(os.path.realpath(folder / path, strict=True))
    if not target.is_relative_to(folder):
        raise SkillError(f"{shown(path)} is a link that leaves the skill's folder")
    descriptor = _open_beneath(folder, target.relative_to(folder).parts)
    try:
        _refuse_unreadable(os.fstat(descriptor), path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(descriptor)


def _open_beneath(folder: Path, parts: tuple[str, ...]) -> int:
    """A descriptor reached step by step without links, so that nothing swapped meanwhile leads out.

    O_NONBLOCK lets a FIFO open at once instead of waiting for a writer.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder, flags | os.O_DIRECTORY)
    for index, part in enumerate(parts, 1):
        above = descriptor
        kind = os.O_NONBLOCK | os.O_NOCTTY if index == len(parts) else os.O_DIRECTORY
        try:
            descriptor = os.open(part, flags | kind, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def _refuse_unreadable(info: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise SkillError(f"{shown(path)} is a folder, not a file")
    if not stat.S_ISREG(info.st_mode):
        raise SkillError(f"{shown(path)} is not a regular file")
    if info.st_size > MAX_BYTES:
        raise SkillError(f"{shown(path)} is larger than {MAX_BYTES // 1024} KiB, which is the most that is read")


def walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Relative POSIX paths below the real `folder`, nearest first, each with its fault ("" when fine).

    Links to folders are followed inside `folder`, each target once, so that loops end.
    """
    queue, seen, count = deque([("", folder)]), {folder}, 0
    while queue:
        prefix, here = queue.popleft()
        for name, target, mode in _entries(here):
            count += 1
            if count > MAX_ENTRIES:
                yield prefix + name, f"is past the first {MAX_ENTRIES} entries, so it is not listed"
                return
            if not stat.S_ISDIR(mode) or not target.is_relative_to(folder):
                yield prefix + name, _fault(folder, target, mode)
            elif prefix.count("/") < MAX_DEPTH and (target not in seen or target == here / name):
                seen.add(target)
                queue.append((f"{prefix}{name}/", target))


def _entries(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Name, real path and mode (0 for a broken link) of what a real folder holds, by name."""
    for name in _names(folder):
        path, mode = folder / name, 0
        with suppress(OSError):
            mode = os.stat(path).st_mode
        yield name, Path(os.path.realpath(path)) if path.is_symlink() else path, mode


def _names(folder: Path) -> list[str]:
    try:
        return sorted(filter(plain, os.listdir(folder)))
    except OSError:
        return []


def _fault(folder: Path, target: Path, mode: int) -> str:
    if not target.is_relative_to(folder):
        return "is a link that leaves the skill's folder"
    if not mode:
        return "is a broken link"
    return "" if stat.S_ISREG(mode) else "is not a regular file"
