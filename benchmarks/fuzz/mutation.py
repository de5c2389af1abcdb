"""Changes to JSON that leave it JSON: bytes changed at random seldom get past the parser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    -1e-320,
    2**53,
    2**63 - 1,
    -(2**63),
    10**30,
    "",
    " ",
    "{}",
    "null",
    "x" * 300,
    "\0\x1b",
    "🙂\u2028\ufeff",
    "\ud83d",
    "text",
    "function",
    "error",
    [],
    {},
    [[]],
    [None],
    [{"type": "text", "text": 1}],
    {"type": "text"},
    {"": {"": []}},
)


def changed(data: bytes, most: int, seed: int, of_bytes: Callable[[bytes], bytes]) -> bytes:
    """`data`, JSON values a line, with another value, line or key; a quarter of them by `of_bytes`."""
    chance = random.Random(seed)
    if chance.random() > 0.25:
        with suppress(ValueError, RecursionError):
            found = _changed(data.split(b"\n"), chance)
            if len(found) <= most:
                return found
    return of_bytes(data)[:most]


def _changed(lines: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(lines))
    if chance.random() < 0.2:
        _change_lines(lines, at, chance)
    else:
        lines[at] = written(another(json.loads(lines[at]), chance), chance)
    return b"\n".join(lines)


def _change_lines(lines: list[bytes], at: int, chance: random.Random) -> None:
    other = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines.insert(other, lines[at])
        case 1:
            lines[at], lines[other] = lines[other], lines[at]
        case 2 if len(lines) > 1:
            del lines[at]
        case _:
            lines.insert(at, b"[DONE]" if chance.random() < 0.3 else b"{}")


def written(value: Any, chance: random.Random) -> bytes:
    """Escaped, or as UTF-8 whatever the characters are."""
    if chance.random() < 0.5:
        return json.dumps(value).encode()
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def another(value: Any, chance: random.Random) -> Any:
    places = list(_places(value))
    at = chance.choice(places)
    match chance.randrange(6):
        case 0 | 1:
            return _with(value, at, chance.choice(ODD))
        case 2:
            return _with(value, at, _at(value, chance.choice(places)))
        case 3:
            return _with(value, at, _deep(_at(value, at), chance.choice((1, 30, 120, 260, 700))))
        case 4 if at:
            return _without(value, at)
    return _widened(value, at, chance)


def _places(value: Any, at: Path = ()) -> Iterator[Path]:
    yield at
    if len(at) < 12:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in inner:
            yield from _places(each, (*at, key))


def _at(value: Any, at: Path) -> Any:
    for key in at:
        value = value[key]
    return value


def _with(value: Any, at: Path, new: Any) -> Any:
    if not at:
        return new
    key, *rest = at
    copy = value.copy()
    copy[key] = _with(value[key], tuple(rest), new)
    return copy


def _without(value: Any, at: Path) -> Any:
    *above, key = at
    copy = _at(value, tuple(above)).copy()
    del copy[key]
    return _with(value, tuple(above), copy)


def _widened(value: Any, at: Path, chance: random.Random) -> Any:
    """One more in a list, another key in an object, a string twice."""
    found = _at(value, at)
    if isinstance(found, list):
        return _with(value, at, [*found, chance.choice(found or ODD)])
    if isinstance(found, dict):
        return _with(value, at, {**found, str(chance.choice([*found, "type", "index", "error"])): chance.choice(ODD)})
    return _with(value, at, found + found if isinstance(found, str) else [found])


def _deep(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value
