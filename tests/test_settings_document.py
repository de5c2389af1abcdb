"""docs/settings.md says of every variable what it is by default, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from settings import HERE, TOOL_GROUPS, Settings
from tests.test_settings import GOOD

PAGE = (HERE / "docs" / "settings.md").read_text("utf-8")
ROW = re.compile(r"^\| `([A-Z][A-Z_]+)` \| (.+?) \| ([^|]+) \|$", re.MULTILINE)
FIELDS = {name: field for name, (field, _, _) in GOOD.items()}


@dataclass(frozen=True)
class Row:
    meaning: str
    default: str


ROWS = {name: Row(meaning, default) for name, meaning, default in ROW.findall(PAGE)}


class Asked(dict[str, str]):
    """An environment of an app, else with nothing in it, and what was looked for there."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.names.append(name)
        # The port is looked for only behind Databricks' proxy.
        return "app" if name == "DATABRICKS_APP_NAME" else default


def read() -> list[str]:
    asked: Mapping[str, str] = Asked()
    Settings.from_env(asked)
    assert isinstance(asked, Asked)
    return asked.names


def shown(value: object) -> str:
    """A default as the page has it."""
    match value:
        case None | "" | ():
            return "none"
        case bool():
            return "1" if value else "off"
        case int() | float():
            return f"{value:.0f}"
        case Path():
            return f"`{value.relative_to(HERE) if value.is_relative_to(HERE) else value}`"
    return f"`{value}`"


def test_every_variable_stands_there_once() -> None:
    names = [name for name, _, _ in ROW.findall(PAGE)]
    assert sorted(names) == sorted(set(read()))


@pytest.mark.parametrize("name", [name for name in ROWS if name in FIELDS])
def test_defaults_are_those_of_the_code(name: str) -> None:
    default = getattr(Settings(), FIELDS[name])
    if name in ("SKILL_AGENT_MODEL", "SKILL_AGENT_SKILLS", "SKILL_AGENT_TOOLS"):
        return
    assert ROWS[name].default.startswith(shown(default)), name


def test_defaults_that_are_more_than_a_value() -> None:
    assert ROWS["SKILL_AGENT_TOOLS"].default == ", ".join(f"`{group}`" for group in TOOL_GROUPS)
    assert ROWS["SKILL_AGENT_SKILLS"].default == "`skills`" and Settings().skills == (HERE / "skills",)
    assert "first provider with credentials" in ROWS["SKILL_AGENT_MODEL"].default and Settings().model == ""
