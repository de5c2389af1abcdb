"""What the names and descriptions of skills are searched with: SQLite's FTS5 in memory (https://www.sqlite.org/fts5.html).

An index is built once for what a catalog says, and kept: a thousand skills take 0.2 s to index, and a few milliseconds
to search.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from threading import Lock
from typing import Protocol, TypeAlias, TypeVar

from skill_store.rules import MAX_DESCRIPTION, MAX_NAME

KEPT = 4
"""Indexes that are kept: of the whole catalog, and of the parts that requests narrow it to. One of a thousand
skills takes 3 MB, and one of the most that a scan finds, all with the longest descriptions, 12 MB."""
NAME_WEIGHT, DESCRIPTION_WEIGHT = 10.0, 0.5
FEWEST_FILLERS = 40
MAX_QUERY = 400
"""Characters looked at, from each end of the query: pasted text stands before or after the task."""

# Words of requests and of descriptions that say nothing about the subject, in a few languages.
_COMMON = """
a about after all also am an and any are as at back be because been before being best but by can
come could create day did do does done down each even every explain find first fix for from get
give go good had has have he hello help her here hey hi him his how i if in into is it its just
know let like list little look lot make many may me more most much must my need new next no not
now number of off ok okay on one only or other our out over own part people place please put
question read really right said say see she short shorter show so some something still such take
talk tell text than thank thanks that the their them then there these they thing things think
this time to today too try two up us use used user users using very want was way we well were
what when where whether which while who why will wish with work would write writes yes yet you
your answer ask asks long longer again provide provides request requests task tasks
el la los las de del un una y en que por para con der die das und ein eine ist nicht mit zu le les
des et une est dans pour il lo di che non per o um os
"""
# British spellings; both sides are folded alike, so that a word without a twin loses nothing.
_FOLDS = (
    (re.compile(r"(?<=\w\w)our"), "or"),
    (re.compile(r"(?<=\w\w)([iy])s(?=e|ing|ation)"), r"\1z"),
)


Row: TypeAlias = tuple[str, str]
Found: TypeAlias = list[tuple[int, float]]


class Described(Protocol):
    """What a skill has to say of itself to be found."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def hidden(self) -> bool: ...


S = TypeVar("S", bound=Described)


class Index:
    """Names and descriptions that can be searched, by their position, from several threads."""

    def __init__(self, rows: Sequence[Row]) -> None:
        import sqlite3

        spelled = [(" ".join(_words(name)), " ".join(_words(description))) for name, description in rows]
        # A word's weight falls to nothing once half of the rows have it. So there are more fillers than
        # skills: common words weigh nothing, and the others weigh something even among two skills.
        fillers = max(FEWEST_FILLERS, len(rows) + 1)
        self.common = frozenset(_words(_COMMON))
        self.rarest = math.log((len(rows) + fillers - 0.5) / 1.5)
        """The weight of a word that one row has."""
        self._count = len(rows)
        self._named = {name: number for number, (name, _) in reversed(list(enumerate(spelled)))}
        self._one_at_a_time = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        # It may leave the cache while another thread still searches it, so only the last user's end closes it.
        weakref.finalize(self, self._database.close)
        self._fill([*spelled, *[(" ".join(_words(_COMMON)), "")] * fillers])

    def _fill(self, rows: Sequence[Row]) -> None:
        numbered = ((number, name, description) for number, (name, description) in enumerate(rows, 1))
        self._database.execute(
            "CREATE VIRTUAL TABLE skill USING fts5(name, description, content='', tokenize='porter unicode61')"
        )
        self._database.executemany("INSERT INTO skill(rowid, name, description) VALUES (?, ?, ?)", numbered)
        self._database.execute("INSERT INTO skill(skill) VALUES ('optimize')")

    def named(self, words: Sequence[str]) -> int | None:
        """The position of the name that is made of these words."""
        return self._named.get(" ".join(words))

    def search(self, words: Iterable[str], most: int, names_only: Set[str] = frozenset()) -> Found:
        """Position and bm25 (lower is better) of the rows with any of the words, best first.

        `names_only` are the words that do not count in descriptions.
        """
        query = " OR ".join(f'name : "{word}"' if word in names_only else f'"{word}"' for word in dict.fromkeys(words))
        with self._one_at_a_time:
            return self._database.execute(
                "SELECT rowid - 1, bm25(skill, ?, ?) AS score FROM skill"
                " WHERE skill MATCH ? AND rowid <= ? ORDER BY score, rowid LIMIT ?",
                (NAME_WEIGHT, DESCRIPTION_WEIGHT, query, self._count, most),
            ).fetchall()


def offered(skills: Iterable[S]) -> list[S]:
    """Those that the model may know of, by name."""
    return sorted((skill for skill in skills if not skill.hidden), key=lambda skill: skill.name)


def index_of(skills: Sequence[Described]) -> Index:
    """The texts are the key, so that equal catalogs share an index, and no changed one ever finds a stale one."""
    return _index(tuple((skill.name[:MAX_NAME], skill.description[:MAX_DESCRIPTION]) for skill in skills))


@lru_cache(maxsize=KEPT)
def _index(rows: tuple[Row, ...]) -> Index:
    return Index(rows)


def query_words(query: str) -> list[str]:
    """Any text as words that the search syntax cannot mistake."""
    return _words(f"{query[:MAX_QUERY]} {query[MAX_QUERY:][-MAX_QUERY:]}")


def _words(text: str) -> list[str]:
    text = text.lower()
    for pattern, spelling in _FOLDS:
        text = pattern.sub(spelling, text)
    return re.findall(r"[^\W_]+", text)
