"""The HTTP surface against what nobody should send. `make fuzz` runs the same for minutes, each round with a new seed.

FUZZ_EXAMPLES: of each test (a few, always the same ones, where it is not set).
"""

from __future__ import annotations

import logging
import os
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from tests.odd_requests import Sent, changed, histories, requests
from tests.surface import Service, frames, read_error, service, write_skill
from tests.upstream import Received, Reply, Upstream, chat_chunks, json_reply, sse, text_reply

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SLOWEST = 30.0
"""Seconds of one answer."""
AT_ONCE = {"retry-after-ms": "0"}
ODD_ERROR = '{"error": {"message": "\\ud800 no", "type": [], "code": {}}}'
often = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(60 + EXAMPLES)


class Faults(logging.Handler):
    """What the log says of exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def install(self) -> None:
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.told.append(logging.Formatter().format(record))


@dataclass(slots=True)
class Fuzzed:
    service: Service
    faults: Faults
    asked: int = 0

    def send(self, sent: Sent) -> httpx.Response:
        parts = urllib.parse.urlsplit(self.service.url)
        target = f"{sent.path}?{sent.query}" if sent.query else sent.path
        address = httpx.URL(
            scheme="http", host=parts.hostname, port=parts.port, raw_path=urllib.parse.quote(target, "/?&=;%+").encode()
        )
        head = [(name.encode(), value) for name, value in sent.headers]
        request = httpx.Request(sent.method, address, headers=head, content=sent.body)
        self.asked += 1
        return self.service.client.send(request)


def play(request: Received) -> Reply:
    """A model that is well, whatever it is asked: JSON, if need be, or a call of a tool that it was given."""
    asked = request.json
    tools = [tool["function"]["name"] for tool in asked.get("tools") or () if "function" in tool]
    said = [message["role"] for message in asked["messages"][-1:]] == ["tool"]  # blank ones are left out, maybe all
    calls = [("call_9", tools[len(request.body) % len(tools)], "{}")] if tools and not said else []
    return sse(chat_chunks("{}", "hm" if len(request.body) % 2 else "", calls))


def stumble(request: Received) -> Reply:
    """One that is not: each way to fail comes for some of the bodies."""
    replies = [
        json_reply({"error": {"message": "no", "code": "odd"}}, 500, AT_ONCE),
        text_reply(ODD_ERROR, 429, {"retry-after": "120"}, "application/json"),
        sse(['{"choices": 5}']),
        sse(chat_chunks("Broken", finish="", usage=None), done=False).but(cut="fin"),
        json_reply({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}),
        sse(chat_chunks("", tool_calls=[("", "no_such_tool", "[" * 2000)])),
    ]
    return replies[len(request.body) % len(replies)]


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def fuzzed(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    skills: Path = tmp_path_factory.mktemp("skills")
    write_skill(skills, "tea")
    faults = Faults()
    faults.install()
    with service(up, skills=(skills,)) as server:
        server.client.timeout = httpx.Timeout(SLOWEST)
        found = Fuzzed(server, faults)
        yield found
        assert server.get("/health").status_code == 200
    logging.getLogger().removeHandler(faults)
    assert not faults.told
    if EXAMPLES:
        print(f"{found.asked} requests over HTTP")


def check(fuzzed: Fuzzed, sent: Sent, upstream_fails: bool = False) -> None:
    response = fuzzed.send(sent)
    if response.status_code >= 400:
        error = read_error(response)
        assert error["code"] != "internal_error"
        assert response.status_code < 500 or upstream_fails, error
    elif response.headers.get("content-type", "").startswith("text/event-stream"):
        _check_stream(response, upstream_fails)
    elif response.headers.get("content-type", "").startswith("application/json"):
        response.json()
    elif response.status_code == 200:
        assert "/v1" not in response.url.path, "only the pages and what measures speak otherwise"
    assert not fuzzed.faults.told, fuzzed.faults.told[0]


def _check_stream(response: httpx.Response, upstream_fails: bool) -> None:
    body = b"".join(line for line in response.content.splitlines(True) if not line.startswith(b"event: "))
    *_, last, done = frames(body)
    assert done == "[DONE]"
    assert "internal_error" not in last
    assert upstream_fails or '"error":{' not in last or '"code":"upstream' not in last


@often
@given(changed())
def test_odd_values_are_refused_or_answered(fuzzed: Fuzzed, up: Upstream, sent: Sent) -> None:
    up.always(play)
    check(fuzzed, sent)


@often
@given(histories())
def test_calls_and_results_out_of_order_are_refused_or_answered(fuzzed: Fuzzed, up: Upstream, sent: Sent) -> None:
    up.always(play)
    check(fuzzed, sent)


@often
@given(requests())
def test_other_paths_headers_and_queries_are_refused_or_answered(fuzzed: Fuzzed, up: Upstream, sent: Sent) -> None:
    up.always(play)
    check(fuzzed, sent)


@settings(often, max_examples=EXAMPLES // 5 or 12)  # some faults are tried again after a while
@given(histories())
def test_what_an_upstream_gets_wrong_is_told_as_its_own(fuzzed: Fuzzed, up: Upstream, sent: Sent) -> None:
    up.always(stumble)
    check(fuzzed, sent, upstream_fails=True)
