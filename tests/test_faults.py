"""The table of a provider's faults: what each is to a client, in every dialect, on both surfaces, streamed and whole.

The model's name says which fault the upstream plays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from providers.anthropic import Messages
from providers.base import ModelInfo, Provider, ProviderError
from providers.http import Http, bearer
from providers.limits import Timeouts
from providers.openai import ChatCompletions
from providers.remote import RemoteAgent
from tests.asking import Heard, ask
from tests.responses import RESPONSES, read_events
from tests.surface import HI, Json, Service, read_error, read_stream, service
from tests.upstream import Received, Reply, Upstream, chat_chunks, claude_events, json_reply, sse, text_reply

KEY = "sk-the-right-key"
AT_ONCE = {"retry-after-ms": "1"}
PING = b": ping\n\n"
LONG = b"x" * 66_000


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a provider says things on its wire. `begun` opens an answer, `said` has words in it."""

    name: str
    begun: list[Json]
    said: list[Json]
    answer: Callable[..., list[Json]]
    error: Callable[[str, str], Json]

    def refuses(self, status: int, code: str = "", words: str = "no", headers: Mapping[str, str] = AT_ONCE) -> Reply:
        return json_reply(self.error(code, words), status, headers)

    def streams(self, payloads: Iterable[object], done: bool = False) -> Reply:
        return sse(payloads, done=done, events=self.answer is claude_events)


def _openai_error(code: str, words: str) -> Json:
    return {"error": {"message": words, "type": code or "x", "code": code or None, "param": None}}


def _claude_error(code: str, words: str) -> Json:
    return {"type": "error", "error": {"type": code or "x", "message": words}}


def _databricks_error(code: str, words: str) -> Json:
    return {"error_code": code or "X", "message": words}


