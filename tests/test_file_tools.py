"""The tools that let a model work on files: what each answers, and how their searches find and end."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.file_tools import READING, file_tools
from agent.workspace import MAX_SEARCHED_FILE, Workspace, WorkspaceError
from messages import Image, ToolCall, ToolResult
from tools import Toolbox

DOCS = Path(__file__).resolve().parents[1] / "docs"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "conversation"


@pytest.fixture
def workspace(folder: Path) -> Workspace:
    """One with a file in it."""
    workspace = Workspace(folder)
    workspace.write("notes/a.txt", b"alpha\n")
    return workspace


async def use(workspace: Workspace, called: str, /, **arguments: Any) -> ToolResult:
    return await Toolbox(file_tools(workspace)).run(ToolCall("1", called, json.dumps(arguments)))


async def said(workspace: Workspace, called: str, /, **arguments: Any) -> str:
    result = await use(workspace, called, **arguments)
    assert not result.is_error, result.text
    return result.text


async def fault(workspace: Workspace, called: str, /, **arguments: Any) -> str:
    result = await use(workspace, called, **arguments)
    assert result.is_error and result.text.startswith("Error: "), result.text
    return result.text


def in_time(work: Callable[[], object]) -> None:
    """Run `work`; a hang fails the test instead of stopping the suite."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(20), "it hangs, or it failed with the error above"


def test_the_six_tools_cost_few_tokens(folder: Path) -> None:
    specs = Toolbox(file_tools(Workspace(folder))).specs
    assert [spec.name for spec in specs] == ["edit_file", "glob", "grep", "ls", "read_file", "write_file"]
    assert set(READING) == {"glob", "grep", "ls", "read_file"}
    sent = [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
        }
        for spec in specs
    ]
    assert sum(len(json.dumps(tool, separators=(",", ":"))) for tool in sent) / 4 <= 420


