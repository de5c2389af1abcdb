"""Which files a request works on: those of the conversation that it goes on with, wherever it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
import os
import shutil
import time
import uuid
from base64 import b64decode
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from unicodedata import normalize
from weakref import WeakValueDictionary

from agent.workspace import Workspace, WorkspaceError
from messages import File, Finish, MadeFile, Message, Text
from service.log import NAME
from service.storage import Storage
from skill_store.files import plain

log = logging.getLogger(NAME)
KEPT_SECONDS = 7 * 24 * 3600.0
"""How long files are kept after they were last changed."""
UPLOADS = "uploads"


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation's workspace and its name."""

    id: str
    files: Workspace

    @property
    def is_there(self) -> bool:
        """Whether anything has been written."""
        return self.files.folder.is_dir()


class Workspaces:
    """Below `folder`. A conversation is known by all that its client and the model have said in it."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self._folder = folder
        self._storage = storage
        self._tidied = 0.0
        self._open: WeakValueDictionary[str, Workspace] = WeakValueDictionary()
        """One for each folder, as its writers wait for each other."""

    async def of(self, owner: str, heard: Sequence[Message], known: str = "") -> Place:
        """The workspace of the conversation so far, else a new one; `known` is its name where that is at hand."""
        return self.named(known or await self._found(owner, heard) or uuid.uuid4().hex)

    def named(self, id: str) -> Place:
        files = self._open.get(id) or Workspace(self._folder / id)
        self._open[id] = files
        return Place(id, files)

    async def _found(self, owner: str, heard: Sequence[Message]) -> str:
        keys = _keys(owner, heard)
        if not keys or not self._folder.is_dir():  # then nobody has files, and nothing need be asked
            return ""
        try:
            found = await (await self._storage.open()).workspaces(keys)
        except Exception:
            log.warning("the files of a conversation could not be found", exc_info=True)
            return ""
        return next((found[key] for key in reversed(keys) if key in found), "")

    async def keep(self, owner: str, heard: Sequence[Message], finish: Finish, place: Place) -> list[MadeFile]:
        """Notes where the conversation's files are, if it has any; gives those that the run has made, with ids."""
        if not place.is_there:
            return []
        # Files are as old as the last change below, and a folder only as old as the last one in itself.
        await asyncio.to_thread(os.utime, place.files.folder)
        store = await self._storage.open()
        if finish.text.strip():
            said = Message("assistant", (Text(finish.text),))
            await store.keep_workspace(_keys(owner, [*heard, said])[-1], place.id)
        made = [replace(file, id=_file_id(place, file.path)) for file in finish.files]
        for file in made:
            await store.keep_file(file.id, owner, place.id, file.path)
        await asyncio.to_thread(self._tidy)
        return made

    async def content(self, owner: str, id: str) -> tuple[str, float, bytes] | None:
        """A file's path, when it was last made, and its bytes, for its owner."""
        found = await (await self._storage.open()).file(id, owner)
        if found is not None:
            workspace, path, created = found
            with suppress(WorkspaceError):
                return path, created, await asyncio.to_thread(self.named(workspace).files.read, path)
        return None

    def _tidy(self) -> None:
        """Removes folders in which nothing has changed for long."""
        now = time.time()
        if now - self._tidied < 3600:
            return
        self._tidied = now
        for folder in self._folder.iterdir():
            with suppress(OSError):
                if now - folder.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def _file_id(place: Place, path: str) -> str:
    return "file_" + hashlib.sha256(f"{place.id}/{path}".encode()).hexdigest()[:32]


def _keys(owner: str, messages: Sequence[Message]) -> list[str]:
    """A digest behind each of the model's words: of everything said so far, but for white space."""
    said = hashlib.sha256(owner.encode())
    keys: list[str] = []
    last = ""
    for message in messages:
        if message.role in ("user", "assistant"):
            said.update(f"\0{message.role}\0".encode() if message.role != last else b"")
            said.update("".join(message.text.split()).encode())
            last = message.role
        if message.role == "assistant":
            keys.append(said.hexdigest())
    return keys


def content_type(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def take_in(messages: Sequence[Message], files: Workspace, again: bool = False) -> list[Message]:
    """Puts the files that the client has sent since the last answer into the workspace, and says where they are.

    `again`: for a run that goes on. Then what is there stays, as the run may have changed it.
    """
    kept = {entry.path for entry in files.walk()} if again else set()
    new = len(list(takewhile(lambda message: message.role != "assistant", reversed(messages))))
    at = len(messages) - new
    taken: set[str] = set()
    return [*messages[:at], *(_taken_in(message, files, taken, kept) for message in messages[at:])]


def _taken_in(message: Message, files: Workspace, taken: set[str], kept: Set[str]) -> Message:
    sent = [part for part in message.parts if isinstance(part, File)] if message.role == "user" else []
    told = [path for part in sent if (path := _put(part, files, taken, kept))]
    words = Text(f"(The files are in the workspace: {', '.join(told)})")
    return Message("user", (*message.parts, words)) if told else message


def _put(part: File, files: Workspace, taken: set[str], kept: Set[str]) -> str:
    """Under its own name where that is free and can be, else under a number; "" where there is no room. What is to be
    `kept` is not written again.
    """
    numbered = f"file-{len(taken) + 1}{mimetypes.guess_extension(part.media_type) or ''}"
    for name in (_name(part), numbered):
        path = f"{UPLOADS}/{name}"
        if name and name not in taken:
            try:
                if path not in kept:
                    files.write(path, b64decode(part.data))
                taken.add(name)
                return path
            except (WorkspaceError, ValueError) as error:
                log.warning("a file that was sent cannot be %s: %s", name, error)
    return ""


def _name(file: File) -> str:
    """The name that the client gave, without folders, if it is a plain one."""
    name = normalize("NFC", file.name.replace("\\", "/").rpartition("/")[2])
    return name if name and plain(name) and len(name) < 100 else ""
