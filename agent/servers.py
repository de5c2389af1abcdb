"""The MCP servers of the settings, as a source of tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from settings import Settings, SettingsError

if TYPE_CHECKING:
    from mcp_servers import McpServers
    from providers.http import Http


def mcp_servers(settings: Settings, http: Http | None = None) -> McpServers | None:
    """None where the settings name no file. Raises `SettingsError` where the file cannot be right."""
    if settings.mcp is None:
        return None
    from mcp_servers import McpServers
    from providers.http import Http

    return McpServers(settings.mcp, authenticate=_databricks(settings, http or Http()))


def _databricks(settings: Settings, http: Http) -> Callable[[], Awaitable[Mapping[str, str]]] | None:
    """The headers for Databricks' own servers, where there are credentials."""
    from providers.databricks_auth import credentials

    try:
        _, auth = credentials(settings, http)
    except SettingsError:
        return None
    return auth.headers
