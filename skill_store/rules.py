"""The rules of the skill format (https://agentskills.io/specification), and a template that keeps them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from skill_store.files import MAX_BYTES, SKILL_FILE, SkillError, read_inside, shown, walk
from skill_store.reader import Document, Problem, read_document

MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1024, 500
MAX_BODY_LINES = 500

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SPEC_KEYS = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})
# Clients that hide a skill from the model read this one at the top level, and nowhere else.
_CLIENT_KEYS = frozenset({"disable-model-invocation"})
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK = re.compile(r"\]\(\s*(<[^<>]*>|[^\s()<>]+(?:\([^\s()]*\)[^\s()]*)*)")
_REFERENCE = re.compile(r"[ ]{0,3}\[[^\]^][^\]]*\]:\s*(<[^<>]*>|\S+)")
_ELSEWHERE = re.compile(r"#|\?|//|[A-Za-z][A-Za-z0-9+.-]*:")

_TEMPLATE = """\
---
name: {name}
description: Says in one sentence what this skill does. Use when the user asks for the thing it does.
---

# {title}

State the goal: what the finished answer holds, and for whom it is.

## Steps

1. Ask for what is missing, if the request leaves it open.
2. Do the work, one checkable action for each step.
3. Check the result against the rules below before you answer.

## Rules

- Give limits as numbers: at most five items, under 200 words.
- Say what to do when something is unknown.

## Example

Request: a typical request, as a user words it.

Answer: the start of a good answer to it.
"""


def folder_name(folder: Path | str) -> str:
    """The last part of the folder's path as it was given, also for "." and ".."."""
    return os.path.basename(os.path.abspath(folder))


def create(parent: Path, name: str) -> Path:
    """Write the folder of a new skill that `validate` finds no errors in, and return it.

    Raises SkillError for a name that breaks the rules and for a folder that is there already.
    """
    if fault := _name_fault(name):
        raise SkillError(f"{shown(name)} cannot be the name of a skill: {fault}")
    folder = Path(parent) / name
    text = _TEMPLATE.format(name=name, title=name.replace("-", " ").capitalize())
    try:
        folder.mkdir(parents=True)
        (folder / SKILL_FILE).write_text(text, encoding="utf-8", newline="\n")
    except FileExistsError:
        raise SkillError(f"{folder} is there already") from None
    except OSError as error:
        raise SkillError(f"{folder} cannot be written: {error.strerror}") from error
    return folder


def validate(folder: Path) -> list[Problem]:
    """Everything that breaks a rule or may trouble another client, by line; strict, for authors."""
    file = Path(folder) / SKILL_FILE
    try:
        if SKILL_FILE not in os.listdir(folder):
            return [Problem(Path(folder), 0, f"there is no file named exactly {SKILL_FILE}", "error")]
        document = read_document(file, read_inside(Path(os.path.realpath(folder)), SKILL_FILE))
    except FileNotFoundError:
        return [Problem(file, 0, "the folder or the file does not exist", "error")]
    except (OSError, SkillError) as error:
        return [Problem(file, 0, str(getattr(error, "strerror", "") or error), "error")]
    return sorted(_all_problems(Path(folder), file, document), key=lambda problem: (problem.path, problem.line))


def _all_problems(folder: Path, file: Path, document: Document) -> Iterator[Problem]:
    # What the lenient reader mends, other readers refuse.
    yield from (Problem(each.path, each.line, each.message, "error") for each in document.problems)
    if document.values:
        yield from head_problems(file, document, folder_name(folder))
        yield from _key_problems(file, document)
        yield from _body_problems(file, document)
        yield from _link_problems(folder, file, document)
    yield from _file_problems(folder)


def head_problems(file: Path, document: Document, folder: str) -> Iterator[Problem]:
    """Errors of name, description and compatibility; `folder` is the name that the folder has."""
    for key, check in (
        ("name", _name_fault),
        ("description", _description_fault),
        ("compatibility", _note_fault),
    ):
        value = document.values.get(key, "")
        fault = check(value) if isinstance(value, str) else "is not a text"
        if fault and (key in document.values or key != "compatibility"):
            yield Problem(file, document.lines.get(key, 1), f"{key} {fault}", "error")
    name = document.values.get("name", "")
    if name and name != folder:
        yield Problem(
            file,
            document.lines.get("name", 1),
            f"name {shown(str(name))} is not the folder's, {folder!r}",
            "error",
        )


