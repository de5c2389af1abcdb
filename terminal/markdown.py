"""Blocks of an answer drawn by rich, in the terminal's own colours, which fit a dark and a light background.

Imported only where somebody looks. Links are shown with their address and are no hyperlinks, so that none says one
thing and leads to another; raw HTML is text, and pictures are links: nothing is fetched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from textwrap import indent
from typing import Any, ClassVar, TextIO, cast

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import token as tokens
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, ListItem, Markdown, MarkdownElement, TableElement
from rich.padding import Padding
from rich.rule import Rule
from rich.segment import Segment
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from terminal.blocks import Block
from terminal.text import harmless

WIDEST = 100
"""Columns of running text; longer lines are hard to read."""
NARROWEST = 20
TAB = 4
LONGEST_LINE = 400
"""Characters of a line of code that is still highlighted."""

CODE = ANSISyntaxTheme(
    {
        tokens.Comment: Style(color="bright_black", italic=True),
        tokens.Keyword: Style(color="blue"),
        tokens.Keyword.Constant: Style(color="magenta"),
        tokens.Operator.Word: Style(color="blue"),
        tokens.Name.Function: Style(bold=True),
        tokens.Name.Class: Style(bold=True),
        tokens.Name.Decorator: Style(color="cyan"),
        tokens.Name.Tag: Style(color="blue"),
        tokens.Name.Attribute: Style(color="cyan"),
        tokens.Name.Builtin: Style(color="cyan"),
        tokens.String: Style(color="green"),
        tokens.Number: Style(color="magenta"),
        tokens.Generic.Deleted: Style(color="red"),
        tokens.Generic.Inserted: Style(color="green"),
        tokens.Generic.Heading: Style(bold=True),
    }
)
"""Only colours that are readable on black and on white."""

THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.h5": "italic",
        "markdown.h6": "italic",
        "markdown.code": "cyan",
        "markdown.item.bullet": "none",
        "markdown.item.number": "none",
        "markdown.block_quote": "dim",
        "markdown.hr": "dim",
        "markdown.link_url": "underline",
        "markdown.link": "none",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)


def console_of(out: TextIO, colour: bool) -> Console:
    return Console(file=out, theme=THEME, highlight=False, emoji=False, markup=False, no_color=not colour)


def draw(block: Block, console: Console) -> str:
    """What is to be printed for a block, with its colours; as it is where rich cannot draw it."""
    if block.kind == "plain":
        return block.text
    width = max(shutil.get_terminal_size().columns - 1, NARROWEST)
    with suppress(Exception):
        # Rich and its parser have their bounds; what lies beyond them is still worth reading.
        return _drawn(block, console, width)
    return _as_it_is(block)


def _drawn(block: Block, console: Console, width: int) -> str:
    if block.kind == "code":
        return _coloured(block, console, width) if _is_colourful(block) else indent(_as_it_is(block), "  ")
    wide = min(width, WIDEST) if not block.text.lstrip().startswith("|") else width
    return _printed(console, _Answer(block.text), wide)


def _printed(console: Console, what: Any, width: int) -> str:
    """Without the spaces that rich fills lines with, which would be copied along."""
    with console.capture() as captured:
        console.print(what, width=width, soft_wrap=False)
    lines = captured.get().split("\n")
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    return f"{text}\n"


def _as_it_is(block: Block) -> str:
    lines = block.text.split("\n")[block.shown :]
    return "\n".join(lines) + "\n"


def _is_colourful(block: Block) -> bool:
    """Rich takes long to wrap a line with many colours."""
    plain = not block.language or block.language in ("text", "txt", "plain")
    return not plain and max(map(len, block.text.split("\n"))) <= LONGEST_LINE


def _coloured(block: Block, console: Console, width: int) -> str:
    """The lines that have not been shown yet, coloured as part of the whole."""
    lines = block.text.count("\n") + 1
    syntax = _syntax(block.text, block.language, (block.shown + 1, lines))
    return _printed(console, Padding(syntax, (0, 0, 0, 2)), width)


def _syntax(code: str, language: str, lines: tuple[int, int] | None = None) -> Syntax:
    return Syntax(
        code,
        language,
        theme=CODE,
        background_color="default",
        word_wrap=True,
        tab_size=TAB,
        line_range=cast("Any", lines),
    )


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(_syntax(str(self.text).rstrip(), self.lexer_name), (0, 0, 0, 2))


class _Item(ListItem):
    """Numbers with their dot."""

    def render_number(self, console: Console, options: ConsoleOptions, number: int, last_number: int) -> RenderResult:
        wide = max(len(str(last_number)), 2) + 2
        lines = console.render_lines(self.elements, options.update(width=options.max_width - wide), style=self.style)
        for count, line in enumerate(lines):
            yield Segment(" " * wide if count else f"{number}. ".rjust(wide))
            yield from line
            yield Segment("\n")


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar[dict[str, Any]] = {}


class _Rule(HorizontalRule):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style="markdown.hr")


class _Table(TableElement):
    """Lines only where they help: under the head, and between columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.ROUNDED, border_style="markdown.table.border")
        head = self.header.row.cells if self.header and self.header.row else []
        for cell in head:
            table.add_column(_styled(cell.content), justify=cell.justify, overflow="fold")
        for row in self.body.rows if self.body else ():
            table.add_row(*(cell.content for cell in row.cells))
        yield table


def _styled(content: Text) -> Text:
    heading = content.copy()
    heading.stylize("markdown.table.header")
    return heading


class _Answer(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "hr": _Rule,
        "list_item_open": _Item,
        "table_open": _Table,
    }

    def __init__(self, markup: str) -> None:
        super().__init__("", hyperlinks=False)
        parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")
        self.markup, self.parsed = markup, [*_made_safe(parser.parse(markup))]


def _made_safe(found: list[Token]) -> Iterator[Token]:
    """Pictures as text: what they show, and where they lie. What entities and addresses were decoded to is harmless."""
    for token in found:
        token.content = harmless(token.content)
        token.attrs = {name: harmless(v) if isinstance(v, str) else v for name, v in token.attrs.items()}
        if token.type == "image":
            where = str(token.attrs.get("src", ""))
            yield Token("text", "", 0, content=f"{token.content or 'picture'} ({where})")
            continue
        if token.children:
            token.children = [*_made_safe(token.children)]
        yield token
