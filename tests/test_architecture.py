"""The diagram in docs/architecture.md is drawn from the imports."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_imports import FILES, ROOT, ours

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", PAGE, re.MULTILINE)
ROOMS: dict[str, str] = {module: room for room, modules in ROWS for module in re.findall(r"\w+", modules)}
DRAWN: set[tuple[str, str]] = set(re.findall(r"^    (\w+) --> (\w+)$", PAGE, re.MULTILINE))
APART = {"supply"}


def room_of(module: str) -> str:
    """ "" where it has none, which one test tells."""
    return ROOMS.get(module.partition(".")[0], "")


@cache
def used() -> set[tuple[str, str]]:
    """Pairs of rooms, where a module of the first imports one of the second."""
    pairs = {(room_of(name), room_of(found)) for name in FILES if name not in out() for found in ours(name)}
    return {(user, room) for user, room in pairs if user != room and user and room}


def out() -> set[str]:
    return {name for name in FILES if name.partition(".")[0] in APART}


def leads(start: str, arrows: set[tuple[str, str]]) -> set[str]:
    """The rooms that arrows lead to from `start`."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        room = waiting.pop()
        onward = {to for at, to in arrows if at == room} - seen
        seen |= onward
        waiting += onward
    return seen


def test_every_module_is_in_one_room() -> None:
    named = [module for _, modules in ROWS for module in re.findall(r"\w+", modules)]
    assert sorted(named) == sorted({name.partition(".")[0] for name in FILES} - APART)


def test_rooms_apart_use_nothing_and_are_used_by_nothing() -> None:
    for name in out():
        assert all(found in out() for found in ours(name))
    assert not [name for name in FILES if name not in out() and out() & ours(name)]


def test_every_arrow_is_an_import() -> None:
    assert not DRAWN - used()


@pytest.mark.parametrize("room", sorted(set(ROOMS.values())))
def test_no_import_goes_where_no_arrow_leads(room: str) -> None:
    assert {to for user, to in used() if user == room} <= leads(room, DRAWN)
    assert room not in leads(room, DRAWN)


def test_arrows_that_follow_from_others_are_left_out() -> None:
    for arrow in DRAWN:
        assert arrow[1] not in leads(arrow[0], DRAWN - {arrow}), arrow


def test_files_of_one_answer_are_there() -> None:
    for name in re.findall(r"`([\w/]+\.py)`", PAGE):
        assert (ROOT / Path(name)).is_file(), name
