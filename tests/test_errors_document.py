"""Messages in docs/errors.md are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.test_imports import FILES, ROOT, tree

PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
FIRST = re.findall(r"^\| (?!---|message)([^|]+) \|", PAGE, re.MULTILINE)
MESSAGES = [found for cell in FIRST for found in re.findall(r"`([^`]+)`", cell) if found != "/name"]
GAP = "\x00"


def said(node: ast.AST) -> Iterator[str]:
    """The strings that the code may print; what is filled in is a gap."""
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in each.values)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


@cache
def everything() -> str:
    pages = (path.read_text("utf-8") for path in sorted((ROOT / "web").glob("*.js")))
    code = ("\n".join(said(tree(name))) for name in FILES)
    return "\n".join([*code, *pages, (ROOT / "Makefile").read_text("utf-8")])


def test_messages_are_found_in_the_table() -> None:
    assert len(MESSAGES) > 30


@pytest.mark.parametrize("message", MESSAGES)
def test_what_a_message_says_stands_in_the_code(message: str) -> None:
    """Its parts between what differs and between clauses: the longest, and all others of more than two words."""
    parts = [part.strip(" ,.?") for part in re.split(r"…| is not set: |[:,] ", message)]
    for part in parts:
        if len(part.split()) > 2 or part == max(parts, key=len):
            assert part in everything()
