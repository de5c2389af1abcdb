"""One conversation's folder of files: what a model and its scripts write, with a quota, and never a way out of it.

Paths come from models, and scripts leave in the folder what they like. So a path is refused by its form first; then
every step of it is opened beneath the one before without following links, so that nothing swapped meanwhile leads out.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from threading import Event, RLock
from typing import TypeAlias

from agent.search import MAX_MATCHES, SEARCH_SECONDS, Place, SearchError, matching
from skill_store.files import shown
from tools import ToolError

MIB = 1024 * 1024
MAX_NAME, MAX_DEPTH, MAX_PATH, MAX_ENTRIES = 255, 16, 4096, 10_000
"""Bytes of a name, names in a path, characters of a path; files and folders that are looked at."""
MAX_SEARCHED_FILE, MAX_SEARCHED = 4 * MIB, 16 * MIB
"""Bytes of one file, and of all, that one search reads."""
EXCERPT = 300
"""Characters that are given of a line that is found."""
MAX_PATTERN, MAX_GLOBS = 1000, 64

_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = _STEP | os.O_DIRECTORY
_FILE = _STEP | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO opens at once instead of waiting for a writer
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".~new-"
_UNSEEN = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
"""What Unicode calls letters and marks although nothing of it is seen: fillers, joiners, variation selectors."""


class WorkspaceError(ToolError):
    """What cannot be done with a file, in one line for the model."""


class Missing(WorkspaceError):
    """Nothing stands at the path."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`path` is relative to the workspace, `size` in bytes (0 of what is no regular file), `modified` in seconds
    since 1970. `fault` says why it cannot be used, "" where it can; its path may then hold any character."""

    path: str
    size: int
    modified: float
    is_folder: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """`line` counts from 1; `text` is the line, or what stands around the match in a long one."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """`unread`: the files that were too large to search."""

    matches: tuple[Match, ...]
    unread: tuple[str, ...] = ()


Entries: TypeAlias = list[Entry]


class Workspace:
    """`folder` is made when the first file is written. `quota` is in bytes; `most_files` counts folders too.

    Writers wait for each other within one `Workspace`; two of one folder, or a script, can together pass the quota by
    what they write at the same moment. Scripts are held to it by nothing here, but it counts what they have left.
    """

    def __init__(self, folder: Path, quota: int = 64 * MIB, most_files: int = 1000) -> None:
        self.folder = folder
        self.quota = quota
        self.most_files = most_files
        self._lock = RLock()

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(entry.size for entry in self._all())

    def read(self, path: str, most: int | None = None) -> bytes:
        """A file's bytes. One of more than `most` (else the quota) is refused."""
        most = self.quota if most is None else most
        *above, name = _parts(path)
        with _told(path), self._opened(above) as folder:
            # Before it is opened, as a device may act on that, and after, as it may be another by then.
            _refuse(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
            with open(name, "rb", opener=lambda name, _: os.open(name, _FILE, dir_fd=folder)) as file:
                _refuse(os.fstat(file.fileno()), path)
                data = file.read(most + 1)
        if len(data) > most:
            raise WorkspaceError(f"{shown(path)} is larger than {most:,} bytes, the most that is read of a file")
        return data

    def write(self, path: str, data: bytes) -> None:
        """Put a file there, and the folders on the way: readers see all of the old one or all of the new."""
        parts = _parts(path)
        with self._lock:
            self._make_room(parts, len(data))
            with _told(path), self._opened(parts[:-1], make=True) as folder:
                _replace(folder, parts[-1], data)

    def update(self, path: str, change: Callable[[bytes], bytes], most: int | None = None) -> None:
        """Read, change and write a file while no other writer does."""
        with self._lock:
            self.write(path, change(self.read(path, most)))

    def _make_room(self, parts: Sequence[str], size: int) -> None:
        there = {entry.path: entry for entry in self._all()}
        steps = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        new = sum(step not in there for step in steps)
        old = there.get(steps[-1], Entry("", 0, 0.0))
        if fault := "is a folder, not a file" if old.is_folder else old.fault:
            raise WorkspaceError(f"{shown(steps[-1])} {fault}")
        if new and len(there) + new > self.most_files:
            raise WorkspaceError(f"the workspace is full: it may hold {self.most_files} files and folders")
        used = sum(entry.size for entry in there.values())
        if size > old.size and used - old.size + size > self.quota:
            needed = f"{used:,} of {self.quota:,} bytes are used, and this takes {size - old.size:,} more"
            raise WorkspaceError(f"the workspace has no room for {shown(steps[-1])}: {needed}")

    def delete(self, path: str) -> None:
        """Take away a file, an empty folder, or a link itself."""
        *above, name = _parts(path)
        with self._lock, _told(path), self._opened(above) as folder:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            (os.rmdir if stat.S_ISDIR(info.st_mode) else os.unlink)(name, dir_fd=folder)

    def list(self, path: str = "") -> Entries:
        """What a folder holds, by name; also what cannot be used, with the reason."""
        parts = _parts(path, file=False)
        try:
            with _told(path):
                return self._entries(parts)
        except Missing:
            if parts:
                raise
            return []

    def walk(self) -> Iterator[Entry]:
        """All files that can be read, by path, nothing else."""
        return (entry for entry in self._all() if not entry.is_folder and not entry.fault)

    def _all(self) -> Iterator[Entry]:
        return islice(self._below(()), MAX_ENTRIES)

    def _below(self, parts: tuple[str, ...]) -> Iterator[Entry]:
        """A folder is opened anew from the top, so that no descriptor is held; one that is gone meanwhile is empty."""
        try:
            entries = self._entries(parts)
        except OSError:
            return
        for entry in entries:
            yield entry
            if entry.is_folder and not entry.fault and len(parts) + 1 < MAX_DEPTH:
                yield from self._below((*parts, entry.path.rpartition("/")[2]))

    def _entries(self, parts: Sequence[str]) -> Entries:
        prefix = "".join(f"{part}/" for part in parts)
        entries: Entries = []
        with self._opened(parts) as folder, os.scandir(folder) as found:
            for item in islice(found, MAX_ENTRIES):
                with suppress(FileNotFoundError):
                    entries.append(_entry(prefix, item.name, item.stat(follow_symlinks=False)))
        return sorted(entries, key=lambda entry: entry.path)

    @contextmanager
    def _opened(self, parts: Sequence[str], make: bool = False) -> Iterator[int]:
        """A descriptor of a folder, reached step by step. Raises OSError."""
        if make:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder, _FOLDER)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=descriptor)
                above, descriptor = descriptor, os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)

    def glob(self, pattern: str) -> Entries:
        """The files that fit: `*`, `?` and `[ab]` in a name, `**` any folders, `{a,b}`; no slash: in any folder."""
        globs = _globs(pattern)
        return [entry for entry in self.walk() if any(_fits(entry.path.split("/"), glob) for glob in globs)]

    def grep(
        self,
        pattern: str,
        glob: str = "",
        regex: bool = False,
        seconds: float = SEARCH_SECONDS,
        unwanted: Event | None = None,
    ) -> Found:
        """The lines that hold a text, or in which a regular expression of Python's matches.

        Python's expressions can take for ever over one short line, and nothing stops one inside a process: it holds
        the interpreter meanwhile. So they run in a process of their own, which is ended when `seconds` are over, or
        the result is `unwanted`. A plain text needs none of that, and is the rule.
        """
        if not 0 < len(pattern) <= MAX_PATTERN or "\n" in pattern:
            raise WorkspaceError(f"the pattern must be one line of 1 to {MAX_PATTERN} characters")
        texts, unread = self._texts(glob)
        try:
            places = matching(pattern, texts, seconds, unwanted) if regex else _holding(pattern, texts)
        except SearchError as error:
            raise WorkspaceError(str(error)) from None
        lines = {path: texts[path].split("\n") for path in {path for path, _, _ in places}}
        matches = (Match(path, line, _excerpt(lines[path][line - 1], column)) for path, line, column in places)
        return Found(tuple(matches), tuple(unread))

    def _texts(self, glob: str) -> tuple[dict[str, str], Sequence[str]]:
        """The texts by path, binary files left out; and the paths for which there is no room."""
        texts: dict[str, str] = {}
        unread: list[str] = []
        left = MAX_SEARCHED
        for entry in self.glob(glob):
            if entry.size > min(MAX_SEARCHED_FILE, left):
                unread.append(entry.path)
                continue
            with suppress(WorkspaceError):  # it is gone, or another by now
                data = self.read(entry.path, MAX_SEARCHED_FILE)
                left -= len(data)
                if b"\0" not in data:
                    texts[entry.path] = data.decode("utf-8", "replace").replace("\r\n", "\n")
        return texts, unread


