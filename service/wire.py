"""The connections: those that send nothing or too slowly, and those that do not read what they asked for, are closed.

uvicorn itself has no limit for any of them (0.54).
"""

from __future__ import annotations

import asyncio
import fcntl
import resource
import socket
import sys
import termios
import uuid
from contextlib import suppress
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bodies import ApiError

OPEN_FILES = 65536
"""What is asked for at most: each stream has a connection to its client and one to its provider."""


SEND_BUFFER = 64 * 1024
"""Bytes that the kernel holds for a client (it takes the double, as room for its own). It would let a client that does
not read have megabytes, and the run keeps as much of its answer; a stream needs little.
"""
TAKEN = 16 * 1024
"""Bytes; asyncio's low-water mark is as low."""


class Wire(HttpToolsProtocol):
    """uvicorn's protocol with limits, for `uvicorn.run(http=Wire)`."""

    # Beside the attributes of uvicorn's class: with more of them Python would keep them in 1.6 KB a connection.
    __slots__ = ("_head", "_is_long", "_limits")

    header_seconds: ClassVar[float] = 10.0
    """From the first byte of a request, or from the connection's start, until the headers are whole."""

    header_bytes: ClassVar[int] = 32 * 1024
    """Of the request's line and all its headers."""

    body_seconds: ClassVar[float] = 40.0
    """Until the body is whole, whoever reads it. `service.intake` answers those who are too slow, a while before."""

    read_seconds: ClassVar[float] = 30.0
    """In which a client has to take `TAKEN` of what waits for it (64 KiB here, beside the kernel's buffers)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._limits: dict[str, asyncio.TimerHandle] = {}
        self._head = -1
        self._is_long = False
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().connection_made(transport)
        self._start("header", self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._limits):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head >= 0:
            self._head += len(data)
            if self._head > self.header_bytes:
                self._refuse(_too_long())
        elif self._is_idle:
            self._start("header", self.header_seconds)

    @property
    def _is_idle(self) -> bool:
        """Whether only bytes before a request have come, which end uvicorn's own limit for that."""
        between = self.cycle is None or self.cycle.response_complete
        return between and self.timeout_keep_alive_task is None and "body" not in self._limits

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._stop("rest")
        self._start("header", self.header_seconds)

    def on_headers_complete(self) -> None:
        self._head = -1
        self._stop("header")
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.header_bytes:
            self._is_long = True
            raise ValueError("the headers are too long")
        self._start("body", self.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop("body")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._await_reader("rest")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader("read")

    def resume_writing(self) -> None:
        self._stop("read")
        super().resume_writing()

    def _await_reader(self, name: str) -> None:
        """Looks at what waits to be read until it has gone, which for much may take long."""
        waiting = self._unread()

        def look() -> None:
            del self._limits[name]
            if not self.transport.get_write_buffer_size():
                return
            if self._unread() > waiting - TAKEN:
                self.transport.abort()
            else:
                self._await_reader(name)

        if name not in self._limits:
            self._limits[name] = self.loop.call_later(self.read_seconds, look)

    def _unread(self) -> int:
        """Bytes that the client has not taken, those in the kernel's buffer too: that may have room only when a
        megabyte has gone. Where the system does not tell, they do not count.
        """
        kernel = bytearray(4)
        with suppress(OSError, ValueError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernel)
        return self.transport.get_write_buffer_size() + int.from_bytes(kernel, sys.byteorder)

    def send_400_response(self, msg: str) -> None:
        self._refuse(_too_long() if self._is_long else ApiError(400, msg, "invalid_request"))

    def _refuse(self, error: ApiError) -> None:
        """What comes is no request: nothing of the app has seen it."""
        if self.transport.is_closing():
            return
        body = error.body()
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n"
            % (len(body), uuid.uuid4().hex.encode())
        )
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    def _start(self, name: str, seconds: float) -> None:
        """A limit of time, if it is not running. Its end takes the connection away at once: a close that waits for the
        buffers to be empty would wait for the client.
        """
        if name not in self._limits:
            self._limits[name] = self.loop.call_later(seconds, self.transport.abort)

    def _stop(self, name: str) -> None:
        if limit := self._limits.pop(name, None):
            limit.cancel()


def _too_long() -> ApiError:
    return ApiError(431, "The headers are too long.", "headers_too_large")


def allow_files() -> None:
    """As many open files as the system lets us have: some begin with 1,024 and allow far more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
