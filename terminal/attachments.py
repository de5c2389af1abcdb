"""Files that go along with a question: pictures and PDFs as they are, text in a code block that names it."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from messages import File, Image, Part, Text
from terminal.text import fenced, harmless, size

REQUEST = 4 * 1024 * 1024
"""Bytes of a request that the service takes (`bodies.py`); the providers' own limits are of that order."""
ROOM = 256 * 1024
"""Bytes of it that are left for the words around."""
LARGEST = (REQUEST - ROOM) * 3 // 4
"""Bytes of a file, which base64 makes a third longer."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
"""https://www.garykessler.net/library/file_sigs.html; WebP is in a RIFF container."""
_HELP = {
    "image": "make it smaller, as with: magick {} -resize '1568x1568>' -quality 85 smaller.jpg",
    "application/pdf": "take the pages that matter, as with: qpdf {} --pages . 1-20 -- some.pdf",
    "text": "take the lines that matter, as with: head -n 2000 {} > some.txt",
}


class AttachmentError(Exception):
    """A file that cannot be attached, and why, in one line."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """`weight`: bytes that it takes of a request."""

    name: str
    part: Part
    weight: int

    @property
    def kind(self) -> str:
        match self.part:
            case Image():
                return "picture"
            case File():
                return "PDF"
        return "text"


def attach(path: str | Path) -> Attachment:
    """What the file is, by its content. Raises `AttachmentError`."""
    file = Path(os.path.expanduser(path))
    data = _read(file)
    kind = media_type(data)
    if len(data) > LARGEST:
        raise AttachmentError(_too_large(file, os.path.getsize(file), kind))
    if kind.startswith("image/"):
        return _weighed(file, Image(kind, b64encode(data).decode()), len(data))
    if kind == "application/pdf":
        return _weighed(file, File(kind, b64encode(data).decode(), harmless(file.name)), len(data))
    if kind != "text":
        raise AttachmentError(
            f"{_name(file)} is {kind}: only pictures (PNG, JPEG, GIF, WebP), PDFs and text can go along"
        )
    text = data.decode("utf-8-sig")
    return Attachment(_name(file), Text(f"{_name(file)}:\n{fenced(text, file.suffix[1:])}"), len(data))


def media_type(data: bytes) -> str:
    """`image/…`, `application/pdf`, `text`, or words for what is none of them."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if not data:
        return "empty"
    try:
        # The cut behind what is read may lie within a character.
        data[:LARGEST].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < min(len(data), LARGEST) - 3:
            return "a binary file"
    return "a binary file" if b"\0" in data else "text"


def check_weight(attachments: Sequence[Attachment]) -> None:
    """Whether they fit into one request together. Raises `AttachmentError`."""
    weight = sum(each.weight for each in attachments)
    if weight > LARGEST:
        raise AttachmentError(f"the attachments are {size(weight)} together; a request takes {size(LARGEST)}")


def _weighed(file: Path, part: Part, length: int) -> Attachment:
    return Attachment(_name(file), part, length)


def _read(file: Path) -> bytes:
    """At most one byte more than can be sent; nothing that is no regular file is waited for."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise AttachmentError(f"{_name(file)} is no regular file")
            return opened.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "that is no path"
        raise AttachmentError(f"{harmless(str(file))} cannot be read: {why}") from error


def _too_large(file: Path, length: int, kind: str) -> str:
    advice = next((words for start, words in _HELP.items() if kind.startswith(start)), "")
    hint = f"; {advice.format(_name(file))}" if advice else ""
    return f"{_name(file)} is {size(length)}, and {size(LARGEST)} fit into a request{hint}"


def _name(file: Path) -> str:
    return harmless(file.name)
