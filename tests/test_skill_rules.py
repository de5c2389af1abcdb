"""What authors use: `validate` names each broken rule with its line, `create` breaks none."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from skill_store import MAX_BYTES, Problem, SkillError, SkillStore, create, validate


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


def in_time(work: Callable[[], object]) -> None:
    """Run `work`; a hang fails the test instead of stopping the suite."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(10), "it hangs, or it failed with the error above"


def found(folder: Path, level: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in validate(folder) if problem.level == level]


def test_a_new_skill_is_valid_and_loads(tmp_path: Path) -> None:
    folder = create(tmp_path / "new" / "parent", "my-skill-2")
    assert folder == tmp_path / "new" / "parent" / "my-skill-2"
    assert validate(folder) == []
    assert SkillStore(tmp_path).scan().skills["my-skill-2"].problems == ()


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "A", "a b", "a_b", "../a", "a/b", "é", "a\n", "a" * 65, "."])
def test_a_bad_name_makes_no_skill(tmp_path: Path, name: str) -> None:
    with pytest.raises(SkillError, match="cannot be the name"):
        create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder.parent / "link").symlink_to(tmp_path / "nowhere")
    for name in ("pdf", "link"):
        with pytest.raises(SkillError, match="is there already"):
            create(folder.parent, name)
    assert not (tmp_path / "nowhere").exists()


def test_a_skill_that_cannot_be_written_says_why(folder: Path) -> None:
    with pytest.raises(SkillError, match="Not a directory"):
        create(folder / "SKILL.md", "inner")


def test_a_skill_that_keeps_every_rule_has_no_problems(folder: Path) -> None:
    more = "license: MIT\ncompatibility: git\nmetadata:\n  v: 1.0\nallowed-tools: Read Bash(git:*)\n"
    body = (
        "# PDF\n\n[a](references/a.md) ![b](<assets/b c.png> 'title') [c](#part) [d](https://x.org/y.md) "
        "[e](mailto:a@b.c) [f](references/a.md#part) [g](assets/b%20c.png) [h](references) [i][j] "
        "`[k](gone.md)`\n\n"
        "```markdown\n[example](gone.md)\n```\n\n[j]: references/a.md\n"
    )
    head(folder, more, body)
    put(folder / "references" / "a.md")
    put(folder / "assets" / "b c.png")
    assert validate(folder) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: PDF\ndescription: d", 2, "lowercase"),
        ("description: d\nname: other", 3, "not the folder's"),
        ("description: d", 1, "name is missing"),
        (f"name: {'n' * 65}\ndescription: d", 2, "65 characters"),
        ("name: [pdf]\ndescription: d", 2, "not a text"),
        ("name: pdf", 1, "description is missing"),
        ("name: pdf\nlicense: x\ndescription: '  '", 4, "description is missing"),
        (f"name: pdf\ndescription: {'d' * 1025}", 3, "1025 characters"),
        ("name: pdf\ndescription: {a: b}", 3, "not a text"),
        ("name: pdf\ndescription: |\n  a\n  b\ncompatibility: ''", 6, "compatibility is empty"),
        (f"name: pdf\ndescription: d\ncompatibility: {'c' * 501}", 4, "501 characters"),
        ("name: pdf\ndescription: d\nlicense: [a]", 4, "license"),
        ("name: pdf\ndescription: d\nmetadata: x", 4, "metadata"),
        ("name: pdf\ndescription: d\nmetadata:\n  a: b\n  c:\n    d: e", 6, "metadata.c"),
        ("name: pdf\ndescription: use: it", 3, "cannot be read"),
        ("name: pdf\nname: pdf\ndescription: d", 3, "twice"),
        ("name: pdf\ndescription: d\nx: &a b", 4, "anchors"),
    ],
)
def test_a_broken_rule_of_the_head_is_an_error_at_its_line(folder: Path, text: str, line: int, words: str) -> None:
    put(folder / "SKILL.md", f"---\n{text}\n---\nBody.\n")
    errors = found(folder, "error")
    assert any(at == line and words in message for at, message in errors), errors


@pytest.mark.parametrize(
    ("more", "line", "words"),
    [
        ("version: 1\n", 4, "'version' is not a key of the format; move it into metadata"),
        ("license: x\nauthor:\n  name: me\n", 5, "'author'"),
        ("allowed-tools: [Read]\n", 4, "spaces between"),
        ("allowed-tools: Read, Write\n", 4, "spaces between"),
    ],
)
def test_what_other_clients_may_not_read_is_a_warning_at_its_line(
    folder: Path, more: str, line: int, words: str
) -> None:
    head(folder, more)
    assert found(folder, "error") == []
    ((at, message),) = found(folder, "warning")
    assert at == line
    assert words in message


def test_the_key_that_hides_a_skill_is_known(folder: Path) -> None:
    head(folder, "disable-model-invocation: true\n")
    assert validate(folder) == []


def test_an_empty_body_and_a_long_one_are_warned_of(folder: Path) -> None:
    head(folder, body="\n \n")
    assert [message for _, message in found(folder, "warning")] == ["there are no instructions after the frontmatter"]
    head(folder, body="line\n" * 500)
    assert validate(folder) == []
    head(folder, body="line\n" * 501)
    assert "501 lines" in found(folder, "warning")[0][1]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("[a](references/gone.md)", "leads to nothing"),
        ("![a](gone.png 'title')", "leads to nothing"),
        ("[a](<gone file.md>)", "leads to nothing"),
        ("see [a](SKILL.md) and [b](gone.md#part)", "leads to nothing"),
        ("[a]: gone.md", "leads to nothing"),
        ("[a](../other/x.md)", "leaves the skill's folder"),
        ("[a](/etc/passwd)", "not relative"),
        ("[a](%00)", "not relative"),
    ],
)
def test_a_link_to_no_file_of_the_skill_is_warned_of_at_its_line(folder: Path, link: str, words: str) -> None:
    """The reference validator looks at no links, and what it takes is no error here."""
    head(folder, body=f"# Title\n\n```\n[code](x.md)\n```\n\n{link}\n")
    assert found(folder, "error") == []
    ((line, message),) = found(folder, "warning")
    assert line == 12
    assert words in message


def test_line_numbers_hold_with_windows_line_ends_and_a_byte_order_mark(folder: Path) -> None:
    text = (folder / "SKILL.md").read_text() + "\n[a](gone.md)\n"
    (folder / "SKILL.md").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [line for level in ("error", "warning") for line, _ in found(folder, level)] == [1, 8]


def test_files_that_nobody_can_read_are_problems(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "broken").symlink_to("nothing")
    put(folder / "large.bin", "x" * (MAX_BYTES + 1))
    problems: list[Problem] = []
    in_time(lambda: problems.extend(validate(folder)))
    assert [(problem.path.name, problem.level) for problem in problems] == [
        ("broken", "error"),
        ("fifo", "error"),
        ("large.bin", "warning"),
        ("out", "error"),
    ]


def test_what_is_no_skill_is_one_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "lower" / "skill.md")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "SKILL.md")
    for path in (
        tmp_path / "empty",
        tmp_path / "lower",
        tmp_path / "gone",
        folder / "SKILL.md",
        tmp_path / "fifo",
    ):
        (problem,) = validate(path)
        assert problem.level == "error"
        assert problem.line == 0
