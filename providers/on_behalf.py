"""Databricks calls with the token of whoever is being answered, instead of the service's own.

The token that Databricks' proxy forwards: https://docs.databricks.com/dev-tools/databricks-apps/auth
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from providers.base import AuthError
from providers.http import Auth, bearer

ITSELF = object()
"""In the caller's place where the service acts for itself, as when it connects to its servers."""
caller: ContextVar[str | object] = ContextVar("caller", default="")
"""The caller's token; "" where there is none. Every task of a request inherits it."""
MISSING = (
    "the proxy has forwarded no token of the user's: give the app user_api_scopes (DATABRICKS_DEPLOYMENT.md, "
    "On behalf of the user)"
)


class OnBehalf:
    """The caller's token, and never the service's in its stead: that could do more than the caller may."""

    def __init__(self, own: Auth) -> None:
        self._own = own

    @property
    def is_callers(self) -> bool:
        return caller.get() is not ITSELF

    async def headers(self) -> Mapping[str, str]:
        token = caller.get()
        if token is ITSELF:
            return await self._own.headers()
        if not (isinstance(token, str) and token):
            error = AuthError(MISSING, provider="databricks", code="user_token_missing")
            error.callers = True
            raise error
        return await bearer(token).headers()

    def renew(self, sent: Mapping[str, str]) -> bool:
        return caller.get() is ITSELF and self._own.renew(sent)
