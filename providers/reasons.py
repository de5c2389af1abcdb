"""Why a connection failed, in a person's words instead of those of the libraries below."""

from __future__ import annotations

import re

_REASONS = (
    ("certificate", "its certificate is not one that this machine trusts"),
    ("refused|connect call failed", "nothing listens there"),
    ("not known|no such host|getaddrinfo|no address|name resolution|dns", "there is no such host"),
    ("unreachable|no route", "there is no way to it from here"),
    ("reset|disconnected|not completed|closed|broken pipe|eof|incomplete", "the connection was lost"),
    ("timeout|timed out", "there was no answer in time"),
)


def plain(words: str) -> str:
    """The reason that the words speak of; without one of those known, they themselves but for the error's name."""
    for mark, reason in _REASONS:
        if re.search(mark, words, re.I):
            return reason
    return re.sub(r"^\w+(Error|Exception|Timeout): ", "", words)
