"""Databricks credentials, in the order of its unified authentication:
a token, a service principal (OAuth M2M), a profile with either, the Databricks CLI's login (OAuth U2M).

Formats: https://docs.databricks.com/dev-tools/auth
"""

from __future__ import annotations

import asyncio
import configparser
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from providers.base import AuthError, BadRequest, BadResponse, NotFound
from providers.errors import quote
from providers.http import Auth, Http, LoopLock, bearer
from providers.on_behalf import OnBehalf
from settings import Settings, SettingsError

log = logging.getLogger("skill_agent.providers")
EARLY = 300.0
"""Seconds before its end that a token is fetched anew."""
REST = 10.0
"""Seconds between two tries to replace a token that is still good."""
CLI_SECONDS = 30.0
PERSONAL = "dapi"
"""How personal access tokens begin."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Token:
    """`expires` is seconds on the wall clock."""

    value: str = field(repr=False)
    expires: float


class FetchedToken:
    """A bearer token that is fetched when needed, once for all who wait, and kept until shortly before its end."""

    is_callers = False

    def __init__(self, fetch: Callable[[], Awaitable[Token]], rest: float = REST) -> None:
        self._fetch = fetch
        self._rest = rest
        self._token: Token | None = None
        self._refused = ""
        self._tried = -rest
        self._lock = LoopLock()

    async def headers(self) -> Mapping[str, str]:
        if not self._fresh():
            async with self._lock.here():
                if not self._fresh():
                    await self._refresh()
        assert self._token is not None  # noqa: S101 - `_refresh` has set it or raised
        return {"authorization": f"Bearer {self._token.value}"}

    def renew(self, sent: Mapping[str, str]) -> bool:
        self._refused = sent["authorization"].removeprefix("Bearer ")
        return True

    def _fresh(self) -> bool:
        """Near its end a token is good enough while asking for the next one has just been tried."""
        near = time.time() + (EARLY if time.monotonic() - self._tried > self._rest else 0)
        return self._usable(near)

    def _usable(self, until: float) -> bool:
        return self._token is not None and self._token.value != self._refused and self._token.expires > until

    async def _refresh(self) -> None:
        """A failed refresh does no harm while the old token is good."""
        self._tried = time.monotonic()
        try:
            self._token = await self._fetch()
        except Exception as error:
            if not self._usable(time.time()):
                raise
            log.warning(
                "a token could not be renewed (%s); the one there is stays good for a while", type(error).__name__
            )


def credentials(settings: Settings, http: Http) -> tuple[str, Auth]:
    """The workspace's address and how to authenticate there. Raises `SettingsError`."""
    host, own = _own_credentials(settings, http)
    return host, OnBehalf(own) if settings.on_behalf_of_user and settings.databricks_app else own


def _own_credentials(settings: Settings, http: Http) -> tuple[str, Auth]:
    if settings.databricks_token:
        return _safe(settings.databricks_host), bearer(settings.databricks_token)
    if settings.databricks_client_id and settings.databricks_client_secret:
        host = _safe(settings.databricks_host)
        return host, _service_principal(host, settings.databricks_client_id, settings.databricks_client_secret, http)
    return profile_credentials(settings, http)


def profile_credentials(settings: Settings, http: Http, app: bool = False) -> tuple[str, Auth]:
    """Of DATABRICKS_CONFIG_PROFILE. An `app` takes OAuth tokens only: a personal one ends at its login page."""
    name = settings.databricks_profile
    profile = read_profile(settings.databricks_config, name)
    host = _safe(_with_scheme(profile.get("host") or settings.databricks_host))
    if (token := profile.get("token")) and app:
        hint = "it holds a personal access token, which Databricks Apps refuse; use: databricks auth login"
        raise SettingsError("DATABRICKS_CONFIG_PROFILE", hint, profile["name"])
    if token:
        return host, bearer(token)
    if profile.get("client_id") and profile.get("client_secret"):
        return host, _service_principal(host, profile["client_id"], profile["client_secret"], http)
    return host, FetchedToken(lambda: cli_token(name or profile.get("name", "DEFAULT")))


