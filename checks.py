"""What `doctor` and `models` ask: is everything there that an answer needs?"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from agent.library import skill_store
from agent.servers import mcp_servers
from defaults import default_port, default_store
from model_facts import facts
from providers import default_model, resolve
from providers.base import Provider, ProviderError
from providers.errors import error_of, parse
from providers.http import Auth, Http
from providers.remote import base_url
from sandbox import Sandbox
from setting_forms import without_password
from settings import Settings, SettingsError
from terminal import FAILED, OK

CONNECT_SECONDS = 5.0


async def doctor(settings: Settings) -> int:
    """A line a check, and what to do where one fails."""
    good = _start(settings) & _python_packages() & _skills(settings) & _sandbox(settings) & _store(settings)
    try:
        provider = resolve(default_model(settings), settings, Http())
    except SettingsError as error:
        _line(False, "model", str(error))
        return FAILED
    _line(True, "model", provider.info.id + (f", {provider.info.note}" if provider.info.note else ""))
    good &= await _reachable(provider)
    return OK if good else FAILED


def _line(good: bool, what: str, words: str) -> bool:
    print(f"{'ok  ' if good else 'FAIL'}  {what:<8}  {words}")
    return good


def _python_packages() -> bool:
    engine = importlib.util.find_spec("httpx_aiohttp") is not None
    local = importlib.util.find_spec("xllamacpp") is not None
    _line(
        True, "engine", "aiohttp" if engine else "httpx's own (slower: pip install -r requirements.txt has aiohttp's)"
    )
    return _line(True, "local", "llama.cpp is installed" if local else "not installed (requirements-local.txt)")


def _skills(settings: Settings) -> bool:
    catalog = skill_store(settings).scan()
    errors = [problem for problem in catalog.problems if problem.level == "error"]
    for problem in errors:
        _line(False, "skills", str(problem))
    return _line(not errors, "skills", f"{len(catalog.skills)} loaded") and not errors


def _start(settings: Settings) -> bool:
    """What would stop the server's start: the port, the files of models and of MCP servers."""
    good = True
    for name, attempt in (
        ("port", lambda: default_port(os.environ)),
        ("models", lambda: facts("openai/any", settings.models)),
        ("mcp", lambda: mcp_servers(settings)),
    ):
        try:
            attempt()
        except SettingsError as error:
            good = _line(False, name, str(error))
    return good


def _sandbox(settings: Settings) -> bool:
    """What skills' scripts run in; without a sandbox they run only where that is allowed."""
    told = Sandbox(settings.sandbox).describe()
    refused = told.startswith("none:") or "scripts are refused" in told
    return _line(not refused, "sandbox", told)


def _store(settings: Settings) -> bool:
    """Where the server keeps answers."""
    if not (url := settings.store or default_store()):
        return _line(True, "store", "in memory, as the user's data folder cannot be written (SKILL_AGENT_STORE)")
    folder = Path(url.removeprefix("sqlite:///")).parent
    if url.startswith("sqlite:///") and folder.exists() and not os.access(folder, os.W_OK):
        return _line(False, "store", f"{folder} cannot be written: name another file with SKILL_AGENT_STORE")
    return _line(True, "store", without_password(url))


async def _reachable(provider: Provider) -> bool:
    """Whether the provider's host takes connections: no key is sent and nothing is billed."""
    url = urlsplit(getattr(provider, "url", ""))
    if not url.hostname:
        return True
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(url.hostname, port)
    except (OSError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        return _line(False, "network", f"{url.hostname}:{port} cannot be reached ({why}): proxy, firewall, wrong host?")
    writer.close()
    await writer.wait_closed()
    return _line(True, "network", f"{url.hostname}:{port} can be reached")


async def server_models(url: str, authenticate: Callable[[Http], Auth]) -> int:
    """The names that a server lists. Raises `ProviderError`."""
    http = Http()
    try:
        status, headers, body = await http.get(f"{base_url(url)}/models", authenticate(http), "server")
        if status != 200:
            raise error_of(status, body, headers, "server")
        for model in parse(body, "server").get("data", ()):
            print(model["id"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ProviderError("the answer is not a list of models", provider="server") from error
    finally:
        await http.aclose()
    return OK
