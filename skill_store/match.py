"""Pick the skill that a request is about, for models too small to pick one by calling a tool."""

from __future__ import annotations

import math
from collections.abc import Iterable

from skill_store.index import S, index_of, offered, query_words

THRESHOLD = 1.5
"""Least score, in hits of a word that only one skill has: one such word in a name scores about 2, one in
a description about 1.2. So a name's word or two words of a description pick a skill, a chance word not."""
FREE_WORDS = 12
"""Different words beyond which a request has to score more, since long texts hit words by chance."""


def match(query: str, skills: Iterable[S]) -> S | None:
    """The skill whose name and description fit the request best, or None below THRESHOLD.

    Any text is a fit query: it is split into words before it comes near the search syntax.
    """
    candidates, words = offered(skills), set(query_words(query))
    if not candidates or not words:
        return None
    index = index_of(candidates)
    found = index.search(words, 1)
    needed = THRESHOLD * max(1.0, math.sqrt(len(words) / FREE_WORDS))
    return candidates[found[0][0]] if found and -found[0][1] / index.rarest >= needed else None
