"""What fits into a window."""

from __future__ import annotations

import pytest

from agent.context import cut, recent, tokens
from messages import Message, Text, assistant, user

WORDS = "word " * 100


@pytest.mark.parametrize("limit", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("text", ["", WORDS, "line\n" * 100, "Summarise:\n" + WORDS])
def test_what_is_cut_is_the_head_and_fits(text: str, limit: int) -> None:
    head = cut(text, limit)
    assert text.startswith(head) and tokens(head) <= limit
    assert head == text or tokens(text) > limit


def test_a_cut_ends_with_a_line_where_that_costs_little() -> None:
    assert cut("one line\n" * 10, 10) == "one line\none line\none line"
    assert len(cut("Summarise:\n" + "x" * 1000, 100)) > 300


def test_the_newest_messages_are_kept() -> None:
    said = [user(f"{number} {WORDS}") for number in range(10)]
    kept = recent(said, tokens(said[0].text) * 3)
    assert kept == said[-3:]
    assert recent(said, 10_000) == said
    assert recent([], 10) == []


def test_the_last_message_is_kept_in_any_case() -> None:
    (only,) = recent([assistant("before"), user(WORDS)], 20)
    assert only.role == "user" and only.text and WORDS.startswith(only.text) and tokens(only.text) <= 20


def test_a_message_that_does_not_fit_hides_older_ones() -> None:
    said = [user("short"), user(WORDS), user("end")]
    assert recent(said, 20) == said[2:]
    assert recent([Message("user", (Text("a"), Text("b")))], 5)[0].text == "ab"
