"""Takes secrets out of texts: the values that are known, and in what people read also what looks like a key."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from threading import Lock
from urllib.parse import quote

MARK = "[redacted]"
SHORTEST = 6
"""Characters of a secret."""
MOST = 256
"""Values that are known only for a while, such as tokens; the oldest are forgotten."""
# "ollama", "lm-studio": keys of local servers are words that files and tools may hold for other reasons.
_WORD = re.compile(r"[A-Za-z_-]{1,11}")
# Each stretch of letters is looked at once, however it is made up: texts of strangers come to the log.
_FORMS = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic and their like
    r"|\bdapi[0-9a-f]{32}(?:-\d+)?"  # https://docs.databricks.com/dev-tools/auth/pat
    r"|\bdose[0-9a-f]{32}"  # secrets of Databricks' service principals
    r"|(?<![A-Za-z0-9_-])ey[A-Za-z0-9_-]{16,}+\.ey[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"  # RFC 7519
    r"|(?<=\bBearer )[A-Za-z0-9._~+/-]{16,}=*|(?<=\bBasic )[A-Za-z0-9+/]{16,}=*",  # RFC 6750, RFC 7617
)


class Redaction:
    """What is called with a text gives it back without the values it knows. Safe to be used by several threads.

    A value is also known as JSON, addresses and Basic authentication write it. A plain word, such as a weak password,
    is taken out of what is only read, and a short one is no secret: hiding it would hide half of what is said.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        secrets = tuple(secrets)
        self._lock = Lock()
        self._words = tuple(value for value in secrets if len(value) >= SHORTEST and _WORD.fullmatch(value))
        self._kept = tuple(_spelled(secrets))
        self._passing: dict[str, None] = {}
        self._all = self._kept

    def add(self, *secrets: str) -> None:
        """Values that have become known, such as a token that was fetched."""
        new = [value for value in _spelled(secrets) if value not in self._all]
        if not new:
            return
        with self._lock:
            self._passing |= dict.fromkeys(new)
            while len(self._passing) > MOST:
                del self._passing[next(iter(self._passing))]
            # The longest first, as one may be a part of another.
            self._all = tuple(sorted({*self._kept, *self._passing}, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """For all that may be gone on with, such as a file that a model edits: nothing but known values is taken."""
        for value in self._all:
            if value in text:
                text = text.replace(value, MARK)
        return text

    def whole(self, text: str) -> str:
        """For what is only read, such as the log: words and what has the form of a key are taken too."""
        text = self(text)
        for word in self._words:
            text = text.replace(word, MARK)
        return _FORMS.sub(MARK, text)


def _spelled(secrets: Iterable[str]) -> Iterator[str]:
    found = {form for value in secrets if is_secret(value) for form in _forms(value)}
    yield from sorted(found, key=len, reverse=True)


def is_secret(value: str) -> bool:
    return len(value) >= SHORTEST and not _WORD.fullmatch(value)


def _forms(value: str) -> Iterator[str]:
    """The value as it is, and as others write it."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="")
    yield b64encode(value.encode("utf-8", "replace")).decode().rstrip("=")
