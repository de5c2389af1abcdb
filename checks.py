"""What `doctor` and `models` ask: is everything there that an answer needs? Every line that fails says what to do."""

from __future__ import annotations

import asyncio
import difflib
import importlib.util
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from agent.folders import skill_store
from agent.servers import mcp_servers
from defaults import data_folder, default_port, default_store
from history import legal
from model_facts import facts
from providers import default_model, resolve
from providers.base import ProviderError
from providers.http import Http
from sandbox import Sandbox
from setting_forms import without_password
from settings import Settings, SettingsError
from terminal import FAILED, OK
from terminal.agents import Wanted, server_auth
from terminal.connectivity import place_of, reach
from terminal.sessions import is_writable
from terminal.text import harmless, listed

OURS = "SKILL_AGENT_"
BESIDE = {"SKILL_AGENT_API_KEY"}
"""Variables that the command line alone reads."""


def doctor(wanted: Wanted) -> int:
    """A line a check; the exit code is 1 where one fails."""
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        _line(False, "settings", str(error))
        return FAILED
    if wanted.url:
        return asyncio.run(_server(wanted, settings))
    good = _settings(settings)
    good &= _python_packages() & _skills(settings) & _sandbox(settings) & _store(settings) & _port()
    good &= asyncio.run(_afar(settings))
    return OK if good else FAILED


def _line(good: bool, what: str, words: str, mark: str = "ok") -> bool:
    print(f"{mark if good else 'FAIL':<4}  {what:<12}{harmless(words)}")
    return good


def _warn(what: str, words: str) -> bool:
    """Something to look at, which hinders nothing."""
    return _line(True, what, words, "look")


class _Names(dict[str, str]):
    """An environment that has nothing, and keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.asked.add(name)
        return default


def unknown_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Variables with our prefix that nothing reads, each with the name that it is most like, or ""."""
    names = _Names()
    Settings.from_env(names)
    known = {name for name in names.asked if name.startswith(OURS)} | BESIDE
    odd = [name for name in sorted(env) if name.startswith(OURS) and name not in known]
    ends = {name.removeprefix(OURS): name for name in known}
    near = {name: difflib.get_close_matches(name.removeprefix(OURS), ends, 1, 0.7) for name in odd}
    return {name: ends[found[0]] if found else "" for name, found in near.items()}


def _settings(settings: Settings) -> bool:
    """Names that look like slips, and the files that settings name."""
    good = True
    for name, near in unknown_settings(os.environ).items():
        words = f"{name} is not read by anything" + (f": is it {near}?" if near else "; docs/settings.md has them")
        good = _line(False, "settings", words)
    for what, attempt in (
        ("models", lambda: facts("openai/any", settings.models)),
        ("mcp", lambda: mcp_servers(settings)),
    ):
        try:
            attempt()
        except SettingsError as error:
            good = _line(False, what, str(error))
    return good


def _python_packages() -> bool:
    engine = importlib.util.find_spec("httpx_aiohttp") is not None
    local = importlib.util.find_spec("xllamacpp") is not None
    screen = all(importlib.util.find_spec(name) for name in ("rich", "prompt_toolkit"))
    _line(
        True, "engine", "aiohttp" if engine else "httpx's own (slower: pip install -r requirements.txt has aiohttp's)"
    )
    _line(True, "terminal", "rich and prompt_toolkit" if screen else "plain (pip install -r requirements-cli.txt)")
    return _line(True, "local", "llama.cpp is installed" if local else "not installed (requirements-local.txt)")


def _skills(settings: Settings) -> bool:
    catalog = skill_store(settings).scan(thorough=True)
    errors = [problem for problem in catalog.problems if problem.level == "error"]
    warnings = len(catalog.problems) - len(errors)
    for problem in errors:
        _line(False, "skills", f"{problem} (mend it, then: python cli.py skills validate)")
    if not catalog.skills:
        _warn("skills", f"none in {listed(map(str, settings.skills))}: python cli.py skills new NAME begins one")
    more = f", {warnings} warnings (python cli.py skills validate)" if warnings else ""
    return _line(not errors, "skills", f"{len(catalog.skills)} loaded{more}") and not errors


def _sandbox(settings: Settings) -> bool:
    """What skills' scripts run in; without a sandbox they run only where that is allowed."""
    told = Sandbox(settings.sandbox).describe()
    refused = told.startswith("none:") or "scripts are refused" in told
    hint = " (pip install -r requirements-sandbox.txt, or SKILL_AGENT_SANDBOX=best)" if refused else ""
    return _line(not refused, "sandbox", told + hint)


