"""Connections that would be held for nothing are closed: no request, half a request, nobody who reads."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from starlette.types import Receive, Scope, Send

from server import create_app
from service.wire import Wire
from settings import Settings
from tests.servers import Reply, serve
from tests.surface import CHAT, HI
from tests.upstream import Upstream, chat_chunks, sse

ROOT = Path(__file__).resolve().parents[1]
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


class Hasty(Wire):
    """The limits of time, scaled."""

    header_seconds: ClassVar[float] = 0.3
    body_seconds: ClassVar[float] = 0.3
    read_seconds: ClassVar[float] = 0.3


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(hello, http=Hasty, lifespan="off", timeout_keep_alive=60) as address:
        yield address


def connected(url: str, receive_buffer: int = 0) -> socket.socket:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10)
    sock.connect((urlsplit(url).hostname, urlsplit(url).port))
    return sock


def ended(sock: socket.socket) -> bytes:
    """What is heard until the connection has ended; a time-out is a failure."""
    heard = b""
    try:
        while more := sock.recv(65536):
            heard += more
    except ConnectionResetError:
        pass
    return heard


def wait_for(sock: socket.socket, end: bytes) -> None:
    heard = b""
    while not heard.endswith(end):
        piece = sock.recv(65536)
        assert piece
        heard += piece


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST",
        HEAD,
        HEAD + b"content-length: 9",
        HEAD + b"content-length: 9\r\n\r\n",
        HEAD + b"content-length: 9\r\n\r\nhalf",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nha",
    ],
    ids=["nothing", "a word", "a header", "half a header", "no body", "half a body", "half a chunk"],
)
def test_a_connection_without_a_whole_request_is_closed(url: str, sent: bytes) -> None:
    with connected(url) as sock:
        sock.sendall(sent)
        assert ended(sock) == b""


@pytest.mark.parametrize("drop", [b"x", b"\r\n"], ids=["headers", "lines before a request"])
def test_a_connection_that_drips_is_closed(url: str, drop: bytes) -> None:
    with connected(url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nx: " if drop == b"x" else b"")
        sock.settimeout(0.05)
        with pytest.raises((ConnectionError, EOFError)):
            for _ in range(200):
                sock.sendall(drop)
                with_what = _heard(sock)
                if with_what == b"":
                    raise EOFError
                assert with_what is None


def _heard(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(1)
    except TimeoutError:
        return None


def test_half_a_second_request_is_no_better_than_half_a_first(url: str) -> None:
    for half in (b"GET / HT", b"\r\n"):
        with connected(url) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(sock, b"hello")
            sock.sendall(half)
            assert ended(sock) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000,
        b"GET /" + b"x" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000,
        b"GET / HTTP/1.1\r\nx: " + b"x" * 33_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 33_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["endless value", "endless path", "many headers", "large value", "large path"],
)
def test_headers_over_32_kib_are_refused(url: str, head: bytes) -> None:
    with connected(url) as sock:
        sock.sendall(head)
        heard = ended(sock)
        assert heard == b"" or (heard.startswith(b"HTTP/1.1 431 ") and b'"headers_too_large"' in heard)


def test_headers_of_30_kib_are_taken(url: str) -> None:
    assert httpx.get(url, headers={"x": "y" * 30_000}, verify=False).text == "hello"


def test_what_is_no_http_is_told_so_in_the_shape_of_all_errors(url: str) -> None:
    with connected(url) as sock:
        sock.sendall(b"HELLO\r\n\r\n")
        head, _, body = ended(sock).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"x-request-id: " in head
        assert body == (
            b'{"error":{"message":"Invalid HTTP request received.","type":"invalid_request_error",'
            b'"param":null,"code":"invalid_request"}}'
        )


def test_an_idle_connection_is_kept_for_the_next_request(url: str) -> None:
    with connected(url) as sock:
        for _ in range(2):
            sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(sock, b"hello")
            threading.Event().wait(0.5)


def test_many_slow_connections_do_not_keep_others_from_being_served(url: str) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(url)) for _ in range(100)]
        for number, sock in enumerate(slow):
            sock.sendall((b"", b"GET / HT", HEAD, HEAD + b"content-length: 9\r\n\r\nx")[number % 4])
        assert httpx.get(url, verify=False).text == "hello"
        assert all(ended(sock) == b"" for sock in slow)


# Readers that do not read


def flooding() -> Reply:
    """80 MB of an answer, as fast as they are taken; then silence."""
    chunk = chat_chunks("x")[1]
    chunk["choices"][0]["delta"]["content"] = "flood " * 3000
    (flood,) = sse([chunk], done=False).chunks
    return sse([]).but(chunks=[flood] * 4_000, stall=True)


def ask(url: str, receive_buffer: int = 4096) -> socket.socket:
    body = orjson.dumps({"model": "openai/test-model", "messages": HI, "stream": True})
    sock = connected(url, receive_buffer)
    sock.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
    return sock


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def test_a_client_that_does_not_read_its_answer_loses_it_and_the_run_ends(up: Upstream) -> None:
    settings = Settings(model="openai/test-model", openai_base_url=f"{up.url}/v1", openai_api_key="sk-1", skills=())
    with serve(create_app(settings), http=Hasty) as url, ExitStack() as stack:
        up.always(flooding())
        for _ in range(4):
            stack.enter_context(ask(url))
        assert up.wait_requests(4, 20)
        assert up.wait_closed(20)
        up.always(sse(chat_chunks("Hello")))
        answer = httpx.post(
            f"{url}{CHAT}", json={"model": "openai/test-model", "messages": HI}, timeout=20, verify=False
        )
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"


async def large(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (8 * 2**20))]})
    await send({"type": "http.response.body", "body": b"x" * (8 * 2**20)})


def test_a_slow_reader_of_much_is_left_in_peace() -> None:
    with serve(large, http=Hasty, lifespan="off") as url, connected(url, 65536) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        heard = 0
        while piece := sock.recv(2**16):
            heard += len(piece)
            threading.Event().wait(0.01)
            if heard >= 8 * 2**20:
                break
        assert heard >= 8 * 2**20


def test_who_never_takes_the_rest_of_an_answer_is_closed() -> None:
    with serve(large, http=Hasty, lifespan="off") as url, connected(url, 4096) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        threading.Event().wait(1.5)
        assert len(ended(sock)) < 8 * 2**20


def test_the_server_as_it_is_started_has_the_limits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "SKILL_AGENT_MODEL": "openai/m", "OPENAI_API_KEY": "sk-1"}
    command = [sys.executable, "server.py", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(
            trust_env=False, transport=httpx.HTTPTransport(retries=6, verify=False), timeout=20
        ) as client:
            address = f"http://127.0.0.1:{port}/health"
            assert client.get(address).status_code == 200
            assert client.get(address, headers={"x": "x" * 33_000}).status_code == 431
    finally:
        process.terminate()
        process.wait(20)
