"""How the fault upstream speaks: an answer in pieces that the faults put together, leave out or break.

Chat Completions and Anthropic's Messages, each as server-sent events and, for clients that ask for it (LiteLLM does),
as one JSON object whose pieces are cut from its text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

Call: TypeAlias = tuple[str, str, str]
"""Id, name, arguments."""
CLAUDE_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Dialect(Protocol):
    kind: str
    """The content type."""

    def begun(self) -> bytes:
        """What comes before the first word."""
        ...

    def words(self, text: str) -> bytes: ...

    def calls(self, calls: Sequence[Call]) -> bytes: ...

    def end(self, reason: str) -> bytes:
        """The end with all its marks; `reason` is in the words of Chat Completions."""
        ...

    def ping(self) -> bytes: ...

    def failed(self) -> bytes:
        """That the provider is overloaded, said in the middle of an answer."""
        ...

    def odd(self) -> bytes:
        """What the format does not know and must be passed over."""
        ...


def event(data: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


class ChatStream:
    kind = "text/event-stream"
    base: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}  # noqa: RUF012

    def begun(self) -> bytes:
        return self._delta({"role": "assistant", "content": ""})

    def words(self, text: str) -> bytes:
        return self._delta({"content": text})

    def calls(self, calls: Sequence[Call]) -> bytes:
        pieces = (
            self._delta({"tool_calls": [{"index": at, "id": id, "type": "function", "function": function}]})
            for at, (id, name, arguments) in enumerate(calls)
            for function in [{"name": name, "arguments": arguments}]
        )
        return b"".join(pieces)

    def end(self, reason: str) -> bytes:
        return self._delta({}, reason) + event({**self.base, "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"

    def ping(self) -> bytes:
        return b": ping\n\n"

    def failed(self) -> bytes:
        return event({"error": {"message": "Overloaded", "type": "overloaded_error", "code": 529}})

    def odd(self) -> bytes:
        unknown = {**self.base, "choices": [{"index": 0, "delta": {"hologram": [1]}, "finish_reason": None}], "odd": {}}
        return b"event: weather\n" + event(unknown) + b"retry: 5\nid: 7\n\n"

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return event({**self.base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


class ClaudeStream:
    kind = "text/event-stream"

    def begun(self) -> bytes:
        usage = {"input_tokens": 10, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
        start = self._event("message_start", message={**message, "stop_reason": None, "stop_sequence": None})
        return start + self._event("content_block_start", index=0, content_block={"type": "text", "text": ""})

    def words(self, text: str) -> bytes:
        return self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def calls(self, calls: Sequence[Call]) -> bytes:
        return b"".join(self._call(at, *call) for at, call in enumerate(calls, 1))

    def _call(self, at: int, id: str, name: str, arguments: str) -> bytes:
        block = {"type": "tool_use", "id": id, "name": name, "input": {}}
        start = self._event("content_block_start", index=at, content_block=block)
        delta = {"type": "input_json_delta", "partial_json": arguments}
        return (
            start
            + self._event("content_block_delta", index=at, delta=delta)
            + self._event("content_block_stop", index=at)
        )

    def end(self, reason: str) -> bytes:
        delta = {"stop_reason": CLAUDE_REASONS.get(reason, reason), "stop_sequence": None}
        stop = self._event("content_block_stop", index=0)
        return (
            stop + self._event("message_delta", delta=delta, usage={"output_tokens": 5}) + self._event("message_stop")
        )

    def ping(self) -> bytes:
        return self._event("ping")

    def failed(self) -> bytes:
        return self._event("error", error={"type": "overloaded_error", "message": "Overloaded"})

    def odd(self) -> bytes:
        return self._event("weather", sun=True) + self._event("ping", odd={})

    def _event(self, type: str, **fields: Any) -> bytes:
        return event({"type": type, **fields}, type)


class ChatWhole:
    kind = "application/json"

    def begun(self) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m", "usage": USAGE}
        return (
            json.dumps(head)[:-1].encode() + b', "choices": [{"index": 0, "message": {"role": "assistant", "content": "'
        )

    def words(self, text: str) -> bytes:
        return json.dumps(text)[1:-1].encode()

    def calls(self, calls: Sequence[Call]) -> bytes:
        return b""

    def end(self, reason: str) -> bytes:
        return b'"}, "finish_reason": ' + json.dumps(reason).encode() + b"}]}"

    def ping(self) -> bytes:
        return b"\n"

    def failed(self) -> bytes:
        return b'", "error": "overloaded'

    def odd(self) -> bytes:
        return b""


class ClaudeWhole(ChatWhole):
    def begun(self) -> bytes:
        usage = {"input_tokens": 10, "output_tokens": 5}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "usage": usage}
        return json.dumps(head)[:-1].encode() + b', "content": [{"type": "text", "text": "'

    def end(self, reason: str) -> bytes:
        told = json.dumps(CLAUDE_REASONS.get(reason, reason)).encode()
        return b'"}], "stop_sequence": null, "stop_reason": ' + told + b"}"