async def test_the_model_cannot_leave_the_workspace(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("classified")
    workspace = Workspace(folder)
    await said(workspace, "write_file", path="a.txt", content="alpha")
    (folder / "link").symlink_to(tmp_path)
    for path in ("../secret.txt", str(tmp_path / "secret.txt"), "link/secret.txt", "a.txt\0", "/", "\ud800", "~/../x"):
        for tool, more in (
            ("read_file", {}),
            ("ls", {}),
            ("write_file", {"content": "x"}),
            ("edit_file", {"old": "s", "new": "t"}),
        ):
            assert "classified" not in await fault(workspace, tool, path=path, **more)
    assert await said(workspace, "glob", pattern="../*") == "No file fits."
    assert await said(workspace, "glob", pattern="**") == "a.txt"
    assert await said(workspace, "grep", pattern="classified") == "No line fits."
    assert (tmp_path / "secret.txt").read_text() == "classified"


# ls


async def test_a_folder_is_listed_with_what_cannot_be_used(workspace: Workspace, folder: Path) -> None:
    await said(workspace, "write_file", path="b.md", content="x" * 1234)
    (folder / "link").symlink_to("b.md")
    (folder / "line\nbreak").touch()
    assert (await said(workspace, "ls")).split("\n") == [
        "b.md (1,234 bytes)",
        "'line\\nbreak' (not used: it holds a character that is not allowed: U+000A)",
        "'link' (not used: it is a link, and links are not followed)",
        "notes/",
    ]
    assert (
        await said(workspace, "ls", path="notes")
        == "notes/a.txt (6 bytes)"
        == await said(workspace, "ls", path="./notes/")
    )
    assert "there is no 'nots'" in await fault(workspace, "ls", path="nots")


async def test_an_empty_workspace_is_said_to_be_so(folder: Path) -> None:
    for path in ("", "."):
        assert await said(Workspace(folder), "ls", path=path) == "The folder is empty."
    assert await said(Workspace(folder), "glob", pattern="*") == "No file fits."


async def test_long_lists_say_what_they_leave_out(workspace: Workspace, folder: Path) -> None:
    for number in range(900):
        (folder / f"{number:03}-{'x' * 60}.txt").write_text("alpha beta")
    for tool, arguments in (("ls", {}), ("glob", {"pattern": "*.txt"}), ("grep", {"pattern": "alpha"})):
        text = await said(workspace, tool, **arguments)
        *kept, last = text.split("\n")
        assert 18_000 < len(text) <= 20_000 and last.startswith(f"[{901 - len(kept)} more left out")


# read_file


async def test_a_file_is_read_with_its_lines_numbered(workspace: Workspace) -> None:
    workspace.write("a.txt", "eins\r\nzwei\n\nvier ü\n".encode() + b"\xff")
    expected = "     1\teins\n     2\tzwei\n     3\t\n     4\tvier ü\n     5\t\ufffd"
    assert await said(workspace, "read_file", path="a.txt") == expected
    text = await said(workspace, "read_file", path="a.txt", offset=1, limit=2)
    assert text == "     2\tzwei\n     3\t\n[2 more lines: go on with offset=3]"
    assert "has only 5 lines" in await fault(workspace, "read_file", path="a.txt", offset=5)
    assert "     1\teins\n[4 more" in await said(workspace, "read_file", path="a.txt", offset=-3, limit=0)


async def test_a_long_file_is_read_to_its_end_by_what_each_result_says(workspace: Workspace) -> None:
    lines = [f"{number} {'x' * (number % 90)}" for number in range(5000)]
    workspace.write("long.txt", "\n".join(lines).encode())
    read: list[str] = []
    while len(read) < 5000:
        text = await said(workspace, "read_file", path="long.txt", offset=len(read))
        rows = text.split("\n")
        assert len(text) <= 20_000
        read += [row.partition("\t")[2] for row in rows if "\t" in row]
        assert rows[-1] == f"[{5000 - len(read)} more lines: go on with offset={len(read)}]" or len(read) == 5000
    assert read == lines


async def test_long_lines_are_cut(workspace: Workspace) -> None:
    workspace.write("long.txt", b"x" * 2500 + b"\nshort\n" + b"y" * 100_000)
    one, two, three = (await said(workspace, "read_file", path="long.txt")).split("\n")
    assert one == f"     1\t{'x' * 2000}… [500 more characters]" and two == "     2\tshort"
    assert len(three) < 2100 and three.endswith("[98000 more characters]")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a\1\0", "image/gif"),
        (b"RIFF\x0a\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
async def test_an_image_is_shown_whatever_its_name(workspace: Workspace, data: bytes, kind: str) -> None:
    workspace.write("plot", data)
    result = await use(workspace, "read_file", path="plot")
    assert result.parts == (Image(kind, base64.b64encode(data).decode()),)


async def test_what_only_has_the_name_of_an_image_is_none(workspace: Workspace) -> None:
    await said(workspace, "write_file", path="plot.png", content="not yet")
    assert await said(workspace, "read_file", path="plot.png") == "     1\tnot yet"


async def test_what_cannot_be_shown_is_told(workspace: Workspace, folder: Path) -> None:
    workspace.write("data.bin", b"a\0b")
    workspace.write("empty.txt", b"")
    workspace.write("large.png", PNG + bytes(4 * 1024 * 1024))
    workspace.write("large.txt", b"x" * (9 * 1024 * 1024))
    assert "'data.bin' is a binary file of 3 bytes" in await fault(workspace, "read_file", path="data.bin")
    assert "binary" in await fault(workspace, "edit_file", path="data.bin", old="a", new="b")
    assert "'large.png' is too large to be seen" in await fault(workspace, "read_file", path="large.png")
    assert "'large.txt' is larger than 8,388,608 bytes" in await fault(workspace, "read_file", path="large.txt")
    assert await said(workspace, "read_file", path="empty.txt") == "The file is empty."
    assert "'notes' is a folder" in await fault(workspace, "read_file", path="notes")


@pytest.mark.parametrize("path", ["notes/b.txt", "a.txt", "notes/A.TXT", "Notes/a.txt", "notes/" + "a" * 150 + ".txt"])
async def test_the_nearest_file_is_named_for_one_that_is_not_there(workspace: Workspace, path: str) -> None:
    for tool, more in (("read_file", {}), ("edit_file", {"old": "a", "new": "b"})):
        text = await fault(workspace, tool, path=path, **more)
        assert "there is no" in text and ("did you mean notes/a.txt?" in text or len(path) > 100)


# write_file and edit_file


async def test_a_file_is_made_and_overwritten(workspace: Workspace, folder: Path) -> None:
    assert await said(workspace, "write_file", path="src/ü.py", content="é\n") == "Wrote src/ü.py (3 bytes)."
    assert (folder / "src" / "ü.py").read_bytes() == "é\n".encode()
    await said(workspace, "write_file", path="src/ü.py", content="")
    assert workspace.read("src/ü.py") == b""


async def test_a_full_workspace_is_told(folder: Path) -> None:
    workspace = Workspace(folder, quota=10)
    assert "no room" in await fault(workspace, "write_file", path="a", content="x" * 11)
    await said(workspace, "write_file", path="a", content="x" * 10)
    assert "too large with 10 places" in await fault(
        workspace, "edit_file", path="a", old="x", new="y" * 100_000, replace_all=True
    )
    assert "no room" in await fault(workspace, "write_file", path="b", content="x")
    assert workspace.read("a") == b"x" * 10


async def test_a_text_is_replaced_where_it_stands_once(workspace: Workspace) -> None:
    workspace.write("a.py", b"one\ntwo\nthree\n\xff\n")
    assert await said(workspace, "edit_file", path="a.py", old="two\nth", new="2\nTh") == "Edited a.py at line 2."
    assert workspace.read("a.py") == b"one\n2\nThree\n\xff\n"
    await said(workspace, "edit_file", path="a.py", old="2\n", new="")
    assert workspace.read("a.py") == b"one\nThree\n\xff\n"


async def test_a_text_that_stands_more_than_once_is_counted(workspace: Workspace) -> None:
    workspace.write("a.py", b"x = 1\ny = 1\nx = 1\n")
    text = await fault(workspace, "edit_file", path="a.py", old="x = 1", new="x = 2")
    assert "2 times, at lines 1, 3" in text and workspace.read("a.py") == b"x = 1\ny = 1\nx = 1\n"
    text = await said(workspace, "edit_file", path="a.py", old="x = 1", new="x = 2", replace_all=True)
    assert text == "Edited a.py at lines 1, 3." and workspace.read("a.py") == b"x = 2\ny = 1\nx = 2\n"
    workspace.write("many", b"x\n" * 5000)
    assert "5000 times, at lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …" in await fault(
        workspace, "edit_file", path="many", old="x", new="y"
    )


async def test_the_nearest_text_is_shown_where_there_is_none(workspace: Workspace) -> None:
    workspace.write("a.py", b"import os\n\n\ndef total(items):\n    return sum(items)\n")
    text = await fault(workspace, "edit_file", path="a.py", old="def total(items):\n  return sum(items)", new="x")
    assert text.endswith("the nearest is\n     4\tdef total(items):\n     5\t    return sum(items)")
    text = await fault(workspace, "edit_file", path="a.py", old="     4\tdef total(items):", new="x")
    assert "leave out the line numbers" in text
    assert "read it first" in await fault(workspace, "edit_file", path="a.py", old="class Nothing", new="x")
    assert "read it first" in await fault(workspace, "edit_file", path="a.py", old="¡¿", new="x")


async def test_edits_that_mean_nothing_are_refused(workspace: Workspace) -> None:
    assert "old is empty" in await fault(workspace, "edit_file", path="notes/a.txt", old="", new="x")
    assert "the same" in await fault(workspace, "edit_file", path="notes/a.txt", old="a", new="a")


async def test_line_ends_stay_as_the_file_has_them(workspace: Workspace) -> None:
    workspace.write("dos.txt", b"one\r\ntwo\r\nthree\r\n")
    await said(workspace, "edit_file", path="dos.txt", old="one\ntwo", new="1\n2")
    assert workspace.read("dos.txt") == b"1\r\n2\r\nthree\r\n"
    workspace.write("mixed.txt", b"one\r\ntwo\nthree\r\n")
    await said(workspace, "edit_file", path="mixed.txt", old="two\n", new="2\n")
    assert workspace.read("mixed.txt") == b"one\r\n2\nthree\r\n"


async def test_edits_side_by_side_are_all_kept(workspace: Workspace) -> None:
    workspace.write("list.txt", "".join(f"item {number}.\n" for number in range(40)).encode())
    tools = Toolbox(file_tools(workspace))
    edits = ({"path": "list.txt", "old": f"item {number}.", "new": f"done {number}."} for number in range(40))
    results = await asyncio.gather(*(tools.run(ToolCall("1", "edit_file", json.dumps(edit))) for edit in edits))
    assert not any(result.is_error for result in results)
    assert workspace.read("list.txt").count(b"done") == 40


async def test_what_a_file_holds_cannot_make_an_edit_slow(workspace: Workspace) -> None:
    workspace.write("a.txt", b"a" * 1_000_000 + b"\n" + b"a a\n" * 500_000)
    before = workspace.read("a.txt")
    await fault(workspace, "edit_file", path="a.txt", old="a " * 5000 + "b\n" * 2000, new="x")
    await fault(workspace, "edit_file", path="a.txt", old="a", new="b")
    assert workspace.read("a.txt") == before


@pytest.mark.parametrize(
    ("called", "arguments"),
    [
        ("read_file", {}),
        ("read_file", {"path": "a", "lines": 3}),
        ("read_file", {"path": "a", "offset": "many"}),
        ("write_file", {"path": "a", "content": None}),
        ("write_file", {"path": ["a"], "content": "x"}),
        ("edit_file", {"path": "a", "old": "x"}),
        ("grep", {"pattern": 3}),
        ("glob", {}),
    ],
)
async def test_arguments_that_do_not_fit_are_told(workspace: Workspace, called: str, arguments: dict[str, Any]) -> None:
    assert "the arguments do not fit" in await fault(workspace, called, **arguments)


# glob and grep


async def test_files_are_found_by_name_and_lines_by_text(workspace: Workspace) -> None:
    workspace.write("b.py", b"x = alpha(1)\n")
    assert await said(workspace, "glob", pattern="*.{py,txt}") == "b.py\nnotes/a.txt"
    assert await said(workspace, "grep", pattern="alpha") == "b.py:1:x = alpha(1)\nnotes/a.txt:1:alpha"
    assert await said(workspace, "grep", pattern="alpha(", glob="*.py") == "b.py:1:x = alpha(1)"
    assert await said(workspace, "grep", pattern=r"^al\w+$", regex=True) == "notes/a.txt:1:alpha"
    assert (
        await said(workspace, "grep", pattern="al.ha") == "No line fits. The pattern was read as text, not as a regex."
    )
    assert await said(workspace, "grep", pattern="al.ga", regex=True) == "No line fits."
    assert "cannot be used: " in await fault(workspace, "grep", pattern="(", regex=True)


async def test_a_search_says_what_it_has_not_searched(workspace: Workspace) -> None:
    workspace.write("large.txt", b"x" * (MAX_SEARCHED_FILE + 1))
    assert await said(workspace, "grep", pattern="z") == "[too large to be searched: large.txt]\nNo line fits."
    workspace.write("many.txt", b"many\n" * 1001)
    assert (await said(workspace, "grep", pattern="many", glob="many.txt")).endswith("[there may be more]")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", "a.py src/b.py src/lib/c.py"),
        ("./*.py", "a.py"),
        ("/a.py", "a.py"),
        ("**/*.py", "a.py src/b.py src/lib/c.py"),
        ("src/*.py", "src/b.py"),
        ("src/**", "src/b.py src/lib/c.py src/lib/d.ts"),
        ("src/", "src/b.py src/lib/c.py src/lib/d.ts"),
        ("src/**/c.py", "src/lib/c.py"),
        ("src/**/b.py", "src/b.py"),
        ("**/lib/**", "src/lib/c.py src/lib/d.ts"),
        ("**", "a.py src/b.py src/lib/c.py src/lib/d.ts"),
        ("**/**/**/?.ts", "src/lib/d.ts"),
        ("src/{b,lib/c}.{py,ts}", "src/b.py src/lib/c.py"),
        ("{a,{b,c}}.py", "a.py src/b.py src/lib/c.py"),
        ("[ab].py", "a.py src/b.py"),
        ("[!a].py", "src/b.py src/lib/c.py"),
        ("A.PY", ""),
        ("src", ""),
        ("../**", ""),
        ("", "a.py src/b.py src/lib/c.py src/lib/d.ts"),
        ("[", ""),
    ],
)
def test_a_glob_finds_the_files_that_fit(folder: Path, pattern: str, expected: str) -> None:
    workspace = Workspace(folder)
    for path in ("a.py", "src/b.py", "src/lib/c.py", "src/lib/d.ts"):
        workspace.write(path, b"")
    assert " ".join(entry.path for entry in workspace.glob(pattern)) == expected