def _parts(path: str, file: bool = True) -> tuple[str, ...]:
    """The names on the way, in NFC; none for the workspace itself. Raises for all that could lead elsewhere."""
    if len(path) > MAX_PATH:
        raise WorkspaceError(f"the path is longer than {MAX_PATH} characters")
    if path.startswith(("/", "\\")):
        raise WorkspaceError(f"{shown(path)} is absolute; give a path relative to the workspace, as notes/a.md")
    parts = tuple(part for part in unicodedata.normalize("NFC", path).split("/") if part not in ("", "."))
    for part in parts:
        if fault := _name_fault(part):
            raise WorkspaceError(f"{shown(path)} cannot be used: the name {shown(part)} {fault}")
    if len(parts) > MAX_DEPTH:
        raise WorkspaceError(f"{shown(path)} is deeper than {MAX_DEPTH} names")
    if file and not parts:
        raise WorkspaceError("the path is empty; give the path of a file in the workspace")
    return parts


def _name_fault(name: str) -> str:
    """Why a name is not used, "" where it is: what nobody sees would let two names look the same."""
    if name == "..":
        return "leads out of a folder"
    for character in name:
        if character == "\\" or re.match(_UNSEEN, character) or not character.isprintable():
            return f"holds a character that is not allowed: U+{ord(character):04X}"
    if name != name.strip():
        return "begins or ends with a blank"
    if len(name.encode()) > MAX_NAME:
        return f"is longer than {MAX_NAME} bytes"
    if name.startswith(_TEMPORARY):
        return "is of a file that is being written"
    return "" if unicodedata.is_normalized("NFC", name) else "is not in Unicode's form NFC"


