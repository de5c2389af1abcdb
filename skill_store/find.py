"""Find the skills that a model's query is about, where there are too many to name them all in its prompt."""

from __future__ import annotations

from collections.abc import Iterable

from skill_store import Skill, entry
from skill_store.index import S, index_of, offered, query_words

LEAST = 0.05
"""Of the best score: below it are hits of words that nearly every skill has."""


def find(query: str, skills: Iterable[S], most: int = 8) -> list[S]:
    """The skills whose names and descriptions fit the query best, best first; hidden ones are left out.

    Any text is a fit query: it is split into words before it comes near the search syntax. Any one of its words
    finds a skill; a word that says nothing about a subject, such as "create", only in names. May be called from
    several threads.
    """
    candidates, words = offered(skills), query_words(query)
    if not candidates or not words or most < 1:
        return []
    index = index_of(candidates)
    found = index.search(words, most, names_only=index.common)
    best = [number for number, score in found if score <= LEAST * found[0][1]]
    named = index.named(words)
    if named is not None:
        best = [named, *(number for number in best if number != named)]
    return [candidates[number] for number in best[:most]]


def found_text(skills: Iterable[Skill]) -> str:
    """What the model is told of found skills: one line each, as in the catalog, in the order given."""
    return "\n".join(map(entry, skills))
