"""What a script writes to one of its streams, however much that is."""

from __future__ import annotations

from codecs import getincrementaldecoder
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """`text` is whole, or head and tail with a line between them that says how much is left out. `size` is what was
    written, in bytes. `spill` is the beginning of it where the text is not whole, else empty."""

    text: str
    size: int
    spill: bytes


class Capture:
    """A stream as it comes, in bounded memory: what it begins with, and what it ends with."""

    def __init__(self, most: int, spill: int) -> None:
        self.size = 0
        self._most = most
        self._spill = spill
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if (room := max(self._most, self._spill) - len(self._head)) > 0:
            self._head += data[:room]
        self._tail += data[-self._most :] if self._most else b""
        del self._tail[: max(len(self._tail) - self._most, 0)]

    def output(self) -> Output:
        if self.size <= self._most:
            return Output(_text(bytes(self._head)), self.size, b"")
        half = self._most // 2
        head, tail = self._head[:half], self._tail[len(self._tail) - half :]
        between = f"\n[… {self.size - len(head) - len(tail)} bytes are left out …]\n"
        return Output(_head_text(head) + between + _tail_text(tail), self.size, bytes(self._head[: self._spill]))

    def ending(self) -> bytes:
        return bytes(self._tail[-4096:])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "")


def _head_text(data: bytearray) -> str:
    """Without a character that is cut in two at the end."""
    return getincrementaldecoder("utf-8")("replace").decode(bytes(data)).replace("\0", "")


def _tail_text(data: bytearray) -> str:
    """Without the rest of a character that is cut in two at the start."""
    cut = 0
    while cut < min(3, len(data)) and 0x80 <= data[cut] < 0xC0:
        cut += 1
    return _text(bytes(data[cut:]))
