"""Pick the skill that a request is about, for models too small to pick one by calling a tool."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

THRESHOLD = 1.5
"""Least score, in hits of a word that only one skill has: one such word in a name scores about 2, one in
a description about 1.2. So a name's word or two words of a description pick a skill, a chance word not."""

NAME_WEIGHT, DESCRIPTION_WEIGHT = 10.0, 0.5
FEWEST_FILLERS = 40
MAX_QUERY = 400
"""Characters looked at, from each end of the request: pasted text stands before or after the task."""
FREE_WORDS = 12
"""Different words beyond which a request has to score more, since long texts hit words by chance."""

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


class Described(Protocol):
    """What a skill has to say of itself to be found."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def hidden(self) -> bool: ...


S = TypeVar("S", bound=Described)


def match(query: str, skills: Sequence[S]) -> S | None:
    """The skill whose name and description fit the request best, or None below THRESHOLD.

    Any text is a fit query: it is split into words before it comes near the search syntax.
    """
    candidates = sorted((skill for skill in skills if not skill.hidden), key=lambda skill: skill.name)
    words = list(dict.fromkeys(_words(f"{query[:MAX_QUERY]} {query[MAX_QUERY:][-MAX_QUERY:]}")))
    if not candidates or not words:
        return None
    index, score = _best(words, candidates)
    needed = THRESHOLD * max(1.0, math.sqrt(len(words) / FREE_WORDS))
    return candidates[index] if score >= needed else None


def _best(words: Sequence[str], skills: Sequence[Described]) -> tuple[int, float]:
    """The index of the best skill and its score, in hits of a word that one row has."""
    rows = [(" ".join(_words(skill.name)), " ".join(_words(skill.description))) for skill in skills]
    # A word's weight falls to nothing once half of the rows have it. So there are more fillers than
    # skills: common words weigh nothing, and the others weigh something even among two skills.
    fillers = max(FEWEST_FILLERS, len(rows) + 1)
    found = _search(words, rows + [("", " ".join(_words(_COMMON)))] * fillers, len(rows))
    rarest = math.log((len(rows) + fillers - 0.5) / 1.5)
    return (found[0], -found[1] / rarest) if found else (0, 0.0)


def _search(words: Iterable[str], rows: Sequence[tuple[str, str]], count: int) -> tuple[int, float] | None:
    """Index and bm25 (lower is better) of the best among the first `count` rows."""
    import sqlite3
    from contextlib import closing

    query = " OR ".join(f'"{word}"' for word in words)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE skill USING fts5(name, description, tokenize='porter unicode61')")
        database.executemany("INSERT INTO skill(rowid, name, description) VALUES (?, ?, ?)", _numbered(rows))
        found: tuple[int, float] | None = database.execute(
            "SELECT rowid - 1, bm25(skill, ?, ?) AS score FROM skill"
            " WHERE skill MATCH ? AND rowid <= ? ORDER BY score, rowid LIMIT 1",
            (NAME_WEIGHT, DESCRIPTION_WEIGHT, query, count),
        ).fetchone()
    return found


def _numbered(rows: Iterable[tuple[str, str]]) -> Iterable[tuple[int, str, str]]:
    return ((number, name, description) for number, (name, description) in enumerate(rows, 1))


def _words(text: str) -> list[str]:
    text = text.lower()
    for pattern, spelling in _FOLDS:
        text = pattern.sub(spelling, text)
    return re.findall(r"[^\W_]+", text)
