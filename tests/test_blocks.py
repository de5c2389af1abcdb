"""Answers in Markdown on a terminal: when a block is given, how it looks, and that a hostile one does nothing."""

from __future__ import annotations

import io
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminal.blocks import CODE_LINES, LONGEST, Block, Blocks
from terminal.markdown import console_of, draw
from terminal.text import ends, fenced, harmless, harmless_json, one_line, size
from terminal.writers import Drawn, Plain

ANSWER = """# Title

A paragraph of
two lines.

- one
- two

  still two
- three

1. first
2. second

```python
print("hi")

```

| a | b |
|---|---|
| 1 | 2 |

The end."""


def blocks_of(text: str, step: int = 1 << 30) -> list[Block]:
    blocks = Blocks()
    found = [block for at in range(0, len(text), step) for block in blocks.feed(text[at : at + step])]
    return [*found, *blocks.end()]


def shown(text: str, step: int = 1 << 30) -> str:
    """As a person sees it, on 80 columns."""
    out = io.StringIO()
    writer = Drawn(out)
    for at in range(0, len(text), step):
        writer.write(text[at : at + step])
    writer.end()
    return out.getvalue().replace("\r\033[K", "")


def test_blocks_end_at_empty_lines_and_list_items() -> None:
    found = blocks_of(ANSWER)
    assert [block.text for block in found] == [
        "# Title",
        "A paragraph of\ntwo lines.",
        "- one",
        "- two\n\n  still two",
        "- three",
        "1. first",
        "2. second",
        'print("hi")\n',
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "The end.",
    ]
    assert [block.text for block in found if block.kind == "code"] == ['print("hi")\n']


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab \n-#`|>1.\t", max_size=200), st.integers(1, 9))
def test_the_cuts_of_a_stream_change_nothing(text: str, step: int) -> None:
    assert blocks_of(text, step) == blocks_of(text)


def test_a_block_is_given_as_soon_as_it_is_finished() -> None:
    blocks = Blocks()
    assert list(blocks.feed("First.\n")) == []
    assert blocks.tail == "First."
    assert [block.text for block in blocks.feed("\nSecond")] == ["First."]
    assert [block.text for block in blocks.end()] == ["Second"]


def test_long_code_is_given_in_pieces_that_are_coloured_as_one() -> None:
    lines = [f"x{n} = {n}" for n in range(2 * CODE_LINES + 3)]
    found = blocks_of("```python\n" + "\n".join(lines) + "\n```\n")
    assert [block.shown for block in found] == [0, CODE_LINES, 2 * CODE_LINES]
    assert all(block.text.startswith("x0 = 0") for block in found)
    assert [line.strip() for line in shown("```python\n" + "\n".join(lines) + "\n```").splitlines()] == lines


def test_an_answer_is_drawn() -> None:
    text = shown(ANSWER, 3)
    assert "#" not in text and "```" not in text and "|---" not in text
    assert (
        "│ 1 │ 2 │" in text and " • one\n • two\n   still two\n • three\n" in text and " 1. first\n 2. second\n" in text
    )
    assert '  print("hi")\n' in text and text.endswith("The end.\n")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_links_show_where_they_lead_and_pictures_are_not_fetched() -> None:
    text = shown("[bank](https://evil.example) ![chart](https://evil.example/?q=1) <b>bold</b>")
    assert text == "bank (https://evil.example) chart (https://evil.example/?q=1) <b>bold</b>\n"
    assert "\033]8" not in text


HOSTILE = "\033[2J\033]0;owned\007\033]8;;http://evil\007click\033]8;;\007\x9b31m\x7f\u202egnp\u202c\r\x00"


@pytest.mark.parametrize(
    "around", ["{}", "# {}", "- {}", "| a |\n|--|\n| {} |", "```x\n{}\n```", "`{}`", "> {}", "[a]({})"]
)
def test_nothing_of_an_answer_acts_on_the_terminal(around: str) -> None:
    """Neither drawn in colours, nor plain, wherever it stands."""
    out = io.StringIO()
    console = console_of(out, colour=False)
    drawn = "".join(draw(block, console) for block in blocks_of(harmless(around.format(HOSTILE))))
    plain = io.StringIO()
    writer = Plain(plain)
    writer.write(around.format(HOSTILE))
    writer.end()
    for text in (drawn, plain.getvalue(), shown(around.format(HOSTILE), 1)):
        assert all(letter.isprintable() or letter == "\n" for letter in text), text
    assert "2J" in drawn


def test_what_markdown_decodes_is_harmless() -> None:
    text = shown(
        "&#27;[2J &#x9b;m &#x202e; <http://a.example/%1b[2J%c2%9b%e2%80%ae> [b](http://b.example/%1b&#27;&#x202e;)"
    )
    assert all(letter.isprintable() or letter == "\n" for letter in text), text


def test_json_is_harmless_too_and_the_same_value() -> None:
    line = harmless_json(json.dumps({"text": HOSTILE + "\ud800é"}, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line)["text"] == HOSTILE + "\ud800é"


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "word " * 200_000,
        "".join("  " * depth + f"- {depth}\n" for depth in range(1000)),
        ">" * 5_000,
        "> " * 2_900,
        "[" * 5_900,
        "*a_ " * 1_400,
        "`" * 5_900,
        "![" * 2_900,
        "|a" * 2_000 + "|\n" + "|-" * 2_000 + "|\n",
        "```python\n" + "(" * 90_000 + "\n```",
        "```python\n" + "x = '\n" * 20_000,
        "~~~\n" + "y" * 500_000,
        "1. " * 1_900,
        "&#65;" * 1_000,
        "<!--" * 1_400,
    ],
    ids=lambda text: f"{text[:6]!r}",
)
def test_what_grows_without_bounds_neither_hangs_nor_crashes(text: str) -> None:
    begun = time.process_time()
    out = shown(text, 4_000)
    assert time.process_time() - begun < 20
    assert sum(map(str.isalnum, out)) >= sum(map(str.isalnum, text)) * 0.3 - 20


def test_text_behind_a_long_block_is_drawn_again() -> None:
    assert shown("y" * (LONGEST + 5) + "\n\n**bold**").endswith("y\n\nbold\n")


def test_lines_for_notes() -> None:
    assert one_line("a\n b\tc\033[1m") == "a b c\\x1b[1m"
    assert one_line("abcdef", 4) == "abc…"
    assert ends("a" * 50 + "b" * 50, 20) == "a" * 10 + " … (80 more characters) … " + "b" * 10
    assert [size(n) for n in (0, 999, 1_500, 50_000_000, 2e12)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "50 MB",
        "2000 GB",
    ]
    assert fenced("a ``` b\n", "md") == "````md\na ``` b\n````"