@pytest.mark.parametrize("pattern", ["x" * 1001, "**/" * 40, "{a,b}" * 10, "{" + "a," * 100 + "}"])
def test_a_glob_without_measure_is_refused(workspace: Workspace, pattern: str) -> None:
    with pytest.raises(WorkspaceError, match="the glob"):
        workspace.glob(pattern)


def test_no_glob_takes_for_ever(folder: Path) -> None:
    workspace = Workspace(folder)
    workspace.write("/".join(["a"] * 15 + ["a" * 255]), b"")
    in_time(lambda: workspace.glob("**/a/" * 15 + "b"))
    in_time(lambda: workspace.glob("*a" * 450 + "b"))
    in_time(lambda: workspace.glob("{" * 900))
    assert [entry.path for entry in workspace.glob("**/a*")] != []


@given(st.text(st.sampled_from("ab/*?[]!-{},.^\\&~|"), max_size=40))
def test_every_glob_finds_something_or_is_refused(pattern: str) -> None:
    with suppress(WorkspaceError):
        Workspace(DOCS).glob(pattern)


def test_lines_are_found_by_their_text(workspace: Workspace) -> None:
    workspace.write("b.txt", b"one\r\nal(ph)a (ph)\r\nthree\n")
    workspace.write("binary", b"alpha\0")
    workspace.write("latin.txt", b"caf\xe9 alpha")
    found = workspace.grep("alpha").matches
    assert [(match.path, match.line, match.text) for match in found] == [
        ("latin.txt", 1, "caf\ufffd alpha"),
        ("notes/a.txt", 1, "alpha"),
    ]
    assert [(match.line, match.text) for match in workspace.grep("(ph)").matches] == [(2, "al(ph)a (ph)")]
    assert [match.path for match in workspace.grep("alpha", "*.txt").matches] == ["latin.txt", "notes/a.txt"]
    assert [match.path for match in workspace.grep("alpha", "notes/").matches] == ["notes/a.txt"]


