"""Databricks credentials: tokens, service principals, profiles and the CLI's login."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from providers import default_model, resolve
from providers.base import AuthError, Overloaded, ProviderDown, ProviderError
from providers.databricks_auth import FetchedToken, Token, credentials, read_profile
from providers.http import Http
from providers.openai import ChatCompletions
from settings import Settings, SettingsError
from tests.asking import ask, ask_often
from tests.upstream import Received, Reply, Upstream, chat_chunks, json_reply, sse, text_reply

GOOD = sse(chat_chunks("ok"))
SECRET = "dose-secret-123"
REFUSED = json_reply({"error_code": 401, "message": "Credential was not sent or is not valid"}, 401)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(GOOD)
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(backoff=0.01)
    yield http
    await http.aclose()


def _token(value: str = "t1", **more: Any) -> Reply:
    return json_reply({"access_token": value, "token_type": "Bearer", "expires_in": 3600, **more})


def _principal(up: Upstream, http: Http) -> ChatCompletions:
    settings = Settings(databricks_host=up.url, databricks_client_id="id", databricks_client_secret=SECRET)
    model = resolve("databricks/m", settings, http)
    assert isinstance(model, ChatCompletions)
    return model


def _fetches(up: Upstream) -> int:
    return sum(request.path == "/oidc/v1/token" for request in up.requests)


def _bearers(up: Upstream) -> list[str]:
    asked = [request for request in up.requests if request.path.startswith("/serving-endpoints")]
    return [request.headers["authorization"].removeprefix("Bearer ") for request in asked]


# Service principals


async def test_a_token_is_fetched_once_for_all_who_wait(up: Upstream, http: Http) -> None:
    up.route("/oidc", _token().but(chunks=[0.1, *_token().chunks]))
    model = _principal(up, http)
    await ask_often(model, 20)
    await ask(model)
    assert _fetches(up) == 1 and _bearers(up) == ["t1"] * 21
    request = up.requests[0]
    assert request.headers["authorization"] == "Basic " + base64.b64encode(f"id:{SECRET}".encode()).decode()
    assert parse_qs(request.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}


async def test_a_token_serves_several_event_loops(up: Upstream) -> None:
    up.route("/oidc", *(_token(f"t{n}").but(chunks=[0.05, *_token(f"t{n}").chunks]) for n in (1, 2)))
    auth = credentials(
        Settings(databricks_host=up.url, databricks_client_id="i", databricks_client_secret=SECRET), Http()
    )[1]

    async def several() -> set[str]:
        """And refuse it, so that in the next loop they wait for one another again."""
        found = await asyncio.gather(auth.headers(), auth.headers(), auth.headers())
        auth.renew(found[0])
        return {headers["authorization"] for headers in found}

    for number in (1, 2):
        assert await asyncio.to_thread(lambda: asyncio.run(several())) == {f"Bearer t{number}"}
    assert _fetches(up) == 2


async def test_a_refused_token_is_fetched_anew_once_for_all(up: Upstream, http: Http) -> None:
    up.route("/oidc", _token("t1"), _token("t2"), _token("t3"))
    model = _principal(up, http)
    await ask(model)

    def only_the_second(request: Received) -> Reply:
        return GOOD if request.headers["authorization"] == "Bearer t2" else REFUSED.but(chunks=[0.1, *REFUSED.chunks])

    up.always(only_the_second)
    heard = await ask_often(model, 10)
    assert [h.text for h in heard] == ["ok"] * 10 and _fetches(up) == 2


async def test_a_token_that_is_refused_anew_is_an_error(up: Upstream, http: Http) -> None:
    up.route("/oidc", _token("t1"), _token("t2"))
    up.always(REFUSED)
    with pytest.raises(AuthError, match="not valid") as caught:
        await ask(_principal(up, http))
    assert caught.value.status == 401 and _bearers(up) == ["t1", "t2"]


async def test_a_fixed_token_that_is_refused_is_not_tried_again(up: Upstream, http: Http) -> None:
    up.always(REFUSED)
    with pytest.raises(AuthError):
        await ask(resolve("databricks/m", Settings(databricks_host=up.url, databricks_token="dapi"), http))
    assert _bearers(up) == ["dapi"]


async def test_a_failed_refresh_does_no_harm_while_the_token_is_good(up: Upstream, http: Http) -> None:
    """And is not tried again for each request: a token endpoint that hangs would hold up all of them."""
    up.route("/oidc", _token("t1", expires_in=200), text_reply("down", 500))
    auth = credentials(
        Settings(databricks_host=up.url, databricks_client_id="i", databricks_client_secret=SECRET), http
    )[1]
    for _ in range(3):
        assert await auth.headers() == {"authorization": "Bearer t1"}
    assert _fetches(up) == 1


class _Issuer:
    """Issues t1, t2, … that live so many seconds; `down` makes it fail."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.down = False
        self.issued = 0

    async def __call__(self) -> Token:
        await asyncio.sleep(0.01)
        if self.down:
            raise ProviderDown("down", provider="databricks")
        self.issued += 1
        return Token(f"t{self.issued}", time.time() + self.seconds)

    def auth(self, rest: float) -> FetchedToken:
        return FetchedToken(self, rest)


