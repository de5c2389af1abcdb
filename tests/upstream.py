"""A provider to test against: a real HTTP/1.1 server on loopback that says what the test tells it to.

It runs in a thread with an event loop of its own, so sync and async tests use it alike. From an async
test call the waiting methods through `asyncio.to_thread`, or they block the client they wait for.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeAlias

from tests.servers import Peer, Received, Reply, Split

__all__ = ["Answer", "Received", "Reply", "Split", "Upstream", "chat_chunks", "claude_events"]
__all__ += ["json_reply", "raw_sse", "sse", "text_reply"]

Answer: TypeAlias = Reply | Callable[[Received], Reply]


def raw_sse(text: bytes, split: Split = None, *, headers: Mapping[str, str] | None = None) -> Reply:
    """An event stream of exactly these bytes."""
    return Reply(200, {"content-type": "text/event-stream", **(headers or {})}, [text]).recut(split)


def _frame(payload: object, events: bool, newline: str) -> bytes:
    if isinstance(payload, bytes):
        return payload
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    lines = [f"data: {line}" for line in data.split("\n")]
    if events and isinstance(payload, Mapping) and "type" in payload:
        lines.insert(0, f"event: {payload['type']}")
    return (newline.join(lines) + newline * 2).encode()


def sse(
    payloads: Iterable[object],
    *,
    done: bool = True,
    split: Split = None,
    events: bool = False,
    crlf: bool = False,
    comments: str = "",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An event stream: objects become JSON, a str is data as it is, bytes go untouched, a float is a pause.

    `comments` is the text of a comment in front of each payload, as gateways send to keep a line alive.
    """
    newline = "\r\n" if crlf else "\n"
    mark = f": {comments}{newline * 2}".encode() if comments else b""
    chunks: list[bytes | float] = []
    for payload in [*payloads, *(["[DONE]"] if done else [])]:
        chunks.append(payload if isinstance(payload, float) else mark + _frame(payload, events, newline))
    return raw_sse(b"", headers=headers).but(chunks=chunks).recut(split)


def text_reply(
    text: str, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = "text/plain"
) -> Reply:
    fields = {"content-type": f"{content_type}; charset=utf-8", **(headers or {})}
    return Reply(status, fields, [text.encode()], "length")


def json_reply(obj: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return text_reply(json.dumps(obj, ensure_ascii=False), status, headers, "application/json")


def _unscripted(request: Received) -> Reply:
    message = f"nothing was scripted for {request.method} {request.path}"
    error = {"message": message, "type": "server_error", "param": None, "code": None}
    return json_reply({"error": error}, 500)


def _pieces(text: str) -> list[str]:
    """Words with the space behind them, as models speak."""
    return re.findall(r"\s*\S+\s?|\s+", text)


def chat_chunks(
    text: str = "",
    reasoning: str = "",
    tool_calls: Sequence[tuple[str, str, str]] = (),
    finish: str | None = None,
    usage: tuple[int, int] | None = (10, 5),
    model: str = "test-model",
) -> list[dict[str, Any]]:
    """The chunks of Chat Completions; `finish=""` leaves the last one out, `usage=None` that of the usage."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in _pieces(reasoning)]
    deltas += [{"content": piece} for piece in _pieces(text)]
    for index, (id, name, arguments) in enumerate(tool_calls):
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas += [{"tool_calls": [{"index": index, **call}]}]
        for piece in _pieces(arguments):
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]}]
    choices: list[Any] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    last = ("tool_calls" if tool_calls else "stop") if finish is None else finish
    choices += [[{"index": 0, "delta": {}, "finish_reason": last}]] if last else []
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
    chunks: list[dict[str, Any]] = [{**base, "choices": choice} for choice in choices]
    if usage:
        tokens = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
        chunks += [{**base, "choices": [], "usage": {**tokens, "total_tokens": sum(usage)}}]
    return chunks


def claude_events(
    text: str = "",
    thinking: str = "",
    signature: str = "",
    tool_uses: Sequence[tuple[str, str, Mapping[str, Any]]] = (),
    stop: str | None = None,
    usage: tuple[int, int] = (10, 5),
    model: str = "claude-test",
) -> list[dict[str, Any]]:
    """The events of Anthropic Messages; `stop=""` ends them before the message is over."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
    counted = {"input_tokens": usage[0], "output_tokens": 1}
    first = {**message, "stop_reason": None, "stop_sequence": None, "usage": counted}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": first}, {"type": "ping"}]
    for index, (block, deltas) in enumerate(_claude_blocks(text, thinking, signature, tool_uses)):
        events += [{"type": "content_block_start", "index": index, "content_block": block}]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events += [{"type": "content_block_stop", "index": index}]
    reason = ("tool_use" if tool_uses else "end_turn") if stop is None else stop
    if reason:
        end = {"stop_reason": reason, "stop_sequence": None}
        events += [{"type": "message_delta", "delta": end, "usage": {"output_tokens": usage[1]}}]
        events += [{"type": "message_stop"}]
    return events


def _claude_blocks(
    text: str, thinking: str, signature: str, tool_uses: Sequence[tuple[str, str, Mapping[str, Any]]]
) -> list[tuple[dict[str, Any], list[dict[str, str]]]]:
    blocks: list[tuple[dict[str, Any], list[dict[str, str]]]] = []
    if thinking or signature:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(thinking)]
        deltas += [{"type": "signature_delta", "signature": signature}] if signature else []
        blocks += [({"type": "thinking", "thinking": "", "signature": ""}, deltas)]
    if text:
        words = [{"type": "text_delta", "text": piece} for piece in _pieces(text)]
        blocks += [({"type": "text", "text": ""}, words)]
    for id, name, arguments in tool_uses:
        pieces = ["", *_pieces(json.dumps(arguments))] if arguments else [""]
        parts = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        blocks += [({"type": "tool_use", "id": id, "name": name, "input": {}}, parts)]
    return blocks


