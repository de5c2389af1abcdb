"""The file of MCP servers, in the form that every MCP client reads.

    {"mcpServers": {"time": {"command": "mcp-server-time", "args": [], "env": {"TZ": "UTC"}, "cwd": "/srv"},
                    "wiki": {"type": "http", "url": "https://…/mcp", "headers": {"authorization": "Bearer ${TOKEN}"}}}}

`${NAME}` and `${NAME:-otherwise}` are taken from the environment. Ours, for any server: `disabled`, `timeout` (seconds
of a call), `ask` (true, or the tools that a person has to agree to), `databricks` (our credentials are sent along).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from settings import SettingsError

SETTING = "SKILL_AGENT_MCP"
CALL_SECONDS = 120.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SHORTEST_SECRET = 8
"""Characters; a shorter value is a switch, and hiding it would hide half of what is said."""
LONG_PIECE = 16
_CREDENTIAL = re.compile(r"key|token|secret|pass|auth|cred|cookie|session", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
Problem: TypeAlias = tuple[str, str]
"""Where in the file, and what."""


@dataclass(frozen=True, slots=True)
class Config:
    """One server: a `command` to run or a `url` to call. `fault` says why neither can be done."""

    name: str
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = CALL_SECONDS
    ask: bool | tuple[str, ...] = ()
    databricks: bool = False
    fault: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """All that may be one, the longest first."""
    credentials: tuple[str, ...] = field(default=(), repr=False)
    """Those that are one by their names: nothing that a server says holds them."""

    def asks(self, tool: str) -> bool:
        return self.ask is True or tool in self.asked

    @property
    def asked(self) -> tuple[str, ...]:
        return () if isinstance(self.ask, bool) else self.ask

    def hide(self, text: str) -> str:
        """`text` without what may be secret of the server's settings."""
        for value in self.secrets:
            text = text.replace(value, "…")
        return text


class _Entry(BaseModel):
    """What stands under a server's name; other clients' own fields are left alone."""

    model_config = ConfigDict(strict=True)

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}
    type: Literal["stdio", "http", "streamable-http"] | None = None
    timeout: float = Field(CALL_SECONDS, gt=0, lt=1e9)
    ask: bool | list[str] = []
    databricks: bool = False

    @field_validator("type", mode="before")
    @classmethod
    def _no_sse(cls, value: object) -> object:
        if value == "sse":
            raise ValueError("the sse transport is not spoken here; give the streamable HTTP address, with type http")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> _Entry:
        if bool(self.command) == bool(self.url):
            raise ValueError("expected a command or a url, and not both")
        if self.type and (self.type == "stdio") != bool(self.command):
            raise ValueError(f"type {self.type} goes with a {'command' if self.type == 'stdio' else 'url'}")
        return self


def read_config(path: Path, env: Mapping[str, str]) -> list[Config]:
    """The servers that are not disabled. Raises `SettingsError` for the first place that cannot be right."""
    try:
        servers = _servers(path)
        entries = {name: _entry(name, value) for name, value in servers.items() if not _disabled(name, value)}
    except ValueError as error:
        where, what = error.args[0] if isinstance(error.args[0], tuple) else ("", str(error))
        raise SettingsError(SETTING, f"{where}: {what}" if where else what, str(path)) from None
    return [_config(name, entry, env) for name, entry in entries.items()]


def _servers(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.expanduser().read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError((f"line {error.lineno} column {error.colno}", f"this is not JSON ({error.msg})")) from None
    except (OSError, UnicodeError, RecursionError, RuntimeError) as error:
        raise ValueError(f"the file cannot be read ({type(error).__name__})") from None
    servers = found.get("mcpServers") if isinstance(found, dict) else None
    if not isinstance(servers, dict):
        raise ValueError(("mcpServers", "expected an object of servers by name"))
    return servers


def _disabled(name: str, value: object) -> bool:
    return isinstance(value, dict) and value.get("disabled") is True


def _entry(name: str, value: object) -> _Entry:
    if not isinstance(value, dict):
        raise ValueError((f"mcpServers.{name}", "expected an object"))
    try:
        return _Entry.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, ("mcpServers", name, *first["loc"])))
        raise ValueError((where, first["msg"].removeprefix("Value error, "))) from None


def _config(name: str, entry: _Entry, env: Mapping[str, str]) -> Config:
    """With its variables in place; one that is missing is the fault of this server only."""
    filled = _Filler(env)
    try:
        url = _address(filled("url", entry.url), entry.databricks)
        values = {key: filled(f"env.{key}", value) for key, value in entry.env.items()}
        headers = {key: filled(f"headers.{key}", value) for key, value in entry.headers.items()}
        return Config(
            name,
            command=filled("command", entry.command),
            args=tuple(filled(f"args.{number}", value) for number, value in enumerate(entry.args)),
            env=values,
            cwd=None if entry.cwd is None else filled("cwd", entry.cwd),
            url=url,
            headers=headers,
            timeout=entry.timeout,
            ask=entry.ask if isinstance(entry.ask, bool) else tuple(entry.ask),
            databricks=entry.databricks,
            secrets=_secrets(url, [*values.values(), *headers.values(), *filled.used.values()]),
            credentials=_credentials(url, {**values, **headers, **filled.used}),
        )
    except ValueError as error:
        return Config(name, fault=str(error))


class _Filler:
    """Puts variables in their places, and notes their values."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.used: dict[str, str] = {}

    def __call__(self, where: str, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name, otherwise = found.groups()
            if not self._env.get(name) and otherwise is None:
                raise ValueError(f"{where}: ${{{name}}} is not set")
            return self.used.setdefault(name, self._env.get(name) or otherwise or "")

        filled = _VARIABLE.sub(value, text)
        if "\0" in filled or (where.startswith("headers") and not filled.isprintable()):
            raise ValueError(f"{where}: it holds a character that cannot stand there")
        return filled


def _secrets(url: str, values: Sequence[str]) -> tuple[str, ...]:
    """Whole values and their words, as in `Bearer …`, and the long pieces of an address, some of which are keys."""
    host = urlsplit(url).hostname
    pieces = {piece for piece in re.split(r"[/?&=@:#]", url) if len(piece) >= LONG_PIECE and piece != host}
    words = {word for value in values for word in (value, *value.split()) if len(word) >= SHORTEST_SECRET}
    return tuple(sorted(pieces | words, key=len, reverse=True))


def _credentials(url: str, values: Mapping[str, str]) -> tuple[str, ...]:
    named = [value for name, value in values.items() if _CREDENTIAL.search(name)]
    pieces = [piece for piece in re.split(r"[/?&=@:#]", url) if len(piece) >= LONG_PIECE and re.search(r"\d", piece)]
    return (*named, *(value.rpartition(" ")[2] for value in named), *pieces)


def _address(url: str, databricks: bool) -> str:
    if not url:
        return ""
    if databricks and "://" not in url:  # DATABRICKS_HOST may stand without it
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("url: expected an address that begins with https:// (or http://)")
    if databricks and parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ValueError("url: expected https:// (a token is not sent in the clear)")
    return url
