"""The wire under every provider: retries, time-outs, cancelling, many streams; with both of its engines."""

from __future__ import annotations

import asyncio
import email.utils
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from messages import Request, TextDelta, user
from providers.base import AuthError, BadResponse, ModelInfo, Overloaded, ProviderDown, ProviderError, RateLimited
from providers.http import Auth, HeaderAuth, Http, bearer
from providers.limits import Timeouts
from providers.openai import ChatCompletions
from tests.asking import Heard, ask, ask_often, certificates
from tests.upstream import Reply, Upstream, chat_chunks, json_reply, sse, text_reply

SECRET = "sk-secret-1234567890"
GOOD = sse(chat_chunks("Hello world"))
BUSY = json_reply({"error": {"message": "busy", "type": "server_error"}}, 503)
SPENT = {"error": {"message": "You are out of money", "type": "insufficient_quota", "code": "insufficient_quota"}}
QUICK = Timeouts(connect=0.2, first_byte=0.2, between_bytes=0.2)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(params=["aiohttp", "httpx"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[Http]:
    http = _http(request.param)
    yield http
    await http.aclose()


@pytest.fixture(params=["aiohttp", "httpx"])
async def hasty(request: pytest.FixtureRequest) -> AsyncIterator[Http]:
    http = _http(request.param, QUICK)
    yield http
    await http.aclose()


def _http(engine: str, timeouts: Timeouts | None = None) -> Http:
    return Http(httpx.AsyncHTTPTransport(verify=certificates()) if engine == "httpx" else None, timeouts, backoff=0.01)


def _model(http: Http, url: str, auth: Auth | None = None) -> ChatCompletions:
    return ChatCompletions(http, f"{url}/v1/chat/completions", auth or bearer(SECRET), ModelInfo("openai/m"))


def _busy(status: int = 503, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return json_reply({"error": {"message": "busy", "type": "x"}}, status, named)


async def _fails(model: ChatCompletions, heard: Heard | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(model, heard=heard)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_no_cookie_is_kept_as_the_next_call_may_be_another_callers(up: Upstream, http: Http) -> None:
    up.always(GOOD.but(headers={"set-cookie": "who=first; Path=/"}))
    for _ in range(2):
        assert (await ask(_model(http, up.url))).text == "Hello world"
    assert not any("cookie" in request.headers for request in up.requests)


# Retries before the first event


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_a_passing_status_is_retried(up: Upstream, http: Http, status: int) -> None:
    up.reply(_busy(status), GOOD)
    assert (await ask(_model(http, up.url))).text == "Hello world"
    assert len(up.requests) == 2 and up.requests[0].body == up.requests[1].body
    assert up.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_a_lasting_status_is_not_retried(up: Upstream, http: Http, status: int) -> None:
    up.always(_busy(status))
    error = await _fails(_model(http, up.url))
    assert (error.status, error.retryable, len(up.requests)) == (status, False, 1)


@pytest.mark.parametrize(
    "fault",
    [
        Reply(0, cut="fin"),
        Reply(0, cut="rst"),
        Reply(0, chunks=[b"SSH-2.0\r\n\r\n"], cut="fin"),
        sse([], done=False).but(cut="rst"),
        sse([], done=False).but(cut="fin"),
        sse(chat_chunks("", finish="", usage=None), done=False),
        sse(chat_chunks("", finish="", usage=None), done=False).but(cut="fin", framing="length"),
        sse(["{bad"]),
        text_reply("<html>sorry</html>", content_type="text/html"),
        sse([{"error": {"message": "busy", "type": "overloaded_error"}}]),
    ],
    ids=["closed", "reset", "no-http", "rst", "fin", "no-finish", "short", "no-json", "page", "in-band"],
)
async def test_a_fault_before_output_is_retried(up: Upstream, http: Http, fault: Reply) -> None:
    up.reply(GOOD, fault, GOOD)
    model = _model(http, up.url)
    assert [(await ask(model)).text for _ in range(2)] == ["Hello world"] * 2
    assert len(up.requests) == 3


async def test_a_kept_alive_connection_that_the_server_has_closed_is_opened_anew(up: Upstream, http: Http) -> None:
    async def once_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"".join(chunk for chunk in GOOD.chunks if isinstance(chunk, bytes))
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(once_closed, "127.0.0.1", 0)
    model = _model(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    for pause in (0.1, 0.049, 0.051, 0.2):
        assert (await ask(model)).text == "Hello world"
        await asyncio.sleep(pause)
    server.close()
    await server.wait_closed()


class _Opening:
    """A key that is asked for once an attempt: the server begins to listen with the last of them."""

    is_callers = False

    def __init__(self, sock: socket.socket, at: int, context: ssl.SSLContext | None = None) -> None:
        self.attempts = 0
        self.port: int = sock.getsockname()[1]
        self._sock = sock
        self._at = at
        self._context = context

    async def headers(self) -> Mapping[str, str]:
        self.attempts += 1
        if self.attempts == self._at:
            self.server = await asyncio.start_server(self._answer, sock=self._sock, ssl=self._context)
        return {"authorization": SECRET}

    def renew(self, sent: Mapping[str, str]) -> bool:
        return False

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.writelines(chunk for chunk in GOOD.chunks if isinstance(chunk, bytes))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def test_a_refused_connection_is_retried_until_the_server_is_up(http: Http) -> None:
    opening = _Opening(_bound(), at=3)
    assert (await ask(_model(http, f"http://127.0.0.1:{opening.port}", opening))).text == "Hello world"
    assert opening.attempts == 3
    opening.server.close()
    await asyncio.sleep(0.05)


def _bound() -> socket.socket:
    """A port that is ours and refuses."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


async def test_a_server_that_stays_down_is_tried_three_times(http: Http) -> None:
    with _bound() as sock:
        opening = _Opening(sock, at=0)
        error = await _fails(_model(http, f"http://127.0.0.1:{opening.port}", opening))
    assert isinstance(error, ProviderDown) and error.code == "upstream_unreachable" and opening.attempts == 3


async def test_a_name_that_does_not_resolve_is_unreachable(http: Http) -> None:
    error = await _fails(_model(http, "http://no-such-host.invalid"))
    assert isinstance(error, ProviderDown) and error.code == "upstream_unreachable"


async def test_three_attempts_are_the_most(up: Upstream, http: Http) -> None:
    up.always(BUSY)
    error = await _fails(_model(http, up.url))
    assert isinstance(error, Overloaded) and len(up.requests) == 3


async def _time(up: Upstream, http: Http, **headers: str) -> float:
    up.reply(_busy(429, **headers), GOOD)
    begun = time.monotonic()
    await ask(_model(http, up.url))
    assert len(up.requests) == 2
    return time.monotonic() - begun


async def test_it_waits_as_long_as_it_is_told(up: Upstream, http: Http) -> None:
    assert 0.2 <= await _time(up, http, retry_after="0.2") < 1


async def test_milliseconds_go_before_seconds(up: Upstream, http: Http) -> None:
    assert 0.2 <= await _time(up, http, retry_after_ms="200", retry_after="30") < 1


async def test_azures_milliseconds_are_known_too(up: Upstream, http: Http) -> None:
    assert 0.2 <= await _time(up, http, x_ms_retry_after_ms="200", retry_after="30") < 1


async def test_a_date_that_has_passed_is_not_waited_for(up: Upstream, http: Http) -> None:
    assert await _time(up, http, retry_after="Wed, 21 Oct 2015 07:28:00 GMT") < 1


@pytest.mark.parametrize("told", ["nonsense", "", "-5", "nan", "inf"])
async def test_a_wait_that_makes_no_sense_does_no_harm(up: Upstream, http: Http, told: str) -> None:
    up.reply(_busy(503, retry_after=told), GOOD)
    async with asyncio.timeout(2):
        assert (await ask(_model(http, up.url))).text == "Hello world"


@pytest.mark.parametrize("told", ["31", "3600", "a date"])
async def test_more_than_half_a_minute_is_not_waited_for(up: Upstream, http: Http, told: str) -> None:
    value = email.utils.formatdate(time.time() + 3600, usegmt=True) if told == "a date" else told
    up.always(_busy(429, retry_after=value))
    error = await _fails(_model(http, up.url))
    assert isinstance(error, RateLimited) and len(up.requests) == 1
    assert error.retry_after == pytest.approx(31 if told == "31" else 3600, abs=5)


async def test_the_server_may_forbid_a_retry(up: Upstream, http: Http) -> None:
    up.always(_busy(503, x_should_retry="false"))
    assert not (await _fails(_model(http, up.url))).retryable
    assert len(up.requests) == 1


async def test_the_server_may_ask_for_a_retry(up: Upstream, http: Http) -> None:
    up.reply(_busy(400, x_should_retry="true"), GOOD)
    assert (await ask(_model(http, up.url))).text == "Hello world"


@pytest.mark.parametrize(
    "body",
    [SPENT, {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}}],
    ids=["openai", "anthropic"],
)
async def test_spent_money_does_not_come_back_by_asking(up: Upstream, http: Http, body: object) -> None:
    up.always(json_reply(body, 429, {"x-should-retry": "true"}))
    error = await _fails(_model(http, up.url))
    assert isinstance(error, RateLimited) and (error.code, error.retryable) == ("insufficient_quota", False)
    assert len(up.requests) == 1


# After the first event


HALF = sse(chat_chunks("Hello", finish="", usage=None), done=False)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (HALF, "upstream_truncated"),
        (HALF.but(cut="fin"), "upstream_disconnected"),
        (HALF.but(cut="rst"), "upstream_disconnected"),
        (HALF.but(cut="fin", framing="length"), "upstream_disconnected"),
        (HALF.but(cut="fin", framing="close"), "upstream_truncated"),
        (HALF.but(stall=True), "upstream_timeout"),
        (HALF.but(chunks=[*HALF.chunks, b"data: {bad\n\n"]), "upstream_bad_response"),
        (HALF.but(chunks=[*HALF.chunks, b'data: {"error": {"type": "overloaded_error"}}\n\n']), "overloaded"),
        (HALF.but(chunks=[*HALF.chunks, b'data: {"choices": [{"del']), "upstream_bad_response"),
    ],
)
async def test_nothing_is_retried_after_the_first_event(up: Upstream, hasty: Http, fault: Reply, code: str) -> None:
    up.reply(fault)
    up.always(GOOD)
    heard = Heard()
    error = await _fails(_model(hasty, up.url), heard)
    assert (heard.text, len(up.requests)) == ("Hello", 1)
    assert (error.code, error.provider) == (code, "openai")


# Time-outs


@pytest.mark.parametrize("reply", [Reply(0, stall=True), Reply(stall=True), sse([b": ping\n\n", 0.05] * 30)])
async def test_no_answer_in_time_is_a_time_out(up: Upstream, hasty: Http, reply: Reply) -> None:
    up.always(reply)
    begun = time.monotonic()
    error = await _fails(_model(hasty, up.url))
    assert isinstance(error, ProviderDown) and (error.code, error.provider) == ("upstream_timeout", "openai")
    assert len(up.requests) == 2 and 0.35 < time.monotonic() - begun < 2
    assert await asyncio.to_thread(up.wait_closed)


async def test_a_slow_first_attempt_is_followed_by_a_good_one(up: Upstream, hasty: Http) -> None:
    up.reply(Reply(stall=True), GOOD)
    assert (await ask(_model(hasty, up.url))).text == "Hello world"


async def test_pings_keep_an_answer_alive(up: Upstream, hasty: Http) -> None:
    first, *rest = (chunk for chunk in GOOD.chunks)
    words = [first, rest.pop(0), *[0.1, b": ping\n\n"] * 4, *rest]
    up.reply(GOOD.but(chunks=words))
    assert (await ask(_model(hasty, up.url))).text == "Hello world"


async def test_a_connection_that_is_not_accepted_times_out(hasty: Http) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock:
        address = sock.getsockname()
        with socket.create_connection(address):
            begun = time.monotonic()
            error = await _fails(_model(hasty, f"http://127.0.0.1:{address[1]}"))
    assert isinstance(error, ProviderDown) and error.code == "upstream_timeout"
    assert time.monotonic() - begun < 2


# What must not happen


async def test_a_redirect_is_not_followed_and_the_key_not_sent_on(up: Upstream, http: Http) -> None:
    with Upstream() as other:
        up.always(Reply(302, {"location": f"{other.url}/login?token={SECRET}"}))
        error = await _fails(_model(http, up.url))
        assert isinstance(error, BadResponse) and error.code == "upstream_redirect"
        assert other.url in error.message and not other.requests and len(up.requests) == 1


@pytest.mark.parametrize("key", [f"{SECRET}…", f"{SECRET}\nx", f"{SECRET}\x00", "ключ"])
async def test_a_key_that_fits_in_no_header_is_an_auth_error(up: Upstream, http: Http, key: str) -> None:
    error = await _fails(_model(http, up.url, HeaderAuth("x-api-key", key)))
    assert isinstance(error, AuthError) and not up.requests and key not in repr(error)


async def test_a_key_is_not_shown() -> None:
    assert SECRET not in repr(bearer(SECRET)) + str(bearer(SECRET))


async def test_an_address_that_is_none_is_an_error(http: Http) -> None:
    for url in ("nonsense", "ftp://127.0.0.1", "http://a b", "http://"):
        assert isinstance(await _fails(_model(http, url)), ProviderDown)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
async def test_a_certificate_that_nobody_vouches_for_is_refused_once(http: Http, tmp_path: Path) -> None:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {cert} -keyout {key}"
    await asyncio.to_thread(subprocess.run, made.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    opening = _Opening(_bound(), at=1, context=context)
    error = await _fails(_model(http, f"https://localhost:{opening.port}", opening))
    assert isinstance(error, ProviderDown) and error.code == "upstream_tls_error" and opening.attempts == 1
    opening.server.close()
    await asyncio.sleep(0.05)


# Cancelling, loops, and many at once


@pytest.mark.parametrize("said", [(), ("Hello",)], ids=["before", "after"])
async def test_a_cancelled_task_closes_the_connection_at_once(up: Upstream, http: Http, said: tuple[str, ...]) -> None:
    up.reply(sse(chat_chunks(" ".join(said), finish=""), done=False).but(stall=True))
    heard = Heard()
    task = asyncio.create_task(ask(_model(http, up.url), heard=heard))
    await asyncio.to_thread(up.wait_requests, 1)
    await asyncio.sleep(0.2)
    assert len(heard.events) == len(said)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(up.wait_closed, 1) and len(up.requests) == 1


async def test_a_stream_that_is_closed_early_closes_the_connection(up: Upstream, http: Http) -> None:
    up.reply(sse(chat_chunks("Hello", finish=""), done=False).but(stall=True), GOOD)
    model = _model(http, up.url)
    async with aclosing(model.stream(Request([user("hi")]))) as events:
        assert await anext(events) == TextDelta("Hello")
    assert await asyncio.to_thread(up.wait_closed, 1)
    assert (await ask(model)).text == "Hello world"


async def test_cancelling_during_a_wait_ends_it(up: Upstream, http: Http) -> None:
    up.reply(_busy(429, retry_after="25"))
    task = asyncio.create_task(ask(_model(http, up.url)))
    await asyncio.to_thread(up.wait_requests, 1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_one_client_serves_several_event_loops(up: Upstream) -> None:
    up.always(GOOD)
    model = _model(Http(backoff=0.01), up.url)
    for _ in range(3):
        heard = asyncio.run(ask_often(model, 3))
        assert {h.text for h in heard} == {"Hello world"}
    assert up.wait_closed()


SCRIPT = """
    import asyncio, gc, sys, warnings, weakref
    warnings.simplefilter("error")
    if sys.argv[2] == "httpx":
        sys.modules["httpx_aiohttp"] = None
    from tests.test_http import Http, _model, ask, ask_often

    http, loops = Http(backoff=0.01), []
    async def once(count):
        loops.append(weakref.ref(asyncio.get_running_loop()))
        return {heard.text for heard in await ask_often(_model(http, sys.argv[1]), count)}

    assert asyncio.run(once(150)) == {"Hello world"}
    assert asyncio.run(once(2)) == {"Hello world"}
    gc.collect()
    assert not [loop for loop in loops if loop()], "a loop is kept"
"""


@pytest.mark.parametrize("engine", ["aiohttp", "httpx"])
def test_many_streams_run_at_once_and_nothing_is_left_behind(up: Upstream, engine: str) -> None:
    head, *rest = GOOD.chunks
    up.always(GOOD.but(chunks=[head, 1.5, *rest]))
    folder = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), up.url, engine],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert up.wait_requests(150, 15) and up.open == 150
    up.always(GOOD)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out.decode()) == (0, "")
    assert len(up.requests) == 152


async def test_the_proxy_of_the_environment_is_used(up: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    up.always(GOOD)
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", up.url)
    http = Http(backoff=0.01)
    assert (await ask(_model(http, "http://models.invalid"))).text == "Hello world"
    await http.aclose()
    assert up.requests[0].path == "http://models.invalid/v1/chat/completions"