async def _now(auth: FetchedToken) -> str:
    several = await asyncio.gather(*(auth.headers() for _ in range(5)))
    assert len({headers["authorization"] for headers in several}) == 1
    return several[0]["authorization"].removeprefix("Bearer ")


async def test_a_token_is_refreshed_before_it_ends(up: Upstream) -> None:
    issuer = _Issuer(seconds=200)
    auth = issuer.auth(rest=0.05)
    assert [await _now(auth), await _now(auth)] == ["t1", "t1"]
    await asyncio.sleep(0.06)
    several = await asyncio.gather(*(auth.headers() for _ in range(5)))
    assert {"authorization": "Bearer t2"} in several, "one fetches, and the others need not wait for it"
    assert await _now(auth) == "t2" and issuer.issued == 2


async def test_the_old_token_is_kept_while_it_is_good(up: Upstream) -> None:
    issuer = _Issuer(seconds=0.3)
    auth = issuer.auth(rest=0.05)
    assert await _now(auth) == "t1"
    issuer.down = True
    await asyncio.sleep(0.06)
    assert await _now(auth) == "t1"
    await asyncio.sleep(0.3)
    with pytest.raises(ProviderDown):
        await auth.headers()
    issuer.down = False
    assert await _now(auth) == "t2"


async def test_a_refused_token_is_not_kept(up: Upstream) -> None:
    issuer = _Issuer(seconds=3600)
    auth = issuer.auth(rest=10)
    sent = await auth.headers()
    assert auth.renew(sent)
    issuer.down = True
    with pytest.raises(ProviderDown):
        await auth.headers()
    issuer.down = False
    assert await _now(auth) == "t2"
    assert auth.renew(sent) and await _now(auth) == "t2", "the one that was refused is gone already"


async def test_who_waits_is_not_cancelled_with_who_fetches(up: Upstream) -> None:
    auth = _Issuer(seconds=3600).auth(rest=10)
    first, second = (asyncio.create_task(_headers(auth)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {"authorization": "Bearer t1"}


async def _headers(auth: FetchedToken) -> object:
    return await auth.headers()


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"error": "invalid_client", "error_description": "Client authentication failed"}, 401),
        json_reply({"error": "invalid_client", "error_description": "Client authentication failed"}, 400),
        json_reply({"error_code": "ENDPOINT_NOT_FOUND", "message": "no such path"}, 404),
        text_reply("<html>Sign in</html>", content_type="text/html"),
        Reply(302, {"location": "https://login.invalid/?secret=1"}),
        json_reply({"token_type": "Bearer"}),
        json_reply({"access_token": None}),
        json_reply({"access_token": "t", "expires_in": "soon"}),
        json_reply(["t"]),
    ],
)
async def test_no_token_is_an_auth_error_and_never_the_clients_fault(up: Upstream, http: Http, reply: Reply) -> None:
    up.route("/oidc", reply)
    with pytest.raises(AuthError) as caught:
        await ask(_principal(up, http))
    assert SECRET not in repr(caught.value) and not _bearers(up) and _fetches(up) == 1
    if reply.status in (400, 401):
        assert "Client authentication failed" in caught.value.message


async def test_a_token_endpoint_that_is_down_is_asked_again(up: Upstream, http: Http) -> None:
    up.route("/oidc", text_reply("down", 503), _token())
    assert (await ask(_principal(up, http))).text == "ok" and _fetches(up) == 2


