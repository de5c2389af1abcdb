"""Clients over bare sockets: they see what came, byte by byte, and can leave as rudely as real ones do.

Each request has a connection of its own. What comes is searched for the canaries (see `canaries`).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

LINGER_ZERO = struct.pack("ii", 1, 0)
HI = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True, slots=True)
class Answer:
    """`whole`: the framing is complete. Header names are in lower case; `status` is 0 where no head came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    seconds: float
    first: float
    """Seconds until the first byte of the body."""

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(slots=True)
class Client:
    """Of a service on this machine. `leaks` are the places where a canary was seen."""

    port: int
    key: str = ""
    canaries: Sequence[bytes] = ()
    leaks: list[str] = field(default_factory=list)

    async def post(self, path: str, body: object, timeout: float = 30.0) -> Answer:
        call = await self.begin(path, body)
        return await call.rest(timeout)

    async def get(self, path: str, timeout: float = 10.0) -> Answer:
        call = await self.send(self._head("GET", path, {}))
        return await call.rest(timeout)

    async def begin(self, path: str, body: object, receive_buffer: int = 0) -> Call:
        """A request that is sent and not yet answered."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"content-type": "application/json", "content-length": str(len(content))}
        return await self.send(self._head("POST", path, named) + content, receive_buffer)

    async def send(self, data: bytes, receive_buffer: int = 0) -> Call:
        """These very bytes, on a new connection."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        begun = time.monotonic()
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
        writer.write(data)
        return Call(self, reader, writer, begun)

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        named = {"host": "localhost", "connection": "close", **headers}
        if self.key:
            named["authorization"] = f"Bearer {self.key}"
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass(slots=True)
class Call:
    """A request on its connection."""

    client: Client
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    begun: float
    raw: bytearray = field(default_factory=bytearray)
    first: float = 0.0

    async def until(self, mark: bytes, timeout: float = 10.0) -> bool:
        """Whether `mark` came."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(timeout):
                while mark not in self.raw and await self._more():
                    pass
        return mark in self.raw

    async def rest(self, timeout: float = 30.0) -> Answer:
        """Reads until the server closes. One that does not gives an answer that is not whole."""
        closed = False
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(timeout):
                while await self._more():
                    pass
                closed = True
        seconds = time.monotonic() - self.begun
        self.leave()
        self._watch()
        return _answer(bytes(self.raw), closed, seconds, self.first)

    async def _more(self) -> bool:
        data = await self.reader.read(2**16)
        if data and not self.first and b"\r\n\r\n" in self.raw + data:
            self.first = time.monotonic() - self.begun
        self.raw += data
        return bool(data)

    def _watch(self) -> None:
        for canary in self.client.canaries:
            if canary in self.raw:
                at = self.raw.find(canary)
                words = bytes(self.raw[max(at - 80, 0) : at]).decode("latin-1").replace("\r\n", " ")
                self.client.leaks.append(f"an answer: …{words}")

    def leave(self) -> None:
        """Closes in good order."""
        self.writer.close()

    def reset(self) -> None:
        """Leaves at once, with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.writer.transport.abort()


def _answer(raw: bytes, closed: bool, seconds: float, first: float) -> Answer:
    head, found, rest = raw.partition(b"\r\n\r\n")
    if not found:
        return Answer(0, {}, raw, False, seconds, first)
    status, headers = _read_head(head)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body, whole = _unchunked(rest)
    elif "content-length" in headers:
        body, whole = rest, len(rest) == int(headers["content-length"])
    else:
        body, whole = rest, closed
    return Answer(status, headers, body, whole, seconds, first)


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    word = first.split(" ")[1] if " " in first else "0"
    return int(word) if word.isdecimal() else 0, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """The body, and whether its last chunk came."""
    body, at = bytearray(), 0
    while (end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:end].split(b";")[0], 16)
        except ValueError:
            return bytes(body), False
        if size == 0:
            return bytes(body), True
        body += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return bytes(body), False
