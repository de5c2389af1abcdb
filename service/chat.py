"""Answers in the shape of Chat Completions, whole and as chunks.

A chunk is a prefix made once and one encoded delta: nothing is validated or serialised twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import orjson

from messages import (
    Event,
    Finish,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    SkillActivated,
    Step,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolEnd,
    ToolStart,
    Turn,
    Usage,
)
from schemas import ApiError

DONE = b"data: [DONE]\n\n"
SHOWN = 2000
"""Characters of a tool's result that activity shows."""


class ChatAnswer:
    """One answer: its id, and how its parts are written."""

    def __init__(self, model: str, activity: bool = False, include_usage: bool = False) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self._activity = activity
        self._usage = include_usage
        self._begun = False
        head = orjson.dumps({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": model})
        self._prefix = b"data: " + head[:-1] + b',"choices":'
        self._suffix = (b',"usage":null' if include_usage else b"") + b"}\n\n"

    def whole(self, finish: Finish) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": finish.text or (None if finish.calls else ""),
            "refusal": _joined(finish, Refusal) or None,
            "annotations": [],
        }
        if reasoning := _joined(finish, Reasoning):
            message["reasoning_content"] = reasoning
        if finish.calls:
            message["tool_calls"] = [_call(call) for call in finish.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish.reason}
        answer = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": usage_of(finish.usage),
        }
        if self._activity:
            steps = [activity_of(step) for step in finish.steps]
            answer["skill_agent"] = {"steps": steps, "limit": finish.limit or None, "model": finish.model}
        return answer

    async def chunks(
        self, events: AsyncGenerator[Event, None], error_of: Callable[[Exception], ApiError]
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events. What fails before the first one is raised, after it it is told in band."""
        try:
            async with aclosing(events):
                async for event in events:
                    if chunk := self.chunk(event):
                        yield chunk
        except Exception as error:
            if not self._begun:
                raise
            yield b"data: " + error_of(error).body() + b"\n\n"
        yield DONE

    def chunk(self, event: Event) -> bytes:
        """An event's bytes, which may be none; the first ones open the answer."""
        match event:
            case TextDelta(text):
                return self._delta({"content": text})
            case ReasoningDelta(text):
                return self._delta({"reasoning_content": text})
            case RefusalDelta(text):
                return self._delta({"refusal": text})
            case ToolCallDelta():
                return self._delta({"tool_calls": [_call_delta(event)]})
            case Finish():
                return self._end(event)
            case _:
                return self._step(event)

    def open(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._delta({"role": "assistant", "content": "", "refusal": None})

    def _delta(self, delta: dict[str, Any], finish: bytes = b"null") -> bytes:
        choice = b'[{"index":0,"delta":' + orjson.dumps(delta) + b',"logprobs":null,"finish_reason":' + finish + b"}]"
        return self.open() + self._prefix + choice + self._suffix

    def _step(self, step: Step) -> bytes:
        if not self._activity:
            return b""
        shown = b',"skill_agent":' + orjson.dumps(activity_of(step)) + self._suffix
        return self.open() + self._prefix + b'[{"index":0,"delta":{},"logprobs":null,"finish_reason":null}]' + shown

    def _end(self, finish: Finish) -> bytes:
        end = self._delta({}, orjson.dumps(finish.reason))
        if not self._usage:
            return end
        return end + self._prefix + b'[],"usage":' + orjson.dumps(usage_of(finish.usage)) + b"}\n\n"


def _joined(finish: Finish, kind: type[Reasoning] | type[Refusal]) -> str:
    said = (part for message in finish.messages if message.role == "assistant" for part in message.parts)
    return "".join(part.text for part in said if isinstance(part, kind))


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    """Id, type and name stand in a call's first delta only."""
    if not delta.name:
        return {"index": delta.index, "function": {"arguments": delta.arguments}}
    function = {"name": delta.name, "arguments": delta.arguments}
    return {"index": delta.index, "id": delta.id, "type": "function", "function": function}


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def activity_of(step: Step) -> dict[str, Any]:
    match step:
        case SkillActivated(name):
            return {"type": "skill_activated", "name": name}
        case ToolStart(call):
            return {"type": "tool_start", "id": call.id, "name": call.name, "arguments": call.arguments}
        case ToolEnd(call, result, seconds):
            return {
                "type": "tool_end",
                "id": call.id,
                "name": call.name,
                "seconds": round(seconds, 3),
                "is_error": result.is_error,
                "result": result.text[:SHOWN],
            }
        case Turn(number, usage, model):
            return {"type": "turn", "number": number, "model": model, "usage": usage_of(usage)}
