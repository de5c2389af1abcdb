"""Things that a client keeps for us and cannot change: reasoning with its signatures, summaries.

A sealed text is base64 of a SHA-256 HMAC and what it vouches for. It is not secret, only unforgeable: what a client
could make up would go to the provider as if a model had said it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


class Seal:
    """`key` is the service's own, the same in all its processes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, kind: str, data: bytes) -> str:
        return base64.urlsafe_b64encode(self._mark(kind, data) + data).decode()

    def open(self, kind: str, text: str) -> bytes | None:
        """The bytes; None where they are not ours, or not of this kind."""
        try:
            sealed = base64.urlsafe_b64decode(text.encode())
        except ValueError:
            return None
        mark, data = sealed[:32], sealed[32:]
        return data if hmac.compare_digest(mark, self._mark(kind, data)) else None

    def _mark(self, kind: str, data: bytes) -> bytes:
        return hmac.digest(self._key, kind.encode() + b"\0" + data, hashlib.sha256)
