"""One conversation's folder of files: what can be done in it, and that nothing leads out of it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path

import pytest

from agent.workspace import MAX_ENTRIES, Missing, Workspace, WorkspaceError

ROOT = Path(__file__).resolve().parents[1]
SECRET = b"what stands outside"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(SECRET)
    return tmp_path / "conversation"


@pytest.fixture
def workspace(folder: Path) -> Workspace:
    """One with a file in it."""
    workspace = Workspace(folder)
    workspace.write("notes/a.txt", b"alpha\n")
    return workspace


def paths(workspace: Workspace) -> list[str]:
    return [entry.path for entry in workspace.walk()]


def uses_of(workspace: Workspace, names: str = "read write delete list") -> list[Callable[[str], object]]:
    uses: dict[str, Callable[[str], object]] = {
        "read": workspace.read,
        "write": lambda path: workspace.write(path, b"x"),
        "delete": workspace.delete,
        "list": workspace.list,
    }
    return [uses[name] for name in names.split()]


def in_time(work: Callable[[], object]) -> None:
    """Run `work`; a hang fails the test instead of stopping the suite."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(20), "it hangs, or it failed with the error above"


@contextmanager
def meanwhile(*steps: Callable[[], object]) -> Iterator[None]:
    """Another thread goes through the steps again and again, to the end of a round."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for step in steps:
                step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# Reading and writing


def test_nothing_is_made_before_the_first_file_is_written(folder: Path) -> None:
    workspace = Workspace(folder)
    assert workspace.list() == [] and paths(workspace) == [] and workspace.size == 0
    assert workspace.glob("**") == [] and not workspace.grep("x").matches
    with pytest.raises(Missing, match=r"there is no 'a\.txt'"):
        workspace.read("a.txt")
    assert not folder.exists()


def test_what_is_written_is_read_listed_counted_and_deleted(folder: Path) -> None:
    workspace, before = Workspace(folder), time.time() - 5
    workspace.write("b.bin", b"\0\xff")
    workspace.write("notes/deep/a.txt", b"alpha")
    assert workspace.read("b.bin") == b"\0\xff" and workspace.read("notes/deep/a.txt") == b"alpha"
    assert [(entry.path, entry.size, entry.is_folder) for entry in workspace.list()] == [
        ("b.bin", 2, False),
        ("notes", 0, True),
    ]
    assert [entry.path for entry in workspace.list("notes")] == ["notes/deep"]
    assert paths(workspace) == ["b.bin", "notes/deep/a.txt"] and workspace.size == 7
    assert before < workspace.list()[0].modified < before + 3600
    workspace.delete("notes/deep/a.txt")
    workspace.delete("notes/deep")
    assert [entry.path for entry in workspace.list()] == ["b.bin", "notes"]


def test_only_the_owner_may_look_inside_and_a_script_stays_one(workspace: Workspace, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE((folder / "notes").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "notes" / "a.txt").stat().st_mode) == 0o600
    (folder / "notes" / "a.txt").chmod(0o4755)
    workspace.write("notes/a.txt", b"#!/bin/sh\n")
    assert stat.S_IMODE((folder / "notes" / "a.txt").stat().st_mode) == 0o755


@pytest.mark.parametrize("path", ["notes/a.txt", "./notes/a.txt", "notes//a.txt", "notes/./a.txt", "notes/a.txt/"])
def test_a_path_can_be_written_in_more_than_one_way(workspace: Workspace, path: str) -> None:
    assert workspace.read(path) == b"alpha\n"
    workspace.write(path, b"new")
    assert paths(workspace) == ["notes/a.txt"]


@pytest.mark.parametrize(
    "name",
    [".env", "...", "näme 1.md", "日本語.txt", "हिन्दी.txt", "ไทย.md", "😀.md", "-rf", "a'b\"c$(d).txt", "x" * 255],
)
def test_names_of_all_languages_are_names(workspace: Workspace, name: str) -> None:
    workspace.write(name, b"text")
    assert workspace.read(name) == b"text" and name in paths(workspace)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "empty"),
        (".", "empty"),
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("\\windows", "absolute"),
        ("..", "leads out"),
        ("../outside/secret.txt", "leads out"),
        ("notes/../../outside/secret.txt", "leads out"),
        ("notes/../notes/a.txt", "leads out"),
        ("notes\\..\\a.txt", "not allowed"),
        ("C:\\a.txt", "not allowed"),
        ("notes/a.txt\0.png", "U\\+0000"),
        ("a\nb", "U\\+000A"),
        ("a\x1b[31m", "U\\+001B"),
        ("a\x7f", "U\\+007F"),
        ("a\ud800b", "U\\+D800"),
        ("invoice\u202efdp.exe", "U\\+202E"),
        ("a\u200eb", "U\\+200E"),
        ("a\u2066b", "U\\+2066"),
        ("a\u200bb", "U\\+200B"),
        ("a\u200db", "U\\+200D"),
        ("\ufeffa", "U\\+FEFF"),
        ("a\u00adb", "U\\+00AD"),
        ("a\u034fb", "U\\+034F"),
        ("a\ufe0fb", "U\\+FE0F"),
        ("a\U000e0101b", "U\\+E0101"),
        ("a\u3164b", "U\\+3164"),
        ("a\u00a0b", "U\\+00A0"),
        ("a\u2028b", "U\\+2028"),
        ("a\ue000b", "U\\+E000"),
        ("a.txt ", "blank"),
        (" a.txt", "blank"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("/".join("x" * 17), "16 names"),
        ("x/" * 3000, "4096 characters"),
    ],
)
def test_a_path_that_leads_elsewhere_or_deceives_is_refused(workspace: Workspace, path: str, words: str) -> None:
    uses = uses_of(workspace)
    for use in uses if path not in ("", ".") else uses[:3]:
        with pytest.raises(WorkspaceError, match=words) as error:
            use(path)
        assert str(error.value).isprintable() and len(str(error.value)) < 400
    assert paths(workspace) == ["notes/a.txt"]


def test_two_spellings_of_one_name_are_one_file(workspace: Workspace, folder: Path) -> None:
    composed, apart = "caf\u00e9.txt", "cafe\u0301.txt"
    workspace.write(apart, b"1")
    assert os.listdir(folder) and composed in os.listdir(folder) and workspace.read(composed) == b"1"
    workspace.write("\u212bngstrom", b"2")  # the sign of the unit, which is the letter
    assert workspace.read("\u00c5ngstrom") == b"2"
    assert all(unicodedata.is_normalized("NFC", path) for path in paths(workspace))


def test_the_deepest_path_can_be_used(workspace: Workspace) -> None:
    path = "/".join(["d" * 200] * 15 + ["file"])
    workspace.write(path, b"deep")
    assert workspace.read(path) == b"deep" and path in paths(workspace)


def test_files_and_folders_are_not_taken_for_each_other(workspace: Workspace) -> None:
    uses = uses_of(workspace)
    for use in uses[:2]:
        with pytest.raises(WorkspaceError, match="'notes' is a folder"):
            use("notes")
    for use in uses:
        with pytest.raises(WorkspaceError, match="where a folder must be"):
            use("notes/a.txt/b")
    with pytest.raises(WorkspaceError, match="not empty"):
        workspace.delete("notes")
    for use in uses_of(workspace, "read delete list"):
        with pytest.raises(Missing):
            use("no/such/place")


def test_a_case_of_its_own_is_a_file_of_its_own_where_the_system_says_so(workspace: Workspace, folder: Path) -> None:
    if (folder / "NOTES").exists():
        pytest.skip("this file system knows no case")
    with pytest.raises(Missing):
        workspace.read("notes/A.TXT")
    workspace.write("notes/A.TXT", b"other")
    assert workspace.read("notes/a.txt") == b"alpha\n"


# What scripts leave


def test_links_are_listed_and_never_followed(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    (folder / "file").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "inside").symlink_to("notes/a.txt")
    (folder / "broken").symlink_to("nothing")
    (folder / "self").symlink_to("self")
    (folder / "notes" / "up").symlink_to("..")
    (folder / "new").symlink_to(tmp_path / "outside" / "new.txt")
    for path in ("file", "folder", "inside", "broken", "self", "notes/up", "new", "folder/secret.txt", "notes/up/file"):
        for use in uses_of(workspace, "read write list"):
            with pytest.raises(WorkspaceError, match="link"):
                use(path)
    assert paths(workspace) == ["notes/a.txt"] == [entry.path for entry in workspace.glob("**")]
    assert not workspace.grep("outside").matches
    faults = {entry.path: entry.fault for entry in workspace.list()}
    assert faults.pop("notes") == "" and set(faults.values()) == {"is a link, and links are not followed"}
    with pytest.raises(WorkspaceError):
        workspace.delete("folder/secret.txt")
    for link in faults:
        workspace.delete(link)
    assert [file.name for file in (tmp_path / "outside").iterdir()] == ["secret.txt"]
    assert (tmp_path / "outside" / "secret.txt").read_bytes() == SECRET and workspace.read("notes/a.txt")


def test_a_workspace_that_is_a_link_itself_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path / "outside")
    workspace = Workspace(folder)
    for work in (lambda: workspace.read("secret.txt"), lambda: workspace.write("x", b"x"), workspace.list):
        with pytest.raises(WorkspaceError):
            work()
    assert paths(workspace) == [] and [file.name for file in (tmp_path / "outside").iterdir()] == ["secret.txt"]


def test_what_is_no_regular_file_neither_hangs_nor_is_read(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "fifo")
    os.link(tmp_path / "outside" / "secret.txt", folder / "hard")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket is short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    with suppress(PermissionError):  # only root makes devices
        os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    names = sorted({entry.path for entry in workspace.list()} - {"notes"})

    def attack() -> None:
        for name in names:
            for use in uses_of(workspace, "read write"):
                with pytest.raises(WorkspaceError, match=r"not a regular file|hard link"):
                    use(name)
        assert not workspace.grep("stands").matches and paths(workspace) == ["notes/a.txt"]
        for name in names:
            workspace.delete(name)

    in_time(attack)
    assert {"fifo", "hard", "socket"} <= set(names) and paths(workspace) == ["notes/a.txt"]
    assert (tmp_path / "outside" / "secret.txt").read_bytes() == SECRET


def test_names_that_scripts_choose_are_told_and_not_used(workspace: Workspace, folder: Path) -> None:
    for name in (b"latin-\xe9", b"line\nbreak", b"b\\s", b"cafe\xcc\x81", b"a\xe2\x80\xaeb", b"blank "):
        (folder / os.fsdecode(name)).write_bytes(b"alpha")
    (folder / "folder ").mkdir()
    (folder / "folder " / "a.txt").write_bytes(b"alpha")
    assert paths(workspace) == ["notes/a.txt"] == [match.path for match in workspace.grep("alpha").matches]
    assert sum(bool(entry.fault) for entry in workspace.list()) == 7


def test_more_than_a_list_holds_is_survived(workspace: Workspace, folder: Path) -> None:
    deep = folder
    for _ in range(40):
        deep = deep / "d"
        deep.mkdir()
    (deep / "deepest").touch()
    for number in range(MAX_ENTRIES + 100):
        (folder / "notes" / f"{number}").touch()
    found = paths(workspace)
    assert 9000 < len(found) <= MAX_ENTRIES and max(path.count("/") for path in found) < 16
    with pytest.raises(WorkspaceError, match="full"):
        workspace.write("one more", b"")


# Races


def moved(source: Path, target: Path) -> None:
    """Also where the workspace has made a folder there meanwhile."""
    while True:
        try:
            source.rename(target)
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
        else:
            return


def swapping(folder: Path, name: str, outside: Path) -> tuple[Callable[[], object], ...]:
    """Steps that put a link to the outside in the place of what has the name, and back again."""
    real, away, link = folder / name, folder / f".{name}", folder / f".link-{name}"
    link.symlink_to(outside)
    return (
        lambda: moved(real, away),
        lambda: moved(link, real),
        lambda: moved(real, link),
        lambda: moved(away, real),
    )


def test_a_folder_swapped_for_a_link_never_leads_out(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    workspace.write("sub/secret.txt", b"own")
    told = []
    with meanwhile(*swapping(folder, "sub", tmp_path / "outside")):
        for number in range(600):
            with suppress(WorkspaceError):
                told.append(workspace.read("sub/secret.txt"))
            with suppress(WorkspaceError):
                workspace.write(f"sub/{number % 7}.txt", b"mine")
            with suppress(WorkspaceError):
                workspace.delete(f"sub/{number % 5}.txt")
            with suppress(WorkspaceError):
                told += [entry.path.encode() for entry in workspace.list("sub") if "secret" in entry.path]
            told += [match.text.encode() for match in workspace.grep("stands").matches]
    assert set(told) <= {b"own", b"sub/secret.txt"} and told
    assert os.listdir(tmp_path / "outside") == ["secret.txt"]
    assert (tmp_path / "outside" / "secret.txt").read_bytes() == SECRET


def test_a_file_swapped_for_a_link_is_never_followed(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    workspace.write("file", b"own")
    told = set()
    with meanwhile(*swapping(folder, "file", tmp_path / "outside" / "secret.txt")):
        for _ in range(3000):
            with suppress(WorkspaceError):
                told.add(workspace.read("file"))
    assert told == {b"own"}


def test_a_file_that_becomes_a_link_is_not_written_through(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    outside, target = tmp_path / "outside" / "secret.txt", folder / "target"

    def link() -> None:
        with suppress(FileExistsError):
            target.symlink_to(outside)

    with meanwhile(link, lambda: target.unlink(missing_ok=True)):
        for _ in range(1000):
            with suppress(WorkspaceError):
                workspace.write("target", b"own")
    assert outside.read_bytes() == SECRET


def test_a_file_swapped_for_a_fifo_never_hangs(workspace: Workspace, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    workspace.write("file", b"own")
    told = set()

    def attack() -> None:
        for _ in range(1500):
            with suppress(WorkspaceError):
                told.add(workspace.read("file"))

    steps = (
        lambda: (folder / "file").rename(folder / "away"),
        lambda: (folder / "pipe").rename(folder / "file"),
        lambda: (folder / "file").rename(folder / "pipe"),
        lambda: (folder / "away").rename(folder / "file"),
    )
    with meanwhile(*steps):
        in_time(attack)
    assert told <= {b"own"}


def test_what_vanishes_meanwhile_is_passed_over(workspace: Workspace, folder: Path) -> None:
    def make() -> None:
        for number in range(20):
            (folder / "gone" / f"{number}").mkdir(parents=True, exist_ok=True)
            (folder / "gone" / f"{number}" / "file").write_text("alpha")

    def remove() -> None:
        for number in range(20):
            (folder / "gone" / f"{number}" / "file").unlink()
            (folder / "gone" / f"{number}").rmdir()

    with meanwhile(make, remove):
        for _ in range(150):
            assert "notes/a.txt" in paths(workspace)
            assert "notes/a.txt" in {match.path for match in workspace.grep("alpha").matches}
            workspace.write("notes/b.txt", b"beta")


def test_two_writers_of_one_file_never_tear_it(workspace: Workspace, folder: Path) -> None:
    whole = {letter * 300_000 for letter in (b"a", b"b")}
    workspace.write("file", next(iter(whole)))
    other = Workspace(folder)
    one, two = whole
    with meanwhile(lambda: workspace.write("file", one)), meanwhile(lambda: other.write("file", two)):
        for _ in range(200):
            assert workspace.read("file") in whole
            assert set(paths(workspace)) == {"file", "notes/a.txt"}
    assert sorted(os.listdir(folder)) == ["file", "notes"]


def test_no_change_of_one_of_many_writers_is_lost(workspace: Workspace) -> None:
    workspace.write("count", b"0")

    def count() -> None:
        for _ in range(40):
            workspace.update("count", lambda data: str(int(data) + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workspace.read("count") == b"200"


def test_no_descriptor_stays_open(workspace: Workspace, folder: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not show them")
    (folder / "link").symlink_to("notes")
    os.mkfifo(folder / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    for path in islice(cycle(["notes/a.txt", "link/a", "no/a", "notes", "fifo", "..", "notes/a.txt/b"]), 70):
        for use in uses_of(workspace, "read write list"):
            with suppress(WorkspaceError):
                use(path)
        next(workspace.walk())
    assert len(os.listdir("/proc/self/fd")) == before


# The quota


def test_the_quota_counts_all_that_is_there(folder: Path) -> None:
    workspace = Workspace(folder, quota=100)
    workspace.write("a", b"x" * 60)
    with pytest.raises(WorkspaceError, match="no room for 'new/b': 60 of 100 bytes are used, and this takes 41 more"):
        workspace.write("new/b", b"x" * 41)
    assert os.listdir(folder) == ["a"]
    workspace.write("a", b"x" * 100)
    workspace.delete("a")
    (folder / "left by a script").write_bytes(b"x" * 90)
    with pytest.raises(WorkspaceError, match="90 of 100"):
        workspace.write("a", b"x" * 11)
    workspace.write("a", b"x" * 10)
    assert workspace.size == 100


def test_what_is_over_the_quota_can_be_made_smaller(folder: Path) -> None:
    workspace = Workspace(folder, quota=100)
    workspace.write("a", b"x")
    (folder / "a").write_bytes(b"x" * 500)
    with pytest.raises(WorkspaceError, match="the most that is read"):
        workspace.read("a")
    with pytest.raises(WorkspaceError, match="no room"):
        workspace.write("b", b"x")
    workspace.write("a", b"x" * 300)
    workspace.write("a", b"x" * 20)
    assert workspace.read("a", most=20) == b"x" * 20
    with pytest.raises(WorkspaceError, match="larger than 19 bytes"):
        workspace.read("a", most=19)


def test_files_and_folders_are_counted(folder: Path) -> None:
    workspace = Workspace(folder, most_files=5)
    workspace.write("a/b/c", b"1")
    with pytest.raises(WorkspaceError, match="5 files and folders"):
        workspace.write("d/e/f", b"1")
    assert os.listdir(folder) == ["a"]
    workspace.write("a/b/d", b"1")
    workspace.write("a/b/e", b"1")
    with pytest.raises(WorkspaceError, match="full"):
        workspace.write("a/b/f", b"1")
    workspace.write("a/b/e", b"2")
    workspace.delete("a/b/d")
    workspace.write("a/b/f", b"1")


def test_a_thousand_files_are_kept(folder: Path) -> None:
    workspace = Workspace(folder)
    workspace.write("0", b"x")
    for number in range(1, 990):
        (folder / str(number)).write_bytes(b"x")
    for number in range(990, 1000):
        workspace.write(str(number), b"x")
    assert len(paths(workspace)) == 1000 == len(workspace.grep("x").matches) and workspace.size == 1000
    with pytest.raises(WorkspaceError, match="1000 files"):
        workspace.write("more", b"x")


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(workspace: Workspace, folder: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from agent.workspace import Workspace, WorkspaceError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Workspace(Path(sys.argv[1])).write("notes/a.txt", b"x" * 5000)
except WorkspaceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, folder], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'notes/a.txt' cannot be used: File too large" in done.stdout
    assert workspace.read("notes/a.txt") == b"alpha\n" and os.listdir(folder / "notes") == ["a.txt"]