def _name_fault(name: str) -> str:
    if not name.strip():
        return "is missing or empty"
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, more than {MAX_NAME}"
    return "" if _NAME.fullmatch(name) else "has to be lowercase letters a-z and digits, with single hyphens between"


def _description_fault(description: str) -> str:
    if not description.strip():
        return "is missing or empty"
    return _too_long(description, MAX_DESCRIPTION)


def _note_fault(note: str) -> str:
    return _too_long(note, MAX_COMPATIBILITY) if note.strip() else "is empty"


def _too_long(text: str, most: int) -> str:
    return f"has {len(text)} characters, more than {most}" if len(text) > most else ""


def _key_problems(file: Path, document: Document) -> Iterator[Problem]:
    lines = document.lines
    for key in document.values.keys() - _SPEC_KEYS - _CLIENT_KEYS:
        message = f"{key!r} is not a key of the format; move it into metadata"
        yield Problem(file, lines.get(key, 1), message, "warning")
    if not isinstance(document.values.get("license", ""), str):
        yield Problem(file, lines.get("license", 1), "license is not a text", "error")
    tools = document.values.get("allowed-tools", "")
    if not isinstance(tools, str) or "," in re.sub(r"\([^()]*\)", "", tools):
        message = "allowed-tools is a text with spaces between the tools; other clients may not read this form"
        yield Problem(file, lines.get("allowed-tools", 1), message, "warning")
    yield from _metadata_problems(file, document.values.get("metadata", {}), lines)


def _metadata_problems(file: Path, metadata: Any, lines: Mapping[str, int]) -> Iterator[Problem]:
    if not isinstance(metadata, Mapping):
        yield Problem(file, lines.get("metadata", 1), "metadata does not map keys to texts", "error")
        return
    for key, value in metadata.items():
        if not isinstance(value, str):
            line = lines.get(f"metadata.{key}", lines.get("metadata", 1))
            yield Problem(file, line, f"metadata.{key} is not a text", "error")


def _body_problems(file: Path, document: Document) -> Iterator[Problem]:
    if not document.body.strip():
        yield Problem(file, document.body_line, "there are no instructions after the frontmatter", "warning")
    count = len(document.body.strip().splitlines())
    if count > MAX_BODY_LINES:
        message = f"the body has {count} lines, more than {MAX_BODY_LINES}; move details into files of their own"
        yield Problem(file, document.body_line, message, "warning")


def _link_problems(folder: Path, file: Path, document: Document) -> Iterator[Problem]:
    real = Path(os.path.realpath(folder))
    for number, line in _prose(document):
        for target in (*_LINK.findall(line), *_REFERENCE.findall(line)):
            path = target.strip("<>")
            if path and not _ELSEWHERE.match(path) and (fault := _link_fault(real, path)):
                yield Problem(file, number, f"the link to {shown(path)} {fault}", "warning")


def _prose(document: Document) -> Iterator[tuple[int, str]]:
    """The body's lines outside of code, each with its number in the file."""
    fence = ""
    for number, line in enumerate(document.body.split("\n"), document.body_line):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not line.strip(f" {fence[0]}") else fence
        elif mark:
            fence = mark[1]
        else:
            yield number, _CODE.sub("", line)


def _link_fault(real: Path, link: str) -> str:
    path = unquote(re.split("[#?]", link)[0])
    if path.startswith("/") or "\0" in path:
        return "is not relative to the skill's folder"
    target = Path(os.path.realpath(real / path))
    if not target.is_relative_to(real):
        return "leaves the skill's folder"
    return "" if target.exists() else "leads to nothing"


def _file_problems(folder: Path) -> Iterator[Problem]:
    for path, fault in walk(Path(os.path.realpath(folder))):
        if fault:
            yield Problem(Path(folder) / path, 0, fault, "error")
        elif (Path(folder) / path).stat().st_size > MAX_BYTES:
            message = f"is larger than {MAX_BYTES // 1024} KiB, so no model can read it"
            yield Problem(Path(folder) / path, 0, message, "warning")
