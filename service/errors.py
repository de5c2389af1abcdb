"""What a failure is to an HTTP client."""

from __future__ import annotations

from collections.abc import Sequence

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
from schemas import ApiError
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


def api_error(error: Exception, secrets: Sequence[str] = ()) -> ApiError:
    """`error` as the client may see it: no secret, no traceback."""
    match error:
        case ApiError():
            return error
        case ProviderError():
            return _of_provider(error, secrets)
        case SkillError():
            return ApiError(400, str(error), "skill_not_found", "skill_agent")
        case SettingsError():
            return ApiError(500, redacted(str(error), secrets), "misconfigured", type="api_error")
    return ApiError(500, "the server failed; its log says more", "internal_error", type="api_error")


def _of_provider(error: ProviderError, secrets: Sequence[str]) -> ApiError:
    status, kind = next(((s, k) for t, s, k in _STATUS if isinstance(error, t)), (502, "api_error"))
    if error.code == "upstream_timeout":
        status = 504
    elif error.code == "request_too_large":
        status = 413
    words = f"{error.provider}: {error.message}" if error.provider else error.message
    if error.request_id:
        words += f" (request {error.request_id})"
    # The call has been repeated here already: a client that repeats it too multiplies the load.
    headers = {"x-should-retry": "false"} if error.retryable or status >= 500 else {}
    if status in (429, 503):
        headers = {"retry-after": str(round(error.retry_after or 1) or 1)}
    return ApiError(status, redacted(words, secrets), error.code, error.param or None, kind, headers)


def redacted(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text
