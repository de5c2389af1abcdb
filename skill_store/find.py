"""Find the skills that a model's query is about, where there are too many to name them all in its prompt.

The index is SQLite's FTS5 in memory (https://www.sqlite.org/fts5.html), as in `skill_store.match`. It is built
once for what a catalog says, and kept: a thousand skills take 0.2 s to index and a few milliseconds to search.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from functools import lru_cache
from threading import Lock
from typing import TypeAlias

from skill_store import Skill, _entry
from skill_store.match import (
    _COMMON,
    DESCRIPTION_WEIGHT,
    FEWEST_FILLERS,
    MAX_QUERY,
    NAME_WEIGHT,
    S,
    _numbered,
    _words,
)
from skill_store.rules import MAX_DESCRIPTION, MAX_NAME

KEPT = 4
"""Indexes that are kept: of the whole catalog, and of the parts that requests narrow it to. One of a thousand
skills takes 3 MB, and one of the most that a scan finds, all with the longest descriptions, 12 MB."""
LEAST = 0.05
"""Of the best score: below it are hits of words that nearly every skill has."""

Row: TypeAlias = tuple[str, str]


def find(query: str, skills: Iterable[S], most: int = 8) -> list[S]:
    """The skills whose names and descriptions fit the query best, best first; hidden ones are left out.

    Any text is a fit query: it is split into words before it comes near the search syntax. Any one of its words
    finds a skill; a word that says nothing about a subject, such as "create", only in names. May be called from
    several threads.
    """
    offered = sorted((skill for skill in skills if not skill.hidden), key=lambda skill: skill.name)
    words = _words(f"{query[:MAX_QUERY]} {query[MAX_QUERY:][-MAX_QUERY:]}")
    if not offered or not words or most < 1:
        return []
    # The texts are the key, so that equal catalogs share an index, and no changed one ever finds a stale one.
    index = index_of(tuple((skill.name[:MAX_NAME], skill.description[:MAX_DESCRIPTION]) for skill in offered))
    return [offered[number] for number in index.best(words, most)]


def found_text(skills: Iterable[Skill]) -> str:
    """What the model is told of found skills: one line each, as in the catalog, in the order given."""
    return "\n".join(map(_entry, skills))


class Index:
    """Names and descriptions that can be searched, by their position."""

    def __init__(self, rows: Sequence[Row]) -> None:
        import sqlite3

        spelled = [(" ".join(_words(name)), " ".join(_words(description))) for name, description in rows]
        self._count = len(rows)
        self._named = {name: number for number, (name, _) in reversed(list(enumerate(spelled)))}
        self._common = frozenset(_words(_COMMON))
        self._one_at_a_time = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        # It may leave the cache while another thread still searches it, so only the last user's end closes it.
        weakref.finalize(self, self._database.close)
        self._fill(spelled)

    def _fill(self, spelled: Sequence[Row]) -> None:
        """With fillers that make common words weigh little, also in names, as `skill_store.match` explains."""
        fillers = [(" ".join(_words(_COMMON)), "")] * max(FEWEST_FILLERS, self._count + 1)
        self._database.execute(
            "CREATE VIRTUAL TABLE skill USING fts5(name, description, content='', tokenize='porter unicode61')"
        )
        self._database.executemany(
            "INSERT INTO skill(rowid, name, description) VALUES (?, ?, ?)", _numbered([*spelled, *fillers])
        )
        self._database.execute("INSERT INTO skill(skill) VALUES ('optimize')")

    def best(self, words: Sequence[str], most: int) -> list[int]:
        """Positions of what fits best: a name that is the query itself, then by bm25, then by position."""
        found = self._search(words, most)
        numbers = [number for number, score in found if score <= LEAST * found[0][1]]
        named = self._named.get(" ".join(words))
        if named is not None:
            numbers = [named, *(number for number in numbers if number != named)]
        return numbers[:most]

    def _search(self, words: Sequence[str], most: int) -> list[tuple[int, float]]:
        """Position and bm25 (lower is better), best first."""
        query = " OR ".join(
            f'name : "{word}"' if word in self._common else f'"{word}"' for word in dict.fromkeys(words)
        )
        with self._one_at_a_time:
            return self._database.execute(
                "SELECT rowid - 1, bm25(skill, ?, ?) AS score FROM skill"
                " WHERE skill MATCH ? AND rowid <= ? ORDER BY score, rowid LIMIT ?",
                (NAME_WEIGHT, DESCRIPTION_WEIGHT, query, self._count, most),
            ).fetchall()


@lru_cache(maxsize=KEPT)
def index_of(rows: tuple[Row, ...]) -> Index:
    return Index(rows)
