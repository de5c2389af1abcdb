"""The harness itself: what the scripted provider and the served app do, seen through plain httpx."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests import recordings
from tests.servers import Split, serve
from tests.upstream import (
    Received,
    Reply,
    Upstream,
    chat_chunks,
    claude_events,
    json_reply,
    raw_sse,
    sse,
    text_reply,
)

WORDS = 'Grüße 🙂 "x"'


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5, trust_env=False, verify=False) as client:
        yield client


def _pieces(client: httpx.Client, up: Upstream) -> list[bytes]:
    with client.stream("GET", up.url) as answer:
        return list(answer.iter_raw())


def _data(body: bytes) -> list[str]:
    return [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]


def test_a_request_is_recorded_and_answered_in_order(up: Upstream, client: httpx.Client) -> None:
    up.reply(json_reply({"n": 1}, headers={"x-request-id": "r1"}), text_reply("no", 429))
    first = client.post(f"{up.url}/v1/chat?a=1", json={"model": "m"}, headers={"X-Key": "k"})
    second = client.post(up.url, content=iter([b"by ", b"pieces"]))
    assert (first.json(), first.headers["x-request-id"]) == ({"n": 1}, "r1")
    assert (second.text, second.status_code) == ("no", 429)
    assert [request.method for request in up.requests] == ["POST", "POST"]
    assert up.requests[0].path == "/v1/chat?a=1" and up.requests[0].headers["x-key"] == "k"
    assert up.requests[0].json == {"model": "m"} and up.requests[1].body == b"by pieces"
    assert up.open == 1, "kept alive"


def test_what_is_not_scripted_is_an_error_or_the_standing_answer(up: Upstream, client: httpx.Client) -> None:
    answer = client.get(f"{up.url}/x")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "nothing was scripted for GET /x"
    up.always(lambda request: text_reply(request.path))
    assert [client.get(f"{up.url}/{n}").text for n in "ab"] == ["/a", "/b"]
    head = client.head(f"{up.url}/abc")
    assert (head.headers["content-length"], head.content) == ("4", b"")


def test_a_route_has_its_own_queue_and_repeats_its_last(up: Upstream, client: httpx.Client) -> None:
    up.route("/oidc", text_reply("one"), text_reply("two"))
    up.route("/oidc/v2", text_reply("longer"))
    up.reply(text_reply("main"))
    paths = ["oidc/token", "oidc/token", "oidc/token", "v1", "oidc/v2"]
    assert [client.get(f"{up.url}/{path}").text for path in paths] == ["one", "two", "two", "main", "longer"]
    up.route("/oidc", text_reply("three"))
    assert client.get(f"{up.url}/oidc/token").text == "three"


def test_a_failing_script_fails_the_test(client: httpx.Client) -> None:
    def script(_: Received) -> Reply:
        raise LookupError("unforeseen")

    with pytest.raises(LookupError, match="unforeseen"), Upstream() as up:
        up.reply(script)
        assert client.get(up.url).status_code == 500


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_framings_carry_the_same_body(up: Upstream, client: httpx.Client, framing: str) -> None:
    up.reply(*[Reply(chunks=[b"ab", 0.01, b"c"]).but(framing=framing)] * 2)
    first, second = client.get(up.url), client.get(up.url)
    assert first.content == second.content == b"abc"
    names = {"chunked": "transfer-encoding", "length": "content-length", "close": "connection"}
    assert names[framing] in first.headers
    assert up.open == (framing != "close") or up.wait_closed()


@pytest.mark.parametrize("cut", ["fin", "rst"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_cut_body_raises(up: Upstream, client: httpx.Client, framing: str, cut: str) -> None:
    up.reply(Reply(chunks=[b"half"]).but(framing=framing, cut=cut))
    error = httpx.ReadError if cut == "rst" else httpx.RemoteProtocolError
    got: list[bytes] = []
    with pytest.raises(error), client.stream("GET", up.url) as answer:
        got.extend(answer.iter_raw())
    assert got == [b"half"]
    assert up.wait_closed() and up.open == 0 and up.abandoned == 0


def test_a_cut_without_framing_looks_like_an_end(up: Upstream, client: httpx.Client) -> None:
    up.reply(sse(chat_chunks("hi", finish=""), done=False).but(framing="close", cut="fin"))
    assert client.get(up.url).content.endswith(b"\n\n")


def test_no_head_at_all(up: Upstream, client: httpx.Client) -> None:
    up.reply(Reply(0, cut="fin"), Reply(0, cut="rst"))
    up.reply(Reply(0, chunks=[b"SSH-2.0\r\n\r\n"]), Reply(0, stall=True))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        client.get(up.url)
    with pytest.raises(httpx.ReadError):
        client.get(up.url)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(up.url)
    with pytest.raises(httpx.ReadTimeout):
        client.get(up.url, timeout=0.1)
    assert up.wait_closed() and up.abandoned == 1


@pytest.mark.parametrize("split", [1, 7, "utf8"])
def test_a_stream_is_recut(up: Upstream, client: httpx.Client, split: Split) -> None:
    whole = sse(chat_chunks(WORDS))
    up.reply(whole, sse(chat_chunks(WORDS), split=split))
    body, pieces = client.get(up.url).content, _pieces(client, up)
    assert b"".join(pieces) == body
    if isinstance(split, int):
        assert {len(piece) for piece in pieces[:-1]} == {split}
    else:
        inside = [piece for piece in pieces if 0x80 <= piece[0] < 0xC0]
        assert len(inside) == len(WORDS.encode()) - len(WORDS) == len(pieces) - 1


def test_one_byte_at_a_time_is_fast(up: Upstream, client: httpx.Client) -> None:
    up.reply(raw_sse(b"x" * 20_000, split=1))
    start = time.monotonic()
    pieces = _pieces(client, up)
    assert len(pieces) == 20_000 and time.monotonic() - start < 5


def test_the_marks_of_an_event_stream(up: Upstream, client: httpx.Client) -> None:
    up.reply(sse([{"type": "ping"}, "{bad", b": raw\n\n", 0.01], events=True, crlf=True, comments="hi"))
    body = client.get(up.url).content
    frames = ['event: ping\r\ndata: {"type": "ping"}', "data: {bad"]
    expected = "".join(f": hi\r\n\r\n{frame}\r\n\r\n" for frame in frames)
    assert body == f"{expected}: hi\r\n\r\n: raw\n\n: hi\r\n\r\ndata: [DONE]\r\n\r\n".encode()


def test_the_wires_say_what_was_meant(up: Upstream, client: httpx.Client) -> None:
    calls = [("c1", "f", '{"a": 1}'), ("c2", "g", "{}")]
    up.reply(sse(chat_chunks(WORDS, "hm so", calls, usage=(3, 4))))
    chunks = [json.loads(data) for data in _data(client.get(up.url).content)[:-1]]
    made: tuple[recordings.Call, ...] = (("c1", "f", {"a": 1}), ("c2", "g", {}))
    seen = recordings.Expected(WORDS, "hm so", "", made, "tool_calls", 3, 4)
    assert recordings.chat_stream(chunks) == seen
    up.reply(sse(claude_events(WORDS, "hm so", "sig", made, usage=(3, 4)), done=False, events=True))
    events = [json.loads(data) for data in _data(client.get(up.url).content)]
    assert recordings.claude_stream(events) == seen


@pytest.mark.parametrize("reply", [Reply(chunks=[b"x"], stall=True), Reply(chunks=[b"x", 60.0])])
def test_a_client_that_leaves_is_noticed(up: Upstream, client: httpx.Client, reply: Reply) -> None:
    up.reply(reply)
    with client.stream("GET", up.url) as answer:
        pieces = answer.iter_raw()  # which leaves when it is dropped
        assert next(pieces) == b"x"
        assert not up.wait_closed(0.05)
    assert up.wait_closed(1) and up.open == 0 and up.abandoned == 1


@pytest.mark.asyncio
async def test_a_cancelled_client_is_noticed(up: Upstream) -> None:
    up.reply(Reply(stall=True))
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        task = asyncio.create_task(client.post(up.url, json={}))
        assert await asyncio.to_thread(up.wait_requests, 1)
        task.cancel()
        assert await asyncio.to_thread(up.wait_closed, 1)
    assert up.abandoned == 1


def test_leaving_the_test_ends_stalled_replies(client: httpx.Client) -> None:
    with Upstream() as up:
        up.reply(Reply(chunks=[b"x"], stall=True))
        answer = client.send(client.build_request("GET", up.url), stream=True)
    with pytest.raises(httpx.TransportError):
        answer.read()


def test_an_app_is_served_with_its_lifespan(client: httpx.Client) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    with serve(Starlette(routes=[Route("/", hello)], lifespan=lifespan)) as url:
        assert client.get(url).text == "hello" and seen == ["up"]
    assert seen == ["up", "down"]


def test_an_app_that_does_not_start_is_an_error() -> None:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no")
        yield

    with pytest.raises(RuntimeError, match="did not start"), serve(Starlette(lifespan=lifespan)):
        pass


@pytest.mark.skipif(not recordings.available(), reason=recordings.ABSENT)
def test_recordings_parse() -> None:
    cases = recordings.cases()
    assert {case.dialect for case in cases} == {"chat", "anthropic"}
    assert len({case.id for case in cases}) == len(cases) > 100
    assert [case.messages_index for case in cases if case.expected is None] == [0, 0]
    finishes = {case.expected.finish for case in cases if case.expected}
    assert finishes == {"stop", "length", "tool_calls", "content_filter"}
    for case in cases:
        assert case.expected is None or any(asdict(case.expected).values()), case.id
    cut = next(case.expected for case in cases if "incomplete_partial_json" in case.id)
    assert cut and cut.finish == "length" and isinstance(cut.tool_calls[0][2], str)
    assert all("error" in case.body for case in recordings.error_cases())


@pytest.mark.skipif(not recordings.available(), reason=recordings.ABSENT)
def test_recordings_play(up: Upstream, client: httpx.Client) -> None:
    for case in recordings.cases():
        up.reply(case.reply())
        answer = client.get(up.url)
        if case.body is not None:
            assert answer.json() == case.body
        else:
            payloads = [json.loads(d) for d in _data(answer.content) if d != "[DONE]"]
            assert case.raw == answer.content or tuple(payloads) == case.payloads, case.id
