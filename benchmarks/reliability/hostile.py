"""Requests that nobody should send: bodies, headers, paths and bytes, each as it goes over the wire."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.reliability import canaries
from benchmarks.reliability.client import HI

ROOT = Path(__file__).resolve().parents[2]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
GENERATED = 1000
MIB = 1 << 20


class Hostile(NamedTuple):
    """`parsed`: it is HTTP, so that a refusal has to be in OpenAI's shape."""

    name: str
    request: bytes
    parsed: bool = True


VALUES: dict[str, Any] = {
    "null": None,
    "false": False,
    "zero": 0,
    "minus": -1,
    "a float": 1.5,
    "a huge number": 10**30,
    "empty text": "",
    "a long text": "x" * 100_000,
    "NUL": "a\0b",
    "half a pair": "\ud800",
    "right to left": "\u202e\u0085\u2028",
    "an empty list": [],
    "a list of lists": [[[]]],
    "an object": {"a": {"b": [None]}},
    "a path": "../../etc/passwd",
    "SQL": "' OR 1=1 --",
    "a script": "<script>alert(1)</script>",
    "a template": "{{7*7}}${7*7}%n%s",
}
FIELDS = {
    CHAT: ("model", "messages", "stream", "tools", "tool_choice", "max_tokens", "stop", "response_format", "n"),
    RESPONSES: ("model", "input", "stream", "tools", "previous_response_id", "text", "store", "include"),
}
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a brace": b"{",
    "not JSON": b"hello",
    "two objects": b"{}{}",
    "NaN": b'{"messages": [], "temperature": NaN}',
    "Infinity": b'{"messages": [], "temperature": 1e999}',
    "long integer": b'{"max_tokens": ' + b"9" * 5000 + b"}",
    "deep list": b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep object": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "duplicate keys": b'{"model": "a", "model": "skill-agent", "messages": []}',
    "UTF-16": '{"messages": []}'.encode("utf-16"),
    "BOM": b"\xef\xbb\xbf{}",
    "Latin-1": '{"messages": "é"}'.encode("latin-1"),
    "broken UTF-8": b'{"model": "\xc3\x28\xff"}',
    "a million lists": b'{"messages": [' + b"[]," * 1_000_000 + b"[]]}",
    "five megabytes": b'{"messages": "' + b"x" * (5 * MIB) + b'"}',
    "prototype": b'{"__proto__": {"admin": true}, "constructor": {}, "messages": []}',
    "multipart": b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
}


def _picture(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


MESSAGES: dict[str, Any] = {
    "no role": [{"content": "hi"}],
    "an odd role": [{"role": "root", "content": "hi"}],
    "a number as content": [{"role": "user", "content": 7}],
    "an odd part": [{"role": "user", "content": [{"type": "hologram"}]}],
    "a file's address": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
    ],
    "no base64": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,*"}}]}
    ],
    "a result of no call": [{"role": "tool", "tool_call_id": "none", "content": "x"}],
    "a call without a name": [{"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {}}]}],
    "ten thousand messages": HI * 10_000,
}
HEADERS: dict[str, str] = {
    "wrong key": "authorization: Bearer wrong",
    "no scheme": "authorization: nonsense",
    "empty key": "authorization: Bearer ",
    "key beyond ASCII": "authorization: Bearer \xe9\xff",
    "long key": "authorization: Bearer " + "a" * 8000,
    "key with SQL": "authorization: Bearer ' OR '1'='1",
    "two keys": f"authorization: Bearer wrong\r\nx-api-key: {canaries.CLIENT}",
    "forged user": "x-forwarded-user: admin@example.com\r\nx-forwarded-access-token: x",
    "forged address": "x-forwarded-for: 127.0.0.1\r\nforwarded: for=127.0.0.1",
    "odd host": "x-forwarded-host: evil.example/../",
    "odd origin": "origin: https://evil.example",
    "null origin": "origin: null",
    "odd type": "content-type: application/xml",
    "no type": "content-type:",
    "odd charset": "content-type: application/json; charset=utf-7",
    "compressed": "content-encoding: gzip",
    "odd id": "x-request-id: a b\tc<script>",
    "long id": "x-request-id: " + "i" * 4000,
    "expects": "expect: 100-continue",
    "upgrade": "upgrade: websocket\r\nconnection: upgrade",
    "h2c": "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
    "range": "range: bytes=0-1,2-3",
    "override": "x-http-method-override: DELETE",
    "many cookies": "cookie: " + "; ".join(f"c{n}={n}" for n in range(300)),
    "a hundred headers": "\r\n".join(f"x-{n}: {n}" for n in range(100)),
    "traceparent": "traceparent: 00-zz-zz-zz",
}
PATHS = (
    *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/../../server.py", "//etc/passwd", "/v1//models"),
    *("/%00", "/v1/models/%00", "/v1/models/..%2f..%2fetc", "/v1/models/" + "m" * 5000, "/v1/models/%ff%fe", "/%"),
    *("/v1/responses/resp_1", "/v1/responses/%27%20OR%201=1--", "/v1/responses/../models", "/v1/responses/"),
    *("/v1/responses/resp_1?stream=true&starting_after=x", "/v1/responses/resp_1/input_items?limit=-9999999999999"),
    *("/v1/files/..%2f..%2f", "/v1/files/%2e%2e/content", "/v1/files/x/content", "/v1/admin", "/.env", "/.git/config"),
    *("/debug", "/console", "/metrics/../v1", "/v1/chat/completions/", "/v1/chat/completions?stream=true", "/v1"),
    *("/openapi.json/", "/docs/../server.py", "/static/..%5c..%5cserver.py", "/?" + "q" * 20_000, "/\u00e9"),
)
METHODS = ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "post")
WIRE: dict[str, bytes] = {
    "no HTTP": b"hello there\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunks": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
    "negative length": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "length in words": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ten\r\n\r\n",
    "endless chunk": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "odd chunk": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "bare LF": b"GET /health HTTP/1.1\nhost: x\n\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n",
    "space before the colon": b"GET /health HTTP/1.1\r\nhost : x\r\n\r\n",
    "long header": b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
    "absolute address": b"GET http://evil.example/v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n",
}


