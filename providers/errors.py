"""What a provider's error means: from its status, headers and body to the typed tree of `base`."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import orjson

from messages import clean
from nesting import DEEPEST, is_deeper
from providers.base import (
    AuthError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextOverflow,
    NotFound,
    Overloaded,
    ProviderDown,
    ProviderError,
    RateLimited,
)

MOST_TOKENS = 2**53
QUOTED = 500
"""Characters of a provider's own words that are passed on."""


def parse(data: bytes, provider: str) -> Any:
    """JSON of at most `DEEPEST` levels. Lone surrogates, which some servers cut an emoji into, are mended."""
    found = _parsed(data, provider)
    if data.count(b"[") + data.count(b"{") > DEEPEST and is_deeper(found):
        raise BadResponse(f"JSON nested more than {DEEPEST} levels deep", provider=provider)
    return found


def _parsed(data: bytes, provider: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        with suppress(ValueError, RecursionError):
            return orjson.loads(clean(json.dumps(json.loads(data), ensure_ascii=False)))
        raise BadResponse(f"not JSON ({error}): {quote(data)}", provider=provider) from error


@contextmanager
def readable(provider: str) -> Iterator[None]:
    """What a provider sends is not trusted to have the types of its dialect."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadResponse(f"not in the dialect: {quote(repr(error))}", provider=provider) from error


def string(value: object) -> str:
    """A provider's string, "" where it is null. Raises `TypeError` for anything else."""
    if value is None or isinstance(value, str):
        return value or ""
    raise TypeError(f"{type(value).__name__} where a string belongs")


def count(value: Any) -> int:
    """A provider's number of tokens, 0 where it is null or less. Raises `ValueError` for one that no JSON of ours could
    say.
    """
    found = int(value or 0)
    if found > MOST_TOKENS:
        raise ValueError("more tokens than there are")
    return max(found, 0)


def quote(words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return " ".join(text.split())[:QUOTED]


_OVERFLOW = (
    "context_length_exceeded",
    "exceed_context_size",
    "prompt is too long",
    "maximum context length",
    "context window",
    "input is too long",
    "too many input tokens",
)
_NO_RETRY = ("insufficient_quota", "enforced_spend_limit_reached")


def error_of(status: int, body: bytes, headers: Mapping[str, str] | None = None, provider: str = "") -> ProviderError:
    """The typed error for an HTTP answer that is not 2xx."""
    headers = headers or {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    error = error_in(found, status, provider) if isinstance(found, dict) else None
    if error is None:
        words = quote(body) or f"HTTP {status}"
        if 300 <= status < 400:
            words = f"redirected to {_where(headers.get('location', ''))}: is the credential valid for this host?"
        error = _typed(status, words, "", "", provider)
    error.request_id = next((headers[h] for h in ("x-request-id", "request-id", "apim-request-id") if h in headers), "")
    error.retry_after = _retry_after(headers)
    if (advice := headers.get("x-should-retry")) in ("true", "false") and error.code not in _NO_RETRY:
        error.retryable = advice == "true"
    return error


def error_in(payload: Mapping[str, Any], status: int, provider: str) -> ProviderError | None:
    """The error that a payload carries in any of the dialects' shapes, if it does.

    OpenAI, Anthropic: {"error": {"message", "type", "code", "param"}}; others {"error": "text"};
    Databricks: {"error_code", "message"}.
    """
    inner = payload.get("error")
    if isinstance(inner, str):
        inner = {"message": payload.get("error_description") or inner}
    if not isinstance(inner, dict):
        if "error_code" not in payload:
            return None
        inner = {"message": payload.get("message"), "code": payload["error_code"]}
    details = inner.get("details")
    detailed = details.get("error_code") if isinstance(details, dict) else ""
    code = inner.get("code") or detailed or inner.get("type") or ""
    if isinstance(code, int) or str(code).isdecimal():
        code = int(code)
        status, code = status if status >= 400 else code, inner.get("type") or ""
    kind = str(inner.get("type") or "")
    words = quote(str(inner.get("message") or inner.get("type") or code or "unknown error"))
    found = _typed(status if status >= 400 else _status_of(f"{kind} {code}"), words, str(code), kind, provider)
    found.param = str(inner.get("param") or "")
    return found


def _typed(status: int, words: str, code: str, kind: str, provider: str) -> ProviderError:
    given: dict[str, Any] = {"provider": provider, "status": status}
    named = f"{code} {kind}".lower()
    if status in (400, 413, 422) or "invalid_request" in named:
        text = f"{named} {words.lower()}"
        if any(mark in text for mark in _OVERFLOW):
            return ContextOverflow(words, **given)
        if "content_filter" in named or "responsibleai" in named:
            return ContentFiltered(words, **given)
    if status == 402:
        return RateLimited(words, code="insufficient_quota", retryable=False, **given)
    if status in (401, 403):
        return AuthError(words, code="upstream_permission_denied" if status == 403 else "", **given)
    if status == 404:
        return NotFound(words, **given)
    if status == 429:
        final = any(mark in named for mark in _NO_RETRY)
        return RateLimited(words, code="insufficient_quota" if final else "", retryable=not final, **given)
    if status in (503, 529):
        return Overloaded(words, **given)
    if status in (408, 409):
        return ProviderDown(words, code="upstream_timeout" if status == 408 else "upstream_conflict", **given)
    if 300 <= status < 400:
        return BadResponse(words, code="upstream_redirect", retryable=False, **given)
    if 400 <= status < 500:
        return BadRequest(words, code="request_too_large" if status == 413 else code, **given)
    return ProviderDown(words, code="upstream_timeout" if status == 504 else "server_error", **given)


def _status_of(name: str) -> int:
    """The HTTP status that an error inside a 200 stream would have had."""
    name = name.lower()
    known = {
        "overloaded": 529,
        "rate_limit": 429,
        "insufficient_quota": 429,
        "resource_exhausted": 429,
        "request_limit": 429,
        "authentication": 401,
        "invalid_api_key": 401,
        "permission": 403,
        "not_found": 404,
        "too_large": 413,
        "timeout": 504,
        "unavailable": 503,
        "content_filter": 400,
        "context_length": 400,
        "invalid_request": 400,
        "bad_request": 400,
    }
    return next((status for mark, status in known.items() if mark in name), 500)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms`, or `retry-after` as seconds or as an HTTP date."""
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
            if math.isfinite(seconds):
                return max(seconds, 0.0)
        except ValueError:
            with suppress(ValueError, OverflowError):
                date = email.utils.parsedate_tz(value)
                if date is not None:
                    return max(email.utils.mktime_tz(date) - time.time(), 0.0)
    return None


def _where(url: str) -> str:
    """A redirect's target without its query, which may hold a token."""
    return quote(url.partition("?")[0]) or "nowhere"
