"""The files of a skill: listed and read, and never one from elsewhere."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from skill_store import MAX_BYTES, Skill, SkillError, SkillStore


def put(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def head(folder: Path, more: str = "", body: str = "Do it.\n") -> Path:
    text = f"---\nname: {folder.name}\ndescription: Does a thing.\n{more}---\n\n{body}"
    return put(folder / "SKILL.md", text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    head(tmp_path / "skills" / "pdf")
    return tmp_path / "skills" / "pdf"


def the(folder: Path) -> Skill:
    return SkillStore(folder).scan().skills[folder.name]


def in_time(work: Callable[[], object]) -> None:
    """Run `work`; a hang fails the test instead of stopping the suite."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(10), "it hangs, or it failed with the error above"


# Listing


def test_files_are_listed_sorted_and_relative_without_skill_md(folder: Path) -> None:
    for path in ("b.txt", "scripts/run.py", "references/deep/a.md", "näme 1.md", "examples/SKILL.md"):
        put(folder / path)
    assert the(folder).files() == (
        "b.txt",
        "examples/SKILL.md",
        "näme 1.md",
        "references/deep/a.md",
        "scripts/run.py",
    )


def test_hidden_files_repositories_and_caches_are_not_listed(folder: Path) -> None:
    for path in (
        ".env",
        ".git/config",
        "node_modules/x.js",
        "scripts/__pycache__/x.pyc",
        "scripts/.secret/key",
    ):
        put(folder / path)
    put(folder / "line\nbreak.md")
    put(folder / "back\\slash.md")
    assert the(folder).files() == ()


def test_only_regular_files_and_links_that_stay_inside_are_listed(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "outside" / "secret.txt")
    put(folder / "real" / "a.md")
    os.mkfifo(folder / "fifo")
    (folder / "file-out").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "folder-out").symlink_to(tmp_path / "outside")
    (folder / "broken").symlink_to("nothing")
    (folder / "self").symlink_to("self")
    (folder / "real" / "up").symlink_to("..")
    (folder / "inside.md").symlink_to("real/a.md")
    assert the(folder).files() == ("inside.md", "real/a.md")


def test_a_mounted_config_map_lists_its_linked_files(folder: Path) -> None:
    put(folder / "..2024_01" / "guide.md")
    put(folder / "..2024_01" / "references" / "a.md")
    (folder / "..data").symlink_to("..2024_01")
    (folder / "guide.md").symlink_to("..data/guide.md")
    (folder / "references").symlink_to("..data/references")
    skill = the(folder)
    assert skill.files() == ("guide.md", "references/a.md")
    assert [skill.read(path) for path in skill.files()] == [b"text", b"text"]


def test_the_list_is_bounded_in_depth_and_count(folder: Path) -> None:
    put(folder / "/".join("abcdefghijkl") / "deep.md")
    put(folder / "a" / "near.md")
    assert the(folder).files() == ("a/near.md",)
    for number in range(2100):
        (folder / f"{number}.txt").touch()
    assert 1900 < len(the(folder).files()) <= 2000


# Reading


@pytest.mark.parametrize(
    "path",
    ["references/a.md", "./references/a.md", "references//a.md", "references/./a.md", "references/a.md/"],
)
def test_own_files_are_read(folder: Path, path: str) -> None:
    put(folder / "references" / "a.md", "äé")
    assert the(folder).read(path) == "äé".encode()


