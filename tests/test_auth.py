"""Who is served: with keys, without, from this machine and from elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from key_forms import ApiKey
from providers.scripted import Play, ScriptedProvider
from server import create_app
from settings import Settings, SettingsError
from tests.servers import FromElsewhere, serve

KEY = "sk-agent-a-good-key"
ENTRY = f"laptop:{hashlib.sha256(KEY.encode()).hexdigest()}"
ASK = {"messages": [{"role": "user", "content": "hi"}]}


def service(**environment: str) -> ASGIApp:
    return create_app(Settings.from_env(environment), ScriptedProvider([Play(["Hi"])] * 9))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer {KEY}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer unused"}, 200),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"x-api-key": ENTRY.partition(":")[2]}, 401),
        ({"x-api-key": "ké".encode()}, 401),
        ({}, 401),
    ],
)
def test_with_keys_only_their_holders_are_served(headers: dict[str, str], status: int) -> None:
    with serve(service(SKILL_AGENT_API_KEYS=f"other:{'0' * 64},{ENTRY}")) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, verify=False)
        assert answer.status_code == status
        assert httpx.get(f"{url}/v1/models", headers=headers, verify=False).status_code == status
        if status == 401:
            assert answer.json()["error"]["code"] == "invalid_api_key" and "x-request-id" in answer.headers
            assert KEY not in answer.text


def test_health_needs_no_key() -> None:
    with serve(service(SKILL_AGENT_API_KEYS=ENTRY)) as url:
        assert [httpx.get(url + path, verify=False).status_code for path in ("/health", "/ready")] == [200, 200]


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({}, 401),
        ({"SKILL_AGENT_AUTH": "none"}, 200),
        ({"DATABRICKS_APP_NAME": "mine", "DATABRICKS_APP_PORT": "8000"}, 200),
        ({"DATABRICKS_APP_NAME": "mine"}, 401),
    ],
)
def test_without_keys_callers_from_elsewhere_are_refused(environment: dict[str, str], status: int) -> None:
    app = service(**environment)
    with serve(FromElsewhere(app)) as url:
        assert httpx.post(f"{url}/v1/chat/completions", json=ASK, verify=False).status_code == status
        assert httpx.get(f"{url}/health", verify=False).status_code == 200
    with serve(service(**environment)) as url:
        assert httpx.post(f"{url}/v1/chat/completions", json=ASK, verify=False).status_code == 200


def test_keys_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who\n{ENTRY}\n")
    assert Settings.from_env({"SKILL_AGENT_API_KEYS": f"@{file}"}).api_keys == (
        ApiKey("laptop", ENTRY.partition(":")[2]),
    )


@pytest.mark.parametrize("value", ["sk-plain", "name:abc", ":" + "0" * 64, "@/no/such/file"])
def test_a_key_that_is_no_digest_stops_the_start_and_is_not_shown(value: str) -> None:
    with pytest.raises(SettingsError, match=r"SKILL_AGENT_API_KEYS .*sha256") as caught:
        Settings.from_env({"SKILL_AGENT_API_KEYS": value})
    assert "sk-plain" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 401),
        ("null", 401),
        ("http://127.0.0.1:3000", 200),
        ("http://localhost", 200),
        ("https://chat.example.com", 200),
        ("http://127.0.0.1.evil.example", 401),
    ],
)
def test_without_keys_no_page_of_another_site_is_served(origin: str, status: int) -> None:
    with serve(service(SKILL_AGENT_CORS="https://chat.example.com")) as url:
        headers = {"origin": origin, "content-type": "text/plain"}
        assert httpx.post(f"{url}/v1/chat/completions", json=ASK, headers=headers, verify=False).status_code == status
