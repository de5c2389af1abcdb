"""Addresses in requests: they are handed on or refused, and never fetched here."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.surface import CHAT, HI, Json, Service, service
from tests.upstream import Upstream, chat_chunks, claude_events, sse

PICTURE = "https://pictures.example.com/cat.png?size=1"


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener that all https of this process would go through, and that nobody may come to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


@contextmanager
def looked_up() -> Iterator[set[str]]:
    """The hosts whose addresses are asked for meanwhile."""
    hosts: set[str] = set()
    watching = True
    # An audit hook stays for good, so it is switched off by the flag.
    sys.addaudithook(
        lambda event, args: hosts.add(str(args[0])) if watching and event == "socket.getaddrinfo" else None
    )
    yield hosts
    watching = False


@contextmanager
def served() -> Iterator[tuple[Service, Upstream]]:
    with Upstream() as up:
        up.route("/v1/chat", sse(chat_chunks("A cat.")))
        up.route("/v1/messages", sse(claude_events("A cat."), events=True, done=False))
        claude: dict[str, Any] = {"anthropic_base_url": up.url, "anthropic_api_key": "sk-ant-0123456789"}
        with service(up, allowed_models=("anthropic/*",), **claude) as server:
            yield server, up


def seen(url: str) -> list[Json]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize("model", ["openai/test-model", "anthropic/claude-test", "skill-agent"])
def test_a_public_picture_is_the_providers_to_fetch(canary: socket.socket, model: str) -> None:
    with looked_up() as hosts, served() as (server, up):
        assert server.whole(messages=seen(PICTURE), model=model).text == "A cat."
        item = {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]}
        assert server.post({"input": [item], "model": model}, "/v1/responses").status_code == 200
    assert [PICTURE in json.dumps(request.json) for request in up.requests] == [True, True]
    assert hosts <= {"127.0.0.1", "localhost"}


def test_an_address_of_ours_is_refused_and_nobody_calls_there(canary: socket.socket) -> None:
    address = f"127.0.0.1:{canary.getsockname()[1]}"
    with served() as (server, up):
        for url in (f"http://{address}/", f"https://{address}/", f"https://{address}\\@example.com/"):
            assert server.post({"messages": seen(url)}, CHAT).status_code == 400
        for part in ({"type": "input_file", "file_url": f"http://{address}/"}, {"type": "input_image", "file_id": "x"}):
            body = {"input": [{"role": "user", "content": [part]}]}
            assert server.post(body, "/v1/responses").status_code == 400
        assert not up.requests


def test_servers_of_tools_are_the_operators_choice(canary: socket.socket) -> None:
    address = f"http://127.0.0.1:{canary.getsockname()[1]}/mcp"
    tool = {"type": "mcp", "server_label": "x", "server_url": address, "require_approval": "never"}
    with served() as (server, up):
        assert server.post({"input": "hi", "tools": [tool]}, "/v1/responses").status_code == 200
        extension = {"mcp": {"mcpServers": {"x": {"url": address}, "y": {"command": "id"}}}}
        assert server.post({"messages": HI, "skill_agent": extension}).status_code == 200
        assert all(address not in json.dumps(request.json) for request in up.requests)
