"""The agent that a chat talks to: one in this process, or a server behind its address."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.folders import skill_store
from messages import Usage
from settings import Settings, SettingsError

if TYPE_CHECKING:
    from agent_loop import Agent
    from mcp_servers import McpServers
    from providers.http import Auth, Http

APPS = ".databricksapps.com"
"""Where Databricks Apps live, also with a region before it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says about the agent; "" and None for what it does not say."""

    model: str = ""
    skill: str = ""
    system: Path | str | None = None
    url: str = ""
    api_key: str = ""
    profile: str = ""


def agent_for(wanted: Wanted, settings: Settings, servers: McpServers | None = None) -> Agent:
    """Raises `SettingsError`."""
    from agent_loop import Agent

    if isinstance(wanted.system, Path):
        _check_readable(wanted.system)
    if wanted.url:
        from providers.http import Http
        from providers.remote import RemoteAgent

        http = Http(given=dict(settings.timeouts))
        auth = server_auth(wanted, settings, http)
        remote = RemoteAgent(http, wanted.url, auth, wanted.model, wanted.skill, wanted.profile)
        return Agent(provider=remote, system_prompt=wanted.system or "", groups=(), settings=settings)
    skills = skill_store(settings)
    how: dict[str, Any] = {"groups": settings.tools, "system_prompt": wanted.system, "settings": settings}
    return Agent(wanted.model or None, skills=skills, more_tools=servers.tools if servers else tuple, **how)


def _check_readable(path: Path) -> None:
    try:
        path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError("--system", f"the file cannot be read: {why}", str(path)) from error


def server_auth(wanted: Wanted, settings: Settings, http: Http) -> Auth:
    """The key given; else a Databricks login, where a profile is named or the address is a Databricks App's."""
    from providers.databricks_auth import app_credentials
    from providers.http import bearer
    from providers.remote import refuse_in_the_clear

    key = wanted.api_key or os.environ.get("SKILL_AGENT_API_KEY", "").strip()
    is_app = (urlsplit(wanted.url).hostname or "").endswith(APPS)
    if key or wanted.profile or is_app:
        refuse_in_the_clear(wanted.url)
    if key:
        return bearer(key)
    if wanted.profile:
        settings = replace(settings, databricks_profile=wanted.profile)
        return app_credentials(settings, http, named=True)
    return app_credentials(settings, http) if is_app else bearer("none")


def cost_of(agent: Agent) -> Callable[[Usage], float | None]:
    """US dollars of a model call, None where the model's prices are not known."""
    from model_facts import facts

    return facts(agent.provider.info.id, agent.settings.models).cost
