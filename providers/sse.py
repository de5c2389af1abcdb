"""Server-sent events from bytes, with a bound on each event.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2)
"""

from __future__ import annotations

from collections.abc import Iterator

from providers.base import BadResponse

LONGEST_EVENT = 1 << 20
"""Bytes of one event. A delta is a few hundred; the largest that counts is an answer that comes in a single piece,
which has less than this at 128,000 tokens. Pictures that a model draws are not read by any dialect here."""


class Events:
    """Feed it chunks, and take the data of each event, split as bytes so that only LF and CRLF end a line.

    `str.splitlines` would also split on U+2028 and U+0085 inside JSON. What is left when the bytes end counts
    as an event: a cut inside one then fails to parse.
    """

    def __init__(self, provider: str = "") -> None:
        self._lines, self._event = _Lines(), _Event(provider)

    def of(self, chunk: bytes) -> Iterator[bytes]:
        for line in self._lines.of(chunk):
            if (data := self._event.take(line)) is not None:
                yield data
        self._event.bound(self._lines.waiting)

    def rest(self) -> Iterator[bytes]:
        for line in (self._lines.rest, b""):
            if (data := self._event.take(line)) is not None:
                yield data


class _Lines:
    """Whole lines out of chunks; `rest` is what has no end yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def of(self, chunk: bytes) -> Iterator[bytes]:
        start = max(len(self._buffer) - 1, 0)
        self._buffer += chunk
        if self._buffer.find(b"\n", start) < 0:
            return
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            yield line.removesuffix(b"\r")

    @property
    def waiting(self) -> int:
        return len(self._buffer)

    @property
    def rest(self) -> bytes:
        return bytes(self._buffer).removesuffix(b"\r")


class _Event:
    """The lines of one event."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._data: list[bytes] = []
        self._size = 0

    def take(self, line: bytes) -> bytes | None:
        """The event's data where this blank line ends it."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._size += len(line)
            self.bound(0)
        elif not line and self._data:
            whole = b"\n".join(self._data)
            self._data.clear()
            self._size = 0
            return whole
        return None

    def bound(self, waiting: int) -> None:
        if self._size + waiting > LONGEST_EVENT:
            raise BadResponse(
                f"an event of more than {LONGEST_EVENT >> 20} MiB",
                provider=self._provider,
                code="upstream_response_too_large",
                retryable=False,
            )
