"""The forms of what callers have: keys with what each of them may do, and rates.

As in `setting_forms`, each function reads a value and raises `ValueError` with what is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
KEYS = "expected name:sha256hex, comma-separated, or @file (a digest is made with: printf %s KEY | sha256sum)"
OPTIONS = "expected models=, skills=, limit= and tokens= behind the digest, a key a line, as in limit=10/minute"
RATES = "expected rates, comma-separated, as in 60/minute, 1000 requests/day, 100000 tokens/minute"
_RATE = re.compile(r"(\d{1,12})\s*(requests|tokens)?\s*(?:/|per)\s*(\d{1,6}\s)?\s*(second|minute|hour|day)s?")
_DIGEST = r"[0-9a-fA-F]{64}"
_WITH_OPTIONS = re.compile(rf"([^\s,][^,]*?):({_DIGEST})\s+(.+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` requests or tokens in each window of `seconds`."""

    amount: int
    seconds: int
    of: Literal["requests", "tokens"] = "requests"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key by its name and its SHA-256, and what its holder may do.

    `models` and `skills` are globs of names; None is all that are served. `rates` stand in for the settings' own of
    their kind.
    """

    name: str
    digest: str
    models: tuple[str, ...] | None = None
    skills: tuple[str, ...] | None = None
    rates: tuple[Rate, ...] = ()


def rates(value: str) -> tuple[Rate, ...]:
    """As the library `limits` writes them, with `tokens` behind the amount for a budget of tokens."""
    found = tuple(_rate(part) for part in re.split(r"[,;|]", value) if part.strip())
    if not found:
        raise ValueError(RATES)
    return found


def _rate(text: str) -> Rate:
    match = _RATE.fullmatch(text.strip().lower())
    if not match or not int(match[1]) or (match[3] and not int(match[3])):
        raise ValueError(RATES)
    seconds = int(match[3] or 1) * UNITS[match[4]]
    return Rate(int(match[1]), seconds, "tokens" if match[2] == "tokens" else "requests")


def keys(value: str) -> tuple[ApiKey, ...]:
    """A line of a file may say behind the digest what the key's holder may do:

        laptop:<sha256hex>  models=skill-agent*,anthropic/*  skills=baking,tea  limit=10/minute,200/day
        nightly:<sha256hex>  skills=none  tokens=100000/minute

    `models` are globs of the names that /v1/models lists and of others that are allowed, `skills` globs of skills, or
    `none`; what is not said is as without options.
    """
    if not value.startswith("@"):
        return tuple(_plain_keys(value.replace(",", "\n").splitlines()))
    try:
        text = Path(value[1:]).expanduser().read_text("utf-8")
    except (OSError, UnicodeError, RuntimeError):
        raise ValueError(f"the file cannot be read; {KEYS}") from None
    return tuple(key for number, line in enumerate(text.splitlines(), 1) for key in _line(number, line))


def _line(number: int, line: str) -> Iterator[ApiKey]:
    entry = line.partition("#")[0].strip()
    try:
        if match := _WITH_OPTIONS.fullmatch(entry):
            yield ApiKey(match[1].strip(), match[2].lower(), **_options(match[3].split()))
        else:
            yield from _plain_keys(entry.split(","))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _plain_keys(entries: list[str]) -> Iterator[ApiKey]:
    for entry in (entry.partition("#")[0].strip() for entry in entries):
        name, _, digest = entry.rpartition(":")
        if entry and not (name and re.fullmatch(_DIGEST, digest)):
            raise ValueError(KEYS)
        if entry:
            yield ApiKey(name, digest.lower())


def _options(given: list[str]) -> dict[str, Any]:
    """The words of a line may be a key that was pasted there: none of them is repeated."""
    pairs = [word.partition("=") for word in given]
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names) or not all(value and not re.search(f":{_DIGEST}", value) for _, _, value in pairs):
        raise ValueError(OPTIONS)
    found: dict[str, Any] = {"rates": ()}
    for name, _, value in pairs:
        match name:
            case "models" | "skills":
                found[name] = () if value == "none" else tuple(word for word in value.split(",") if word)
            case "limit" | "tokens":
                found["rates"] += _rates_of("tokens" if name == "tokens" else "requests", value)
            case _:
                raise ValueError(OPTIONS)
    return found


def _rates_of(of: Literal["requests", "tokens"], value: str) -> tuple[Rate, ...]:
    return tuple(Rate(rate.amount, rate.seconds, of) for rate in rates(value))
