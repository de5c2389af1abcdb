"""A message of Anthropic's Messages on its way, from events or from one whole message.

Format: https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from messages import (
    Done,
    Message,
    Part,
    ProviderBlock,
    ProviderEvent,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Refusal,
    RefusalDelta,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from providers.base import BadResponse, ModelInfo
from providers.errors import count, error_in, parse, quote, string

STOPS: Mapping[str, Stop] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "content_filter",
}
THINKING = ("thinking", "redacted_thinking")
BELONGS = {"text_delta": "text", "thinking_delta": "thinking"}
TOLD = ("id", "name", "input", "text", "thinking")
"""Fields that are told while they come, so that nothing may change them afterwards."""


class Answer:
    """A message on its way. Blocks are kept as they came, so that they can go back byte for byte."""

    def __init__(self, info: ModelInfo) -> None:
        self.complete = False
        self._info = info
        self._provider = info.id.partition("/")[0]
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}
        # A string that grows with each of a hundred thousand deltas is copied as often.
        self._pieces: dict[int, list[str]] = {}
        self._positions: dict[int, int] = {}
        self._ids: set[str] = set()
        self._usage: dict[str, Any] = {}
        self._stop = ""
        self._details: Mapping[str, Any] = {}
        self._model: str | None = None

    def feed(self, payload: Any) -> Iterator[ProviderEvent]:
        if error := error_in(payload, 200, self._provider):
            raise error
        match payload["type"]:
            case "message_start":
                yield from self._begin(payload["message"])
            case "message":
                yield from self._begin(payload)
                yield from self._end()
            case "content_block_start":
                yield from self._open(payload["index"], payload["content_block"])
            case "content_block_delta":
                yield from self._delta(payload["index"], payload["delta"])
            case "content_block_stop":
                yield from self._close(payload["index"])
            case "message_delta":
                self._change(payload.get("delta") or {}, payload.get("usage") or {})
            case "message_stop":
                yield from self._end()
            case "error":
                raise BadResponse("an error without words", provider=self._provider)

    def _begin(self, message: Mapping[str, Any]) -> Iterator[ProviderEvent]:
        if self._model is not None:
            raise BadResponse("a second message begins inside the first", provider=self._provider)
        self._model = string(message.get("model"))
        self._change(message, message.get("usage") or {})
        for index, block in enumerate(message.get("content") or ()):
            yield from self._open(index, block)
            yield from self._close(index)

    def _change(self, delta: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        self._stop = delta.get("stop_reason") or self._stop
        self._details = delta.get("stop_details") or self._details
        self._usage.update({name: value for name, value in usage.items() if value is not None})

    def _open(self, index: int, block: dict[str, Any]) -> Iterator[ProviderEvent]:
        if index in self._blocks:
            raise BadResponse(f"a second block begins at index {index}", provider=self._provider)
        self._blocks[index] = block
        match block["type"]:
            case "text" if text := string(block.get("text")):
                yield TextDelta(text)
            case "thinking" if thinking := string(block.get("thinking")):
                yield ReasoningDelta(thinking)
            case "tool_use":
                self._name(block)
                self._positions[index] = len(self._positions)
                given = json.dumps(block["input"]) if block.get("input") else ""
                yield ToolCallDelta(self._positions[index], block["id"], block["name"], given)

    def _name(self, block: dict[str, Any]) -> None:
        """Compatible servers leave ids out, or give one to two calls; a call without a name is none."""
        id = string(block.get("id"))
        if not string(block["name"]):
            raise BadResponse(f"a call without a name: {quote(id)}", provider=self._provider)
        if not id or id in self._ids:
            id = f"toolu_{uuid.uuid4().hex[:24]}"
        block["id"] = id
        self._ids.add(id)

    def _close(self, index: int) -> Iterator[ProviderEvent]:
        block = self._blocks.get(index)
        part = self._part(index, block) if block and block["type"] in THINKING else None
        if isinstance(part, Reasoning):
            yield ReasoningDone(part, self._info.id)

    def _delta(self, index: int, delta: Mapping[str, Any]) -> Iterator[ProviderEvent]:
        block = self._blocks[index]
        if block["type"] != BELONGS.get(delta["type"], block["type"]):
            raise BadResponse(f"{delta['type']} inside of another block", provider=self._provider)
        match delta["type"]:
            case "text_delta":
                self._add(index, block.get("text"), delta["text"])
                if delta["text"]:
                    yield TextDelta(delta["text"])
            case "thinking_delta":
                self._add(index, block.get("thinking"), delta["thinking"])
                if delta["thinking"]:
                    yield ReasoningDelta(delta["thinking"])
            case "signature_delta":
                block["signature"] = block.get("signature", "") + delta["signature"]
            case "input_json_delta":
                self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
                if delta["partial_json"] and index in self._positions:
                    yield ToolCallDelta(self._positions[index], arguments=delta["partial_json"])
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
            case _:
                if block["type"] in (*THINKING, "text", "tool_use") and not delta.keys().isdisjoint(TOLD):
                    raise BadResponse("a delta of an unknown kind changes what was told", provider=self._provider)
                block.update({name: value for name, value in delta.items() if name != "type"})

    def _add(self, index: int, begun: object, piece: object) -> None:
        """To the text or thinking of a block, put together when it is needed."""
        if not isinstance(piece, str):
            raise TypeError(f"{type(piece).__name__} where a string belongs")
        self._pieces.setdefault(index, [string(begun)]).append(piece)

    def _end(self) -> Iterator[ProviderEvent]:
        if not self._stop:
            raise BadResponse(
                "the answer ends without a stop reason", provider=self._provider, code="upstream_truncated"
            )
        self.complete = True
        for index, position in self._positions.items():
            if not (self._inputs.get(index) or self._blocks[index].get("input")):
                yield ToolCallDelta(position, arguments="{}")
        parts = [self._part(index, block) for index, block in self._blocks.items()]
        stop = STOPS.get(self._stop, "stop")
        if stop == "stop" and any(_asked(block) for block in self._blocks.values()):
            stop = "tool_calls"
        explanation = string(self._details.get("explanation"))
        if stop == "content_filter" and explanation:
            parts.append(Refusal(explanation))
            yield RefusalDelta(explanation)
        yield Done(Message("assistant", tuple(parts), self._info.id), stop, usage_of(self._usage), self._model or "")

    def _part(self, index: int, block: dict[str, Any]) -> Part:
        if index in self._pieces:
            block[str(block["type"])] = "".join(self._pieces[index])
        match block["type"]:
            case "text":
                return Text(string(block.get("text")), block if block.get("citations") else None)
            case "thinking":
                return Reasoning(string(block.get("thinking")), block)
            case "redacted_thinking":
                return Reasoning("", block)
            case "tool_use":
                written = self._inputs.get(index) or json.dumps(block.get("input") or {})
                rest = {k: v for k, v in block.items() if k not in ("type", "id", "name", "input")}
                return ToolCall(block["id"], block["name"], written, rest or None)
        if self._inputs.get(index):
            block["input"] = parse(self._inputs[index].encode(), self._provider)
        return ProviderBlock(block)


def _asked(block: Mapping[str, Any]) -> bool:
    """Whether the block is a call for the client to answer, not one that server-side code has made and had answered."""
    caller = block.get("caller") or {"type": "direct"}
    return bool(block["type"] == "tool_use" and caller["type"] == "direct")


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """`input_tokens` leaves the cached ones out; ours counts them in, as OpenAI's does."""
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    uncached, output, read, write = (count(usage.get(name)) for name in names)
    reasoning = count((usage.get("output_tokens_details") or {}).get("thinking_tokens"))
    input = uncached + read + write
    return Usage(input, output, read, write, reasoning, input + output)
