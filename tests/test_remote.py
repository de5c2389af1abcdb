"""A server behind --url: its login, what is never sent where, and what is said when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent_loop import Agent
from providers.base import AuthError, ProviderError
from providers.databricks_auth import app_credentials
from providers.http import Http, bearer
from providers.limits import Timeouts
from providers.remote import RemoteAgent
from settings import Settings, SettingsError
from terminal.agents import Wanted, server_auth
from terminal.notes import exit_code, words_of
from tests.upstream import Reply, Upstream, chat_chunks, json_reply, sse, text_reply

GOOD = sse(chat_chunks(text="From afar."))
TO_LOGIN = Reply(302, {"location": "https://login.example/oidc?token=abc"}, [b""], "length")
LOGIN_PAGE = text_reply("<!doctype html><title>Sign in</title>", content_type="text/html")
REFUSED = json_reply({"error": {"message": "no such key", "type": "invalid_request_error"}}, 401)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        tokens = (json_reply({"access_token": f"t{n}", "expires_in": 3600}) for n in (1, 2, 3))
        upstream.route("/oidc/v1/token", *tokens)
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(timeouts=Timeouts(connect=5, first_byte=20, between_bytes=20), backoff=0.01)
    yield http
    await http.aclose()


def app(up: Upstream, http: Http) -> RemoteAgent:
    """A server that is logged in to with a service principal."""
    settings = Settings(databricks_host=up.url, databricks_client_id="id", databricks_client_secret="hush-hush")
    return RemoteAgent(http, up.url, app_credentials(settings, http), profile="DEFAULT")


async def ask(remote: RemoteAgent) -> str:
    return (await Agent(provider=remote, system_prompt="", groups=(), settings=Settings()).run("hi")).text


async def failure(remote: RemoteAgent) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(remote)
    assert "remote" not in words_of(caught.value) and "Error" not in words_of(caught.value)
    return caught.value


def sent(up: Upstream) -> list[str]:
    return [request.headers["authorization"] for request in up.requests if "/v1/chat" in request.path]


@pytest.mark.parametrize("refusal", [TO_LOGIN, LOGIN_PAGE, REFUSED], ids=["redirect", "page", "401"])
async def test_a_login_that_has_run_out_is_renewed_once(up: Upstream, http: Http, refusal: Reply) -> None:
    up.reply(refusal, GOOD)
    assert await ask(app(up, http)) == "From afar."
    assert sent(up) == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize("refusal", [TO_LOGIN, LOGIN_PAGE, REFUSED], ids=["redirect", "page", "401"])
async def test_a_login_that_is_not_taken_is_told_with_what_to_do(up: Upstream, http: Http, refusal: Reply) -> None:
    up.always(refusal)
    error = await failure(app(up, http))
    assert exit_code(error) == 3 and len(sent(up)) == 2
    assert "databricks auth login --profile DEFAULT" in words_of(error) and up.url in words_of(error)
    assert "t1" not in words_of(error) and "token=abc" not in words_of(error)


async def test_models_are_renewed_and_refused_alike(up: Upstream, http: Http) -> None:
    up.reply(TO_LOGIN, json_reply({"data": [{"id": "skill-agent"}, {"id": "skill-agent:tea"}]}))
    assert await app(up, http).models() == ["skill-agent", "skill-agent:tea"]
    up.always(LOGIN_PAGE)
    with pytest.raises(AuthError, match="databricks auth login"):
        await app(up, http).models()


async def test_a_redirect_is_never_followed(up: Upstream, http: Http) -> None:
    with Upstream() as elsewhere:
        up.always(Reply(307, {"location": f"{elsewhere.url}/v1/chat/completions"}, [b""], "length"))
        await failure(app(up, http))
        assert elsewhere.requests == []


async def test_a_key_that_is_refused_is_not_tried_again(up: Upstream, http: Http) -> None:
    up.always(REFUSED)
    error = await failure(RemoteAgent(http, up.url, bearer("key-1")))
    assert exit_code(error) == 3 and len(sent(up)) == 1
    assert "no such key" in words_of(error) and "SKILL_AGENT_API_KEY" in words_of(error)


async def test_a_server_that_is_not_there_is_told_in_plain_words(http: Http) -> None:
    error = await failure(RemoteAgent(http, "http://127.0.0.1:9", bearer("none")))
    assert exit_code(error) == 4
    assert words_of(error) == (
        "the host 127.0.0.1:9 cannot be reached (connection refused). "
        "Is the server running, and is http://127.0.0.1:9 its address?"
    )
    error = await failure(RemoteAgent(http, "http://nowhere.invalid", bearer("none")))
    assert exit_code(error) == 4 and "the host nowhere.invalid cannot be found" in words_of(error)


async def test_a_server_that_dies_in_the_middle_is_told(up: Upstream, http: Http) -> None:
    up.always(sse(chat_chunks(text="Well, that is")[:3], done=False).but(cut="rst"))
    error = await failure(RemoteAgent(http, up.url, bearer("none")))
    assert exit_code(error) == 1 and words_of(error) == "the answer broke off (the connection was lost)"
    assert len(up.requests) == 1


@pytest.mark.parametrize(("status", "words"), [(502, "is not ready"), (404, "/api/v1"), (418, "teapot")])
async def test_other_answers_are_told(up: Upstream, http: Http, status: int, words: str) -> None:
    up.always(text_reply("teapot", status))
    error = await failure(RemoteAgent(http, up.url, bearer("none")))
    assert words in words_of(error) and exit_code(error) == 1


def auth_value(settings: Settings, **wanted: str) -> object:
    return getattr(
        server_auth(Wanted(**{"url": "https://x.aws.databricksapps.com", **wanted}), settings, Http()), "value", ""
    )


def test_the_order_of_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, a profile that is named, the environment's OAuth token, its service principal, the default profile."""
    monkeypatch.delenv("SKILL_AGENT_API_KEY", raising=False)
    config = tmp_path / "cfg"
    config.write_text("[DEFAULT]\nhost=https://w.example\n[pat]\nhost=https://w.example\ntoken=dapi1\n")
    full = Settings(databricks_config=config, databricks_token="oauth", databricks_host="https://w.example")
    assert auth_value(full, api_key="key") == "Bearer key"
    assert auth_value(full) == "Bearer oauth"
    assert auth_value(full, profile="DEFAULT") == ""  # fetched when it is needed
    assert auth_value(Settings(databricks_config=config, databricks_token="dapi2")) == ""
    with pytest.raises(SettingsError, match="personal access token"):
        auth_value(full, profile="pat")
    with pytest.raises(SettingsError, match="personal access token") as caught:
        auth_value(Settings(databricks_config=tmp_path / "none", databricks_token="dapi2"))
    assert "dapi2" not in str(caught.value)
    monkeypatch.setenv("SKILL_AGENT_API_KEY", "from-env")
    assert auth_value(full) == "Bearer from-env"


def test_databricks_credentials_go_to_databricks_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILL_AGENT_API_KEY", raising=False)
    full = Settings(databricks_token="oauth", databricks_host="https://w.example")
    for url in ("https://example.com", "http://127.0.0.1:8000", "https://databricksapps.com.evil.example"):
        assert auth_value(full, url=url) == "Bearer none"


@pytest.mark.parametrize("url", ["http://x.databricksapps.com", "http://example.com", "http://127.0.0.1.example.com"])
def test_nothing_secret_goes_in_the_clear(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILL_AGENT_API_KEY", raising=False)
    for wanted in (Wanted(url=url, api_key="k"), Wanted(url=url, profile="p")):
        with pytest.raises(SettingsError, match="in the clear"):
            server_auth(wanted, Settings(), Http())


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "https://", "http:///v1"])
def test_an_address_has_a_form(url: str) -> None:
    with pytest.raises(SettingsError, match="--url"):
        RemoteAgent(Http(), url, bearer("none"))
