"""Bodies that are too large, too slow or hard to read are refused, before they cost anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from providers.scripted import ScriptedProvider
from service.intake import Intake
from service.wire import Wire
from tests.servers import serve
from tests.surface import CHAT, HI, Service, read_error, service

LARGEST = 4 * 2**20


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    with service(provider=ScriptedProvider(["Hi"] * 9)) as server:
        yield server


def padded(size: int) -> bytes:
    body = orjson.dumps({"messages": HI, "padding": ""})
    return body[:-2] + b"x" * (size - len(body)) + b'"}'


def said(sock: socket.socket) -> bytes:
    """All that the server says until it closes."""
    heard = b""
    while more := sock.recv(65536):
        heard += more
    return heard


def connected(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10)


def test_a_body_of_the_largest_size_is_taken_and_one_byte_more_is_not(served: Service) -> None:
    assert served.post(padded(LARGEST)).status_code == 200
    response = served.post(padded(LARGEST + 1))
    assert response.status_code == 413 and read_error(response)["code"] == "request_too_large"


def test_a_body_of_unknown_length_is_refused_when_it_has_become_too_long(served: Service) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        body = padded(size)
        yield from (body[at : at + 65536] for at in range(0, size, 65536))

    for size, status in ((LARGEST, 200), (LARGEST + 1, 413), (4 * LARGEST, 413)):
        assert served.client.post(f"{served.url}{CHAT}", content=chunks(size)).status_code == status


def test_a_body_that_is_declared_too_long_is_refused_before_it_is_sent(served: Service) -> None:
    with connected(served.url) as sock:
        sock.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n" % CHAT.encode())
        heard = b""
        while not heard.endswith(b"}}"):
            heard += sock.recv(65536)
        assert heard.startswith(b"HTTP/1.1 413 ") and b"connection: close" in heard and b"request_too_large" in heard


def test_who_waits_for_leave_to_send_too_much_does_not_get_it(served: Service) -> None:
    with connected(served.url) as sock:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5000000\r\n\r\n"
        sock.sendall(head % CHAT.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


async def echo(request: Request) -> Response:
    return Response(await request.body())


def test_a_body_that_does_not_come_is_given_up() -> None:
    hasty = Middleware(Intake, largest=LARGEST, seconds=0.2)
    app = Starlette(routes=[Route("/", echo, methods=["POST"])], middleware=[hasty])
    with serve(app, http=Wire) as url, connected(url) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        answer = said(sock)
        assert answer.startswith(b"HTTP/1.1 408 ") and b'"request_timeout"' in answer
        assert httpx.post(url, content=b"whole", verify=False).content == b"whole"


HOSTILE = {
    "deep": b'{"messages":' + b"[" * (LARGEST - 20),
    "deep objects": b'{"messages":' + b'{"a":' * ((LARGEST - 20) // 5),
    "lists": b'{"messages":[' + b"[]," * ((LARGEST - 30) // 3) + b"[]]}",
    "objects": b'{"messages":[' + b"{}," * ((LARGEST - 30) // 3) + b"{}]}",
    "numbers": b'{"messages":[' + b"0," * ((LARGEST - 30) // 2) + b"0]}",
    "objects in a field that is not known": b'{"odd":[' + b"{}," * ((LARGEST - 30) // 3) + b"{}]}",
    "as many objects as are taken": b'{"messages":[' + b"{}," * 99_000 + b"{}]}",
    "digits": b'{"messages":[' + b"1" * (LARGEST - 30) + b"]}",
    "a fraction": b'{"temperature":0.' + b"1" * (LARGEST - 30) + b"}",
    "an exponent": b'{"temperature":1e' + b"9" * (LARGEST - 30) + b"}",
    "keys": b"{" + b",".join(b'"%d":0' % number for number in range(LARGEST // 12)) + b"}",
    "halves of characters": b'{"messages":"' + b"\\ud800" * ((LARGEST - 30) // 6) + b'"}',
    "escapes behind a half": b'{"messages":"\\ud800' + b"\\n" * ((LARGEST - 40) // 2) + b'"}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_hard_to_read_is_a_bad_request(served: Service, body: bytes) -> None:
    response = served.post(body)
    assert response.status_code == 400 and read_error(response)["type"] == "invalid_request_error"
