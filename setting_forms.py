"""The forms of settings' values: each function reads one, and raises `ValueError` with what is accepted."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

PROVIDERS = ("databricks", "anthropic", "openai", "azure", "local")
LIMITS = ("connect", "first_byte", "between_bytes", "whole")
TOOL_GROUPS = ("skills", "files", "todos", "task")
TRUST = ("trusted", "untrusted")
# A level that is misspelt would be a folder, and the one before it trusted.
_LIKE_TRUST = re.compile(r"(?:un|not|non)?[-_ ]*trust(?:ed|s)?", re.IGNORECASE)


def words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def model(value: str) -> str:
    provider, _, name = value.partition("/")
    if provider not in PROVIDERS or not name:
        raise ValueError(f"expected provider/model with a provider of {', '.join(PROVIDERS)}")
    return value


def models(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model(word) for word in words(value)))


def timeouts(value: str) -> tuple[tuple[str, float], ...]:
    pairs = [word.partition("=") for word in words(value)]
    for name, _, given in pairs:
        provider, dot, limit = name.rpartition(".")
        if limit not in LIMITS or (dot and provider not in PROVIDERS):
            raise ValueError(f"expected limit=seconds or provider.limit=seconds, with a limit of {', '.join(LIMITS)}")
        seconds(given)
    return tuple((name, seconds(given)) for name, _, given in pairs)


def auth(value: str) -> str:
    if value not in ("auto", "none"):
        raise ValueError("expected auto or none")
    return value


def origins(value: str) -> tuple[str, ...]:
    found = words(value)
    if "*" in found or not all(re.fullmatch(r"https?://[^/\s]+", origin) for origin in found):
        raise ValueError("expected origins, comma-separated, as in https://chat.example.com")
    return found


def aliases(value: str) -> tuple[tuple[str, str], ...]:
    pairs = tuple(tuple(part.strip() for part in word.split("=", 1)) for word in words(value))
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError("expected glob=model, comma-separated, as in gpt-*=skill-agent")
    return tuple((pair[0], pair[1]) for pair in pairs)


def path(value: str) -> Path:
    """`Path.expanduser` would raise where a user has no home, as in many containers."""
    return Path(os.path.expanduser(value))


def skills(value: str) -> tuple[tuple[Path, bool], ...]:
    """Folders as in PATH, each with whether it is trusted: `trusted` or `untrusted` stands behind a folder, and where
    that is said of any, commas separate too.
    """
    words = value.split(os.pathsep)
    if any(word.partition(",")[0] in TRUST for word in words[1:]):
        words = [part.strip() for word in words for part in word.split(",")]
    found: list[tuple[Path, bool]] = []
    said = True
    for word in filter(None, words):
        if word in TRUST and not said:
            found[-1], said = (found[-1][0], word == "trusted"), True
        elif _LIKE_TRUST.fullmatch(word):
            raise ValueError(
                f"expected folders, each with :trusted or :untrusted behind it, or neither (a folder: ./{word})"
            )
        else:
            found.append((path(word), True))
            said = False
    return tuple(found)


def file(value: str) -> Path:
    found = path(value)
    if not os.path.isfile(found):
        raise ValueError("expected the path of a text file")
    return found


def groups(value: str) -> tuple[str, ...]:
    found = () if value == "none" else words(value)
    if unknown := [group for group in found if group not in TOOL_GROUPS]:
        raise ValueError(f"{unknown[0]} is not one of {', '.join(TOOL_GROUPS)} (or none)")
    return found


def count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("expected a whole number of at least 1")
    return int(value)


def seconds(value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e9:
        raise ValueError("expected a number of seconds above 0")
    return found


def dollars(value: str) -> float:
    try:
        return seconds(value)
    except ValueError:
        raise ValueError("expected an amount in US dollars above 0") from None


def log(value: str) -> str:
    if value not in ("text", "json", "text:debug", "json:debug"):
        raise ValueError("expected text, json, text:debug or json:debug")
    return value


def store(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if scheme not in ("sqlite", "postgresql") or not separator or (scheme == "postgresql" and not rest):
        raise ValueError("expected sqlite:///path or postgresql://user:password@host/database")
    if scheme == "sqlite" and rest.startswith("/~"):
        return f"sqlite:///{os.path.expanduser(rest[1:])}"
    return value


def without_password(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def sandbox(value: str) -> Literal["required", "best", "off"]:
    match value:
        case "required" | "best" | "off":
            return value
    raise ValueError("expected required, best or off")


def switch(value: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError("expected 1 or 0")
    return value == "1"


def claude_api(value: str) -> str:
    if value not in ("messages", "chat"):
        raise ValueError("expected messages or chat")
    return value


def is_true(value: str) -> bool:
    """A boolean of OpenTelemetry's: whatever is not true is false.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#boolean
    """
    return value.lower() == "true"


def header_values(value: str) -> tuple[str, ...]:
    """Those of `name=value,…` as they stand there and as they are meant, without a scheme such as Bearer too; of what
    is not in that form, all.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables
    """
    found: list[str] = []
    for word in words(value):
        name, equals, given = word.partition("=")
        plain = unquote(given if equals else name).strip()
        found += [given.strip() if equals else word, plain, plain.rpartition(" ")[2]]
    return tuple(dict.fromkeys(filter(None, found)))


def passwords(url: str) -> tuple[str, ...]:
    """The one of an address, as it stands there and as it is meant."""
    try:
        found = urlsplit(url).password or ""
    except ValueError:
        return ()
    return tuple(dict.fromkeys(value for value in (found, unquote(found)) if value))


def url(value: str) -> str:
    if not is_address(value):
        raise ValueError("expected an address that begins with https:// (or http://)")
    if "@" in urlsplit(value).netloc:
        raise ValueError("expected an address without a user and a password: the key has a variable of its own")
    return value.rstrip("/")


def is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        return bool(good) and value.isprintable() and " " not in value
    except ValueError:
        return False


def host(value: str) -> str:
    return url(value if "://" in value else f"https://{value}")
