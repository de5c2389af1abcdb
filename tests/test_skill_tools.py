"""The tools that let a model use skills."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agent.skill_tools import skill_tools
from messages import Image, Text, ToolCall, ToolResult
from skill_store import SkillStore
from tests.agents import write_skill
from tools import Toolbox

PDF = "Fill and merge PDF forms."


def box(parent: Path, active: tuple[str, ...] = (), activated: list[str] | None = None) -> Toolbox:
    return Toolbox(skill_tools(SkillStore(parent).scan().skills, active, (activated or []).append))


async def use(tools: Toolbox, called: str, /, **arguments: str) -> ToolResult:
    return await tools.run(ToolCall("1", called, json.dumps(arguments)))


def test_without_skills_there_are_no_tools(tmp_path: Path) -> None:
    assert not box(tmp_path)
    write_skill(tmp_path, "secret", PDF, more="disable-model-invocation: true\n")
    assert not box(tmp_path)


def test_the_model_can_name_only_skills_that_it_may_use(tmp_path: Path) -> None:
    write_skill(tmp_path, "pdf", PDF)
    write_skill(tmp_path, "docx", "Write letters.")
    write_skill(tmp_path, "secret", PDF, more="disable-model-invocation: true\n")
    activate, read = box(tmp_path).specs
    assert activate.parameters["properties"]["name"] == {"type": "string", "enum": ["docx", "pdf"]}
    assert read.parameters["properties"]["skill"]["enum"] == ["docx", "pdf"]
    assert box(tmp_path, active=("secret",)).specs[1].parameters["properties"]["skill"]["enum"] == [
        "docx",
        "pdf",
        "secret",
    ]


def test_a_hidden_skill_that_is_active_can_only_be_read(tmp_path: Path) -> None:
    write_skill(tmp_path, "secret", PDF, more="disable-model-invocation: true\n")
    (read,) = box(tmp_path, active=("secret", "gone")).specs
    assert read.name == "read_skill_file"
    assert read.parameters["properties"]["skill"] == {"type": "string", "const": "secret"}


async def test_a_skill_is_loaded_once_however_often_it_is_called(tmp_path: Path) -> None:
    folder = write_skill(tmp_path, "pdf", PDF, "Use the form filler.")
    for number in range(300):  # so that loading takes a while
        (folder / f"{number}.md").write_text("x")
    told: list[str] = []
    tools = Toolbox(skill_tools(SkillStore(tmp_path).scan().skills, (), told.append))
    results = await asyncio.gather(*(use(tools, "activate_skill", name="pdf") for _ in range(12)))
    assert sum("Use the form filler." in result.text for result in results) == 1 and told == ["pdf"]
    assert sum("already loaded" in result.text for result in results) == 11


async def test_a_skill_in_the_conversation_is_not_loaded_again(tmp_path: Path) -> None:
    write_skill(tmp_path, "pdf", PDF)
    result = await use(box(tmp_path, active=("pdf",)), "activate_skill", name="pdf")
    assert "already loaded" in result.text and "Do it well" not in result.text


async def test_what_is_wrong_with_a_skill_is_said_and_it_can_be_tried_again(tmp_path: Path) -> None:
    file = write_skill(tmp_path, "pdf", PDF) / "SKILL.md"
    tools, text = box(tmp_path), file.read_text()
    file.unlink()
    assert (await use(tools, "activate_skill", name="pdf")).is_error
    file.write_text(text)
    assert "Do it well." in (await use(tools, "activate_skill", name="pdf")).text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("notes.md", "Nötes"),
        ("latin.txt", "caf\ufffd"),
        ("../other/SKILL.md", ".."),
        ("/etc/passwd", "absolute"),
        ("noes.md", "did you mean notes.md"),
        ("data.bin", "binary file of 3 bytes"),
    ],
)
async def test_files_of_a_skill_are_read_and_no_others(tmp_path: Path, path: str, expected: str) -> None:
    folder = write_skill(tmp_path, "pdf", PDF)
    (folder / "notes.md").write_text("Nötes", "utf-8")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "data.bin").write_bytes(b"a\0b")
    result = await use(box(tmp_path), "read_skill_file", skill="pdf", path=path)
    assert expected in result.text and result.is_error == (path not in ("notes.md", "latin.txt"))


async def test_an_image_of_a_skill_is_shown(tmp_path: Path) -> None:
    folder = write_skill(tmp_path, "pdf", PDF)
    (folder / "logo.PNG").write_bytes(b"\x89PNG\0")
    result = await use(box(tmp_path), "read_skill_file", skill="pdf", path="logo.PNG")
    assert result.parts == (Image("image/png", "iVBORwA="),) and not isinstance(result.parts[0], Text)
