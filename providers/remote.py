"""Another skill-agent behind its URL: the dialect of Chat Completions, with the agent's activity asked for.

A Databricks App stands behind a login page: a token that is not taken is answered with a redirect there, which is
never followed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

from messages import (
    FellBack,
    ProviderEvent,
    Request,
    SkillActivated,
    Step,
    Text,
    ToolCall,
    ToolEnd,
    ToolResult,
    ToolStart,
)
from providers.base import AuthError, BadResponse, ModelInfo, NotFound, Overloaded, ProviderDown, ProviderError
from providers.errors import error_of, parse
from providers.http import Auth, Http
from providers.openai import ChatCompletions, Quirks
from providers.openai_answer import Answer
from providers.retries import Try
from settings import SettingsError

BROKE_OFF = "the answer broke off"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def base_url(url: str) -> str:
    """The address of the API below which routes lie: with `/v1`, whether it was given or not."""
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
        raise SettingsError("--url", "expected an address that begins with https:// (or http://)", url)
    return url if url.endswith("/v1") else f"{url}/api/v1"


def refuse_in_the_clear(url: str) -> None:
    if not url.startswith("https://") and urlsplit(url).hostname not in LOOPBACK:
        raise SettingsError("--url", "expected https:// (a key is not sent in the clear)", url)


class RemoteAgent(ChatCompletions):
    """`model` and `skill` as the server names them; "" for its default and none. `profile`: who is logged in, for
    what is said when that fails."""

    def __init__(self, http: Http, url: str, auth: Auth, model: str = "", skill: str = "", profile: str = "") -> None:
        info = ModelInfo(f"remote/{model or 'skill-agent'}")
        self.base = base_url(url)
        self._skill = skill
        self._profile = profile
        super().__init__(http, f"{self.base}/chat/completions", auth, info, Quirks(echo_reasoning=False))

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        """A login that has run out is renewed once, before the first event."""
        begun = False
        try:
            async with aclosing(super().stream(request)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except ProviderError as error:
            if begun or not is_login(error) or not self._auth.renew(await self._auth.headers()):
                raise self.explained(error, begun) from error
        try:
            async with aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except ProviderError as error:
            raise self.explained(error) from error

    async def _attempt(self, request: Request, this: Try) -> AsyncGenerator[ProviderEvent, None]:
        """A login page stays one however often it is asked."""
        try:
            async with aclosing(super()._attempt(request, this)) as events:
                async for event in events:
                    yield event
        except ProviderError as error:
            error.retryable = error.retryable and not is_login(error)
            raise

    async def models(self) -> list[str]:
        """The names that the server lists. Raises `ProviderError`."""
        try:
            return await self._models(fresh=True)
        except ProviderError as error:
            raise self.explained(error) from error

    async def _models(self, fresh: bool) -> list[str]:
        status, headers, body = await self._http.get(f"{self.base}/models", self._auth, "remote")
        error = error_of(status, body, headers, "remote") if status != 200 else None
        if error is None and body.lstrip()[:1] == b"<":
            error = BadResponse("a web page came instead of an answer", provider="remote")
        if error is None:
            return _names(parse(body, "remote"))
        renewable = isinstance(error, AuthError) or is_login(error)
        if fresh and renewable and self._auth.renew(await self._auth.headers()):
            return await self._models(fresh=False)
        raise error

    def explained(self, error: ProviderError, begun: bool = False) -> ProviderError:
        """The same failure in words that say what to do."""
        words = self._words(error, begun)
        kind = AuthError if is_login(error) else type(error)
        found = kind(words, provider="remote", status=error.status, request_id=error.request_id, code=error.code)
        found.retryable = error.retryable and not begun
        return found

    def _words(self, error: ProviderError, begun: bool) -> str:
        where = "{0.scheme}://{0.netloc}".format(urlsplit(self.base))
        if begun:
            return error.message if error.message.startswith(BROKE_OFF) else f"{BROKE_OFF}: {error.message}"
        if is_login(error):
            how = re.sub(r": is the credential.*", "", error.message)
            return f"{where} asks for a login ({how}): not logged in, or without CAN USE on the app. {self._login}"
        if isinstance(error, AuthError) and error.status in (401, 403):
            return f"{where} does not accept the login ({error.message}). {self._login}"
        if error.status in (502, 503) and not isinstance(error, Overloaded):
            return f"{where} is not ready ({error.message}): an app that starts or has stopped answers so"
        if isinstance(error, NotFound) and not error.message.startswith("The model"):
            return f"{error.message} ({self.base})"
        if isinstance(error, ProviderDown) and error.code == "upstream_tls_error":
            return f"{where} has no certificate that this machine trusts (SSL_CERT_FILE names others): {error.message}"
        if isinstance(error, ProviderDown) and error.status == 0 and error.code != "server_error":
            return f"{error.message}. Is the server running, and is {where} its address?"
        return error.message

    @property
    def _login(self) -> str:
        if self._profile or "databricks" in self.base:
            return f"Log in with: databricks auth login --profile {self._profile or 'DEFAULT'}"
        return "Give a key with SKILL_AGENT_API_KEY or --api-key, or --databricks-profile for a Databricks App"

    def body(self, request: Request) -> dict[str, Any]:
        extension = {"activity": True, **({"activate": self._skill} if self._skill else {})}
        return {**super().body(request), "skill_agent": extension}

    def answer(self, taken: set[str]) -> Answer:
        return _Answer(self.info, taken)


def is_login(error: ProviderError) -> bool:
    """Whether the answer was a way to a login page, or that page."""
    return isinstance(error, BadResponse) and (error.code == "upstream_redirect" or "a web page came" in error.message)


def _names(listed: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in listed["data"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise BadResponse("the answer is not a list of models", provider="remote") from error


class _Answer(Answer):
    def feed(self, payload: Any) -> Iterator[ProviderEvent]:
        if isinstance(payload, dict) and (step := _step(payload.get("skill_agent") or {})):
            yield step
        yield from super().feed(payload)


def _step(shown: Mapping[str, Any]) -> Step | None:
    call = ToolCall(shown.get("id", ""), shown.get("name", ""), shown.get("arguments", "{}"))
    match shown.get("type"):
        case "skill_activated":
            return SkillActivated(shown["name"])
        case "tool_start":
            return ToolStart(call)
        case "tool_end":
            result = ToolResult(call.id, (Text(shown.get("result", "")),), bool(shown.get("is_error")))
            return ToolEnd(call, result, float(shown.get("seconds", 0)))
        case "fell_back":
            return FellBack(shown["model"], shown["instead_of"], shown.get("reason") or "")
    return None
