"""How a server is reached: as a process over its input and output, or over streamable HTTP.

Transports: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import anyio

from mcp_servers.config import Config

log = logging.getLogger("skill_agent.mcp")
LAUNCHER = Path(__file__).with_name("launcher.py")
KEPT = ("LANG", "TMPDIR")
"""Of our environment, beside what the SDK hands on: HOME, LOGNAME, PATH, SHELL, TERM, USER."""
LONGEST_LINE, MOST_LOGGED = 1000, 100_000
"""Characters of a line, and bytes of one connection, that a server may add to the log."""
LARGEST_EVENT = 32 << 20
CONNECT_SECONDS, READ_SECONDS = 10.0, 300.0
UNSENT, LOST, REFUSED = 595_001, 595_002, 595_003
"""JSON-RPC codes that no server has: the request has not been taken, its fate is unknown, HTTP has said no."""
Authenticate: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]
"""Gives the headers of a request. It runs in the context of the call that the request belongs to."""


class Unreachable(Exception):
    """Why there is no connection, in words."""


class Unsent(Exception):
    """The request has certainly not been taken by the server."""


@asynccontextmanager
async def transport(
    config: Config, authenticate: Authenticate | None, ended: Callable[[], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """The streams that the SDK's client speaks over. `ended` is called as soon as nothing can come any more."""
    way: AbstractAsyncContextManager[tuple[Any, Any]]
    way = _over_http(config, authenticate, ended) if config.url else _over_stdio(config)
    async with way as (reading, writing):
        yield _Reading(reading, ended), _Writing(writing)


class _Reading:
    """A read stream that tells when it ends; the SDK tells nobody."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> _Reading:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        self._ended()
        await self._stream.__aexit__(*raised)

    def __aiter__(self) -> _Reading:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._ended()
            raise


class _Writing:
    """A write stream that tells of a request that nobody takes; the SDK says of it the same as of one that is lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> _Writing:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._stream.__aexit__(*raised)

    async def send(self, message: Any) -> None:
        try:
            await self._stream.send(message)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            if getattr(message.message, "id", None) is None or not hasattr(message.message, "method"):
                raise
            raise Unsent("it takes nothing any more") from error


@asynccontextmanager
async def _over_stdio(config: Config) -> AsyncIterator[tuple[Any, Any]]:
    from mcp.client.stdio import stdio_client

    with _errors(config) as file:
        async with stdio_client(_launch(config), errlog=file) as streams:
            yield streams


def _launch(config: Config) -> Any:
    from mcp.client.stdio import StdioServerParameters, get_default_environment

    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    env = {**get_default_environment(), **kept, **config.env}
    command = os.path.expanduser(config.command)
    folder = os.path.expanduser(config.cwd) if config.cwd else None
    if folder is not None and not os.path.isdir(folder):
        raise Unreachable(f"there is no folder {config.cwd!r}")
    if shutil.which(os.path.join(folder or "", command) if "/" in command else command, path=env["PATH"]) is None:
        raise Unreachable(f"there is no command {config.command!r}")
    args = ["-I", "-S", str(LAUNCHER), str(os.getpid()), command, *config.args]
    return StdioServerParameters(
        command=sys.executable, args=args, env=env, cwd=folder, encoding_error_handler="replace"
    )


@contextmanager
def _errors(config: Config) -> Iterator[TextIO]:
    """Where a server's complaints go: to the log while it is at debug, else nowhere."""
    if not log.isEnabledFor(logging.DEBUG):
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            yield nowhere
        return
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    lines = _Lines(config, reading)
    loop = asyncio.get_running_loop()
    loop.add_reader(reading, lines.read)
    try:
        with open(writing, "w", encoding="utf-8") as file:
            yield file
    finally:
        lines.read()
        loop.remove_reader(reading)
        os.close(reading)


