"""What a failure is to an HTTP client."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from agent.structured import SchemaError
from bodies import ApiError
from providers.base import (
    AuthError,
    BadRequest,
    BadResponse,
    NotFound,
    Overloaded,
    ProviderDown,
    ProviderError,
    RateLimited,
)
from settings import SettingsError
from skill_store import SkillError

# 502 and not 401 where the provider refuses our key: the client's own is fine.
_STATUS: Sequence[tuple[type[ProviderError], int, str]] = (
    (AuthError, 502, "api_error"),
    (BadRequest, 400, "invalid_request_error"),
    (NotFound, 404, "invalid_request_error"),
    (RateLimited, 429, "rate_limit_error"),
    (Overloaded, 503, "api_error"),
    (ProviderDown, 502, "api_error"),
    (BadResponse, 502, "api_error"),
)
LONGEST_WAIT = 120
"""Seconds; OpenAI's clients do not try again at all where they are told more."""


def api_error(error: Exception, redact: Callable[[str], str] = str) -> ApiError:
    """`error` as the client may see it: no traceback, and its words as `redact` leaves them."""
    match error:
        case ApiError():
            return error
        case ProviderError():
            return _of_provider(error, redact)
        case SkillError():
            return ApiError(400, str(error), "skill_not_found", "skill_agent")
        case SchemaError():
            return ApiError(400, str(error), "invalid_value", "response_format.json_schema.schema")
        case SettingsError():
            return ApiError(500, redact(str(error)), "misconfigured", type="api_error")
    return ApiError(500, "the server failed; its log says more", "internal_error", type="api_error")


def _of_provider(error: ProviderError, redact: Callable[[str], str]) -> ApiError:
    status, kind = next(((s, k) for t, s, k in _STATUS if isinstance(error, t)), (502, "api_error"))
    if error.code in ("upstream_timeout", "deadline_exceeded"):
        status = 504
    elif error.code == "request_too_large":
        status = 413
    elif error.callers and error.status in (401, 403):
        status, kind = error.status, "invalid_request_error"
    words = f"{error.provider}: {error.message}" if error.provider else error.message
    if error.request_id:
        words += f" (request {error.request_id})"
    words, code, param = map(redact, (words, error.code, error.param))
    return ApiError(status, words, code, param or None, kind, _advice(error, status))


def _advice(error: ProviderError, status: int) -> dict[str, str]:
    """Whether, and when, the client should try again."""
    passing = status in (429, 503) and error.retryable
    waits = {"retry-after": str(min(math.ceil(error.retry_after or 0) or 1, LONGEST_WAIT))} if passing else {}
    # The call has been repeated here already, as often as helps: a client that repeats it too multiplies the load.
    final = status >= 500 or (status == 429 and (error.tried > 1 or not error.retryable))
    return waits | ({"x-should-retry": "false"} if final else {})
