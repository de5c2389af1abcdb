"""The faults of the upstream: for each case the reply to a request, in whatever dialect it came.

Those with `before` and `after` in their names come before and after the first word.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, repeat
from typing import TypeAlias

from benchmarks.reliability.replies import FOREVER, TEXT, Asked, Reply, Step, answer, calling, good, refused

MIB = 1 << 20
FRAMES, EVERY = 50, 0.1
"""Of a steady stream."""
Script: TypeAlias = Callable[[Asked], Reply]
SCRIPTS: dict[str, Script] = {}


def script(name: str) -> Callable[[Script], Script]:
    def kept(function: Script) -> Script:
        SCRIPTS[name] = function
        return function

    return kept


# Answers that are right

SCRIPTS["ok"] = good


@script("steady")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    return Reply(200, chain([d.begun()], [d.words("word "), EVERY] * FRAMES, [d.end("stop")]), {"content-type": d.kind})


@script("short")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    pieces = [step for _ in range(10) for step in (d.words("word "), 0.15)]
    return answer(asked, d.begun(), *pieces, d.end("stop"))


@script("long")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    return Reply(200, chain([d.begun()], _again(d.words("word "), 0.2)), {"content-type": d.kind})


@script("hold")
def _(asked: Asked) -> Reply:
    """Slow enough not to cost anything, and alive enough not to be given up."""
    d = asked.dialect
    return Reply(200, chain([d.begun(), d.words("word ")], _again(d.words("word "), 0.5)), {"content-type": d.kind})


@script("gush")
def _(asked: Asked) -> Reply:
    """As fast as it can, without end."""
    d = asked.dialect
    return Reply(200, chain([d.begun()], repeat(d.words("word " * 800))), {"content-type": d.kind})


@script("outage")
def _(asked: Asked) -> Reply:
    return refused(asked, 503, "overloaded_error") if asked.outage else good(asked)


def _again(data: bytes, pause: float) -> Iterator[Step]:
    while True:
        yield data
        yield pause


# The wire: 6 to 15


@script("silence")
def _(asked: Asked) -> Reply:
    return Reply(0, [FOREVER])


@script("pings")
def _(asked: Asked) -> Reply:
    return Reply(200, _again(asked.dialect.ping(), 0.1), {"content-type": asked.dialect.kind})


@script("stall_before")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), FOREVER)


@script("stall_after")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), asked.dialect.words("Two words"), FOREVER)


SCRIPTS["drip_after"] = SCRIPTS["long"]


@script("cut_before")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), end="fin")


@script("cut_after")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), asked.dialect.words("Two words"), 0.1, end="fin")


@script("reset_before")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), 0.1, end="rst")


@script("reset_after")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), asked.dialect.words("Two words"), 0.1, end="rst")


@script("ends_before")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun())


@script("ends_after")
def _(asked: Asked) -> Reply:
    """The body ends with its connection, which looks like a normal end."""
    d = asked.dialect
    return Reply(200, [d.begun(), d.words("Two words"), 0.1], {"content-type": d.kind}, framing="close")


@script("malformed_before")
def _(asked: Asked) -> Reply:
    return answer(asked, b"data: {oops\n\n", asked.dialect.end("stop"))


@script("malformed_after")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    return answer(asked, d.begun(), d.words("Two words"), b"data: {oops\n\n", d.end("stop"))


@script("unknown")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    return answer(asked, d.odd(), d.begun(), d.odd(), d.words(TEXT), d.end("stop"))


@script("page")
def _(asked: Asked) -> Reply:
    return Reply(200, [b"<!doctype html><title>Sign in</title>"], {"content-type": "text/html"})


@script("error_as_200")
def _(asked: Asked) -> Reply:
    body = refused(asked, 200, "overloaded_error", words="Overloaded")
    return Reply(200, body.steps, body.headers)


@script("redirect")
def _(asked: Asked) -> Reply:
    return Reply(302, [b""], {"location": "https://login.invalid/?token=1"})


# Refusals: 16 to 30

REFUSALS: dict[str, tuple[int, str, str, str]] = {
    "400": (400, "invalid_request_error", "", "No."),
    "too_long": (400, "invalid_request_error", "context_length_exceeded", "prompt is too long: 9 tokens > 8 maximum"),
    "401": (401, "authentication_error", "invalid_api_key", "The key is wrong."),
    "403": (403, "permission_error", "permission_denied", "Not for you."),
    "404": (404, "not_found_error", "model_not_found", "No such model."),
    "408": (408, "timeout_error", "", "Too slow."),
    "409": (409, "conflict_error", "", "Conflict."),
    "413": (413, "request_too_large", "", "Too large."),
    "422": (422, "invalid_request_error", "", "Cannot be processed."),
    "quota": (429, "rate_limit_error", "insufficient_quota", "You exceeded your current quota."),
    "500": (500, "api_error", "", "Oh."),
    "502": (502, "api_error", "", "Oh."),
    "504": (504, "api_error", "", "Oh."),
    "503": (503, "overloaded_error", "", "Busy."),
    "529": (529, "overloaded_error", "", "Overloaded"),
    "filter_status": (400, "invalid_request_error", "content_filter", "The content was filtered."),
}


def _refusal(status: int, kind: str, code: str, words: str) -> Script:
    return lambda asked: refused(asked, status, kind, code, words)


SCRIPTS |= {name: _refusal(*told) for name, told in REFUSALS.items()}


@script("quota")
def _(asked: Asked) -> Reply:
    """Anthropic says it in its details: https://platform.claude.com/docs/en/api/rate-limits"""
    if asked.provider != "anthropic":
        return _refusal(*REFUSALS["quota"])(asked)
    error = {"type": "rate_limit_error", "message": "Spent.", "details": {"error_code": "enforced_spend_limit_reached"}}
    body = json.dumps({"type": "error", "error": error}).encode()
    return Reply(429, [body], {"content-type": "application/json"})


