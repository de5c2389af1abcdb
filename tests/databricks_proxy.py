"""The proxy in front of a Databricks App, as far as it is documented: who logs in, what it forwards, when it cuts.

https://docs.databricks.com/dev-tools/databricks-apps/http-headers and .../connect-local
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

LOGIN = "https://login.example.com/oidc/authorize?state=secret"
HOP = {"authorization", "connection", "host", "content-length", "transfer-encoding"}


def proxy(app_url: str, users: Mapping[str, str], cut_seconds: float = 60.0, forward_tokens: bool = False) -> Starlette:
    """`users` are the users' ids by their OAuth token. A request without a good one is sent to the login page. An
    answer is cut, without an end, when it has taken `cut_seconds`.
    """

    async def forward(request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in users:
            return RedirectResponse(LOGIN, 302)
        headers = {name: value for name, value in request.headers.items() if name not in HOP}
        headers = {name: value for name, value in headers.items() if not name.startswith("x-forwarded-")}
        headers |= {"x-forwarded-user": users[token], "x-forwarded-email": f"{users[token]}@example.com"}
        headers |= {"x-forwarded-access-token": f"forwarded-{token}"} if forward_tokens else {}
        client = httpx.AsyncClient(timeout=60, verify=False)
        url = f"{app_url}{request.url.path}?{request.url.query}"
        sent = client.build_request(request.method, url, content=await request.body(), headers=headers)
        answer = await client.send(sent, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in HOP}
        return StreamingResponse(_until(client, answer, cut_seconds), answer.status_code, kept)

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "DELETE"])])


async def _until(client: httpx.AsyncClient, answer: httpx.Response, seconds: float) -> AsyncIterator[bytes]:
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for chunk in answer.aiter_raw():
                    yield chunk
    finally:
        await answer.aclose()
        await client.aclose()