@dataclass(slots=True)
class _Script:
    """Answers in order; at the end comes `rest`, which for a route is its last one."""

    repeats: bool
    rest: Answer = _unscripted
    waiting: deque[Answer] = field(default_factory=deque)

    def next(self) -> Answer:
        answer = self.waiting.popleft() if self.waiting else self.rest
        if self.repeats:
            self.rest = answer
        return answer


class Upstream:
    """The server. An answer is a `Reply`, or a function that makes one from the request."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.abandoned = 0
        """How many replies the client left before they were over."""
        self._changed = threading.Condition()
        self._peers: set[Peer] = set()
        self._busy: set[Peer] = set()
        self._main = _Script(repeats=False)
        self._routes: dict[str, _Script] = {}
        self._failures: list[Exception] = []
        self._closing = False

    def reply(self, *answers: Answer) -> None:
        """Queue answers for the next requests, whatever their path."""
        with self._changed:
            self._main.waiting.extend(answers)

    def always(self, answer: Answer) -> None:
        """The answer when the queue is empty."""
        with self._changed:
            self._main.rest = answer

    def route(self, prefix: str, *answers: Answer) -> None:
        """Answers for the paths that start so, of their own queue; the last one repeats."""
        with self._changed:
            self._routes.setdefault(prefix, _Script(repeats=True)).waiting.extend(answers)

    @property
    def open(self) -> int:
        with self._changed:
            return len(self._peers)

    def wait_requests(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until so many requests came in all."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def wait_closed(self, timeout: float = 5.0) -> bool:
        """Wait until the connections that are in the middle of a reply now are gone."""
        with self._changed:
            waiting = set(self._busy)
            return self._changed.wait_for(lambda: not waiting & self._peers, timeout)

    def __enter__(self) -> Upstream:
        port: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(port,), name="upstream", daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{port.result(10)}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self._thread.is_alive():
            raise RuntimeError("the upstream did not stop")
        if self._failures and error is None:
            raise self._failures[0]

    def _run(self, port: Future[int]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(port))

    async def _serve(self, port: Future[int]) -> None:
        try:
            server = await self._loop.create_server(lambda: Peer(self), "127.0.0.1", 0, backlog=1024)
        except OSError as error:
            port.set_exception(error)
            return
        port.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        while self._peers:
            for peer in list(self._peers):
                peer.transport.abort()
            await asyncio.sleep(0)

    def _choose(self, request: Received) -> Answer:
        prefixes = [prefix for prefix in self._routes if request.path.startswith(prefix)]
        return (self._routes[max(prefixes, key=len)] if prefixes else self._main).next()

    # What `Peer` tells its host.

    def came(self, peer: Peer) -> None:
        with self._changed:
            self._peers.add(peer)

    def took(self, peer: Peer, request: Received) -> Reply:
        """A function that fails makes a 500 here and is raised at the end of the test's `with`."""
        with self._changed:
            self.requests.append(request)
            self._busy.add(peer)
            answer = self._choose(request)
            self._changed.notify_all()
        try:
            return answer if isinstance(answer, Reply) else answer(request)
        except Exception as error:
            self._failures.append(error)
            return json_reply({"error": {"message": f"the script failed: {error!r}"}}, 500)

    def finished(self, peer: Peer) -> None:
        with self._changed:
            self._busy.discard(peer)

    def left(self, peer: Peer) -> None:
        with self._changed:
            self.abandoned += not self._closing

    def went(self, peer: Peer) -> None:
        with self._changed:
            self._busy.discard(peer)
            self._peers.discard(peer)
            self._changed.notify_all()