class _Lines:
    """Reads what stands in a pipe and logs it line by line, up to `MOST_LOGGED`."""

    def __init__(self, config: Config, pipe: int) -> None:
        self._config = config
        self._pipe = pipe
        self._begun = b""
        self._left = MOST_LOGGED

    def read(self) -> None:
        with suppress(BlockingIOError):
            chunk = os.read(self._pipe, 1 << 16)
            *lines, begun = (self._begun + chunk[: self._left]).split(b"\n")
            self._begun = begun[:MOST_LOGGED]
            self._left = max(0, self._left - len(chunk))
            for line in lines:
                text = self._config.hide(line.decode("utf-8", "replace").rstrip())
                log.debug("MCP server %s: %s", self._config.name, text[:LONGEST_LINE])


@asynccontextmanager
async def _over_http(
    config: Config, authenticate: Authenticate | None, ended: Callable[[], None]
) -> AsyncIterator[tuple[Any, Any]]:
    from mcp.client.streamable_http import streamable_http_client

    with _unlogged(config):
        async with _client(config, authenticate, ended) as client:
            async with streamable_http_client(
                config.url, http_client=client, max_sse_event_size=LARGEST_EVENT
            ) as streams:
                yield streams


@contextmanager
def _unlogged(config: Config) -> Iterator[None]:
    """httpx2 logs addresses, in which a key may stand."""

    def harmless(record: logging.LogRecord) -> bool:
        words = record.getMessage()
        return config.hide(words) == words

    logger = logging.getLogger("httpx2")
    logger.addFilter(harmless)
    try:
        yield
    finally:
        logger.removeFilter(harmless)


def _client(config: Config, authenticate: Authenticate | None, ended: Callable[[], None]) -> Any:
    """An `httpx2.AsyncClient` that gives each failed request its own answer.

    The SDK lets one failure end the session with all that is under way in it, and says nothing of what failed.
    """
    import httpx2

    unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)

    base: Any = httpx2.AsyncClient  # the same to mypy with and without the package

    class Client(base):  # type: ignore[misc]
        async def send(self, request: Any, **how: Any) -> Any:
            try:
                request.headers.update(await authenticate() if authenticate else {})
            except Exception as error:
                return _answer(request, REFUSED, f"there are no credentials for it: {error}")
            if request.method == "GET":  # it waits for news, however long that takes
                request.extensions["timeout"] = {**request.extensions["timeout"], "read": None}
            try:
                response = await super().send(request, **how)
                if response.status_code >= 400 or not _is_stream(response):
                    await response.aread()
            except httpx2.TransportError as error:
                code = UNSENT if isinstance(error, unsent) else LOST
                return _answer(request, code, f"{type(error).__name__}: {error}".removesuffix(": "))
            return response if response.status_code < 400 else self._refusal(request, response)

        def _refusal(self, request: Any, response: Any) -> Any:
            if "mcp-session-id" in request.headers and _is_unknown_session(response.status_code, response.content):
                if request.method == "GET":
                    ended()
                return _answer(request, UNSENT, f"it answered {response.status_code} as to an unknown session")
            if _is_rpc(response.content):
                return response
            return _answer(request, REFUSED, _said(response.status_code, response.content))

    timeout = httpx2.Timeout(CONNECT_SECONDS, read=max(READ_SECONDS, config.timeout + CONNECT_SECONDS))
    return Client(headers=dict(config.headers), timeout=timeout)


def _is_stream(response: Any) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.lower().startswith("text/event-stream")


def _answer(request: Any, code: int, words: str) -> Any:
    """A server's answer to a request that it has not answered itself."""
    import httpx2

    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": words}}
    return httpx2.Response(502, json=error, request=request)


def _is_unknown_session(status: int, body: bytes) -> bool:
    """404 by the specification; some servers say 400."""
    return status == 404 or (status == 400 and b"session" in body[:1000].lower())


def _is_rpc(body: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        return isinstance(found, dict) and isinstance(found.get("error"), dict) and "jsonrpc" in found
    return False


def _said(status: int, body: bytes) -> str:
    """The status, and the message of a JSON body; a page of HTML says nothing."""
    message: object = ""
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        message = found.get("message") or found.get("error") if isinstance(found, dict) else ""
    return f"it answered {status}: {message[:300]}" if isinstance(message, str) and message else f"it answered {status}"
