"""How deep JSON goes: what is deeper than this can be read, but neither written again nor walked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DEEPEST = 100
"""Levels of a body, of what a provider sends and of a call's arguments. orjson writes 254, json about 990."""


def is_deeper(found: Any, levels: int = DEEPEST) -> bool:
    """Looked at level by level, as what comes deep would end a recursion."""
    level = [found]
    for _ in range(levels):
        level = [inner for each in level for inner in _below(each) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _below(found: Any) -> Iterable[Any]:
    return found.values() if isinstance(found, dict) else found
