"""Who may call: the holders of keys; without keys, this machine, and Databricks' proxy where the app runs behind it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from bodies import ApiError
from service.access import response_of
from settings import Settings

OPEN = ("/health", "/ready", "/", "/docs")
"""Paths that platforms ask without a key, and the pages, which ask with the key that they are given."""
OPEN_FOLDER = "/web/"
"""What the pages are made of."""


class Auth:
    """Pure ASGI middleware. Keys are known by their SHA-256 only and compared in constant time."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._keys = settings.api_keys
        self._origins = settings.cors
        self._open = settings.auth == "none"
        self._behind_proxy = settings.databricks_app and not self._open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        caller = self._caller(scope)
        if caller is None:
            await response_of(self._refusal())(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)

    def _caller(self, scope: Scope) -> str | None:
        """Whose the things are that this request stores: the key's name, the proxy's user, "" for anyone's. None is
        not admitted.
        """
        if self._keys:
            names = (_matching(key, self._keys) for key in _keys_of(scope["headers"]))
            return next((f"key:{name}" for name in names if name), None)
        if self._behind_proxy:
            return f"user:{_header(scope, b'x-forwarded-user')}"
        return "" if self._open or (_is_loopback(scope) and self._is_no_page(scope)) else None

    def _is_no_page(self, scope: Scope) -> bool:
        """Without keys a page on another site must not ask in the name of who looks at it."""
        origin = _header(scope, b"origin")
        return not origin or origin in self._origins or _is_local(urlsplit(origin).hostname or "")

    def _refusal(self) -> ApiError:
        if self._keys:
            words = "a valid key is needed, as a bearer token or in x-api-key"
        else:
            words = "this service has no keys and serves its own machine only (SKILL_AGENT_API_KEYS, SKILL_AGENT_AUTH)"
        return ApiError(401, words, "invalid_api_key", headers={"www-authenticate": "Bearer"})


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


def _keys_of(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """What the caller shows in either header; some clients send both."""
    shown = []
    for name, value in headers:
        if name == b"x-api-key":
            shown.append(value)
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            shown.append(value[7:].strip())
    return shown


def _matching(key: bytes, known: Sequence[tuple[str, str]]) -> str:
    """The key's name, "" for none; all are compared, whichever it is."""
    digest = hashlib.sha256(key).hexdigest().encode()
    found = [name for name, held in known if hmac.compare_digest(digest, held.encode())]
    return found[0] if found else ""


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for header, value in scope["headers"] if header == name), "")


def _is_loopback(scope: Scope) -> bool:
    return _is_local(scope["client"][0] if scope.get("client") else "")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
