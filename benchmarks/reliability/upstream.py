"""A provider whose faults are chosen by the request: `fault-<case>-<id>` anywhere in its body names one of `scripts`.

python -m benchmarks.reliability.upstream [--cert FILE --key FILE]

It prints its ports as a line of JSON. `GET /control/seen/<key>` tells what came for a key, `/control/state` how many
connections stand and are in the middle of a reply, `POST /control/outage/on` and `…/off` begin and end an outage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import socket
import ssl
import struct
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.client import responses as PHRASES  # noqa: N812
from typing import Any

from benchmarks.reliability.replies import FOREVER, Asked, Reply, refused
from benchmarks.reliability.scripts import SCRIPTS

KEY = re.compile(rb"fault-([a-z0-9_]+)-[a-z0-9]+")
FULL = 1 << 16
"""Bytes that wait in a connection before its reply waits too."""


@dataclass(slots=True)
class Seen:
    """A request. Times are of the system's monotonic clock; `left` is when its client went before the end, or 0."""

    at: float
    encoding: str
    results: list[tuple[str, str]]
    """Id and text of each tool result."""
    left: float = 0.0


@dataclass(slots=True)
class Upstream:
    outage: bool = False
    seen: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    peers: set[Peer] = field(default_factory=set)

    def take(self, peer: Peer, path: str, headers: dict[str, str], body: bytes) -> tuple[Reply, Seen | None]:
        if path.startswith("/control/"):
            return self._control(path.removeprefix("/control/")), None
        found = KEY.search(body)
        name, key = (found[1].decode(), found[0].decode()) if found else ("ok", "ok")
        request = json.loads(body) if body else {}
        results = _results(request)
        seen = Seen(time.monotonic(), headers.get("accept-encoding", ""), results)
        self.seen[key].append(seen)
        stream = bool(request.get("stream"))
        count = len(self.seen[key])
        asked = Asked(_provider(path), stream, count, peer.served > 0, len(results), self.outage)
        script = SCRIPTS.get(name)
        reply = script(asked) if script else refused(asked, 404, "not_found_error", words=f"no case {name}")
        return _with_key(reply, headers) if name == "key_said_back" else reply, seen

    def _control(self, what: str) -> Reply:
        told: Any = {"open": len(self.peers), "busy": sum(peer.busy is not None for peer in self.peers)}
        if what.startswith("seen/"):
            told = [asdict(seen) for seen in self.seen.get(what.removeprefix("seen/"), ())]
        elif what.startswith("outage/"):
            self.outage = what.endswith("/on")
        return Reply(200, [json.dumps(told).encode()], {"content-type": "application/json"})


def _provider(path: str) -> str:
    if "/messages" in path:
        return "anthropic"
    return "databricks" if "serving-endpoints" in path else "openai"


def _results(request: Any) -> list[tuple[str, str]]:
    """In either dialect."""
    found = []
    for message in request.get("messages", ()):
        if message["role"] == "tool":
            found.append((message["tool_call_id"], _text(message["content"])))
        blocks = message["content"] if isinstance(message.get("content"), list) else ()
        found += [(b["tool_use_id"], _text(b.get("content"))) for b in blocks if b.get("type") == "tool_result"]
    return found


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def _with_key(reply: Reply, headers: dict[str, str]) -> Reply:
    found = (headers.get(name, "") for name in ("authorization", "x-api-key", "api-key"))
    key = next((value.removeprefix("Bearer ") for value in found if value), "")
    steps = [step.replace(b"KEY", key.encode()) if isinstance(step, bytes) else step for step in reply.steps]
    return Reply(reply.status, steps, reply.headers)


class Peer(asyncio.Protocol):
    """One connection. Nothing is read ahead: a client sends its next request when it has the answer."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.served = 0
        self.busy: Seen | None = None
        self._buffer = bytearray()
        self._playing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(FULL)
        self.upstream.peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.peers.discard(self)
        self._gone()

    def eof_received(self) -> bool:
        self._gone()
        return False

    def _gone(self) -> None:
        if self.busy:
            self.busy.left, self.busy = time.monotonic(), None
        if self._playing:
            self._playing.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if len(rest) < int(headers.get("content-length", "0")):
            return
        self._buffer.clear()
        reply, self.busy = self.upstream.take(self, first.split(" ")[1], headers, rest)
        closing = headers.get("connection", "").lower() == "close"
        self._playing = asyncio.get_running_loop().create_task(self._play(reply, closing))

    async def _play(self, reply: Reply, closing: bool) -> None:
        chunked = reply.status > 0 and reply.framing == "chunked"
        if reply.status:
            self.transport.write(_head(reply, chunked))
        for step in reply.steps:
            if not isinstance(step, bytes):
                await (asyncio.Event().wait() if step == FOREVER else asyncio.sleep(step))
            elif step:
                self.transport.write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
                if not self._writable.is_set():
                    await self._writable.wait()
        self.served += 1
        self.busy = self._playing = None
        if reply.end == "rst":
            _reset(self.transport)
        elif reply.end == "whole" and chunked:
            self.transport.write(b"0\r\n\r\n")
        if closing or not chunked or reply.end == "fin":
            self.transport.close()


def _head(reply: Reply, chunked: bool) -> bytes:
    framing = {"transfer-encoding": "chunked"} if chunked else {"connection": "close"}
    lines = [f"HTTP/1.1 {reply.status} {PHRASES.get(reply.status, 'Odd')}"]
    lines += [f"{name}: {value}" for name, value in {**reply.headers, **framing}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _reset(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _closed_port() -> socket.socket:
    """Bound and not listened on: connections are refused."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def _black_hole() -> list[socket.socket]:
    """Its queue is full: connections are neither taken nor refused."""
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        with suppress(BlockingIOError):
            each.connect(hole.getsockname())
    return [hole, *waiting]


async def _serve(cert: str, key: str) -> None:
    upstream, loop = Upstream(), asyncio.get_running_loop()
    plain = await loop.create_server(lambda: Peer(upstream), "127.0.0.1", 0, backlog=4096)
    ports = {"port": plain.sockets[0].getsockname()[1]}
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        secure = await loop.create_server(lambda: Peer(upstream), "127.0.0.1", 0, ssl=context)
        ports["tls"] = secure.sockets[0].getsockname()[1]
    closed, hole = _closed_port(), _black_hole()
    ports |= {"closed": closed.getsockname()[1], "hole": hole[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cert", default="")
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.cert, options.key))


if __name__ == "__main__":
    main()
