"""Answers in the shape of Chat Completions, whole and as chunks.

A chunk is a prefix made once and one encoded delta: nothing is validated or serialised twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from bodies import ApiError
from custom_tools import input_of
from messages import (
    Compacted,
    Event,
    FellBack,
    Finish,
    MadeFile,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
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
from tools import for_people

DONE = b"data: [DONE]\n\n"
SHOWN = 2000
"""Characters of a tool's result that activity shows."""


class ChatAnswer:
    """One answer: its id, and how its parts are written."""

    def __init__(
        self,
        model: str,
        activity: bool = False,
        include_usage: bool = False,
        legacy: bool = False,
        custom: Collection[str] = (),
    ) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self._activity = activity
        self._legacy = legacy
        self._custom = custom
        self._held: set[tuple[int, int]] = set()
        self._include_usage = include_usage
        self._usage = Usage()
        self._begun: set[int] = set()
        self._prefix = self._head()
        self._suffix = (b',"usage":null' if include_usage else b"") + b"}\n\n"

    def _head(self) -> bytes:
        told = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        return b"data: " + orjson.dumps(told)[:-1] + b',"choices":'

    def _stand_in(self, model: str) -> None:
        """From here on the answer names the model that gives it, in the place of the one that was asked."""
        self.model = model
        self._prefix = self._head()

    def whole(self, finishes: Sequence[Finish]) -> dict[str, Any]:
        """The answer with a choice for each of the runs."""
        for step in (step for finish in finishes for step in finish.steps if isinstance(step, FellBack)):
            self._stand_in(step.model)
        answer = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [self._choice(index, finish) for index, finish in enumerate(finishes)],
            "usage": usage_of(sum((finish.usage for finish in finishes), Usage())),
        }
        if self._activity:
            steps = [activity_of(step) for finish in finishes for step in finish.steps]
            last = finishes[-1]
            files = [file_of(file) for finish in finishes for file in finish.files]
            answer["skill_agent"] = {"steps": steps, "limit": last.limit or None, "model": last.model, "files": files}
        return answer

    def _choice(self, index: int, finish: Finish) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": finish.text or (None if finish.calls else ""),
            "refusal": _joined(finish, Refusal) or None,
            "annotations": [],
        }
        if reasoning := _joined(finish, Reasoning):
            message["reasoning_content"] = reasoning
        if finish.calls and self._legacy:
            message["function_call"] = _call(finish.calls[0])["function"]
        elif finish.calls:
            message["tool_calls"] = [_call(call, self._custom) for call in finish.calls]
        logprobs = _logprobs(finish.logprobs)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": self._reason(finish)}

    def _reason(self, finish: Finish) -> str:
        return "function_call" if self._legacy and finish.reason == "tool_calls" else finish.reason

    async def chunks(
        self, events: AsyncGenerator[tuple[int, Event], None], error_of: Callable[[Exception], ApiError]
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events of numbered runs. What fails before the first one is raised, after it told in band."""
        try:
            async with aclosing(events):
                async for index, event in events:
                    if chunk := self.chunk(event, index):
                        yield chunk
            if self._include_usage:
                yield self._prefix + b'[],"usage":' + orjson.dumps(usage_of(self._usage)) + b"}\n\n"
        except Exception as error:
            if not self._begun:
                raise
            yield b"data: " + error_of(error).body() + b"\n\n"
        yield DONE

    def chunk(self, event: Event, index: int = 0) -> bytes:
        """An event's bytes, which may be none; the first ones open the choice."""
        match event:
            case TextDelta(text, logprobs):
                return self._delta(index, {"content": text}, logprobs=_logprobs(logprobs))
            case ReasoningDelta(text):
                return self._delta(index, {"reasoning_content": text})
            case RefusalDelta(text):
                return self._delta(index, {"refusal": text})
            case ReasoningDone():
                return b""
            case ToolCallDelta():
                return self._call_delta(index, event)
            case FellBack(model):
                self._stand_in(model)
                return self._step(index, event)
            case Finish():
                self._usage += event.usage
                return self._whole_calls(index, event) + self._ended(index, event)
            case _:
                return self._step(index, event)

    def open(self, index: int = 0) -> bytes:
        if index in self._begun:
            return b""
        self._begun.add(index)
        return self._delta(index, {"role": "assistant", "content": "", "refusal": None})

    def _delta(
        self,
        index: int,
        delta: dict[str, Any],
        finish: bytes = b"null",
        logprobs: dict[str, Any] | None = None,
        more: bytes = b"",
    ) -> bytes:
        head = b'[{"index":%d,"delta":' % index
        told = orjson.dumps(logprobs) if logprobs else b"null"
        choice = head + orjson.dumps(delta) + b',"logprobs":' + told + b',"finish_reason":' + finish + b"}]"
        return self.open(index) + self._prefix + choice + more + self._suffix

    def _ended(self, index: int, finish: Finish) -> bytes:
        told = {
            "type": "finish",
            "reason": finish.reason,
            "limit": finish.limit or None,
            "model": finish.model,
            "files": [file_of(file) for file in finish.files],
        }
        shown = b',"skill_agent":' + orjson.dumps(told) if self._activity else b""
        return self._delta(index, {}, orjson.dumps(self._reason(finish)), more=shown)

    def _whole_calls(self, index: int, finish: Finish) -> bytes:
        """Calls of custom tools, whose text is known only when their JSON is whole."""
        calls = [(at, call) for at, call in enumerate(finish.calls) if (index, at) in self._held]
        told = [{"index": at, **_call(call, self._custom)} for at, call in calls]
        return self._delta(index, {"tool_calls": told}) if told else b""

    def _call_delta(self, index: int, delta: ToolCallDelta) -> bytes:
        if delta.name in self._custom:
            self._held.add((index, delta.index))
        if (index, delta.index) in self._held:
            return b""
        if not self._legacy:
            return self._delta(index, {"tool_calls": [_call_delta(delta)]})
        function = _call_delta(delta)["function"]
        return self._delta(index, {"function_call": function}) if delta.index == 0 else b""

    def _step(self, index: int, step: Step) -> bytes:
        if not self._activity:
            return b""
        empty = b'[{"index":%d,"delta":{},"logprobs":null,"finish_reason":null}]' % index
        shown = b',"skill_agent":' + orjson.dumps(activity_of(step)) + self._suffix
        return self.open(index) + self._prefix + empty + shown


def _logprobs(tokens: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    return {"content": list(tokens), "refusal": None} if tokens else None


def _joined(finish: Finish, kind: type[Reasoning] | type[Refusal]) -> str:
    said = (part for message in finish.messages if message.role == "assistant" for part in message.parts)
    return "".join(part.text for part in said if isinstance(part, kind))


def _call(call: ToolCall, custom: Collection[str] = ()) -> dict[str, Any]:
    if call.name in custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": input_of(call.arguments)}}
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


def file_of(file: MadeFile) -> dict[str, Any]:
    """A file that the agent has made; its content is at `files/{id}/content`."""
    return {"id": file.id, "path": file.path, "bytes": file.size}


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
                "result": for_people(result.text)[:SHOWN],
            }
        case FellBack(model, instead_of, reason):
            return {"type": "fell_back", "model": model, "instead_of": instead_of, "reason": reason or None}
        case Compacted(before, after):
            return {"type": "compacted", "tokens_before": before, "tokens_after": after}
        case Turn(number, usage, model):
            return {"type": "turn", "number": number, "model": model, "usage": usage_of(usage)}
