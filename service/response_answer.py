"""Answers in the shape of Responses: one resource that grows, and an event for each step of it.

Format: https://platform.openai.com/docs/api-reference/responses-streaming and https://www.openresponses.org
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeAlias

from bodies import ApiError
from custom_tools import input_of
from messages import (
    Event,
    FellBack,
    Finish,
    Message,
    ReasoningDelta,
    ReasoningDone,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from response_schemas import FlatCustom, FlatFunction, ResponseRequest
from service.chat import activity_of, file_of
from service.packing import pack
from service.replay import told as retold
from service.seal import Seal

Json: TypeAlias = dict[str, Any]
REASONING = "reasoning"
ENDS: dict[str, tuple[str, str]] = {
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}


class ResponseAnswer:
    """Feed it the run's events: what it yields are the API's, numbered; `resource` is the answer so far.

    `id` is `resp_` and a hexadecimal number that its items' ids begin with too. With a `seal` reasoning goes out
    with what its provider needs back, so that clients that keep their own history can return it.
    """

    def __init__(
        self, asked: ResponseRequest, model: str, id: str, *, previous: str = "", stored: bool, seal: Seal | None = None
    ) -> None:
        self.id = id
        self.resource = _opened(asked, model, id, previous, stored)
        self.begun = False
        self._activity = bool(asked.skill_agent.activity)
        self._custom = asked.custom_names
        self._seal = seal
        self._number = 0
        self._item: Json | None = None
        self._calls: dict[int, Json] = {}
        self._steps: list[Json] = []

    @property
    def last_number(self) -> int:
        """Of the newest event, -1 before the first one."""
        return self._number - 1

    def go_on(self, resource: Json, events: Sequence[Json], reached: int) -> Iterator[Json]:
        """Becomes the answer that has told these events, in another process. What was told behind the event
        `reached`, at which the resource was so, is cut and said anew. Yields the ends of the items that it was in.

        An item that is cut stays in its place as an incomplete one, without the words that are said anew.
        """
        self.resource = {**resource, "status": "in_progress"}
        self._number = events[-1]["sequence_number"] + 1 if events else 0
        self.begun = bool(events)
        self._steps = [event["skill_agent"] for event in events if "skill_agent" in event]
        later = [event for event in events if event["sequence_number"] > reached]
        for at, item in enumerate(retold(self.resource["output"], later)):
            yield from self._go_on_with(at, item)

    def begin(self) -> Iterator[Json]:
        if not self.begun:
            self.begun = True
            yield self._event("response.created", response=_copy(self.resource))
            yield self._event("response.in_progress", response=_copy(self.resource))

    def feed(self, event: Event) -> Iterator[Json]:
        yield from self.begin()
        match event:
            case TextDelta():
                yield from self._text(event)
            case RefusalDelta(text):
                yield from self._part("refusal", text, {})
            case ReasoningDelta(text):
                yield from self._reasoning(text)
            case ReasoningDone():
                yield from self._reasoned(event)
            case ToolCallDelta():
                yield from self._call(event)
            case Finish():
                yield from self._finish(event)
            case _:
                if isinstance(event, FellBack):
                    self.resource["model"] = event.model
                self._steps.append(activity_of(event))
                if self._activity:
                    yield self._event("skill_agent.activity", skill_agent=self._steps[-1])

    def fail(self, error: ApiError) -> Iterator[Json]:
        """The error in both of the shapes that clients know, and the end."""
        yield from self.begin()
        yield self._event(**error_event(error))
        self.resource |= {"status": "failed", "error": {"code": error.code or "server_error", "message": error.message}}
        yield self._event("response.failed", response=dict(self.resource))

    def _event(self, type: str, **fields: Any) -> Json:
        self._number += 1
        return {"type": type, "sequence_number": self._number - 1, **fields}

    # Items: one is open at a time, but for calls, which a model may write side by side.

    def _add(self, kind: str, prefix: str, **fields: Any) -> Generator[Json, None, Json]:
        at = len(self.resource["output"])
        id = f"{prefix}_{self.id.removeprefix('resp_')}_{at}"
        item: Json = {"id": id, "type": kind, "status": "in_progress", **fields}
        self.resource["output"].append(item)
        yield self._event("response.output_item.added", output_index=at, item=_copy(item))
        return item

    def _at(self, item: Json) -> Json:
        """Where an event belongs."""
        return {"item_id": item["id"], "output_index": self.resource["output"].index(item)}

    def _open(self, kind: str, prefix: str, **fields: Any) -> Generator[Json, None, Json]:
        """The item of this kind that is open now."""
        if self._item is None or self._item["type"] != kind:
            yield from self._close()
            self._item = yield from self._add(kind, prefix, **fields)
        return self._item

    def _close(self) -> Iterator[Json]:
        item, self._item = self._item, None
        if item is not None and item["type"] == "message":
            yield from self._close_part(item)
        elif item is not None:
            yield from self._close_summary(item)
        if item is not None:
            yield self._done(item)

    def _done(self, item: Json) -> Json:
        item["status"] = "completed"
        return self._event("response.output_item.done", output_index=self._at(item)["output_index"], item=_copy(item))

    # Items of an answer that was begun elsewhere

    def _go_on_with(self, at: int, item: Json) -> Iterator[Json]:
        """An item that is all known stays, or goes on; another one loses what is not."""
        output = self.resource["output"]
        known = output[at] if at < len(output) else None
        if item == known:
            self._reopen(known)
            return
        output[at:] = [item]
        if known is None and item["type"] == REASONING and item["status"] == "completed":
            return
        kept = {**(known or _emptied(item)), "status": "incomplete"}
        if item["status"] == "in_progress" and item["type"] in ("message", REASONING):
            yield from self._close_part(item) if item["type"] == "message" else self._close_summary(item)
            yield self._event("response.output_item.done", output_index=at, item=_copy(kept))
        output[at] = kept

    def _reopen(self, item: Json) -> None:
        if item["status"] == "in_progress" and item["type"] in ("message", REASONING):
            self._item = item
        elif item["status"] == "in_progress":
            self._calls[len(self._calls)] = item

    # Text and refusals

    def _text(self, delta: TextDelta) -> Iterator[Json]:
        logprobs = [dict(token) for token in delta.logprobs]
        yield from self._part("output_text", delta.text, {"logprobs": logprobs})

    def _part(self, kind: str, text: str, more: Json) -> Iterator[Json]:
        item = yield from self._open("message", "msg", role="assistant", content=[])
        if not item["content"] or item["content"][-1]["type"] != kind:
            yield from self._close_part(item)
            empty = {"text": "", "annotations": [], "logprobs": []} if kind == "output_text" else {"refusal": ""}
            item["content"].append({"type": kind, **empty})
            yield self._event("response.content_part.added", **self._at_part(item), part=_copy(item["content"][-1]))
        part = item["content"][-1]
        part["text" if kind == "output_text" else "refusal"] += text
        part.get("logprobs", []).extend(more.get("logprobs", ()))
        yield self._event(f"response.{kind}.delta", **self._at_part(item), delta=text, **more)

    def _at_part(self, item: Json) -> Json:
        return {**self._at(item), "content_index": len(item["content"]) - 1}

    def _close_part(self, item: Json) -> Iterator[Json]:
        if not item["content"]:
            return
        part, at = item["content"][-1], self._at_part(item)
        if part["type"] == "refusal":
            yield self._event("response.refusal.done", **at, refusal=part["refusal"])
        else:
            yield self._event("response.output_text.done", **at, text=part["text"], logprobs=part["logprobs"])
        yield self._event("response.content_part.done", **at, part=_copy(part))

    # Reasoning

    def _reasoning(self, text: str) -> Iterator[Json]:
        item = yield from self._open(REASONING, "rs", summary=[])
        at = {**self._at(item), "summary_index": 0}
        if not item["summary"]:
            item["summary"].append({"type": "summary_text", "text": ""})
            yield self._event("response.reasoning_summary_part.added", **at, part=_copy(item["summary"][0]))
        item["summary"][0]["text"] += text
        yield self._event("response.reasoning_summary_text.delta", **at, delta=text)

    def _close_summary(self, item: Json) -> Iterator[Json]:
        at = {**self._at(item), "summary_index": 0}
        for part in item["summary"]:
            yield self._event("response.reasoning_summary_text.done", **at, text=part["text"])
            yield self._event("response.reasoning_summary_part.done", **at, part=_copy(part))

    def _reasoned(self, done: ReasoningDone) -> Iterator[Json]:
        """Reasoning without words, which some models give sealed only, is for those alone who can return it."""
        open = self._item is not None and self._item["type"] == REASONING
        if self._seal is not None and done.part.opaque:
            item = yield from self._open(REASONING, "rs", summary=[])
            sealed = pack([Message("assistant", (done.part,), done.origin)])
            item["encrypted_content"] = self._seal.close(REASONING, sealed)
            open = True
        if open:
            yield from self._close()

    # Calls of the client's tools

    def _call(self, delta: ToolCallDelta) -> Iterator[Json]:
        if delta.index not in self._calls:
            yield from self._close()
            custom = delta.name in self._custom
            kind, prefix = ("custom_tool_call", "ctc") if custom else ("function_call", "fc")
            written = {"input": ""} if custom else {"arguments": ""}
            added = yield from self._add(kind, prefix, call_id=delta.id, name=delta.name, **written)
            self._calls[delta.index] = added
        call = self._calls[delta.index]
        if "arguments" not in call:
            call["input"] += delta.arguments
        elif delta.arguments:
            call["arguments"] += delta.arguments
            yield self._event("response.function_call_arguments.delta", **self._at(call), delta=delta.arguments)

    def _close_call(self, call: Json) -> Iterator[Json]:
        at = self._at(call)
        if "arguments" in call:
            name, arguments = call["name"], call["arguments"]
            yield self._event("response.function_call_arguments.done", **at, name=name, arguments=arguments)
        else:
            call["input"] = input_of(call["input"])
            yield self._event("response.custom_tool_call_input.delta", **at, delta=call["input"])
            yield self._event("response.custom_tool_call_input.done", **at, input=call["input"])
        yield self._done(call)

    # The end

    def _finish(self, finish: Finish) -> Iterator[Json]:
        yield from self._close()
        for call in self._calls.values():
            yield from self._close_call(call)
        status, reason = ENDS.get(finish.reason, ("completed", ""))
        self.resource |= {"status": status, "usage": response_usage(finish.usage), "completed_at": int(time.time())}
        if reason:
            self.resource |= {"incomplete_details": {"reason": reason}, "completed_at": None}
        if self._activity:
            told = {"steps": self._steps, "limit": finish.limit or None, "model": finish.model}
            self.resource["skill_agent"] = {**told, "files": [file_of(file) for file in finish.files]}
        yield self._event(f"response.{status}", response=dict(self.resource))


def error_event(error: ApiError) -> Json:
    """Without its number."""
    told = {"type": error.type, "code": error.code, "message": error.message, "param": error.param}
    return {"type": "error", "code": error.code, "message": error.message, "param": error.param, "error": told}


def _emptied(item: Json) -> Json:
    """In place of an item of which nothing stays. Of a call too it is a message: clients make every call they see."""
    if item["type"] == REASONING:
        return {"id": item["id"], "type": REASONING, "summary": []}
    return {"id": item["id"], "type": "message", "role": "assistant", "content": []}


def _copy(value: Any) -> Any:
    """As it is now: what has been told is not to change."""
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def response_usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def _opened(asked: ResponseRequest, model: str, id: str, previous: str, stored: bool) -> Json:
    """The resource before anything is said; what was not asked for has the API's own default."""
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": bool(asked.background),
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions if isinstance(asked.instructions, str) else None,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": previous or None,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {"effort": asked.reasoning and asked.reasoning.effort, "summary": None},
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": stored,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "text": {"format": _format(asked), "verbosity": asked.text.verbosity or "medium"},
        "tool_choice": _choice(asked),
        "tools": [_tool(tool) for tool in asked.offered],
        "top_logprobs": asked.top_logprobs or 0,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "presence_penalty": asked.presence_penalty or 0.0,
        "frequency_penalty": asked.frequency_penalty or 0.0,
        "truncation": "disabled",
        "usage": None,
        "metadata": asked.metadata or {},
        **({"user": asked.user} if asked.user else {}),
        **({"conversation": {"id": asked.conversation.id}} if asked.conversation else {}),
    }


def _format(asked: ResponseRequest) -> Json:
    wanted = asked.text.format
    if wanted is None or wanted.type != "json_schema":
        return {"type": wanted.type if wanted else "text"}
    return {"type": wanted.type, "name": wanted.name, "schema": wanted.schema_, "strict": wanted.strict}


def _choice(asked: ResponseRequest) -> Any:
    chosen = asked.as_options().tool_choice
    kind = "custom" if chosen.name in asked.custom_names else "function"
    return {"type": kind, "name": chosen.name} if chosen.mode == "tool" else chosen.mode


def _tool(tool: FlatFunction | FlatCustom) -> Json:
    if isinstance(tool, FlatFunction):
        return tool.model_dump()
    return {"type": "custom", "name": tool.name, "description": tool.description or "", "format": {"type": "text"}}
