"""The fault table: what a client hears of each fault, and how often the provider is asked.

Rows 1 to 42 with their cases; the cases are `scripts` of the upstream. A row is tried in each dialect, on each surface,
streamed and whole; it holds in a cell where all of its cases do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmarks.reliability.replies import TEXT

TURNS = 6
"""SKILL_AGENT_MAX_TURNS of the services that are tried."""
LONGEST_RESULT = 20_000
"""Characters of a tool's result that the model may be sent."""
CHATS = ("openai", "azure", "databricks")
Seen: TypeAlias = Sequence[dict[str, Any]]
Check: TypeAlias = Callable[[Seen], str]
"""What is wrong with the requests that the upstream has seen, "" for nothing."""


@dataclass(frozen=True, slots=True)
class Case:
    """`status` and `code` where the fault is told, else `finish` and `text`.

    `attempts`: the fewest and the most requests to the provider. `after`: the fault comes after the first word, so that
    a stream has begun: it is told in band, and the provider is not asked again. `agent`: asked of the agent.
    """

    script: str
    status: int = 200
    code: str = ""
    attempts: tuple[int, int] = (1, 1)
    after: bool = False
    finish: str = "stop"
    text: str = TEXT
    headers: tuple[str, ...] = ()
    agent: bool = False
    only: tuple[str, ...] = ()
    check: Check | None = None

    @property
    def codes(self) -> list[str]:
        return self.code.split("|")


@dataclass(frozen=True, slots=True)
class Row:
    """`where`: what of the upstream is asked (see `service.Upstream.at`), or another scene (see `faults`)."""

    number: int
    fault: str
    cases: tuple[Case, ...]
    where: str = "port"


ONCE, TWICE, THRICE = (1, 1), (2, 2), (3, 3)
UNSEEN = (0, 0)
RETRY_AFTER = ("retry-after",)


def _of(number: int, fault: str, *cases: Case, where: str = "port") -> Row:
    return Row(number, fault, cases, where)


def _both(name: str, status: int, code: str, attempts: tuple[int, int]) -> tuple[Case, Case]:
    return Case(f"{name}_before", status, code, attempts), Case(f"{name}_after", status, code, attempts, after=True)


def _names_a_tool(seen: Seen) -> str:
    """Of the tools that there are."""
    told = " ".join(text for _, text in seen[-1]["results"]) if seen else ""
    return "" if "read_file" in told else f"the model is not told which tools there are: {told[:80]!r}"


def _each_once(seen: Seen) -> str:
    ids = [id for id, _ in seen[-1]["results"]] if seen else []
    return "" if len(ids) == len(set(ids)) == 2 else f"results have the ids {ids}"


def _short_error(word: str) -> Check:
    def check(seen: Seen) -> str:
        told = " ".join(text for _, text in seen[-1]["results"]) if seen else ""
        if len(told) > LONGEST_RESULT:
            return f"a result of {len(told)} characters"
        return "" if word in told else f"the model is told {told[:80]!r}"

    return check


def _plain(seen: Seen) -> str:
    return "" if all(each["encoding"] in ("", "identity") for each in seen) else "it asks for compressed answers"


