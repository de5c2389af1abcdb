"""How long a provider may take, and how much it may say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

LONGEST_ANSWER = 32 << 20
"""Bytes of one answer."""
LONGEST_COMPLAINT = 64 << 10
"""Bytes of an error's body that are read."""
MOST_CALLS = 200
"""Tool calls of one answer."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: until a connection stands, until the first event of an answer, between bytes after it, and for a call
    with all its tries and waits. Until the first event an answer may be silent, as models that think are.
    """

    connect: float = 5.0
    first_byte: float = 300.0
    between_bytes: float = 60.0
    whole: float = 600.0


KNOWN: Mapping[str, Timeouts] = {
    # It sends pings while it waits, and thinks aloud.
    "anthropic": Timeouts(first_byte=180.0),
    # An endpoint that was scaled to zero takes minutes to come; a model is given 297 s:
    # https://docs.databricks.com/machine-learning/model-serving/model-serving-limits
    "databricks": Timeouts(first_byte=300.0, between_bytes=120.0),
    # An agent with turns of its own.
    "remote": Timeouts(first_byte=600.0, whole=math.inf),
    # A long prompt on a slow machine, after other requests.
    "local": Timeouts(first_byte=600.0, between_bytes=120.0, whole=math.inf),
}


def timeouts(provider: str, given: Mapping[str, float]) -> Timeouts:
    """`given` has seconds by a field's name, or by `provider.field`, which goes before."""
    found = KNOWN.get(provider, Timeouts())
    for prefix in ("", f"{provider}."):
        fields = {name: given[prefix + name] for name in Timeouts.__slots__ if prefix + name in given}
        found = replace(found, **fields)
    return found
