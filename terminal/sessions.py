"""Conversations kept in the user's data folder: a file each, a message a line, for its owner's eyes only.

A line is `{"role", "origin", "parts": [{"kind", …}]}` with the fields of `messages`. What a broken line said is lost,
and said so; the rest is read.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from defaults import data_folder
from messages import (
    Audio,
    File,
    Image,
    Message,
    Part,
    ProviderBlock,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from settings import SettingsError
from terminal.text import one_line

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Text, Refusal, Image, File, Audio, Reasoning, ProviderBlock, ToolCall, ToolResult)
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SessionError(Exception):
    """A session that cannot be opened or kept, in one line."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A session as a list shows it; `modified` in seconds since 1970."""

    name: str
    modified: float
    first: str


class Session:
    """One conversation's file. It is made with the first message, and locked while it is open."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        if not NAME.fullmatch(name):
            raise SettingsError("--session", "expected letters, digits, dots, dashes and underscores", name)
        self.name = name
        self.path = (folder or sessions_folder()) / f"{name}.jsonl"
        self.files = self.path.with_suffix(".files")
        """The folder of what the agent makes in this conversation."""
        self.lost = 0
        """Lines that could not be read."""
        self._file: int | None = None
        self._kept: list[Message] = []

    def read(self) -> list[Message]:
        """The messages so far. Raises `SessionError`."""
        if self.path.exists():
            self._open()
        try:
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        except OSError as error:
            raise SessionError(f"the session {self.name} cannot be read: {error.strerror}") from error
        self._kept = [message for line in lines if (message := self._message(line))]
        return list(self._kept)

    def keep(self, messages: Sequence[Message]) -> None:
        """The conversation as it is now: what is new goes to the end, else the file is written anew."""
        if list(messages[: len(self._kept)]) == self._kept:
            self._append(messages[len(self._kept) :])
        else:
            self._rewrite(messages)
        self._kept = list(messages)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, messages: Sequence[Message]) -> None:
        try:
            self._open()
            assert self._file is not None  # noqa: S101 - `_open` has set it or raised
            _write(self._file, messages)
        except OSError as error:
            raise SessionError(f"the session {self.name} cannot be kept: {error.strerror}") from error

    def _rewrite(self, messages: Sequence[Message]) -> None:
        """In the same file, as the lock is on it."""
        try:
            self._open()
            assert self._file is not None  # noqa: S101 - `_open` has set it or raised
            os.ftruncate(self._file, 0)
            _write(self._file, messages)
        except OSError as error:
            raise SessionError(f"the session {self.name} cannot be kept: {error.strerror}") from error

    def _open(self) -> None:
        if self._file is not None:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise SessionError(f"the session {self.name} is open in another terminal") from error

    def _message(self, line: bytes) -> Message | None:
        try:
            return _decoded(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.lost += 1
            return None


def sessions_folder() -> Path:
    return data_folder() / "sessions"


def is_writable(folder: Path) -> bool:
    """By trying it; a folder that is not there yet counts by the nearest one that is."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def loose_files() -> Path:
    """A folder for what is made in an answer that belongs to no session."""
    return sessions_folder() / f"{time.strftime('%Y-%m-%d-%H%M')}-{os.getpid()}.files"


def new_session(folder: Path | None = None) -> Session:
    """Named by the time: names then sort as they were begun."""
    folder = folder or sessions_folder()
    stem = time.strftime("%Y-%m-%d-%H%M")
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 1000))
    return Session(next((name for name in names if not (folder / f"{name}.jsonl").exists()), stem), folder)


def last_session(folder: Path | None = None) -> Session | None:
    newest = next(iter(kept_sessions(folder, most=1)), None)
    return Session(newest.name, folder) if newest else None


def kept_sessions(folder: Path | None = None, most: int = 20) -> list[Kept]:
    """The newest first."""
    found: list[tuple[float, Path]] = []
    for path in (folder or sessions_folder()).glob("*.jsonl"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    found.sort(reverse=True)
    return [Kept(path.stem, modified, _first_words(path)) for modified, path in found[:most]]


def _first_words(path: Path) -> str:
    try:
        with path.open("rb") as file:
            said = _decoded(json.loads(file.readline(1 << 20)))
        return one_line(said.text, 60)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


def _write(file: int, messages: Sequence[Message]) -> None:
    """Whole lines; a crash leaves at most one that is not."""
    data = "".join(json.dumps(_encoded(message)) + "\n" for message in messages).encode()
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _encoded(message: Message) -> dict[str, Any]:
    return {"role": message.role, "origin": message.origin, "parts": [_encoded_part(part) for part in message.parts]}


def _encoded_part(part: Part) -> dict[str, Any]:
    told = {"kind": type(part).__name__, **asdict(part)}
    if isinstance(part, ToolResult):
        told["parts"] = [_encoded_part(each) for each in part.parts]
    return told


def _decoded(value: dict[str, Any]) -> Message:
    role = value["role"]
    if role not in ("system", "user", "assistant", "tool"):
        raise ValueError("no such role")
    return Message(cast("Role", role), tuple(_decoded_parts(value["parts"])), str(value.get("origin", "")))


def _decoded_parts(values: list[dict[str, Any]]) -> Iterator[Part]:
    for value in values:
        kind = KINDS[value["kind"]]
        given = {field.name: value[field.name] for field in fields(kind) if field.name in value}
        if kind is ToolResult:
            given["parts"] = tuple(_decoded_parts(value["parts"]))
        yield kind(**given)