async def test_a_token_endpoint_that_stays_down_is_named(up: Upstream, http: Http) -> None:
    up.route("/oidc", text_reply("down", 503))
    with pytest.raises(Overloaded):
        await ask(_principal(up, http))
    assert _fetches(up) == 3


# Profiles


def _file(folder: Path, text: str) -> Path:
    path = folder / "databrickscfg"
    path.write_text(text, "utf-8")
    return path


def _profile(folder: Path, text: str, name: str = "", **more: Any) -> Settings:
    return Settings(databricks_config=_file(folder, text), databricks_profile=name, **more)


async def test_a_profile_may_hold_a_token(up: Upstream, http: Http, tmp_path: Path) -> None:
    text = f"[DEFAULT]\nhost = {up.url}/\ntoken = dapi%1\n[other]\nhost = {up.url}\ntoken = dapi2\n"
    for name in ("", "DEFAULT", "other"):
        await ask(resolve("databricks/m", _profile(tmp_path, text, name), http))
    assert _bearers(up) == ["dapi%1", "dapi%1", "dapi2"]


async def test_a_profile_may_hold_a_service_principal(up: Upstream, http: Http, tmp_path: Path) -> None:
    up.route("/oidc", _token("t9"))
    text = f"\ufeff[p]\nhost = {up.url}\nclient_id = i\nclient_secret = {SECRET}\n"
    await ask(resolve("databricks/m", _profile(tmp_path, text, "p"), http))
    assert _bearers(up) == ["t9"]


async def test_the_settings_section_names_the_default(up: Upstream, http: Http, tmp_path: Path) -> None:
    text = f"[__settings__]\ndefault_profile = p\n[DEFAULT]\n[p]\nhost = {up.url}\ntoken = dapi3\n"
    settings = _profile(tmp_path, text)
    assert default_model(settings).startswith("databricks/")
    await ask(resolve("databricks/m", settings, http))
    assert _bearers(up) == ["dapi3"]


async def test_the_environments_token_goes_before_a_profile(up: Upstream, http: Http, tmp_path: Path) -> None:
    settings = _profile(
        tmp_path, "[DEFAULT]\nhost = https://x\ntoken = dapi1\n", databricks_host=up.url, databricks_token="env"
    )
    await ask(resolve("databricks/m", settings, http))
    assert _bearers(up) == ["env"]


def test_a_profile_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    text = "[__settings__]\nx = 1\n[a]\nhost = h\n[b]\nhost = h\n"
    with pytest.raises(SettingsError, match=r"DATABRICKS_CONFIG_PROFILE is 'c': .* has these profiles: a, b$"):
        resolve("databricks/m", _profile(tmp_path, text, "c"), Http())


