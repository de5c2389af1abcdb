"""What is known of models: how much they take and write, and what a call costs.

The facts are data: `model_facts.json`, whose comment says where they are from, and before it a file of the
user's in the same form (SKILL_AGENT_MODELS). The first entry with a glob that matches decides alone.

{"models": [{"match": ["gpt-4o*", "chat-prod"], "window": 128000, "output": 16384,
             "prices": {"input": 2.5, "output": 10, "cache_read": 1.25, "cache_write": 2.5},
             "long": {"above": 200000, "input": 5, "output": 20}}]}

`match`: globs of the model's own name, the part after the provider, upper and lower case alike. `window` and
`output`: tokens. `prices`: US dollars for a million tokens; `long`: those of a call with more input than `above`.
What is not known is left out or null; `comment` may stand anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from messages import Usage
from settings import SettingsError

OURS = Path(__file__).with_name("model_facts.json")
SETTING = "SKILL_AGENT_MODELS"
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a million tokens, None where not known. Cached input without a price of its own costs `input`."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    above: int = 0

    def cost(self, usage: Usage) -> float | None:
        if self.input is None or self.output is None:
            return None
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        fresh = max(usage.input - usage.cache_read - usage.cache_write, 0)
        dollars = fresh * self.input + usage.cache_read * read + usage.cache_write * write + usage.output * self.output
        return dollars / MILLION


@dataclass(frozen=True, slots=True)
class Facts:
    """`window`: the most tokens that a call may be given; `output`: the most that it writes. 0 where not known."""

    window: int = 0
    output: int = 0
    prices: Prices = Prices()
    long: Prices | None = None

    def cost(self, usage: Usage) -> float | None:
        """US dollars of one model call (long ones may cost more a token), None where the prices are not known."""
        dear = self.long if self.long is not None and usage.input > self.long.above else None
        return (dear or self.prices).cost(usage)


@dataclass(frozen=True, slots=True)
class _Entry:
    globs: tuple[str, ...]
    facts: Facts


UNKNOWN = Facts()


def facts(model_id: str, override: Path | None = None) -> Facts:
    """What is known of `provider/model`. Files are read once; `SettingsError` where the user's cannot be right."""
    name = (model_id.partition("/")[2] or model_id).lower()
    entries = (*(_users(override) if override else ()), *_entries(OURS))
    matching = (entry.facts for entry in entries if any(fnmatchcase(name, glob) for glob in entry.globs))
    return next(matching, UNKNOWN)


@cache
def _users(path: Path) -> tuple[_Entry, ...]:
    try:
        return _entries(path)
    except OSError as error:
        raise SettingsError(SETTING, f"the file cannot be read ({type(error).__name__})", str(path)) from error
    except ValueError as error:
        raise SettingsError(SETTING, str(error), str(path)) from error


@cache
def _entries(path: Path) -> tuple[_Entry, ...]:
    """Raises `OSError`, or `ValueError` with what is wrong in one line."""
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"the file is not JSON: {error}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the file is not JSON: {type(error).__name__}") from error
    found = _checked(document, "the file", {"models": _list})
    if "models" not in found:
        raise ValueError("the file, models: expected a list of entries")
    return tuple(_entry(value, number) for number, value in enumerate(found["models"], 1))


def _entry(value: Any, number: int) -> _Entry:
    """Faults name the entry by its number, counted from 1, and by what it matches."""
    matched = value.get("match") if isinstance(value, dict) else None
    where = f"entry {number} ({json.dumps(matched, ensure_ascii=False)[:60]})" if matched else f"entry {number}"
    kept = _checked(value, where, {"match": _globs, "window": _tokens, "output": _tokens, "prices": _any, "long": _any})
    if "match" not in kept:
        raise ValueError(f"{where}, match: expected a glob or a list of globs")
    if "prices" in kept:
        kept["prices"] = Prices(**_checked(kept["prices"], f"{where}, prices", DOLLARS))
    if "long" in kept:
        kept["long"] = Prices(**_checked(kept["long"], f"{where}, long", {"above": _tokens, **DOLLARS}))
        if not kept["long"].above:
            raise ValueError(f"{where}, long, above: expected a whole number of at least 1")
    return _Entry(kept.pop("match"), Facts(**kept))


def _checked(value: Any, where: str, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The values of a JSON object as their checks return them, without comments and nulls."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object")
    known = {key: each for key, each in value.items() if key != "comment" and each is not None}
    for key, each in known.items():
        if key not in keys:
            raise ValueError(f"{where}, {' '.join(key.split())[:60]}: there is no such key, only {', '.join(keys)}")
        try:
            known[key] = keys[key](each)
        except _Unfit as fault:
            raise ValueError(f"{where}, {key}: expected {fault}") from None
    return known


class _Unfit(Exception):
    """What was expected of a value."""


def _any(value: Any) -> Any:
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Unfit("a list of entries")
    return value


def _globs(value: Any) -> tuple[str, ...]:
    globs = value if isinstance(value, list) else [value]
    if not globs or not all(isinstance(glob, str) and glob.strip() for glob in globs):
        raise _Unfit("a glob or a list of globs")
    return tuple(glob.strip().lower() for glob in globs)


def _tokens(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _Unfit("a whole number of at least 1")
    return value


def _dollars(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MILLION:
        raise _Unfit("US dollars for a million tokens, as in 2.5")
    return float(value)


DOLLARS = {"input": _dollars, "output": _dollars, "cache_read": _dollars, "cache_write": _dollars}