def fixed() -> Iterator[Hostile]:
    """Always the same ones."""
    for path, fields in FIELDS.items():
        for field, (name, value) in itertools.product(fields, VALUES.items()):
            yield Hostile(f"{path} {field}: {name}", post(path, {**good(path), field: value}))
        for name, messages in MESSAGES.items():
            said = {"messages": messages} if path == CHAT else {"input": messages}
            yield Hostile(f"{path} messages: {name}", post(path, {**good(path), **said}))
        for name, body in BODIES.items():
            yield Hostile(f"{path} body: {name}", post(path, body))
    for name, header in HEADERS.items():
        yield Hostile(f"header: {name}", post(CHAT, good(CHAT), header))
    for path in PATHS:
        yield Hostile(f"path: {path[:40]}", request("GET", path))
    for method, path in itertools.product(METHODS, (CHAT, "/health")):
        yield Hostile(f"{method} {path}", request(method, path))
    for name, data in WIRE.items():
        yield Hostile(f"wire: {name}", data, parsed=False)
    yield from of_tests()


def of_tests(folder: Path = ROOT / "tests" / "hostile") -> Iterator[Hostile]:
    """Those that the tests know the right answer to (see the folder's README)."""
    for case in _lines(folder / "requests.jsonl"):
        path, body = case.get("path", CHAT), case.get("json", case.get("body"))
        content = json.dumps(body).encode() if "json" in case else _bytes(body or "")
        headers = {"content-type": "application/json", "content-length": str(len(content)), **case.get("headers", {})}
        named = [f"{name}: {value}" for name, value in headers.items()]
        if "authorization" not in headers:
            named.append(f"authorization: Bearer {canaries.CLIENT}")
        yield Hostile(f"test {case['id']}", request(case.get("method", "POST"), path, *named) + content)
    for case in _lines(folder / "histories.jsonl"):
        yield Hostile(f"test {case['id']}", post(CHAT, {**good(CHAT), "messages": case["messages"]}))
    for case in _lines(folder / "wire.jsonl"):
        yield Hostile(f"test {case['id']}", _bytes(case["wire"]), parsed=False)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line] if path.exists() else []


def _bytes(written: Any) -> bytes:
    """Of a text, `[text, times]`, `{"hex": …}`, or a list of those."""
    match written:
        case str():
            return written.encode("utf-8", "surrogatepass")
        case [str(text), int(times)]:
            return text.encode() * times
        case {"hex": digits}:
            return bytes.fromhex(digits)
    return b"".join(map(_bytes, written))


def generated(count: int = GENERATED) -> list[Hostile]:
    """Good bodies with one field of any JSON, the same ones each time."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    keys = st.sampled_from(("role", "content", "type", "text", "name", "function", "id", "arguments")) | st.text(
        max_size=5
    )
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
    places = st.sampled_from([(path, field) for path, fields in FIELDS.items() for field in fields])
    found: list[Hostile] = []

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(places, values)
    def collect(place: tuple[str, str], value: Any) -> None:
        path, field = place
        found.append(Hostile(f"{path} {field}: {value!r}"[:200], post(path, {**good(path), field: value})))

    collect()
    return found


def good(path: str) -> dict[str, Any]:
    return {"model": "skill-agent", **({"messages": HI} if path == CHAT else {"input": "hi"})}


def post(path: str, body: object, header: str = "") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = [header] if header else []
    if "authorization" not in header and "x-api-key" not in header:
        more.append(f"authorization: Bearer {canaries.CLIENT}")
    if "content-type" not in header:
        more.append("content-type: application/json")
    return request("POST", path, *more, f"content-length: {len(content)}") + content


def request(method: str, path: str, *headers: str) -> bytes:
    named = any(header.startswith("authorization") for header in headers)
    key = [] if named or method == "POST" else [f"authorization: Bearer {canaries.CLIENT}"]
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "connection: close", *key, *headers]
    return "\r\n".join([*lines, "", ""]).encode("utf-8" if not path.isascii() else "latin-1")
