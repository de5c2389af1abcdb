"""How the text of an answer gets to stdout: as it comes, or block by block with its Markdown drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TextIO

from terminal.blocks import Block, Blocks
from terminal.notes import CLEAR, has_colour
from terminal.text import harmless

if TYPE_CHECKING:
    from rich.console import Console


class Writer(Protocol):
    """`at_margin`: the cursor stands at the start of a line, where a spinner may turn and notes may stand."""

    at_margin: bool

    @property
    def pending(self) -> str:
        """The end of what is held back."""
        ...

    def write(self, text: str) -> None: ...

    def end(self, whole: bool = True) -> None:
        """What is still held back, and the end of the line; `whole`: also of an answer without a word."""
        ...


class Plain:
    """As it comes, for pipes, files and plain terminals. `clear` goes before what starts a line."""

    def __init__(self, out: TextIO, clear: str = "") -> None:
        self.at_margin = True
        self._out = out
        self._clear = clear
        self._wrote = False

    @property
    def pending(self) -> str:
        return ""

    def write(self, text: str) -> None:
        if text := harmless(text):
            self._out.write(self._clear + text if self.at_margin else text)
            self._out.flush()
            self.at_margin, self._wrote = text.endswith("\n"), True

    def end(self, whole: bool = True) -> None:
        if not self.at_margin or (whole and not self._wrote):
            self.write("\n")
        self._wrote = False


class Drawn:
    """Each block when it is finished, with an empty line between two; `apart`: and one around all."""

    def __init__(self, out: TextIO, apart: bool = False) -> None:
        from terminal.markdown import console_of

        self.at_margin = True
        self._out = out
        self._console: Console = console_of(out, has_colour(out))
        self._blocks = Blocks()
        self._apart = apart
        self._first = True

    @property
    def pending(self) -> str:
        return self._blocks.tail

    def write(self, text: str) -> None:
        for block in self._blocks.feed(harmless(text)):
            self._print(block)

    def end(self, whole: bool = True) -> None:
        for block in self._blocks.end():
            self._print(block)
        if not self.at_margin:
            self._put("\n")
        if self._apart and not self._first:
            self._put("\n")
        self._blocks, self._first = Blocks(), True

    def _print(self, block: Block) -> None:
        from terminal.markdown import draw

        gap = "" if block.tight or (self._first and not self._apart) else "\n"
        if not self.at_margin and not block.tight:
            gap = f"\n{gap}"
        self._put(gap + draw(block, self._console))
        self._first = False

    def _put(self, text: str) -> None:
        self._out.write(f"{CLEAR}{text}" if self.at_margin else text)
        self._out.flush()
        self.at_margin = text.endswith("\n")
