"""The caller's token that Databricks' proxy forwards, for the calls of the request that it came with."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from providers.on_behalf import caller

TOKEN = b"x-forwarded-access-token"


class OnBehalfOfUser:
    """Pure ASGI middleware; in place only behind that proxy, as anyone can send such a header elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        token = next((value for name, value in scope["headers"] if name == TOKEN), b"")
        before = caller.set(token.decode("latin-1"))
        try:
            await self.app(scope, receive, send)
        finally:
            caller.reset(before)