def test_lines_are_found_by_a_regular_expression(workspace: Workspace) -> None:
    workspace.write("b.txt", "ein Maß\r\nzwei Maße\nALPHA".encode())
    assert [(m.path, m.line) for m in workspace.grep("^zwei|^b", regex=True).matches] == [("b.txt", 2)]
    assert [(m.line, m.text) for m in workspace.grep(r"Ma\w$", regex=True).matches] == [(1, "ein Maß")]
    assert [m.path for m in workspace.grep("(?i)ALPHA", regex=True).matches] == ["b.txt", "notes/a.txt"]


@pytest.mark.parametrize("pattern", ["(", "*a", "[z-a]", "(?P<n>a)(?P<n>b)", r"\8", "a{99999999999}", "(" * 900])
def test_an_expression_that_is_none_is_told(workspace: Workspace, pattern: str) -> None:
    with pytest.raises(WorkspaceError, match=r"the regular expression cannot be used: .+"):
        workspace.grep(pattern, regex=True)


@pytest.mark.parametrize("pattern", ["", "a\nb", "x" * 1001])
def test_a_pattern_is_one_line(workspace: Workspace, pattern: str) -> None:
    for regex in (False, True):
        with pytest.raises(WorkspaceError, match="one line"):
            workspace.grep(pattern, regex=regex)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*b"])
