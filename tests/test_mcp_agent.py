"""MCP servers as the agent has them: over HTTP, from the settings, and when one dies in the middle."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.servers import mcp_servers
from agent_loop import Agent
from providers.scripted import ScriptedProvider, call
from server import create_app
from settings import Settings, SettingsError
from tests.agents import results_of
from tests.servers import serve
from tests.surface import HI, service

pytest.importorskip("mcp", reason="the MCP SDK is not installed (requirements-mcp.txt)")
ECHO = Path(__file__).with_name("mcp_echo.py")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    servers = {
        "echo": {"command": sys.executable, "args": [str(ECHO), "--notes", str(tmp_path)], "timeout": 20},
        "bad": {"command": "/no/such/program"},
    }
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


async def test_the_agent_uses_a_server_that_dies_in_the_middle(config: Path) -> None:
    servers = mcp_servers(Settings(mcp=config))
    assert servers is not None
    await servers.start()
    try:
        turns = [[call(f"mcp__echo__{name}", **given)] for name, given in CALLS]
        agent = Agent(
            provider=ScriptedProvider([*turns, "Done."]), tools=[], more_tools=servers.tools, settings=Settings()
        )
        first, died, again = results_of(await agent.run("go"))
        assert first.text == "<tool_data>\ntea\n</tool_data>" and "milk" in again.text
        assert died.is_error
    finally:
        await servers.aclose()


CALLS: list[tuple[str, dict[str, Any]]] = [("echo", {"text": "tea"}), ("die", {}), ("echo", {"text": "milk"})]


def test_the_service_offers_their_tools_when_they_have_come(config: Path) -> None:
    model = ScriptedProvider(["Hi."] * 999)
    deadline = time.monotonic() + 40
    with service(provider=model, mcp=config) as served:
        while time.monotonic() < deadline:
            assert served.post({"messages": HI}).status_code == 200
            if any(tool.name == "mcp__echo__echo" for tool in model.requests[-1].tools):
                return
            time.sleep(0.05)
    pytest.fail("the tools never came")


def test_a_plain_model_and_a_narrowed_request_have_none(config: Path) -> None:
    model = ScriptedProvider(["Hi."] * 2)
    with service(provider=model, mcp=config) as served:
        served.post({"messages": HI, "model": model.info.id})
        served.post({"messages": HI, "skill_agent": {"skills": []}})
    assert not any(request.tools for request in model.requests)


def test_a_file_that_cannot_be_right_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": []}')
    with pytest.raises(SettingsError, match="SKILL_AGENT_MCP"):
        create_app(Settings(mcp=tmp_path / "mcp.json"), ScriptedProvider([]))


def test_the_service_stops_while_its_servers_are_still_starting(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"slow": {"command": "sleep", "args": ["60"]}}}))
    with serve(create_app(Settings(mcp=path), ScriptedProvider([]))):
        pass
