"""Who may call: the holders of keys; without keys, this machine, and Databricks' proxy where the app runs behind it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from bodies import ApiError
from key_forms import ApiKey
from service.access import response_of
from service.grants import Grants
from settings import Settings

IDENTITY = (b"x-forwarded-", b"x-real-ip", b"forwarded")
"""How the headers begin by which a proxy says who asks: words of the caller's own where no proxy is known."""


class Auth:
    """Pure ASGI middleware: whoever is not known is refused, but by the routes of `opened`, which come first in the
    app. Keys are known by their SHA-256 only and compared in constant time.

    What is behind finds in the request's state the `caller`, whose the things are that it stores: `key:` and the key's
    name, `user:` and the proxy's user, "" for anyone's. `grant` says what the caller may use.
    """

    def __init__(self, app: ASGIApp, settings: Settings, grants: Grants, opened: Sequence[BaseRoute] = ()) -> None:
        self.app = app
        self._keys = settings.api_keys
        self._origins = settings.cors
        self._open = settings.auth == "none"
        self._proxy = settings.databricks_app
        self._opened = opened
        self._grants = grants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await WebSocketClose(1008)(scope, receive, send)
            return
        if not self._proxy:
            scope["headers"] = [each for each in scope["headers"] if not each[0].startswith(IDENTITY)]
        if not self._is_open(scope) and not self._admits(scope):
            await response_of(self._refusal())(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        """As the router finds it, so that no path is read in two ways."""
        return any(route.matches(scope)[0] is Match.FULL for route in self._opened)

    def _admits(self, scope: Scope) -> bool:
        key = None
        if self._keys:
            found = (_matching(key, self._keys) for key in _keys_of(scope["headers"]))
            key = next(filter(None, found), None)
            caller = f"key:{key.name}" if key else None
        else:
            caller = self._without_key(scope)
        if caller is not None:
            who = caller or f"address:{scope['client'][0] if scope.get('client') else ''}"
            scope.setdefault("state", {}).update(caller=caller, grant=self._grants.of(who, key))
        return caller is not None

    def _without_key(self, scope: Scope) -> str | None:
        if self._open:
            return ""
        if self._proxy:
            own = _header(scope, b"x-forwarded-host") or _header(scope, b"host")
            is_ours = _host(_header(scope, b"origin")) == own.partition(":")[0].lower()
            return f"user:{_header(scope, b'x-forwarded-user')}" if is_ours or self._is_no_page(scope) else None
        return "" if _is_loopback(scope) and (self._is_no_page(scope) or self._is_local_page(scope)) else None

    def _is_no_page(self, scope: Scope) -> bool:
        """Without keys a page on another site must not ask in the name of who looks at it: browsers tell the origin."""
        origin = _header(scope, b"origin")
        return not origin or origin in self._origins

    def _is_local_page(self, scope: Scope) -> bool:
        return _is_local(_host(_header(scope, b"origin")))

    def _refusal(self) -> ApiError:
        if self._keys:
            words = "a valid key is needed, as a bearer token or in x-api-key"
        elif self._proxy:
            words = "pages of other sites may not ask here (SKILL_AGENT_CORS names those that may)"
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


def _matching(key: bytes, known: Sequence[ApiKey]) -> ApiKey | None:
    """All are compared, whichever it is."""
    digest = hashlib.sha256(key).hexdigest().encode()
    found = [each for each in known if hmac.compare_digest(digest, each.digest.encode())]
    return found[0] if found else None


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for header, value in scope["headers"] if header == name), "")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _is_loopback(scope: Scope) -> bool:
    return _is_local(scope["client"][0] if scope.get("client") else "")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
