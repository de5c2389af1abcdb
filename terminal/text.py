"""Text from models, tools, files and servers, made fit for a terminal: nothing in it acts on the screen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from unicodedata import east_asian_width

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""What reorders the letters around it: https://trojansource.codes"""
_CONTROLS = (*(code for code in range(0x20) if code not in (0x09, 0x0A, 0x0D)), *range(0x7F, 0xA0))
_UNSAFE: dict[int, str] = {
    **{code: f"\\x{code:02x}" for code in _CONTROLS},
    **{code: f"\\u{code:04x}" for code in _BIDI},
}
_SHOWN: dict[int, str] = {**_UNSAFE, 0x0D: "", **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}
_IN_JSON: dict[int, str] = {code: f"\\u{code:04x}" for code in (*_UNSAFE, *range(0xD800, 0xE000))}


def harmless(text: str) -> str:
    """Control characters (but line feeds and tabs) and those that turn the writing around, as visible escapes."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


def harmless_json(document: str) -> str:
    """The same for JSON, which stays the same value: an escape in a string reads as what it stands for."""
    return document.translate(_IN_JSON)


def one_line(text: str, most: int = 0) -> str:
    """Harmless, with every run of spaces as one; `most` characters with an ellipsis for the rest, 0 for all."""
    line = harmless(" ".join(text.split()))
    return f"{line[: most - 1]}…" if most and len(line) > most else line


def wide(text: str) -> int:
    """Columns on a terminal: https://www.unicode.org/reports/tr11"""
    return len(text) if text.isascii() else sum(2 if east_asian_width(each) in "WF" else 1 for each in text)


def start_of(text: str, columns: int) -> str:
    while wide(text) > columns:
        text = text[:-1]
    return text


def end_of(text: str, columns: int) -> str:
    while wide(text) > columns:
        text = text[1:]
    return text


def ends(text: str, most: int) -> str:
    """A line of at most about `most` characters: what lies between its ends is counted, not shown."""
    line = one_line(text)
    if len(line) <= most:
        return line
    half = most // 2
    return f"{line[:half]} … ({len(line) - 2 * half:,} more characters) … {line[-half:]}"


def size(amount: float) -> str:
    """Bytes in the unit that people say: 512 bytes, 1.5 kB, 50 MB."""
    units = ["GB", "MB", "kB", "bytes"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop()
    return f"{amount:.0f} {units[-1]}" if amount >= 10 or units[-1] == "bytes" else f"{amount:.1f} {units[-1]}"


def fenced(text: str, info: str = "") -> str:
    """A Markdown code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{info}\n{text.rstrip(chr(10))}\n{fence}"


def listed(names: Iterable[str], none: str = "none") -> str:
    return ", ".join(names) or none
