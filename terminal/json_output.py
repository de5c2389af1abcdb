"""Answers for programs: one JSON object, or one a line for each thing that happens."""

from __future__ import annotations

import json
from typing import Any, TextIO

from messages import (
    Compacted,
    Event,
    FellBack,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    SkillActivated,
    TextDelta,
    ToolEnd,
    ToolStart,
    Turn,
    Usage,
)
from providers.base import ProviderError
from terminal.text import harmless_json
from tools import for_people

Json = dict[str, Any]


def as_json(finish: Finish) -> str:
    """The whole answer as one line."""
    skills = [step.name for step in finish.steps if isinstance(step, SkillActivated)]
    return line_of(
        {
            "text": finish.text,
            "finish_reason": finish.reason,
            "model": finish.model,
            "skills": skills,
            "usage": _usage(finish.usage),
        }
    )


def line_of(value: Json) -> str:
    return harmless_json(json.dumps(value, ensure_ascii=False))


class JsonLines:
    """`--json-stream`: `{"type": …}` a line, as things happen; the last one is `finish` or `error`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def take(self, event: Event) -> None:
        if told := told_of(event):
            self.put(told)

    def fail(self, error: Exception) -> None:
        code = error.code if isinstance(error, ProviderError) else type(error).__name__
        self.put({"type": "error", "message": str(error), "code": code})

    def put(self, value: Json) -> None:
        self._out.write(line_of(value) + "\n")
        self._out.flush()


def told_of(event: Event) -> Json | None:
    match event:
        case TextDelta(text):
            return {"type": "text", "text": text}
        case ReasoningDelta(text):
            return {"type": "reasoning", "text": text}
        case RefusalDelta(text):
            return {"type": "refusal", "text": text}
        case SkillActivated(name):
            return {"type": "skill_activated", "name": name}
        case FellBack(model, instead_of, reason):
            return {"type": "fell_back", "model": model, "instead_of": instead_of, "reason": reason or None}
        case ToolStart(call):
            return {"type": "tool_start", "id": call.id, "name": call.name, "arguments": call.arguments}
        case ToolEnd(call, result, seconds):
            told = {"id": call.id, "name": call.name, "seconds": round(seconds, 3), "is_error": result.is_error}
            return {"type": "tool_end", **told, "result": for_people(result.text)}
        case Turn(number, usage, model):
            return {"type": "turn", "number": number, "model": model, "usage": _usage(usage)}
        case Compacted(before, after):
            return {"type": "compacted", "before": before, "after": after}
        case Finish():
            ended = {"finish_reason": event.reason, "limit": event.limit or None, "model": event.model}
            files = [{"path": file.path, "bytes": file.size} for file in event.files]
            return {"type": "finish", "text": event.text, **ended, "usage": _usage(event.usage), "files": files}
    return None


def _usage(usage: Usage) -> Json:
    return {"input_tokens": usage.input, "output_tokens": usage.output}