@script("limit_soon")
def _(asked: Asked) -> Reply:
    return refused(asked, 429, "rate_limit_error", "rate_limit_exceeded", retry_after_ms="100")


@script("limit_later")
def _(asked: Asked) -> Reply:
    return refused(asked, 429, "rate_limit_error", "rate_limit_exceeded", retry_after="3600")


@script("key_said_back")
def _(asked: Asked) -> Reply:
    """`upstream` puts the request's own key in place of KEY."""
    return refused(asked, 401, "authentication_error", "invalid_api_key", "The key KEY is wrong.")


@script("overloaded_before")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.failed())


@script("overloaded_after")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    return answer(asked, d.begun(), d.words("Two words"), d.failed())


@script("window")
def _(asked: Asked) -> Reply:
    return good(asked, reason="model_context_window_exceeded" if asked.provider == "anthropic" else "length")


@script("filter_end")
def _(asked: Asked) -> Reply:
    return good(asked, "Two words", "content_filter")


# Answers that are odd: 31 to 35, 37 to 39


@script("empty_choices")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    filters = (
        b'data: {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}\n\n'
    )
    return answer(asked, filters, d.begun(), filters, d.words(TEXT), d.end("stop"))


@script("nothing")
def _(asked: Asked) -> Reply:
    return answer(asked, asked.dialect.begun(), asked.dialect.end("stop"))


@script("bad_arguments")
def _(asked: Asked) -> Reply:
    return good(asked) if asked.results else calling(asked, ("call_1", "ls", '{"path": '))


@script("bad_arguments_always")
def _(asked: Asked) -> Reply:
    return calling(asked, (f"call_{asked.attempt}", "ls", '{"path": '))


@script("unknown_tool")
def _(asked: Asked) -> Reply:
    return good(asked) if asked.results else calling(asked, ("call_1", "no_such_tool", {}))


@script("same_ids")
def _(asked: Asked) -> Reply:
    files = [("call_1", "write_file", {"path": name, "content": name}) for name in ("a", "b")]
    return good(asked) if asked.results else calling(asked, *files)


@script("no_ids")
def _(asked: Asked) -> Reply:
    files = [("", "write_file", {"path": name, "content": name}) for name in ("a", "b")]
    return good(asked) if asked.results else calling(asked, *files)


def _running(name: str) -> Script:
    arguments = {"skill": "faulty", "script": f"scripts/{name}.py"}
    return lambda asked: good(asked) if asked.results else calling(asked, ("call_1", "run_skill_script", arguments))


SCRIPTS |= {f"script_{name}": _running(name) for name in ("crash", "flood", "sleep", "quick", "mark")}


@script("loop")
def _(asked: Asked) -> Reply:
    return calling(asked, (f"call_{asked.attempt}", "ls", {}))


@script("tool_then_long")
def _(asked: Asked) -> Reply:
    """A script, then an answer; during an outage it has no end."""
    if not asked.results:
        return SCRIPTS["script_mark"](asked)
    return SCRIPTS["long"](asked) if asked.outage else good(asked)


@script("dropped")
def _(asked: Asked) -> Reply:
    """The connection that was kept alive closes under the first request that it gets."""
    return Reply(0, (), end="fin") if asked.reused and asked.attempt == 1 else good(asked)


@script("big_event")
def _(asked: Asked) -> Reply:
    return good(asked, _long_words(9 * MIB))


@script("big_answer")
def _(asked: Asked) -> Reply:
    d = asked.dialect
    piece = d.words(_long_words(MIB // 2))
    return answer(asked, d.begun(), *[piece] * 68, d.end("stop"))


@script("many_calls")
def _(asked: Asked) -> Reply:
    return calling(asked, *[(f"call_{number}", "price", {}) for number in range(201)])


@script("gzip_bomb")
def _(asked: Asked) -> Reply:
    return Reply(200, [_bomb()], {"content-type": asked.dialect.kind, "content-encoding": "gzip"})


@cache
def _long_words(size: int) -> str:
    return "words " * (size // 6)


@cache
def _bomb() -> bytes:
    """64 MB of one event in 300 KB."""
    return gzip.compress(b"data: " + b" " * (64 * MIB), 1)
