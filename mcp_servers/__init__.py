"""The tools of MCP servers, as tools of the agent. What is needed beside the core: requirements-mcp.txt."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from history import legal
from mcp_servers.config import SETTING, Config, read_config
from mcp_servers.server import Server
from mcp_servers.wire import Authenticate
from settings import SettingsError
from tools import Tool

log = logging.getLogger("skill_agent.mcp")
CONNECT_SECONDS = 20.0
REST_SECONDS = 0.5
CLOSE_SECONDS = 10.0


class McpServers:
    """The servers of a file with `mcpServers`. Start, use and close it in one event loop.

    `authenticate` gives the headers for servers with `"databricks": true`; it runs in the context of the call that
    asks for them. `connect_seconds` bounds each attempt to connect; `rest` is the first pause between two, which
    doubles up to a minute. Raises `SettingsError` where the file cannot be right, or the MCP SDK is missing.
    """

    def __init__(
        self,
        config: Path,
        *,
        env: Mapping[str, str] | None = None,
        authenticate: Authenticate | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        rest: float = REST_SECONDS,
    ) -> None:
        configs = read_config(config, os.environ if env is None else env)
        if importlib.util.find_spec("mcp") is None:
            raise SettingsError(SETTING, "needs the MCP SDK: pip install -r requirements-mcp.txt", str(config))
        good = [found for found in configs if _is_good(found, authenticate)]
        self._servers = [
            Server(found, authenticate if found.databricks else None, connect_seconds, rest) for found in good
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when each server is connected or has had its time; those that fail are tried again behind that."""
        if self._servers:
            await asyncio.to_thread(importlib.import_module, "mcp")  # it takes a second
        for name in ("mcp", "client"):  # the SDK's, which would else say whole messages on stderr and in our log
            logging.getLogger(name).addHandler(logging.NullHandler())
            logging.getLogger(name).propagate = False
        self._tasks = [server.start() for server in self._servers]
        await asyncio.gather(*(server.tried() for server in self._servers))

    def tools(self) -> list[Tool]:
        """Of the servers that live now. One that has just been lost keeps its tools until it cannot be begun anew."""
        found: dict[str, Tool] = {}
        for server in self._servers:
            for tool in server.tools:
                name = tool.spec.name
                if name in found:  # a__b and c, a and b__c
                    name = legal(f"{server.config.name}/{name}")
                found[name] = replace(tool, spec=replace(tool.spec, name=name))
        return list(found.values())

    async def aclose(self) -> None:
        """Ends the servers' processes and sessions."""
        for server in self._servers if self._tasks else ():
            server.stop()
        _, late = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS) if self._tasks else ((), ())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []


def _is_good(config: Config, authenticate: Authenticate | None) -> bool:
    fault = config.fault
    if config.databricks and authenticate is None:
        fault = "it asks for Databricks credentials, and there are none"
    if fault:
        log.warning("MCP server %s: %s", config.name, fault)
    return not fault
