"""Conversations that are kept, files that are attached, commands of the chat: without a terminal."""

from __future__ import annotations

import json
import os
import stat
import zlib
from base64 import b64decode
from pathlib import Path

import pytest

from messages import File, Image, Message, Reasoning, Text, ToolCall, ToolResult, assistant, user
from settings import SettingsError
from terminal.attachments import LARGEST, AttachmentError, attach, check_weight
from terminal.commands import call_of
from terminal.sessions import Session, SessionError, kept_sessions, last_session, new_session
from terminal.transcript import as_markdown

PNG = b"\x89PNG\r\n\x1a\n" + zlib.compress(b"a picture")
TALK = [
    Message("user", (Image("image/png", "aGk="), File("application/pdf", "aGk=", "a.pdf"), Text("What is this?"))),
    Message(
        "assistant",
        (
            Reasoning("hm", {"signature": "s", "list": [1]}),
            Text("I look."),
            ToolCall("c1", "ls", '{"a": "é"}', own=True),
        ),
        "openai/gpt",
    ),
    Message("tool", (ToolResult("c1", (Text("nothing"), Image("image/png", "aGk=")), True),)),
    assistant("A *cookie*. \ud800"),
]


def test_a_session_is_read_as_it_was_kept(tmp_path: Path) -> None:
    session = Session("trip", tmp_path / "deep")
    session.keep(TALK[:2])
    session.keep(TALK)
    session.close()
    assert Session("trip", tmp_path / "deep").read() == TALK
    assert stat.S_IMODE(session.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(session.path.parent.stat().st_mode) == 0o700
    assert len(session.path.read_text().splitlines()) == len(TALK)


def test_what_is_taken_back_is_gone(tmp_path: Path) -> None:
    session = Session("a", tmp_path)
    session.keep([user("one"), assistant("1"), user("two"), assistant("2")])
    session.keep([user("one"), assistant("1"), user("three")])
    session.close()
    assert [message.text for message in Session("a", tmp_path).read()] == ["one", "1", "three"]


def test_broken_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    session = Session("a", tmp_path)
    session.keep([user("one"), assistant("1")])
    session.close()
    broken = [
        b"{",
        b"null",
        b'{"role": "user", "parts": [{"kind": "Path"}]}',
        b"\xff",
        b"[" * 100_000,
        b'{"role":"king","parts":[]}',
    ]
    session.path.write_bytes(session.path.read_bytes() + b"\n".join(broken))
    again = Session("a", tmp_path)
    assert [message.text for message in again.read()] == ["one", "1"]
    assert again.lost == len(broken)


def test_a_session_is_open_once(tmp_path: Path) -> None:
    first = Session("a", tmp_path)
    first.keep([user("one")])
    with pytest.raises(SessionError, match="open in another terminal"):
        Session("a", tmp_path).read()
    first.close()
    assert len(Session("a", tmp_path).read()) == 1


@pytest.mark.parametrize("name", ["../x", "", "a/b", "-a", ".hidden", "x" * 200, "a\n", "\u202ea"])
def test_a_sessions_name_is_no_path(name: str) -> None:
    with pytest.raises(SettingsError, match="--session"):
        Session(name)


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionError):
        Session("a", tmp_path).keep([user("one")])
    assert not (tmp_path / "elsewhere").exists()


def test_sessions_are_listed_newest_first(tmp_path: Path) -> None:
    assert last_session(tmp_path) is None and kept_sessions(tmp_path) == []
    for age, name in enumerate(("new", "old")):
        session = Session(name, tmp_path)
        session.keep([user(f"the {name}\x1b one")])
        session.close()
        os.utime(session.path, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "empty.jsonl").touch()
    os.utime(tmp_path / "empty.jsonl", (1, 1))
    assert [(kept.name, kept.first) for kept in kept_sessions(tmp_path)] == [
        ("new", "the new\\x1b one"),
        ("old", "the old\\x1b one"),
        ("empty", ""),
    ]
    found = last_session(tmp_path)
    assert found and found.name == "new"
    assert new_session(tmp_path).path != new_session(tmp_path / "new").path


def test_a_session_that_cannot_be_kept_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="cannot be kept: "):
        Session("a", tmp_path / "file").keep([user("x")])


def test_a_transcript_is_markdown() -> None:
    text = as_markdown(TALK)
    assert text.startswith(
        "## You\n\n*(a picture, image/png)*\n\n*(a file, a.pdf)*\n\nWhat is this?\n\n## Agent\n\nI look."
    )
    assert '```json ls\n{"a": "é"}\n```' in text and "aGk=" not in text and "nothing" not in text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 jpeg", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_pictures_are_known_by_their_content(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    part = attach(tmp_path / "a.txt").part
    assert isinstance(part, Image) and part.media_type == kind and b64decode(part.data) == data


def test_pdfs_and_text_go_along(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n\x00")
    part = attach(tmp_path / "a.pdf").part
    assert isinstance(part, File) and (part.media_type, part.name) == ("application/pdf", "a.pdf")
    (tmp_path / "a.py").write_text("print('```')\n")
    text = attach(str(tmp_path / "a.py"))
    assert text.part == Text("a.py:\n````py\nprint('```')\n````") and text.kind == "text"
    (tmp_path / "long.txt").write_text("é" * (LARGEST // 2 - 1))
    assert attach(tmp_path / "long.txt").kind == "text"


def test_what_cannot_go_along_says_why(tmp_path: Path) -> None:
    def refusal(name: str) -> str:
        with pytest.raises(AttachmentError) as caught:
            attach(tmp_path / name)
        words = str(caught.value)
        assert words.isprintable() and "\n" not in words
        return words

    (tmp_path / "a.out").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "photo.png", "wb") as photo:
        photo.write(PNG)
        photo.truncate(50_000_000)
    assert "a.out is a binary file: only" in refusal("a.out")
    assert "is empty" in refusal("empty")
    assert "no regular file" in refusal("pipe")
    assert "Is a directory" in refusal(".")
    assert refusal("photo.png").startswith("photo.png is 50 MB, and 2.9 MB fit into a request; make it smaller")
    assert "No such file" in refusal("gone\x1b[2J.txt")
    assert "no path" in refusal("a\0b")


def test_attachments_have_a_weight_together(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG + b"\0" * (LARGEST // 2))
    one = attach(tmp_path / "a.png")
    check_weight([one])
    with pytest.raises(AttachmentError, match="together"):
        check_weight([one, one])


def test_a_slash_begins_a_command_but_a_skill_or_a_path_a_question() -> None:
    names = {"market-research"}
    assert call_of("/model openai/gpt ", names) == ("model", "openai/gpt")
    assert call_of("/nonsense", names) == ("nonsense", "")
    for question in ("hi /help", "/market-research tea", "/etc/passwd is what?", "/a\nb"):
        assert call_of(question, names) is None


def test_sessions_are_plain_json(tmp_path: Path) -> None:
    session = Session("a", tmp_path)
    session.keep([user("hi")])
    session.close()
    (line,) = session.path.read_text().splitlines()
    assert json.loads(line) == {"role": "user", "origin": "", "parts": [{"kind": "Text", "text": "hi", "opaque": None}]}
