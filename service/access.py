"""Around every request: an id, one line in the log, and an answer in OpenAI's shape whatever fails."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bodies import ApiError
from service.errors import api_error
from service.log import NAME
from service.sending import Sending, Sent
from service.streams import ClientLeft
from skill_store import scan_once

log = logging.getLogger(f"{NAME}.access")
GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
QUIET = ("/health", "/ready", "/v1/healthcheck", "/api/v1/healthcheck")
MOST_PATH = 500
"""Characters of a path in the log."""
CLIENT_LEFT = 499
"""What nginx logs for it; nobody receives it."""


class Access:
    """Pure ASGI middleware. The client's own `x-request-id` is kept where it is harmless, and a request sees the skills
    as they are when it first looks.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if GOOD_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        scan_once()
        begun = time.monotonic()
        sending = Sending(scope, send, [(b"x-request-id", request_id)])
        try:
            await self.app(scope, receive, sending)
        except (ClientLeft, ClientDisconnect):
            sending.sent.status = CLIENT_LEFT
        finally:
            _note(scope, sending.sent.status, (time.monotonic() - begun) * 1000, request_id.decode())


class Rescue:
    """Pure ASGI middleware: what nobody expected is answered, inside of what all answers get, and logged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except (ClientLeft, ClientDisconnect):
            raise
        except Exception as error:
            if scope["type"] != "http":
                raise
            request_id = scope["state"]["request_id"]
            log.exception("%s %r failed", scope["method"], _path(scope), extra={"request_id": request_id})
            if Sent.of(scope).status:
                raise
            await response_of(api_error(error))(scope, receive, send)


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


def response_of(error: ApiError) -> Response:
    return Response(error.body(), error.status, error.headers, "application/json")


def _note(scope: Scope, status: int, ms: float, request_id: str) -> None:
    level = logging.DEBUG if scope["path"] in QUIET else logging.INFO
    if not log.isEnabledFor(level):
        return
    path = _path(scope)
    facts = {"method": scope["method"], "path": path, "status": status, "ms": round(ms, 1)}
    if caller := scope.get("state", {}).get("caller"):
        facts["caller"] = caller
    words = f"{scope['method']} {path!r} {status} {ms:.0f} ms {request_id}"
    log.log(level, words, extra={**facts, "request_id": request_id})


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path if len(path) <= MOST_PATH else f"{path[:MOST_PATH]}…"
