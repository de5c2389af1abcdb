"""What goes wrong behind the service, or in front of it: errors, silence, clients that leave, secrets."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from messages import Event, Finish, TextDelta, Usage
from providers.base import RateLimited
from providers.scripted import Play, ScriptedProvider, call
from service.access import response_of
from service.chat import ChatAnswer
from service.errors import api_error
from service.streams import EventStream, side_by_side
from tests.servers import free_port, serve
from tests.surface import HI, Heard, Json, Service, frames, read_stream, service, write_skill
from tests.upstream import Reply, Upstream, chat_chunks, json_reply, sse, text_reply

CANARY = "sk-canary-7f3a9c5e1b2d4086"
AT_ONCE = {"retry-after-ms": "0"}
BEGUN = chat_chunks("Two words", finish="", usage=None)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def refused(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    return json_reply({"error": {"message": message, **error}}, status, headers or AT_ONCE)


WAITS: dict[str, tuple[dict[str, str], str]] = {
    "as told": ({"retry-after": "120"}, "120"),
    "no more than two minutes": ({"retry-after": "600000"}, "120"),
    "in whole seconds": ({"retry-after-ms": "61500"}, "62"),
}


@pytest.mark.parametrize("form", ["whole", "streamed"])
@pytest.mark.parametrize("told", WAITS)
def test_a_wait_that_is_too_long_for_us_is_passed_on(up: Upstream, form: str, told: str) -> None:
    headers, wait = WAITS[told]
    up.always(refused(429, headers=headers))
    with service(up) as server:
        heard: Heard = getattr(server, form)()
    assert heard.error is not None and heard.error["type"] == "rate_limit_error"
    assert (heard.status, heard.headers["retry-after"], len(up.requests)) == (429, wait, 1)
    assert "x-should-retry" not in heard.headers


def test_a_provider_that_cannot_be_reached_is_a_bad_gateway() -> None:
    with service(openai_base_url=f"http://127.0.0.1:{free_port()}/v1") as server:
        for heard in (server.whole(), server.streamed()):
            assert heard.error is not None
            assert (heard.status, heard.error["code"]) == (502, "upstream_unreachable")


def test_a_wrong_provider_key_is_told_in_the_providers_words(up: Upstream) -> None:
    words = f"Incorrect API key provided: {CANARY}. You can find your API key at the dashboard."
    up.always(refused(401, words, {"x-request-id": "req_7"}, type="invalid_request_error", code="invalid_api_key"))
    with service(up, openai_api_key=CANARY) as server:
        for heard in (server.whole(), server.streamed()):
            assert heard.status == 502 and heard.error is not None
            assert (heard.error["type"], heard.error["code"]) == ("api_error", "upstream_auth_error")
            assert "Incorrect API key provided: [redacted]. You can find" in heard.error["message"]
            assert "req_7" in heard.error["message"]


def test_a_fault_in_a_later_turn_is_told_in_band_only_after_words(tmp_path: Path) -> None:
    write_skill(tmp_path, "tea")
    activate = call("activate_skill", name="tea")
    for first, status in ((Play([activate]), 429), (Play(["Looking.", activate]), 200)):
        model = ScriptedProvider([first, RateLimited("slow down")])
        with service(provider=model, skills=(tmp_path,)) as server:
            heard = server.streamed()
        assert heard.status == status and heard.error is not None and heard.error["code"] == "rate_limit_exceeded"


def test_a_bug_is_told_without_its_words_and_logged_with_them(up: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ScriptedProvider):
        def stream(self, request: object) -> Any:
            raise RuntimeError("the inside of the server")

    with service(provider=Broken([])) as server:
        for heard in (server.whole(), server.streamed()):
            assert heard.status == 500 and heard.error is not None and heard.error["code"] == "internal_error"
            assert "inside" not in heard.error["message"]
    assert caplog.text.count("RuntimeError: the inside of the server") == 2


# Silence


class Stage:
    """A served `EventStream` whose chunks wait for `/go`."""

    def __init__(self, events: Callable[[asyncio.Event], AsyncGenerator[Event, None]], **times: float) -> None:
        self.go = asyncio.Event()
        self.app = Starlette(routes=[Route("/", self.stream), Route("/go", self.let)])
        self._events = events
        self._times = times

    async def stream(self, request: Request) -> Response:
        answer = ChatAnswer("m")

        async def failed(error: Exception) -> Response:
            return response_of(api_error(error))

        return EventStream(
            answer.chunks(side_by_side([self._events(self.go)]), api_error), answer.open, failed, **self._times
        )

    async def let(self, request: Request) -> Response:
        self.go.set()
        return Response()


def finish(text: str) -> Finish:
    return Finish("stop", text, (), Usage(), ())


async def late(go: asyncio.Event) -> AsyncGenerator[Event, None]:
    await go.wait()
    yield TextDelta("at last")
    yield finish("at last")


async def late_error(go: asyncio.Event) -> AsyncGenerator[Event, None]:
    await go.wait()
    raise RateLimited("slow down")
    yield


async def interrupted(go: asyncio.Event) -> AsyncGenerator[Event, None]:
    yield TextDelta("now")
    await go.wait()
    yield finish("now")


def watch(stage: Stage, beats: int) -> httpx.Response:
    """Let the chunks come after so many keep-alive comments."""
    with serve(stage.app) as url, httpx.Client(trust_env=False, timeout=30, verify=False) as client:
        with client.stream("GET", url) as response:
            body = b""
            for piece in response.iter_raw():
                body += piece
                if body.count(b": keep-alive\n\n") >= beats and not stage.go.is_set():
                    client.get(f"{url}/go")
        return httpx.Response(response.status_code, headers=response.headers, content=body)


async def test_streams_that_have_much_to_send_take_turns() -> None:
    sent: list[str] = []

    async def stream(name: str) -> None:
        async def chunks() -> AsyncGenerator[bytes, None]:
            for _ in range(20):
                yield b"x" * 2000

        async def send(message: Message) -> None:
            if message.get("body"):
                sent.append(name)

        async def receive() -> Message:
            return await asyncio.Future()

        async def failed(_: Exception) -> Response:
            return Response()

        await EventStream(chunks(), bytes, failed)({}, receive, send)

    await asyncio.gather(stream("a"), stream("b"))
    assert len(sent) == 40 and max(len(list(same)) for _, same in groupby(sent)) <= 2


@pytest.mark.parametrize(("events", "text"), [(late, "at last"), (interrupted, "now")])
def test_silence_is_broken_by_comments_that_no_client_takes_for_data(
    events: Callable[[asyncio.Event], AsyncGenerator[Event, None]], text: str
) -> None:
    response = watch(Stage(events, hold=0.02, beat=0.02), 3)
    assert response.content.count(b": keep-alive\n\n") >= 3
    assert read_stream(response).text == text
    assert not re.search(rb"^(id|event|retry):", response.content, re.MULTILINE)


def test_an_error_before_the_hold_is_over_has_its_own_status() -> None:
    async def at_once(_: asyncio.Event) -> AsyncGenerator[Event, None]:
        raise RateLimited("slow down")
        yield

    with serve(Stage(at_once, hold=30, beat=30).app) as url:
        assert httpx.get(url, trust_env=False, verify=False).status_code == 429


def test_an_error_after_the_hold_is_told_in_band() -> None:
    heard = read_stream(watch(Stage(late_error, hold=0.02, beat=0.02), 2))
    assert heard.status == 200 and heard.error is not None and heard.error["code"] == "rate_limit_exceeded"
    assert heard.text == heard.finish == ""


def test_a_stream_that_is_not_silent_has_no_comments(up: Upstream) -> None:
    up.always(sse(chat_chunks("One two three")))
    with service(up) as server:
        assert b"keep-alive" not in server.post({"messages": HI, "stream": True}).content


# Clients that leave


def connect(server: Service, body: Json, whole_body: bool = True) -> socket.socket:
    parts = urlsplit(server.url)
    content = orjson.dumps(body)
    length = len(content) if whole_body else len(content) + 1
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("words", [False, True], ids=["silence", "words"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_run_ends_when_its_client_leaves(
    up: Upstream, caplog: pytest.LogCaptureFixture, stream: bool, words: bool
) -> None:
    caplog.set_level(logging.INFO)
    up.always(sse(BEGUN if words else [], done=False).but(stall=True))
    with service(up) as server:
        with connect(server, {"messages": HI, "stream": stream}) as connection:
            assert up.wait_requests(1)
            heard = b""
            while stream and words and b"words" not in heard:
                heard += connection.recv(65536)
            assert up.abandoned == 0
        assert up.wait_closed()
        assert server.get("/health").status_code == 200
    assert up.abandoned == 1 and len(up.requests) == 1
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert "499" in caplog.text


def test_a_long_path_is_cut_in_the_log(up: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with service(up) as server:
        assert server.get("/v1/" + "ey-" * 10_000).status_code == 404
    (line,) = [record for record in caplog.records if record.name == "skill_agent.access"]
    assert len(line.getMessage()) < 700 and len(line.__dict__["path"]) < 600


def test_a_client_that_leaves_before_its_request_is_whole_leaves_no_trace(
    up: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with service(up) as server:
        connect(server, {"messages": HI}, whole_body=False).close()
        for _ in range(100):
            if "chat/completions" in caplog.text:
                break
            time.sleep(0.05)
    assert up.requests == [] and "499" in caplog.text
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_connection_is_used_again_after_answers_of_every_kind(up: Upstream) -> None:
    up.always(sse(chat_chunks("ok")))
    with service(up) as server:
        for _ in range(3):
            assert server.whole().text == server.streamed().text == "ok"
            assert server.whole(model="no").status == 404
    assert up.open <= 1


# Secrets


ECHOES: dict[str, Reply] = {
    "words": refused(401, f"the key {CANARY} is wrong"),
    "code": refused(400, "no", code=CANARY),
    "param": refused(400, "no", param=CANARY),
    "request id": refused(400, "no", {"x-request-id": CANARY}),
    "page": text_reply(f"<p>{CANARY}", 200, content_type="text/html"),
    "text": text_reply(f"bad {CANARY}", 400),
    "redirect": text_reply("", 302, {"location": f"https://login/{CANARY}"}),
    "malformed": sse([f"{{{CANARY}"]),
    "wrong type": sse([{"choices": [{"delta": {"tool_calls": CANARY}}]}]),
    "in band": sse([*BEGUN, {"error": {"message": f"not {CANARY}", "code": 400}}]),
}


def test_a_key_that_the_provider_says_back_is_not_passed_on(up: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    up.always(lambda request: ECHOES[request.json["model"]])

    def ask(name: str) -> None:
        for stream in (False, True):
            response = server.post({"model": f"openai/{name}", "messages": HI, "stream": stream})
            assert CANARY not in response.text and CANARY not in str(response.headers), name
            assert "error" in response.text, name

    allowed = ("openai/*",)
    with service(up, openai_api_key=CANARY, allowed_models=allowed) as server, ThreadPoolExecutor(len(ECHOES)) as pool:
        list(pool.map(ask, ECHOES))
    assert all(CANARY in request.headers["authorization"] for request in up.requests)
    assert CANARY not in caplog.text


def test_a_token_of_a_profile_is_not_passed_on_either(
    up: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = tmp_path / "databrickscfg"
    config.write_text(f"[DEFAULT]\nhost = {up.url}\ntoken = {CANARY}\n")
    up.reply(refused(401, f"the token {CANARY} is wrong"), sse([*BEGUN, {"error": {"message": CANARY, "code": 400}}]))
    with service(model="databricks/llama", databricks_config=config) as server:
        heard = [server.whole(), server.streamed()]
    assert all(h.error is not None and CANARY not in str(h.error) for h in heard)
    assert CANARY not in caplog.text


def test_the_log_of_the_process_has_the_request_and_no_key(up: Upstream) -> None:
    up.always(refused(401, f"the key {CANARY} is wrong"))
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "SKILL_AGENT_MODEL": "openai/m",
        "OPENAI_API_KEY": CANARY,
        "OPENAI_BASE_URL": f"{up.url}/v1",
        "SKILL_AGENT_LOG": "json:debug",
    }
    command = [sys.executable, "server.py", "--port", str(port)]
    folder = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=6, verify=False)) as client:
            server = Service(f"http://127.0.0.1:{port}", client)
            response = server.post({"messages": HI}, headers={"x-request-id": "find-me"})
        assert response.status_code == 502
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert CANARY not in log + response.text
    lines = [orjson.loads(line) for line in log.splitlines() if line.startswith("{")]
    (line,) = (line for line in lines if line.get("request_id") == "find-me")
    assert (line["status"], line["path"], line["method"]) == (502, "/v1/chat/completions", "POST")


def test_frames_of_a_stream_are_whole_events(up: Upstream) -> None:
    """None is cut by a write, so that a reader sees words as soon as they are there."""
    up.always(sse([piece for chunk in chat_chunks("One two") for piece in (chunk, 0.02)]))
    with service(up) as server:
        body = {"messages": HI, "stream": True}
        with server.client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
            pieces = list(response.iter_raw())
    assert all(frames(piece) for piece in pieces)
