"""The tools that let a model work on the files of its workspace. Their docstrings are what the model is told."""

from __future__ import annotations

import asyncio
import base64
import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from threading import Event
from typing import TypeAlias

from agent.search import MAX_MATCHES
from agent.workspace import MIB, Entry, Missing, Workspace
from messages import Image, clean
from skill_store.files import shown
from tools import Tool, ToolError

READING = ("ls", "read_file", "glob", "grep")
"""Tools that change nothing."""
MAX_RESULT, MAX_LINE = 20_000, 2000
"""Characters of a result, and of one line in it."""
MAX_READ, MAX_IMAGE = 8 * MIB, 7 * MIB // 2
"""Bytes. Providers take images of 5 MB in base64, which is a third longer."""
MAX_PLACES = 10
_HINT = 400
_IMAGES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF....WEBP",
}
"""How the files begin. An image is known by that and not by its name: a provider refuses, for as long as the
conversation goes on, what is none."""


Reading: TypeAlias = Callable[..., str | Image | Awaitable[str]]


def file_tools(workspace: Workspace) -> list[Tool]:
    """`ls`, `read_file`, `write_file`, `edit_file`, `glob` and `grep`."""
    files = _FileTools(workspace)
    reading: tuple[Reading, ...] = (files.ls, files.read_file, files.glob, files.grep)
    return [
        *(Tool.of(tool, outside=True) for tool in reading),
        Tool.of(files.write_file),
        Tool.of(files.edit_file),
    ]


class _FileTools:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def ls(self, path: str = "") -> str:
        """List a folder. Paths are relative."""
        entries = self._workspace.list(path)
        return _fitted(map(_row, entries), "glob finds files by name") if entries else "The folder is empty."

    def read_file(self, path: str, offset: int = 0, limit: int = 2000) -> str | Image:
        """Read numbered lines after `offset`, or see an image."""
        data = self._read(path)
        if kind := _image(data):
            if len(data) > MAX_IMAGE:
                raise ToolError(f"{shown(path)} is too large to be seen: {len(data):,} of at most {MAX_IMAGE:,} bytes")
            return Image(kind, base64.b64encode(data).decode())
        lines = _lines(_text(data, path))
        if offset >= len(lines) > 0:
            raise ToolError(f"{shown(path)} has only {len(lines)} lines")
        return _numbered(lines, max(offset, 0), max(limit, 1)) or "The file is empty."

    def write_file(self, path: str, content: str) -> str:
        """Make or overwrite a file."""
        data = clean(content).encode()
        self._workspace.write(path, data)
        return f"Wrote {path} ({len(data):,} bytes)."

    def edit_file(self, path: str, old: str, new: str, replace_all: bool = False) -> str:
        """Replace text that is in a file exactly once."""
        if not old or old == new:
            raise ToolError(
                "old and new are the same" if old else "old is empty; write_file makes or overwrites a file"
            )
        lines: list[int] = []

        def change(data: bytes) -> bytes:
            text = _text(data, path)
            was, now = (_with_ends_of(data, clean(words).encode()) for words in (old, new))
            count = data.count(was)
            lines[:] = _places(data, was)
            if not count:
                raise ToolError(
                    f"old is not in the file, which must hold it to the letter{_nearest(_lines(text), old)}"
                )
            if count > 1 and not replace_all:
                raise ToolError(f"old is in the file {count} times, {_at(lines)}: give more of it, or replace_all")
            if len(data) + count * (len(now) - len(was)) > self._workspace.quota:  # it is not even made
                raise ToolError(f"the file would be too large with {count} places replaced")
            return data.replace(was, now)

        try:
            self._workspace.update(path, change, MAX_READ)
        except Missing as error:
            raise self._with_nearest(error, path) from error
        return f"Edited {path} {_at(lines)}."

    def glob(self, pattern: str) -> str:
        """Find files by path, such as src/**/*.{js,ts}."""
        found = self._workspace.glob(pattern)
        return _fitted((entry.path for entry in found), "narrow the pattern") if found else "No file fits."

    async def grep(self, pattern: str, glob: str = "", regex: bool = False) -> str:
        """Find lines by literal text or Python regex."""
        unwanted = Event()
        try:
            return await asyncio.to_thread(self._lines, pattern, glob, regex, unwanted)
        finally:
            unwanted.set()

    def _lines(self, pattern: str, glob: str, regex: bool, unwanted: Event) -> str:
        found = self._workspace.grep(pattern, glob, regex, unwanted=unwanted)
        rows = [f"{match.path}:{match.line}:{match.text}" for match in found.matches]
        if not rows:
            escape = "" if regex or pattern == re.escape(pattern) else " The pattern was read as text, not as a regex."
            rows = [f"No line fits.{escape}"]
        if len(rows) >= MAX_MATCHES:
            rows.append("[there may be more]")
        if found.unread:
            rows.insert(0, f"[too large to be searched: {', '.join(found.unread[:5])}"[:_HINT] + "]")
        return _fitted(rows, "narrow the pattern or the glob")

    def _read(self, path: str) -> bytes:
        try:
            return self._workspace.read(path, MAX_READ)
        except Missing as error:
            raise self._with_nearest(error, path) from error

    def _with_nearest(self, error: Missing, path: str) -> ToolError:
        """Names alone are compared, and few: the comparison takes long for long ones."""
        name = path.rpartition("/")[2][:60]
        names: dict[str, str] = {}
        for entry in islice(self._workspace.walk(), 300):
            names.setdefault(entry.path.rpartition("/")[2][:60], entry.path)
        folded = {known.casefold(): known for known in names}
        near = difflib.get_close_matches(name.casefold(), folded, 1)
        return ToolError(f"{error}; did you mean {names[folded[near[0]]]}?" if near else str(error))