def test_skill_md_hard_links_and_links_inside_are_read(folder: Path) -> None:
    os.link(put(folder / "a.md"), folder / "hard.md")
    (folder / "soft.md").symlink_to(folder / "a.md")
    (folder / "here").symlink_to(".")
    skill = the(folder)
    assert skill.read("SKILL.md").startswith(b"---")
    assert {skill.read(path) for path in ("hard.md", "soft.md", "here/a.md")} == {b"text"}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "empty"),
        (".", "empty"),
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("\\\\host\\share", "absolute"),
        ("..", r"\.\."),
        ("../pdf-evil/a.md", r"\.\."),
        ("references/../../x", r"\.\."),
        ("references/../SKILL.md", r"\.\."),
        ("..\\..\\etc\\passwd", "not allowed"),
        ("C:\\x", "not allowed"),
        ("a\0.md", "not allowed"),
        ("a\n.md", "not allowed"),
        ("\ud800.md", "not allowed"),
        ("a\u202e.md", "not allowed"),
        (".git/config", "hidden"),
        (".env", "hidden"),
        ("...", "hidden"),
        ("..data/x", "hidden"),
        ("\uff0e\uff0e/secret", "no file"),
        ("..%2fsecret", "hidden"),
        ("%2e%2e/secret", "no file"),
        ("~/secret", "no file"),
        ("file:///etc/passwd", "no file"),
        ("SKILL.md/x", "no file"),
        ("skill.md", "no file"),
        ("\uff33KILL.md", "no file"),
        ("references", "folder"),
        ("x" * 5000, "cannot be read"),
        ("a/" * 50_000 + "a", "no file"),
    ],
    ids=lambda text: ascii(text[:16]),
)
def test_no_other_path_is_read(folder: Path, path: str, words: str) -> None:
    put(folder.parent / "pdf-evil" / "a.md")
    put(folder.parent / "secret")
    put(folder / "references" / "a.md")
    with pytest.raises(SkillError, match=words) as raised:
        the(folder).read(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    str(raised.value).encode()


def test_links_that_leave_the_folder_are_not_read(folder: Path) -> None:
    secret = put(folder.parent / "pdf-evil" / "a.md")
    (folder / "file").symlink_to(secret)
    (folder / "relative").symlink_to("../pdf-evil/a.md")
    (folder / "folder").symlink_to(secret.parent)
    (folder / "chain").symlink_to("file")
    (folder / "proc").symlink_to("/proc/self/environ")
    for path in ("file", "relative", "folder/a.md", "chain", "proc"):
        with pytest.raises(SkillError, match="leaves the skill's folder"):
            the(folder).read(path)


def test_link_loops_fifos_and_sockets_are_refused_without_hanging(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "to-fifo").symlink_to("fifo")
    (folder / "loop").symlink_to("loop")
    skill = the(folder)

    def read_all() -> None:
        for path, words in (
            ("fifo", "not a regular"),
            ("to-fifo", "not a regular"),
            ("loop", "cannot be read"),
            ("socket", "not a regular"),
        ):
            with pytest.raises(SkillError, match=words):
                skill.read(path)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        in_time(read_all)


def test_a_file_of_one_mebibyte_is_read_and_a_larger_one_is_not(folder: Path) -> None:
    put(folder / "most.txt", "x" * MAX_BYTES)
    put(folder / "more.txt", "x" * (MAX_BYTES + 1))
    assert len(the(folder).read("most.txt")) == MAX_BYTES
    with pytest.raises(SkillError, match="larger than 1024 KiB"):
        the(folder).read("more.txt")


def test_refusals_leave_no_descriptor_open(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    put(folder / "deep" / "a.md")
    skill = the(folder)
    before = sorted(os.listdir("/dev/fd"))
    for path in ("fifo", "deep", "deep/gone", "deep/a.md"):
        try:
            skill.read(path)
        except SkillError:
            continue
    assert sorted(os.listdir("/dev/fd")) == before


def test_an_unknown_file_names_the_nearest_or_the_available_ones(folder: Path) -> None:
    skill = the(folder)
    with pytest.raises(SkillError, match="has no files besides"):
        skill.read("guide.md")
    put(folder / "references" / "guide.md")
    with pytest.raises(SkillError, match=r"did you mean references/guide\.md\?"):
        skill.read("reference/guide.md")
    with pytest.raises(SkillError, match=r"the files are references/guide\.md"):
        skill.read("zzz")


def test_a_skill_whose_folder_is_gone_says_so(folder: Path) -> None:
    skill = the(folder)
    folder.rename(folder.parent / "moved")
    assert skill.files() == ()
    with pytest.raises(SkillError, match="no file"):
        skill.body()