def _store(settings: Settings) -> bool:
    """Where the server keeps answers, and the terminal conversations."""
    folder = data_folder()
    if not is_writable(folder):
        _warn("sessions", f"{folder} cannot be written, so conversations are not kept (XDG_DATA_HOME names another)")
    if not (url := settings.store or default_store()):
        return _line(True, "store", "in memory, as the user's data folder cannot be written (SKILL_AGENT_STORE)")
    place = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not is_writable(place.parent):
        return _line(False, "store", f"{place.parent} cannot be written: name another file with SKILL_AGENT_STORE")
    return _line(True, "store", without_password(url))


def _port() -> bool:
    """Where `serve` would listen. A port that is taken may be taken by the service itself."""
    try:
        port = default_port(os.environ)
    except SettingsError as error:
        return _line(False, "port", str(error))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return _warn("port", f"{port} cannot be had ({error.strerror}): serve with --port, or set PORT")
    return _line(True, "port", f"{port} is free")


async def _afar(settings: Settings) -> bool:
    """The model's provider and the MCP servers."""
    http = Http()
    try:
        good = await _model(settings, http)
        return await _mcp(settings) and good
    finally:
        await http.aclose()


async def _model(settings: Settings, http: Http) -> bool:
    try:
        name = default_model(settings)
        provider = resolve(name, settings, http)
        place = place_of(name, settings, http)
    except SettingsError as error:
        return _line(False, "model", str(error))
    note = f", {provider.info.note}" if provider.info.note else ""
    _line(True, "model", f"{provider.info.id}{note}")
    if place is None:
        return _line(True, "credentials", "none are needed (for a real model see docs/settings.md)")
    _line(True, "credentials", place.source)
    good, words = await reach(place, http, name)
    for secret in settings.secrets:  # some providers say a wrong key back
        words = words.replace(secret, "[redacted]")
    return _line(good, "network", words)


class _Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


async def _mcp(settings: Settings) -> bool:
    """Each server of the file is begun; one without tools is no use."""
    try:
        servers = mcp_servers(settings)
    except SettingsError:
        return True  # said before
    if servers is None or settings.mcp is None:
        return True
    from mcp_servers.config import read_config

    told, log = _Told(), logging.getLogger("skill_agent.mcp")
    log.addHandler(told)
    log.propagate = False
    try:
        await servers.start()
        tools = [tool.spec.name for tool in servers.tools()]
    finally:
        await servers.aclose()
        log.removeHandler(told)
    good = True
    for config in read_config(settings.mcp, os.environ):
        count = sum(name.startswith(f"mcp__{legal(config.name)}__") for name in tools)
        why = next((words for words in told.words if config.name in words and "connected" not in words), "")
        words = f"{config.name}: {count} tools" if count else f"{config.name} gives no tools. {why or 'Does it start?'}"
        good &= _line(count > 0, "mcp", words)
    return good


async def _server(wanted: Wanted, settings: Settings) -> int:
    """A server behind --url: the login, and whether it answers."""
    begun = time.monotonic()
    try:
        names = await _server_models(wanted, settings)
    except (SettingsError, ProviderError) as error:
        _line(False, "server", error.message if isinstance(error, ProviderError) else str(error))
        return FAILED
    _line(True, "server", f"{wanted.url} answered in {(time.monotonic() - begun) * 1000:.0f} ms")
    skills = [name.partition(":")[2] for name in names if name.startswith("skill-agent:")]
    _line(True, "skills", f"{len(skills)}: {listed(skills)}")
    return OK


def list_models(wanted: Wanted, settings: Settings) -> int:
    """The names that can be asked for, here or at a server. Raises `ProviderError`."""
    if wanted.url:
        for name in asyncio.run(_server_models(wanted, settings)):
            print(harmless(name))
        return OK
    print(f"{default_model(settings)}  (the default)")
    for name in settings.allowed_models:
        print(name)
    return OK


async def _server_models(wanted: Wanted, settings: Settings) -> list[str]:
    from providers.remote import RemoteAgent

    http = Http()
    try:
        remote = RemoteAgent(http, wanted.url, server_auth(wanted, settings, http), profile=wanted.profile)
        return await remote.models()
    finally:
        await http.aclose()
