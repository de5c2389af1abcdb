"""An answer in Markdown, cut into blocks as it grows: each is given once, when it can no longer change.

A block ends at an empty line outside a code fence; the items of a list are blocks of their own. What grows beyond
bounds, as a line of a megabyte or a thousand nested lists, is not Markdown that anybody reads: it is plain text from
there on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

LONGEST = 6_000
"""Characters of a block that is still rendered as Markdown."""
LONGEST_CODE = 16_000
"""Characters of a code block that is still highlighted."""
CODE_LINES = 20
"""Lines of code that are waited for before they are shown; more for long code, as it is coloured as a whole."""
DEEPEST = 24
"""Columns of indentation that are still rendered as nested lists."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^`\s]*)")
_ITEM = re.compile(r" {0,3}([-*+]|\d{1,9}[.)])([ \t]|$)")
_DEEP = re.compile(rf"[ \t>]{{{DEEPEST},}}|([ \t]*>){{6}}|(?:[ \t]*(?:[-*+]|\d+[.)])[ \t]){{6}}")


@dataclass(frozen=True, slots=True)
class Block:
    """`code` is the whole code so far, of which the lines before `shown` have been given already. `tight`: nothing
    stands between this block and the one before it."""

    kind: Literal["markdown", "code", "plain"]
    text: str
    language: str = ""
    shown: int = 0
    tight: bool = False


class Blocks:
    """Feed it text, take the blocks that are finished, and the rest with `end`."""

    def __init__(self) -> None:
        self._line = ""
        self._lines: list[str] = []
        self._size = 0
        self._fence = ""
        self._language = ""
        self._shown = 0
        self._list = self._gap = self._plain = False
        self._tight = self._midst = False

    @property
    def tail(self) -> str:
        """The end of what has not been given yet: its last line, "" where there is none."""
        return self._line or ("" if self._fence or not self._lines else self._lines[-1])

    def feed(self, text: str) -> Iterator[Block]:
        *lines, rest = text.split("\n")
        for line in lines:
            whole, self._line = self._line + line, ""
            yield from self._take(whole)
        self._line += rest
        if self._plain and self._line:
            line, self._line, self._midst = self._line, "", True
            yield Block("plain", line, tight=True)
        elif len(self._line) > LONGEST:
            yield from self._overflow()

    def end(self) -> Iterator[Block]:
        if self._line:
            line, self._line = self._line, ""
            yield from self._take(line)
        yield from self._flush()

    def _take(self, line: str) -> Iterator[Block]:
        """A whole line."""
        if self._fence:
            yield from self._take_code(line)
        elif self._plain:
            yield from self._take_plain(line)
        elif not line.strip():
            yield from self._blank()
        else:
            yield from self._take_words(line)

    def _take_plain(self, line: str) -> Iterator[Block]:
        if self._midst or line.strip():
            yield Block("plain", line + "\n", tight=True)
        else:
            self._plain = self._tight = False
        self._midst = False

    def _blank(self) -> Iterator[Block]:
        """The end of a block; a list may go on behind it."""
        if self._list and self._lines:
            self._gap = True
        else:
            yield from self._flush()

    def _take_words(self, line: str) -> Iterator[Block]:
        fence, item = _FENCE.match(line), _ITEM.match(line)
        inside = self._list and line[:1] in (" ", "\t") and not (item and len(line) - len(line.lstrip()) < 2)
        if self._gap and not inside:
            yield from self._flush()
        elif item and not inside and self._lines and self._starts_here():
            yield from self._flush()
            self._tight = True
        if fence and not inside:
            yield from self._flush()
            self._fence, self._language = fence[1], fence[2]
            return
        if not self._lines:
            self._list = bool(item)
        elif self._gap:
            self._add("")
        self._gap = False
        self._add(line)
        if self._size > LONGEST or _DEEP.match(line):
            yield from self._overflow()

    def _starts_here(self) -> bool:
        """Whether an item at the margin begins a block: behind another item, not within a paragraph or a table."""
        return self._list

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line) + 1

    def _take_code(self, line: str) -> Iterator[Block]:
        mark = line.strip()
        if mark.startswith(self._fence) and not mark.strip(self._fence[0]):
            yield from self._flush_code()
            self._fence, self._language, self._shown = "", "", 0
            self._lines, self._size = [], 0
            return
        self._add(line)
        if len(self._lines) - self._shown >= max(CODE_LINES, self._shown // 2):
            yield from self._flush_code()

    def _flush_code(self) -> Iterator[Block]:
        """Beyond the bound code is no longer highlighted, and what was shown is forgotten."""
        if len(self._lines) > self._shown or not self._shown:
            text = "\n".join(self._lines)
            yield Block("code", text, self._language, self._shown, tight=self._shown > 0)
        self._shown = len(self._lines)
        if self._size > LONGEST_CODE:
            self._language = ""
            self._lines, self._size, self._shown = [""], 1, 1

    def _flush(self) -> Iterator[Block]:
        if self._fence:
            yield from self._flush_code()
            self._fence = ""
        elif self._lines:
            yield Block("markdown", "\n".join(self._lines), tight=self._tight)
        self._lines, self._size, self._shown = [], 0, 0
        self._list = self._gap = self._tight = False

    def _overflow(self) -> Iterator[Block]:
        """The block so far, and what follows up to an empty line, as plain text."""
        if self._fence:
            self._add(self._line)
            self._line = ""
            yield from self._flush_code()
            return
        text = "".join(f"{line}\n" for line in self._lines) + self._line
        self._lines, self._size, self._line = [], 0, ""
        self._list = self._gap = False
        self._plain, self._midst = True, not text.endswith("\n")
        yield Block("plain", text, tight=self._tight)