def _row(entry: Entry) -> str:
    if entry.fault:
        return f"{shown(entry.path)} (not used: it {entry.fault})"
    return f"{entry.path}/" if entry.is_folder else f"{entry.path} ({entry.size:,} bytes)"


def _fitted(rows: Iterable[str], advice: str) -> str:
    """As many rows as a result may hold."""
    rows = list(rows)
    kept = _first(rows, MAX_RESULT - _HINT)
    left = len(rows) - len(kept)
    return "\n".join([*kept, *([f"[{left} more left out: {advice}]"] if left else ())])


def _first(rows: Iterable[str], room: int) -> list[str]:
    kept: list[str] = []
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            break
        kept.append(row)
    return kept


def _numbered(lines: Sequence[str], offset: int, limit: int) -> str:
    rows = (f"{number:6}\t{_clipped(line)}" for number, line in enumerate(lines[offset : offset + limit], offset + 1))
    kept = _first(rows, MAX_RESULT - _HINT)
    end = offset + len(kept)
    more = [f"[{len(lines) - end} more lines: go on with offset={end}]"] if end < len(lines) else []
    return "\n".join([*kept, *more])


def _clipped(line: str) -> str:
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… [{len(line) - MAX_LINE} more characters]"


def _image(data: bytes) -> str:
    """Its media type, "" where it is none."""
    return next((kind for kind, begins in _IMAGES.items() if re.match(begins, data, re.DOTALL)), "")


def _text(data: bytes, path: str) -> str:
    if b"\0" in data:
        raise ToolError(f"{shown(path)} is a binary file of {len(data):,} bytes")
    return data.decode("utf-8", "replace")


def _lines(text: str) -> list[str]:
    """Without the characters that end them; a last one that is empty is none."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _with_ends_of(data: bytes, text: bytes) -> bytes:
    """The text with the line ends of a file that has \\r\\n throughout, as a model is shown none of them."""
    if 0 < data.count(b"\n") == data.count(b"\r\n"):
        return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text


def _places(data: bytes, text: bytes) -> list[int]:
    """The lines, from 1, where the text begins; no more than one past MAX_PLACES."""
    found: list[int] = []
    line, at = 1, 0
    while len(found) <= MAX_PLACES and (place := data.find(text, at)) >= 0:
        line += data.count(b"\n", at, place)
        found.append(line)
        line += text.count(b"\n")
        at = place + len(text)
    return found


def _at(lines: Sequence[int]) -> str:
    if len(lines) == 1:
        return f"at line {lines[0]}"
    return f"at lines {', '.join(map(str, lines[:MAX_PLACES]))}{', …' if len(lines) > MAX_PLACES else ''}"


def _nearest(lines: Sequence[str], old: str) -> str:
    """The lines that share most words with `old`, found in a time that grows no faster than the file."""
    wanted = old.split("\n")
    if all(re.match(r"\s*\d+\t", line) for line in wanted if line):
        return "; leave out the line numbers"
    words = [_words(line) for line in wanted[:20]]
    told = max(range(len(words)), key=lambda number: len(words[number]))
    likeness = [len(words[told] & found) / (len(words[told] | found) or 1) for found in map(_words, lines[:20_000])]
    best = max(range(len(likeness)), key=likeness.__getitem__, default=0)
    if not likeness or likeness[best] < 0.4:
        return "; read it first"
    first = max(best - told, 0)
    rows = (f"{number:6}\t{line[:200]}" for number, line in enumerate(lines[first : first + len(words)], first + 1))
    return "; the nearest is\n" + "\n".join(rows)


def _words(line: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", line[:MAX_LINE]))