def _file_fault(info: os.stat_result) -> str:
    if stat.S_ISDIR(info.st_mode):
        return "is a folder, not a file"
    if stat.S_ISLNK(info.st_mode):
        return "is a link, and links are not followed"
    if not stat.S_ISREG(info.st_mode):
        return "is not a regular file"
    return "is a hard link: it has another name, which may be elsewhere" if info.st_nlink > 1 else ""


def _refuse(info: os.stat_result, path: str) -> None:
    if fault := _file_fault(info):
        raise WorkspaceError(f"{shown(path)} {fault}")


def _entry(prefix: str, name: str, info: os.stat_result) -> Entry:
    folder = stat.S_ISDIR(info.st_mode)
    fault = ("" if folder else _file_fault(info)) or _name_fault(name)
    size = info.st_size if stat.S_ISREG(info.st_mode) else 0
    return Entry(f"{prefix}{name}", size, info.st_mtime, folder, fault)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """The system's errors become words."""
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"there is no {shown(path)}") from error
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise WorkspaceError(f"{shown(path)}: a file or a link stands where a folder must be") from error
        raise WorkspaceError(f"{shown(path)} cannot be used: {error.strerror}") from error


def _replace(folder: int, name: str, data: bytes) -> None:
    """The new file has the permissions of the old, so that a script can still be run."""
    temporary = f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        with open(temporary, "wb", opener=lambda name, _: os.open(name, _NEW, 0o600, dir_fd=folder)) as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode & 0o777)
            file.write(data)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _globs(pattern: str) -> list[list[str]]:
    """The names and `**` of each way to read the braces."""
    found: list[list[str]] = []
    waiting = [pattern]
    while waiting:
        glob = waiting.pop()
        if len(glob) > MAX_PATTERN or glob.count("/") > 2 * MAX_DEPTH or len(found) + len(waiting) >= MAX_GLOBS:
            raise WorkspaceError(f"the glob {shown(pattern)} is too long, or has too many {{alternatives}}")
        if braces := re.search(r"\{([^{}]*,[^{}]*)\}", glob):
            head, tail = glob[: braces.start()], glob[braces.end() :]
            waiting += [f"{head}{choice}{tail}" for choice in braces[1].split(",")]
        else:
            anchored = f"{glob}**" if glob.endswith("/") else glob if "/" in glob else f"**/{glob}"
            found.append([part for part in anchored.split("/") if part not in ("", ".")])
    return found


def _fits(names: Sequence[str], glob: Sequence[str]) -> bool:
    """`reached[n]`: the first n parts fit the names so far. So no `**` is tried again and again."""
    reached = [True]
    for part in glob:
        reached.append(reached[-1] and part == "**")
    for name in names:
        before, reached = reached, [False]
        for place, part in enumerate(glob):
            deeper = before[place + 1] or reached[place]
            reached.append(deeper if part == "**" else before[place] and fnmatchcase(name, part))
    return reached[-1]


def _holding(text: str, texts: Mapping[str, str]) -> list[Place]:
    lines = ((path, *line) for path, body in texts.items() if text in body for line in enumerate(body.split("\n"), 1))
    return list(islice(((path, number, line.find(text)) for path, number, line in lines if text in line), MAX_MATCHES))


def _excerpt(line: str, column: int) -> str:
    start = max(0, min(column - EXCERPT // 3, len(line) - EXCERPT))
    end = start + EXCERPT
    return f"{'…' if start else ''}{line[start:end]}{'…' if end < len(line) else ''}"
