"""As a Databricks App: its files, the proxy in front of it, and whose token models are asked with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from server import create_app
from settings import Settings
from tests.databricks_proxy import proxy
from tests.servers import serve
from tests.upstream import Upstream, chat_chunks, claude_events, sse

ROOT = Path(__file__).resolve().parents[1]
APP = {"DATABRICKS_APP_NAME": "skill-agent", "DATABRICKS_APP_PORT": "8000"}
USERS = {"token-of-ann": "ann", "token-of-bob": "bob"}
HI = [{"role": "user", "content": "hi"}]


def settings(up: Upstream, **more: str) -> Settings:
    given = {**APP, "DATABRICKS_HOST": up.url, "DATABRICKS_TOKEN": "token-of-the-app", **more}
    return Settings.from_env({"SKILL_AGENT_MODEL": "databricks/databricks-gpt-oss-120b", **given})


@contextmanager
def deployed(
    up: Upstream, more: Mapping[str, str] | None = None, *, cut_seconds: float = 60.0, tokens: bool = False
) -> Iterator[str]:
    """The address of the proxy in front of the app."""
    with serve(create_app(settings(up, **(more or {})))) as app, serve(proxy(app, USERS, cut_seconds, tokens)) as url:
        yield url


def ask(url: str, token: str, path: str = "/api/v1/chat/completions", **body: Any) -> httpx.Response:
    given = {"messages": HI, **body} if path.endswith("completions") else body
    return httpx.post(url + path, json=given, headers={"authorization": f"Bearer {token}"}, timeout=30, verify=False)


def sent_token(up: Upstream) -> str:
    return up.requests[-1].headers["authorization"].removeprefix("Bearer ")


# The files


def test_the_command_and_the_environment_are_what_the_platform_reads() -> None:
    found = yaml.safe_load((ROOT / "app.yaml").read_text())
    assert set(found) == {"command", "env"}
    assert found["command"] == ["python", "server.py"], "a list of arguments without variables: no shell reads it"
    assert all(set(entry) in ({"name", "value"}, {"name", "valueFrom"}) for entry in found["env"])
    assert Settings.from_env({entry["name"]: entry["value"] for entry in found["env"] if "value" in entry}).model


def test_the_bundle_fits_the_types_that_databricks_publishes() -> None:
    bundles = pytest.importorskip("databricks.bundles.apps", reason="databricks-bundles is not installed")
    found = yaml.safe_load((ROOT / "databricks.yml").read_text())
    assert set(found) == {"bundle", "variables", "sync", "resources", "targets"}
    (app,) = found["resources"]["apps"].values()
    read = bundles.App.from_dict(app)
    assert str(read.name) == "${var.app_name}" and read.config.command == ["python", "server.py"]
    with pytest.raises(Exception, match="valueFrom"):
        bundles.App.from_dict({**app, "config": {"env": [{"name": "A", "valueFrom": "endpoint"}]}})


def test_the_bundle_uses_only_variables_and_resources_that_it_has() -> None:
    text = (ROOT / "databricks.yml").read_text()
    found = yaml.safe_load(text)
    (app,) = found["resources"]["apps"].values()
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == set(found["variables"])
    named = {entry["value_from"] for entry in app["config"]["env"] if "value_from" in entry}
    assert named <= {resource["name"] for resource in app["resources"]}
    assert {name for target in found["targets"].values() for name in target.get("variables", {})} <= set(
        found["variables"]
    )
    assert found["targets"]["prod"]["workspace"]["root_path"], "a target in production mode needs it"


def test_the_bundle_and_the_app_file_start_the_same_thing() -> None:
    found = yaml.safe_load((ROOT / "databricks.yml").read_text())
    (app,) = found["resources"]["apps"].values()
    alone = yaml.safe_load((ROOT / "app.yaml").read_text())
    assert app["config"]["command"] == alone["command"]
    assert {entry["name"] for entry in alone["env"]} <= {entry["name"] for entry in app["config"]["env"]}


def test_nothing_that_is_deployed_is_too_large_for_the_platform() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    files = [ROOT / os.fsdecode(name) for name in tracked.split(b"\0") if name]
    assert not [file for file in files if file.is_file() and file.stat().st_size > 10 << 20]


# The proxy


def test_any_openai_client_gets_through_with_a_users_token_and_is_sent_away_without() -> None:
    with Upstream() as up, deployed(up) as url:
        up.always(sse(chat_chunks("Hello there")))
        assert ask(url, "token-of-ann").json()["choices"][0]["message"]["content"] == "Hello there"
        streamed = ask(url, "token-of-ann", stream=True)
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert sent_token(up) == "token-of-the-app"
        away = ask(url, "dapi-personal")
        assert away.status_code == 302


def test_what_one_user_stores_the_other_does_not_see() -> None:
    with Upstream() as up, deployed(up) as url:
        up.always(sse(chat_chunks("Hello")))
        made = ask(url, "token-of-ann", "/api/v1/responses", input="hi").json()
        path = f"{url}/api/v1/responses/{made['id']}"
        seen = [
            httpx.get(path, headers={"authorization": f"Bearer {token}"}, verify=False).status_code for token in USERS
        ]
        assert seen == [200, 404]


def test_a_page_of_another_site_cannot_ask_with_the_cookie_of_who_looks_at_it() -> None:
    with Upstream() as up, serve(create_app(settings(up))) as app:
        up.always(sse(chat_chunks("Hello")))
        host = "skill-agent.databricksapps.com"
        known = {"x-forwarded-user": "ann", "x-forwarded-host": host, "content-type": "text/plain"}
        origins = {
            f"https://{host}": 200,
            "https://evil.example": 401,
            "null": 401,
            f"https://{host}.evil.example": 401,
        }
        for origin, status in origins.items():
            headers = {**known, "origin": origin}
            answer = httpx.post(f"{app}/v1/chat/completions", json={"messages": HI}, headers=headers, verify=False)
            assert answer.status_code == status, origin


def test_a_background_response_outlives_the_proxys_cut() -> None:
    with Upstream() as up, deployed(up, cut_seconds=1.0) as url:
        up.always(sse([*chat_chunks("One two", finish="")[:2], 2.0, *chat_chunks("three")]))
        head = {"authorization": "Bearer token-of-ann"}
        made = ask(url, "token-of-ann", "/api/v1/responses", input="hi", background=True).json()
        events: list[dict[str, Any]] = []
        while not events or events[-1]["type"] != "response.completed":
            after = events[-1]["sequence_number"] if events else -1
            path = f"{url}/api/v1/responses/{made['id']}?stream=true&starting_after={after}"
            try:
                with httpx.stream("GET", path, headers=head, timeout=20, verify=False) as answer:
                    for line in answer.iter_lines():
                        if line.startswith("data: {"):
                            events.append(json.loads(line[6:]))
            except httpx.RemoteProtocolError:
                pass
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["response"]["output"][-1]["content"][0]["text"].endswith("three")


@pytest.fixture
def login(tmp_path: Path) -> dict[str, str]:
    """An environment with a profile whose login the Databricks CLI keeps."""
    (tmp_path / "databrickscfg").write_text("[ann]\nhost = https://example.cloud.databricks.com\n")
    token = json.dumps({"access_token": "token-of-ann", "token_type": "Bearer", "expiry": "2099-01-01T00:00:00Z"})
    command = tmp_path / "databricks"
    command.write_text(f"#!/bin/sh\ntest \"$4\" = ann && echo '{token}'\n")
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "DATABRICKS_CONFIG_FILE": str(tmp_path / "databrickscfg")}


def cli(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=50, stdin=subprocess.DEVNULL)


def test_the_command_line_talks_to_the_app_with_the_profiles_login(login: dict[str, str]) -> None:
    with Upstream() as up, deployed(up) as url:
        up.always(sse(chat_chunks("Hello Ann")))
        done = cli("-p", "hi", "--url", url, "--databricks-profile", "ann", env=login)
        assert (done.returncode, done.stdout.strip()) == (0, "Hello Ann")
        assert "token-of-ann" not in done.stderr


def test_the_command_line_says_when_the_proxy_wants_a_login(login: dict[str, str]) -> None:
    with Upstream() as up, deployed(up) as url:
        done = cli("-p", "hi", "--url", url, "--api-key", "dapi-personal", env=login)
        assert done.returncode in (1, 3) and "redirected to https://login.example.com" in done.stderr
        assert "state=secret" not in done.stderr and "dapi-personal" not in done.stderr


# On behalf of the user

OWN = {"SKILL_AGENT_ON_BEHALF_OF_USER": "1"}


@pytest.mark.parametrize("model", ["databricks-gpt-oss-120b", "databricks-claude-sonnet-4-5"])
def test_models_are_asked_with_the_callers_token(model: str) -> None:
    more = {**OWN, "SKILL_AGENT_MODEL": f"databricks/{model}"}
    with Upstream() as up, deployed(up, more, tokens=True) as url:
        claude = "claude" in model
        up.always(sse(claude_events("Hello"), done=False, events=True) if claude else sse(chat_chunks("Hello")))
        for token in USERS:
            assert ask(url, token).status_code == 200
            assert sent_token(up) == f"forwarded-{token}"


def test_without_a_forwarded_token_nothing_is_asked_in_the_apps_own_name() -> None:
    with Upstream() as up, deployed(up, OWN) as url:
        refused = ask(url, "token-of-ann")
        assert refused.status_code in (401, 502) and "user_api_scopes" in refused.json()["error"]["message"]
        assert not up.requests


def test_elsewhere_the_header_is_worth_nothing() -> None:
    with Upstream() as up:
        up.always(sse(chat_chunks("Hello")))
        given = settings(up, **OWN, DATABRICKS_APP_NAME="")
        with serve(create_app(given)) as url:
            forged = {"x-forwarded-access-token": "stolen", "x-forwarded-user": "ann"}
            assert (
                httpx.post(
                    f"{url}/v1/chat/completions", json={"messages": HI}, headers=forged, verify=False
                ).status_code
                == 200
            )
        assert sent_token(up) == "token-of-the-app"


def test_a_background_response_goes_on_with_the_token_that_it_began_with() -> None:
    with Upstream() as up, deployed(up, OWN, tokens=True) as url:
        up.always(sse(chat_chunks("Hello")))
        made = ask(url, "token-of-bob", "/api/v1/responses", input="hi", background=True).json()
        path = f"{url}/api/v1/responses/{made['id']}?stream=true"
        followed = httpx.get(path, headers={"authorization": "Bearer token-of-bob"}, timeout=30, verify=False)
        assert "response.completed" in followed.text
        assert sent_token(up) == "forwarded-token-of-bob"


def test_mcp_servers_of_databricks_are_called_with_the_callers_token(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="the MCP SDK is not installed (requirements-mcp.txt)")
    from tests.test_mcp_servers import free_port, served

    port = free_port()
    servers = {"echo": {"url": f"http://127.0.0.1:{port}/mcp", "databricks": True}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    more = {**OWN, "SKILL_AGENT_MCP": str(tmp_path / "mcp.json")}
    with served((port, ())), Upstream() as up, deployed(up, more, tokens=True) as url:
        calling = sse(chat_chunks(tool_calls=[("call_1", "mcp__echo__headers", "{}")]))
        up.always(lambda request: sse(chat_chunks("Done")) if b'"call_1"' in request.body else calling)
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:  # the service answers before its MCP servers do
            assert ask(url, "token-of-bob").status_code == 200
            if b"forwarded-token-of-bob"[::-1] in up.requests[-1].body:  # said as it is, it would be taken out
                return
            time.sleep(0.1)
    pytest.fail("the server was never called with the user's token")
