"""Servers on loopback for tests: the app behind a real uvicorn, and one scripted HTTP/1.1 connection.

`serve` runs the product as it is deployed. `Peer` is the server end of a connection that plays a `Reply`
(`tests.upstream` scripts it); it is bare asyncio because a framework would not cut a body in half,
reset a connection or send one byte at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import responses as PHRASES
from itertools import groupby
from typing import Any, Literal, Protocol, TypeAlias

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

Split: TypeAlias = int | Literal["utf8"] | None
"""How to re-cut a byte stream: n-byte pieces, "utf8" inside every multi-byte character, None as it is."""
_LINGER_ZERO = struct.pack("ii", 1, 0)
_NO_BODY = {204, 304}
_PATIENCE = 10.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class FromElsewhere:
    """The app as a caller on another machine meets it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["client"] = ("203.0.113.7", 5000)
        await self.app(scope, receive, send)


@contextmanager
def serve(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Run the app on a free loopback port and yield its base URL; `options` are uvicorn's.

    A server that does not stop is an error: it means that a request of the test still hangs in it.
    Logging is left as the test has it, so that `caplog` sees what the server says.
    """
    defaults: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "loop": "asyncio", "http": "httptools", "ws": "none"}
    defaults |= {"lifespan": "on", "access_log": False, "log_level": "warning", "log_config": None}
    server = Server(uvicorn.Config(app, **(defaults | options)))
    thread = threading.Thread(target=_run, args=(server,), name="uvicorn", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{_port(server, thread)}"
    finally:
        _stop(server, thread)


class Server(uvicorn.Server):
    """uvicorn looks ten times a second whether it shall stop; this one is told at once."""

    def stop(self) -> None:
        self.should_exit = True
        if self.started:
            self._loop.call_soon_threadsafe(self._told.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        waits = {asyncio.ensure_future(super().main_loop()), asyncio.ensure_future(self._told.wait())}
        _, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in left:
            wait.cancel()


def _run(server: Server) -> None:
    """uvicorn leaves by SystemExit when the lifespan fails; `_port` tells the test."""
    with suppress(SystemExit):
        server.run()


def _port(server: Server, thread: threading.Thread) -> int:
    deadline = time.monotonic() + _PATIENCE
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the server did not start; its log says why")
        time.sleep(0.005)
    return int(server.servers[0].sockets[0].getsockname()[1])


def _stop(server: Server, thread: threading.Thread) -> None:
    server.stop()
    thread.join(_PATIENCE)
    if thread.is_alive():
        server.force_exit = True
        thread.join(_PATIENCE)
        raise RuntimeError(f"the server did not stop within {_PATIENCE:.0f} s")


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived; header names are in lower case, `path` has its query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send: bytes are writes of their own, floats are pauses in seconds.

    `status=0` sends no head at all: the chunks are the bare wire (with none of them, silence).
    A `cut` or `stall` leaves the body unfinished: the chunked framing lacks its last chunk, the length
    is one more than was sent. With the framing "close" a "fin" looks like a normal end, as in real life.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes | float] = ()
    framing: Literal["chunked", "length", "close"] = "chunked"
    cut: Literal["fin", "rst"] | None = None
    stall: bool = False

    @property
    def whole(self) -> bool:
        return self.cut is None and not self.stall

    @property
    def keeps_alive(self) -> bool:
        return self.whole and self.framing != "close" and self.status != 0

    def but(self, **changes: Any) -> Reply:
        """The same reply with other fields: `sse(...).but(cut="rst")`."""
        return replace(self, **changes)

    def recut(self, split: Split) -> Reply:
        """The same bytes in other pieces, cut across the borders of events though not across a pause."""
        if split is None:
            return self
        chunks: list[bytes | float] = []
        for solid, group in groupby(self.chunks, lambda chunk: isinstance(chunk, bytes)):
            run = list(group)
            chunks += _recut(b"".join(c for c in run if isinstance(c, bytes)), split) if solid else run
        return self.but(chunks=chunks)

    def head(self) -> bytes:
        if not self.status:
            return b""
        fields = {**self.headers, **self._framing_header()}
        lines = [f"HTTP/1.1 {self.status} {PHRASES.get(self.status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _framing_header(self) -> dict[str, str]:
        if self.status in _NO_BODY:
            return {}
        if self.framing == "length":
            size = sum(len(chunk) for chunk in self.chunks if isinstance(chunk, bytes))
            return {"content-length": str(size + (not self.whole))}
        return {"transfer-encoding": "chunked"} if self.framing == "chunked" else {"connection": "close"}


def _recut(text: bytes, split: int | Literal["utf8"]) -> list[bytes]:
    if split == "utf8":
        return [piece for piece in re.split(rb"(?=[\x80-\xbf])", text) if piece]
    return [text[at : at + split] for at in range(0, len(text), split)]


class Host(Protocol):
    """Who owns the connections: what happens to them, in their event loop."""

    def came(self, peer: Peer) -> None: ...
    def took(self, peer: Peer, request: Received) -> Reply: ...
    def finished(self, peer: Peer) -> None: ...
    def left(self, peer: Peer) -> None: ...
    def went(self, peer: Peer) -> None: ...


class _Left(Exception):
    """The peer went away before its reply was over."""


class Peer(asyncio.StreamReaderProtocol):
    """One connection. `gone` is set as soon as the other side leaves, also while nobody reads."""

    def __init__(self, host: Host) -> None:
        self.reader = asyncio.StreamReader(limit=2**20)
        self.gone = asyncio.Event()
        self.transport: asyncio.Transport
        self._host = host
        super().__init__(self.reader, self._talk)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(0)  # what was drained is in the kernel, and a reset comes after it
        self._host.came(self)
        super().connection_made(transport)

    def eof_received(self) -> bool:
        self.gone.set()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)
        self._host.went(self)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, _Left):
            pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request and say whether the connection goes on."""
        request = await _receive(reader)
        reply = self._host.took(self, request)
        try:
            await self._play(reply, writer, bare=request.method == "HEAD" or reply.status in _NO_BODY)
        except (OSError, _Left):
            self._host.left(self)
            raise
        goes_on = reply.keeps_alive and request.headers.get("connection", "").lower() != "close"
        if goes_on:
            self._host.finished(self)
        return goes_on

    async def _play(self, reply: Reply, writer: asyncio.StreamWriter, bare: bool) -> None:
        chunked = reply.framing == "chunked" and reply.status != 0 and not bare
        await self._write(writer, reply.head())
        for chunk in () if bare else reply.chunks:
            if not isinstance(chunk, bytes):
                await self._pause(chunk)
            elif chunk:
                await self._write(writer, b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
        if reply.stall:
            await self._pause(None)
        if reply.cut == "rst":
            self._reset()
        elif chunked and reply.whole:
            await self._write(writer, b"0\r\n\r\n")

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send at once (asyncio sets TCP_NODELAY) and let the loop look for a peer that left."""
        if self.gone.is_set():
            raise _Left
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)

    async def _pause(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise _Left

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()


async def _receive(reader: asyncio.StreamReader) -> Received:
    """Read one request; a peer that leaves between two raises EOFError."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _receive_chunked(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


async def _receive_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body