def app_credentials(settings: Settings, http: Http, named: bool = False) -> Auth:
    """For a Databricks App, which takes OAuth tokens only. A profile that is `named` goes before all else; without one
    the token of the environment, where it is no personal one, then its service principal, then the default profile.
    """
    token, secret = settings.databricks_token, settings.databricks_client_secret
    if not named and token and not token.startswith(PERSONAL):
        return bearer(token)
    if not named and settings.databricks_client_id and secret:
        return _service_principal(_safe(settings.databricks_host), settings.databricks_client_id, secret, http)
    try:
        return profile_credentials(settings, http, app=True)[1]
    except SettingsError:
        if named or not token or settings.databricks_config.exists():
            raise
        hint = "a personal access token, which Databricks Apps refuse; use: databricks auth login"
        raise SettingsError("DATABRICKS_TOKEN", hint, f"{PERSONAL}…") from None


def read_profile(path: Path, name: str) -> dict[str, str]:
    """A section of the INI file; without a name the default one. `name` in the answer is the section's."""
    parser = configparser.ConfigParser(default_section="", interpolation=None)
    try:
        read = parser.read(path, encoding="utf-8-sig")
    except (configparser.Error, UnicodeError) as error:
        # The error's own words would show the line, which may hold a token.
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise SettingsError("DATABRICKS_CONFIG_FILE", f"this is not an INI file{where}", str(path)) from None
    if not read:
        missing = "expected a token, a service principal, or a profile (make one with: databricks auth login)"
        raise SettingsError("DATABRICKS_TOKEN" if not name else "DATABRICKS_CONFIG_FILE", missing, None)
    settings = dict(parser["__settings__"]) if parser.has_section("__settings__") else {}
    wanted = name or settings.get("default_profile") or "DEFAULT"
    if not parser.has_section(wanted):
        known = ", ".join(s for s in parser.sections() if s != "__settings__") or "none"
        raise SettingsError("DATABRICKS_CONFIG_PROFILE", f"{path} has these profiles: {known}", wanted)
    return {"name": wanted, **parser[wanted]}


def _service_principal(host: str, client_id: str, secret: str, http: Http) -> FetchedToken:
    async def fetch() -> Token:
        form = {"grant_type": "client_credentials", "scope": "all-apis"}
        try:
            answer = await http.post_form(f"{host}/oidc/v1/token", form, client_id, secret)
            return _token(answer["access_token"], time.time() + float(answer.get("expires_in") or 3600))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AuthError("the token endpoint's answer has no access_token", provider="databricks") from error
        except (BadRequest, NotFound, BadResponse) as error:
            words = f"no token from {host}: {error.message}"
            raise AuthError(words, provider="databricks", status=error.status, request_id=error.request_id) from error

    return FetchedToken(fetch)


async def cli_token(profile: str) -> Token:
    """The login that the Databricks CLI keeps (it owns the token cache; nothing else should read that)."""
    command = ("databricks", "auth", "token", "--profile", profile)
    hint = f"log in with: databricks auth login --profile {profile}"
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise AuthError(
            "the Databricks CLI is not installed, so its login cannot be used", provider="databricks"
        ) from error
    try:
        async with asyncio.timeout(CLI_SECONDS):
            out, err = await process.communicate()
    except BaseException as error:
        process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise AuthError(f"`{' '.join(command)}` took too long; {hint}", provider="databricks") from error
        raise
    if process.returncode:
        raise AuthError(f"`{' '.join(command)}` failed: {quote(err)}; {hint}", provider="databricks")
    return _cli_answer(out, hint)


def _cli_answer(out: bytes, hint: str) -> Token:
    try:
        answer = json.loads(out)
        expiry = datetime.fromisoformat(answer["expiry"]).timestamp() if answer.get("expiry") else time.time() + 3600
        return _token(answer["access_token"], expiry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuthError(f"the Databricks CLI's answer is not a token; {hint}", provider="databricks") from error


def _token(value: object, expires: float) -> Token:
    if not (isinstance(value, str) and value):
        raise ValueError("no token")
    return Token(value, expires)


def _with_scheme(host: str) -> str:
    host = host.strip().rstrip("/")
    return host if "://" in host or not host else f"https://{host}"


def _safe(host: str) -> str:
    """A credential goes over TLS, or to this machine."""
    if not host:
        raise SettingsError("DATABRICKS_HOST", "expected your workspace, as https://<name>.cloud.databricks.com")
    if urlsplit(host).scheme != "https" and urlsplit(host).hostname not in LOOPBACK:
        raise SettingsError("DATABRICKS_HOST", "expected https:// (a token is not sent in the clear)", host)
    return host