ROWS = (
    _of(1, "connection refused", Case("ok", 502, "upstream_unreachable", UNSEEN), where="closed"),
    _of(2, "no such host", Case("ok", 502, "upstream_unreachable", UNSEEN), where="dns"),
    _of(3, "certificate that nobody has signed", Case("ok", 502, "upstream_tls_error", UNSEEN), where="tls"),
    _of(4, "connection neither taken nor refused", Case("ok", 504, "upstream_timeout", UNSEEN), where="hole"),
    _of(5, "too much work already", Case("ok", 503, "overloaded", UNSEEN, headers=RETRY_AFTER), where="full"),
    _of(6, "no response head", Case("silence", 504, "upstream_timeout", TWICE)),
    _of(7, "pings and no event", Case("pings", 504, "upstream_timeout", TWICE)),
    _of(8, "silence within the answer", *_both("stall", 504, "upstream_timeout", (2, 3))),
    _of(9, "answer that drips past the deadline", Case("drip_after", 504, "deadline_exceeded", ONCE, after=True)),
    _of(
        10,
        "body cut or connection reset",
        *_both("cut", 502, "upstream_disconnected", THRICE),
        *_both("reset", 502, "upstream_disconnected", THRICE),
    ),
    _of(11, "clean end without the mark of the end", *_both("ends", 502, "upstream_truncated", THRICE)),
    _of(12, "malformed JSON in an event", *_both("malformed", 502, "upstream_bad_response", THRICE)),
    _of(13, "unknown events and fields", Case("unknown")),
    _of(
        14,
        "200 with a web page, 200 with an error",
        Case("page", 502, "upstream_bad_response", THRICE),
        Case("error_as_200", 503, "overloaded", THRICE, headers=RETRY_AFTER),
    ),
    _of(15, "redirect", Case("redirect", 502, "upstream_redirect")),
    _of(16, "400", Case("400", 400, "*")),
    _of(
        17,
        "conversation longer than the window",
        Case("too_long", 400, "context_length_exceeded"),
        Case("window", finish="length"),
    ),
    _of(
        18,
        "401, also with the key said back",
        Case("401", 502, "upstream_auth_error"),
        Case("key_said_back", 502, "upstream_auth_error"),
    ),
    _of(19, "403", Case("403", 502, "upstream_permission_denied")),
    _of(20, "404", Case("404", 404, "model_not_found")),
    _of(21, "408", Case("408", 504, "upstream_timeout", THRICE)),
    _of(22, "409", Case("409", 502, "upstream_conflict", THRICE)),
    _of(23, "413", Case("413", 413, "request_too_large")),
    _of(24, "422", Case("422", 400, "*")),
    _of(
        25,
        "429 for a moment",
        Case("limit_soon", 429, "rate_limit_exceeded", THRICE, headers=RETRY_AFTER),
    ),
    _of(26, "429 for an hour", Case("limit_later", 429, "rate_limit_exceeded", headers=RETRY_AFTER)),
    _of(27, "429 because the quota is spent", Case("quota", 429, "insufficient_quota", headers=("x-should-retry",))),
    _of(
        28,
        "500, 502, 504",
        Case("500", 502, "server_error", THRICE),
        Case("502", 502, "server_error", THRICE),
        Case("504", 504, "server_error|upstream_timeout", THRICE),
    ),
    _of(
        29,
        "503, 529, overload said in band",
        Case("503", 503, "overloaded", THRICE, headers=RETRY_AFTER),
        Case("529", 503, "overloaded", THRICE, headers=RETRY_AFTER),
        *_both("overloaded", 503, "overloaded", THRICE),
    ),
    _of(
        30,
        "content filter",
        Case("filter_status", 400, "content_filter", only=CHATS),
        Case("filter_end", finish="content_filter", text="Two words"),
    ),
    _of(31, "chunks without choices", Case("empty_choices", only=CHATS)),
    _of(32, "answer with nothing in it", Case("nothing", 502, "upstream_empty_response", TWICE)),
    _of(
        33,
        "tool call that is not JSON, once and always",
        Case("bad_arguments", attempts=TWICE, agent=True),
        Case("bad_arguments_always", attempts=(3, 4), finish="length", text="", agent=True),
    ),
    _of(34, "tool that does not exist", Case("unknown_tool", attempts=TWICE, agent=True, check=_names_a_tool)),
    _of(
        35,
        "calls with the same id, and with none",
        Case("same_ids", attempts=TWICE, agent=True, check=_each_once),
        Case("no_ids", attempts=TWICE, agent=True, check=_each_once),
    ),
    _of(
        36,
        "script that crashes, or writes without end",
        Case("script_crash", attempts=TWICE, agent=True, check=_short_error("it broke")),
        Case("script_flood", attempts=TWICE, agent=True, check=_short_error("a line of output")),
    ),
    _of(37, "kept-alive connection that closes", Case("dropped", attempts=TWICE), where="kept"),
    _of(
        38,
        "event, answer, number of calls too large",
        Case("big_event", 502, "upstream_response_too_large"),
        Case("big_answer", 502, "upstream_response_too_large", after=True),
        Case("many_calls", 502, "upstream_response_too_large", after=True),
    ),
    _of(
        39,
        "compressed bomb",
        Case("gzip_bomb", 502, "upstream_bad_response|upstream_response_too_large", (1, 3), check=_plain),
    ),
    _of(40, "client that leaves", Case("stall_after"), where="leaving"),
    _of(41, "SIGTERM", Case("short", text="word word"), where="drain"),
    _of(42, "limit of the agent's turns", Case("loop", attempts=(TURNS, TURNS), finish="length", text="", agent=True)),
)