@pytest.mark.parametrize("name", ["", "p"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    settings = Settings(databricks_config=tmp_path / "none", databricks_profile=name)
    with pytest.raises(SettingsError, match=r"DATABRICKS_TOKEN is not set|DATABRICKS_CONFIG_FILE is not set"):
        resolve("databricks/m", settings, Http())


@pytest.mark.parametrize(
    "text",
    [
        f"token = {SECRET}\n[p]\n",
        f"[p]\nhost = h\n{SECRET}\n",
        f"[p]\ntoken = {SECRET}\ntoken = {SECRET}\n",
        f"[p]\ntoken = {SECRET}\n[p]\n",
        f"{SECRET}",
    ],
)
def test_a_broken_file_is_told_without_its_contents(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"DATABRICKS_CONFIG_FILE is .*: this is not an INI file") as caught:
        read_profile(_file(tmp_path, text), "p")
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_other_bytes_is_told(tmp_path: Path) -> None:
    (tmp_path / "cfg").write_bytes(b"[p]\nhost = \xff\xfe\n")
    with pytest.raises(SettingsError, match="DATABRICKS_CONFIG_FILE"):
        read_profile(tmp_path / "cfg", "p")


# Hosts


@pytest.mark.parametrize(
    "host", ["http://x.databricks.com", "HTTP://x.databricks.com", "http://127.0.0.1.evil.com", "ftp://x"]
)
def test_a_token_is_not_sent_in_the_clear(tmp_path: Path, host: str) -> None:
    profile = _profile(tmp_path, f"[DEFAULT]\nhost = {host}\ntoken = {SECRET}\n")
    principal = Settings(databricks_host=host, databricks_client_id="i", databricks_client_secret=SECRET)
    for settings in (Settings(databricks_host=host, databricks_token=SECRET), principal, profile):
        with pytest.raises(SettingsError, match=r"DATABRICKS_HOST is .*: expected https://") as caught:
            credentials(settings, Http())
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["https://x", "http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "HTTPS://x"]
)
def test_a_token_goes_over_tls_or_to_this_machine(host: str) -> None:
    assert credentials(Settings(databricks_host=host, databricks_token="t"), Http())[0] == host


def test_a_host_is_needed(tmp_path: Path) -> None:
    for settings in (Settings(databricks_token="t"), _profile(tmp_path, "[DEFAULT]\ntoken = t\n")):
        with pytest.raises(SettingsError, match="DATABRICKS_HOST is not set"):
            credentials(settings, Http())


async def test_the_host_of_a_profile_needs_no_scheme(http: Http, tmp_path: Path) -> None:
    text = "[DEFAULT]\nhost = name.cloud.databricks.com/\ntoken = t\n"
    assert credentials(_profile(tmp_path, text), http)[0] == "https://name.cloud.databricks.com"


# The CLI's login


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that an executable named `databricks` runs; its arguments are noted in `cli.log`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "databricks"


def _says(cli: Path, script: str) -> None:
    cli.write_text(f'#!/bin/sh\necho "$@" >> {cli.parent}/cli.log\n{script}\n')
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)


def _login(up: Upstream, folder: Path, http: Http, name: str = "p") -> ChatCompletions:
    text = f"[p]\nhost = {up.url}\nauth_type = databricks-cli\n"
    model = resolve("databricks/m", _profile(folder, text, name), http)
    assert isinstance(model, ChatCompletions)
    return model


def _answer(value: object, expiry: str | None) -> str:
    return f"echo '{json.dumps({'access_token': value, 'token_type': 'Bearer', 'expiry': expiry})}'"


@pytest.mark.parametrize("form", ["nanoseconds", "Z", "none"])
async def test_the_login_of_the_cli_is_used(up: Upstream, http: Http, tmp_path: Path, cli: Path, form: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    expiry = {
        "nanoseconds": f"{later:%Y-%m-%dT%H:%M:%S}.123456789+00:00",
        "Z": f"{later:%Y-%m-%dT%H:%M:%SZ}",
        "none": None,
    }
    _says(cli, _answer("u2m", expiry[form]))
    model = _login(up, tmp_path, http)
    await ask_often(model, 3)
    await ask(model)
    assert _bearers(up) == ["u2m"] * 4
    assert (cli.parent / "cli.log").read_text() == "auth token --profile p\n"


async def test_a_login_that_was_refused_is_asked_for_anew(up: Upstream, http: Http, tmp_path: Path, cli: Path) -> None:
    _says(cli, f"n=$(wc -l < {cli.parent}/cli.log)\necho '{{\"access_token\": \"u'$n'\"}}'")
    up.reply(REFUSED)
    assert (await ask(_login(up, tmp_path, http))).text == "ok" and _bearers(up) == ["u1", "u2"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'no login' >&2; exit 1", "failed: no login"),
        ("echo nonsense", "is not a token"),
        ("echo '{}'", "is not a token"),
        ("echo '[]'", "is not a token"),
        (_answer(None, None), "is not a token"),
        (_answer("t", "someday"), "is not a token"),
    ],
)
async def test_a_cli_that_fails_is_told_with_what_to_do(
    up: Upstream, http: Http, tmp_path: Path, cli: Path, script: str, words: str
) -> None:
    _says(cli, script)
    with pytest.raises(AuthError) as caught:
        await ask(_login(up, tmp_path, http))
    assert words in caught.value.message and "databricks auth login --profile p" in caught.value.message
    assert not up.requests


async def test_a_cli_that_is_not_there_is_told(up: Upstream, http: Http, tmp_path: Path, cli: Path) -> None:
    with pytest.raises(AuthError, match="CLI is not installed"):
        await ask(_login(up, tmp_path, http))


async def test_a_cli_that_hangs_ends_with_its_request(up: Upstream, http: Http, tmp_path: Path, cli: Path) -> None:
    _says(cli, f"echo $$ > {cli.parent}/pid\nexec sleep 60")
    task = asyncio.create_task(ask(_login(up, tmp_path, http)))
    pid = cli.parent / "pid"
    async with asyncio.timeout(5):
        while not (pid.is_file() and pid.read_text().strip()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ProviderError)):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
