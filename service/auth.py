"""Who may call: the holders of keys; without keys, this machine, and Databricks' proxy where the app runs behind it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from bodies import ApiError
from service.access import response_of
from settings import Settings

OPEN = ("/health", "/ready")
"""Paths that platforms ask without a key."""


class Auth:
    """Pure ASGI middleware. Keys are known by their SHA-256 only and compared in constant time."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._keys = settings.api_keys
        self._open = settings.auth == "none" or settings.databricks_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN or self._admits(scope):
            await self.app(scope, receive, send)
            return
        await response_of(self._refusal())(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        if self._keys:
            return any(_matches(key, self._keys) for key in _keys_of(scope["headers"]))
        return self._open or _is_loopback(scope)

    def _refusal(self) -> ApiError:
        if self._keys:
            words = "a valid key is needed, as a bearer token or in x-api-key"
        else:
            words = "this service has no keys and serves its own machine only (SKILL_AGENT_API_KEYS, SKILL_AGENT_AUTH)"
        return ApiError(401, words, "invalid_api_key", headers={"www-authenticate": "Bearer"})


def _keys_of(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """What the caller shows in either header; some clients send both."""
    shown = []
    for name, value in headers:
        if name == b"x-api-key":
            shown.append(value)
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            shown.append(value[7:].strip())
    return shown


def _matches(key: bytes, known: Sequence[tuple[str, str]]) -> bool:
    digest = hashlib.sha256(key).hexdigest().encode()
    return any(hmac.compare_digest(digest, held.encode()) for _, held in known)


def _is_loopback(scope: Scope) -> bool:
    host = scope["client"][0] if scope.get("client") else ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