CHAT = chat_chunks("Two words", finish="", usage=None)
CLAUDE = claude_events("Two words", stop="")[:-1]
DIALECTS = {
    "openai": Dialect("openai", CHAT[:1], CHAT, chat_chunks, _openai_error),
    "azure": Dialect("azure", CHAT[:1], CHAT, chat_chunks, _openai_error),
    "anthropic": Dialect("anthropic", CLAUDE[:3], CLAUDE, claude_events, _claude_error),
    "databricks": Dialect("databricks", CHAT[:1], CHAT, chat_chunks, _databricks_error),
    "databricks/claude": Dialect("databricks/claude", CLAUDE[:3], CLAUDE, claude_events, _databricks_error),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`row` is that of the table. `tries`: how often a call is made that meets with nothing else."""

    row: str
    reply: Callable[[Dialect], Reply]
    status: int
    code: str
    tries: int = 1
    wait: str | None = None


def _calls(dialect: Dialect) -> list[Json]:
    """An answer with one call too many."""
    uses: list[tuple[str, str, Json]] = [(f"c{n}", "price", {}) for n in range(201)]
    if dialect.answer is claude_events:
        return claude_events(tool_uses=uses)
    return chat_chunks(tool_calls=[(id, name, "{}") for id, name, _ in uses])


LIMITED, LATER = {"retry-after": "0"}, {"retry-after": "31"}
SILENT = [
    Fault("6 no head", lambda d: Reply(0, stall=True), 504, "upstream_timeout", 2),
    Fault("6 no body", lambda d: d.streams([]).but(stall=True), 504, "upstream_timeout", 2),
    Fault("7 pings", lambda d: d.streams([*d.begun, *[PING, 0.1] * 40]).but(stall=True), 504, "upstream_timeout", 2),
    Fault("8 stall", lambda d: d.streams(d.begun).but(stall=True), 504, "upstream_timeout", 2),
]
"""Before the first word; the limits are short."""
BEFORE = [
    Fault("10 cut", lambda d: d.streams(d.begun).but(cut="fin"), 502, "upstream_disconnected", 3),
    Fault("10 reset", lambda d: d.streams(d.begun).but(cut="rst"), 502, "upstream_disconnected", 3),
    Fault("11 no end", lambda d: d.streams(d.begun), 502, "upstream_truncated", 3),
    Fault("11 nothing", lambda d: d.streams([]), 502, "upstream_truncated", 3),
    Fault("12 malformed", lambda d: d.streams(["{oops"]), 502, "upstream_bad_response", 3),
    Fault("14 page", lambda d: text_reply("<p>hi", content_type="text/html"), 502, "upstream_bad_response", 3),
    Fault("14 error", lambda d: json_reply(d.error("rate_limit_error", "no")), 429, "rate_limit_exceeded", 3, "1"),
    Fault("15 redirect", lambda d: text_reply("", 302, {"location": "https://x"}), 502, "upstream_redirect"),
    Fault("16 bad request", lambda d: d.refuses(400, "odd"), 400, "odd"),
    Fault("17 context", lambda d: d.refuses(400, "", "prompt is too long"), 400, "context_length_exceeded"),
    Fault("17 code", lambda d: d.refuses(400, "context_length_exceeded"), 400, "context_length_exceeded"),
    Fault("18 key", lambda d: d.refuses(401), 502, "upstream_auth_error"),
    Fault("19 forbidden", lambda d: d.refuses(403), 502, "upstream_permission_denied"),
    Fault("20 no model", lambda d: d.refuses(404), 404, "model_not_found"),
    Fault("21 408", lambda d: d.refuses(408), 504, "upstream_timeout", 3),
    Fault("22 409", lambda d: d.refuses(409), 502, "upstream_conflict", 3),
    Fault("23 413", lambda d: d.refuses(413), 413, "request_too_large"),
    Fault("24 422", lambda d: d.refuses(422, "odd"), 400, "odd"),
    Fault("25 limit", lambda d: d.refuses(429, headers=LIMITED), 429, "rate_limit_exceeded", 3, "1"),
    Fault("26 later", lambda d: d.refuses(429, headers=LATER), 429, "rate_limit_exceeded", 1, "31"),
    Fault("27 quota", lambda d: d.refuses(429, "insufficient_quota"), 429, "insufficient_quota"),
    Fault("27 unpaid", lambda d: d.refuses(402), 429, "insufficient_quota"),
    Fault("28 500", lambda d: d.refuses(500), 502, "server_error", 3),
    Fault("28 502", lambda d: text_reply("bad gateway", 502, AT_ONCE), 502, "server_error", 3),
    Fault("28 504", lambda d: d.refuses(504), 504, "upstream_timeout", 3),
    Fault("29 503", lambda d: d.refuses(503), 503, "overloaded", 3, "1"),
    Fault("29 529", lambda d: d.refuses(529), 503, "overloaded", 3, "1"),
    Fault("29 event", lambda d: d.streams([d.error("overloaded", "no")]), 503, "overloaded", 3, "1"),
    Fault("30 filter", lambda d: d.refuses(400, "content_filter"), 400, "content_filter"),
    Fault("38 event", lambda d: d.streams([b"data: ", *[LONG] * 17]), 502, "upstream_response_too_large"),
    Fault("39 gzip", lambda d: text_reply("", 200, {"content-encoding": "gzip"}), 502, "upstream_bad_response"),
]
"""As the client is told before the first word."""
AFTER = [
    Fault("10 cut", lambda d: d.streams(d.said).but(cut="fin"), 502, "upstream_disconnected"),
    Fault("10 reset", lambda d: d.streams([*d.said, 0.3]).but(cut="rst"), 502, "upstream_disconnected"),
    Fault("11 no end", lambda d: d.streams(d.said), 502, "upstream_truncated"),
    Fault(
        "11 no end, but a mark", lambda d: d.streams(d.said, done=d.answer is chat_chunks), 502, "upstream_truncated"
    ),
    Fault("12 malformed", lambda d: d.streams([*d.said, "{oops"]), 502, "upstream_bad_response"),
    Fault("18 key", lambda d: d.streams([*d.said, d.error("authentication", "no")]), 502, "upstream_auth_error"),
    Fault("25 limit", lambda d: d.streams([*d.said, d.error("rate_limit", "no")]), 429, "rate_limit_exceeded"),
    Fault("29 overloaded", lambda d: d.streams([*d.said, d.error("overloaded", "no")]), 503, "overloaded"),
    Fault("38 event", lambda d: d.streams([*d.said, b"data: ", *[LONG] * 17]), 502, "upstream_response_too_large"),
]
"""As the client is told behind the first words, in band where it is streamed."""
STALLED = [Fault("8 stall", lambda d: d.streams(d.said).but(stall=True), 504, "upstream_timeout")]
SURFACES = ("chat", "responses")
STREAMED = (False, True)
AT_A_TIME = 40


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def everywhere(up: Upstream, **more: Any) -> Any:
    """A service that has all providers, each of which is the upstream."""
    providers: Json = {f"{name}_api_key": KEY for name in ("openai", "anthropic", "azure")}
    providers |= {"openai_base_url": f"{up.url}/v1", "anthropic_base_url": up.url, "azure_endpoint": up.url}
    providers |= {"databricks_host": up.url, "databricks_token": KEY}
    allowed = tuple(f"{name}/*" for name in ("openai", "azure", "anthropic", "databricks"))
    return service(**providers, allowed_models=allowed, **more)


def plays(faults: Iterable[Fault]) -> Callable[[Received], Reply]:
    """The fault that the model's name has the number of."""
    by_number = dict(enumerate(faults))

    def reply(request: Received) -> Reply:
        name, number = request.json["model"].rsplit("-", 1)
        return by_number[int(number)].reply(DIALECTS[name.replace("_", "/")])

    return reply


def model_of(dialect: str, number: int) -> str:
    provider = dialect.partition("/")[0]
    return f"{provider}/{dialect.replace('/', '_')}-{number}"


def told(served: Service, surface: str, streamed: bool, model: str) -> tuple[int, Json, Mapping[str, str], str]:
    """The status, the error with its code, the headers, and the words that came before it."""
    if surface == "chat":
        response = served.post({"model": model, "messages": HI, "stream": streamed})
        if response.status_code != 200:
            return response.status_code, read_error(response), response.headers, ""
        heard = read_stream(response)
        assert heard.error is not None and heard.finish == ""
        return 200, heard.error, heard.headers, heard.text.strip()
    response = served.post({"model": model, "input": "hi", "stream": streamed}, RESPONSES)
    if response.status_code != 200:
        return response.status_code, read_error(response), response.headers, ""
    events = read_events(response)
    last = events[-1]
    assert last["type"] == "response.failed" and last["response"]["status"] == "failed"
    words = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    return 200, last["response"]["error"], response.headers, words.strip()


def cells() -> list[tuple[str, str, bool]]:
    """Every dialect on both surfaces, in both modes; hosts that only share a dialect in two of the four ways."""
    ways = [*product(SURFACES, STREAMED)]
    return [
        (name, *way) for name in DIALECTS for way in (ways if name in ("openai", "anthropic") else (ways[1], ways[2]))
    ]


def before(served: Service, faults: list[Fault]) -> list[str]:
    """What is told otherwise than it should be, where no word has come."""

    def check(cell: tuple[tuple[int, Fault], tuple[str, str, bool]]) -> str:
        (number, fault), (dialect, surface, streamed) = cell
        status, error, headers, words = told(served, surface, streamed, model_of(dialect, number))
        found = status, error["code"], headers.get("retry-after"), words
        final = headers.get("x-should-retry") == "false"
        kind = {429: "rate_limit_error"}.get(status, "api_error" if status >= 500 else "invalid_request_error")
        assert error["type"] == kind and error["message"].startswith(dialect.partition("/")[0])
        good = found == (fault.status, fault.code, fault.wait, "") and (final or status < 500)
        return "" if good else f"{fault.row}, {dialect}, {surface}, {streamed}: {found} {error['message'][:80]}"

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return [wrong for wrong in pool.map(check, product(enumerate(faults), cells())) if wrong]


def behind(served: Service, faults: list[Fault]) -> list[str]:
    """The same where words have come."""

    def check(cell: tuple[tuple[int, Fault], tuple[str, str, bool]]) -> str:
        (number, fault), (dialect, surface, streamed) = cell
        status, error, _, words = told(served, surface, streamed, model_of(dialect, number))
        found = status, error["code"], words
        good = found == ((200, fault.code, "Two words") if streamed else (fault.status, fault.code, ""))
        return "" if good else f"{fault.row}, {dialect}, {surface}, {streamed}: {found} {error['message'][:80]}"

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return [wrong for wrong in pool.map(check, product(enumerate(faults), cells())) if wrong]


def test_a_fault_before_the_first_word_has_its_status_everywhere(up: Upstream) -> None:
    up.always(plays(BEFORE))
    with everywhere(up) as served:
        assert before(served, BEFORE) == []


def test_a_fault_behind_the_first_words_is_told_in_band_and_never_as_a_finish(up: Upstream) -> None:
    up.always(plays(AFTER))
    with everywhere(up) as served:
        assert behind(served, AFTER) == []
    assert len(up.requests) == len(AFTER) * len(cells()), "one was asked again"


def test_silence_is_a_time_out_everywhere(up: Upstream) -> None:
    up.always(plays(SILENT))
    with everywhere(up, timeouts=(("first_byte", 0.7),)) as served:
        assert before(served, SILENT) == []
    up.always(plays(STALLED))
    with everywhere(up, timeouts=(("between_bytes", 0.7),)) as served:
        assert behind(served, STALLED) == []


# How often a call is made


def _model(up: Upstream, dialect: str, name: str, http: Http) -> Provider:
    info = ModelInfo(f"openai/{name}")
    if dialect == "remote":
        return RemoteAgent(http, up.url, bearer(KEY), name)
    if DIALECTS[dialect].answer is claude_events:
        return Messages(http, f"{up.url}/v1/messages", bearer(KEY), info)
    return ChatCompletions(http, f"{up.url}/v1/chat/completions", bearer(KEY), info)


SLOW = [*SILENT, *STALLED]
TRIED = [*SILENT, *BEFORE, *STALLED, *AFTER]


async def test_only_what_passes_is_tried_again_and_only_before_the_first_word(up: Upstream) -> None:
    up.always(plays(TRIED))

    async def tries(number: int, dialect: str) -> None:
        seconds = 2.0 if TRIED[number] in SLOW else 30.0
        http = Http(timeouts=Timeouts(first_byte=seconds, between_bytes=seconds), backoff=0.01)
        model = _model(up, dialect, model_of(dialect, number).partition("/")[2], http)
        with pytest.raises(ProviderError):
            await ask(model, heard=Heard())
        await http.aclose()

    cells = [*product(range(len(TRIED)), ("openai", "anthropic"))]
    # Those with a limit of time for themselves, as a busy loop would not reach the provider in it.
    for slow in (False, True):
        await asyncio.gather(*(tries(*cell) for cell in cells if (TRIED[cell[0]] in SLOW) == slow))
    made = Counter(request.json["model"] for request in up.requests)
    # A connection that ends before the head is not counted, as it may have been an old one.
    expected = {f"{dialect}-{number}": TRIED[number].tries for number, dialect in cells}
    assert {name: count for name, count in made.items() if count != expected[name]} == {}