def test_an_expression_that_takes_for_ever_is_ended(workspace: Workspace, pattern: str) -> None:
    workspace.write("b.txt", b"a" * 60 + b"b" + b"a" * 60 + b"!")
    with pytest.raises(WorkspaceError, match=r"takes more than 0\.5 s"):
        workspace.grep(pattern, regex=True, seconds=0.5)


def test_an_expression_that_takes_all_memory_is_ended(workspace: Workspace) -> None:
    workspace.write("b.txt", b"ab" * (MAX_SEARCHED_FILE // 2))
    with pytest.raises(WorkspaceError, match=r"MemoryError|takes more than"):
        workspace.grep("((a)|(b))+", regex=True)


def test_an_expression_sees_nothing_of_our_environment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # with it no interpreter starts
    assert len(workspace.grep("al.ha", regex=True).matches) == 1


def test_long_lines_many_lines_and_large_files_are_bounded(workspace: Workspace) -> None:
    workspace.write("long.txt", b"x" * 5000 + b"needle" + b"y" * 5000)
    (match,) = workspace.grep("needle").matches
    assert "needle" in match.text and len(match.text) == 302 and match.text.startswith("…") and match.text.endswith("…")
    (match,) = workspace.grep("^x+n", regex=True).matches
    assert match.text.startswith("xxx") and match.text.endswith("…")
    workspace.write("many.txt", b"many\n" * 3000)
    assert len(workspace.grep("many").matches) == 1000 == len(workspace.grep("m.ny", regex=True).matches)
    workspace.write("large.txt", b"alpha\n" * (MAX_SEARCHED_FILE // 6 + 1))
    found = workspace.grep("alpha")
    assert [match.path for match in found.matches] == ["notes/a.txt"] and found.unread == ("large.txt",)
