"""The spans of a run, made of its events: `invoke_agent`, and in it `chat` for each model call and `execute_tool` for
each tool.

Names and attributes are those of OpenTelemetry's conventions for generative AI, version 0.1.0 (client-inference.md,
execute-tool.md): https://github.com/open-telemetry/semantic-conventions-genai/tree/v0.1.0/docs/gen-ai. What they have
no name for begins with `skill_agent.`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from bodies import ApiError
from messages import (
    Compacted,
    Event,
    FellBack,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    SkillActivated,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolEnd,
    ToolStart,
    Turn,
    Usage,
)
from providers.base import ProviderError
from service.background import in_background
from service.metrics import OWN

if TYPE_CHECKING:
    from service.models import Served

Attributes: TypeAlias = Mapping[str, str | int | float | list[str]]
PROVIDERS = {"azure": "azure.ai.openai"}
"""Whose names there are others than ours."""
CANCELLED = "cancelled"
"""The `error.type` of what nobody waits for any more."""
OUT_OF_TIME = "max_seconds"
"""The limit of a run that cuts what is being done; it is its `error.type` then. The others wait for its end."""
TOOL_FAILED = "tool_error"


async def spanned(events: AsyncGenerator[Event, None], spans: RunSpans) -> AsyncGenerator[Event, None]:
    spans.begin()
    try:
        async with aclosing(events):
            async for event in events:
                spans.take(event)
                yield event
    except BaseException as error:
        spans.fail(error)
        raise
    finally:
        spans.end()


class RunSpans:
    """The run's own span is begun and ended; those in it are made when they are over, with the time at which they
    began, so that none is left open.

    A model call begins with the run, and where the turn or the last tool before it ends: the loop does little in
    between. What a helper does is in the span of the tool that it is.
    """

    def __init__(self, tracer: Tracer, told: Callable[[str], str], served: Served, request: Span | None) -> None:
        self._tracer = tracer
        self._told = told
        self._served = served
        self._request = request
        self._model = served.agent.provider.info.id
        conversation = {"gen_ai.conversation.id": told(served.conversation)} if served.conversation else {}
        self._shared: dict[str, str] = conversation
        self._span: Span | None = None
        self._within = Context()
        self._since = self._first = 0
        self._tools: dict[int, tuple[ToolCall, int]] = {}

    def begin(self) -> None:
        """In the request's trace; a run in the background outlives it, so that it has one of its own and a link."""
        within, links = Context(), []
        if self._request and in_background.get():
            links = [Link(self._request.get_span_context())]
        elif self._request:
            within = set_span_in_context(self._request, within)
        name = self._told(self._served.name)
        attributes = self._attributes("invoke_agent", self._model) | {"gen_ai.agent.name": name}
        self._span = self._tracer.start_span(f"invoke_agent {name}", within, attributes=attributes, links=links)
        self._within = set_span_in_context(self._span, Context())
        self._since = time.time_ns()

    def take(self, event: Event) -> None:
        match event:
            case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolCallDelta():
                self._first = self._first or time.time_ns()
            case Turn():
                self._turn(event)
            case ToolStart(call):
                self._tools[id(call)] = (call, time.time_ns())
            case ToolEnd(call, result, seconds):
                self._tool(call, TOOL_FAILED if result.is_error else "", seconds)
            case Compacted():
                self._call(self._model, {})
            case FellBack(model, instead_of, reason):
                self._fell_back(model, instead_of, reason)
            case SkillActivated(name):
                self._note("skill_agent.skill_activated", {"skill_agent.skill": self._told(name)})
            case Finish():
                self._finish(event)

    def fail(self, error: BaseException) -> None:
        """The run ends with `error`. It was the model that failed, or was waited for, where no tool was."""
        kind = self._told(_kind(error))
        is_models = isinstance(error, asyncio.CancelledError) or (isinstance(error, ProviderError) and error.provider)
        if self._span and not self._tools and (self._first or is_models):
            self._call(self._model, {}, kind)
        self.end(kind)

    def end(self, error: str = CANCELLED) -> None:
        """For the first time only; everything else that is open ends with it."""
        if self._span is None:
            return
        for call, _ in list(self._tools.values()):
            self._tool(call, error)
        _close(self._span, error)
        self._span = None

    def _turn(self, turn: Turn) -> None:
        origin = next((each.origin for each in reversed(turn.messages) if each.role == "assistant"), "")
        self._model = origin or self._model
        found: dict[str, str | int | float | list[str]] = {"gen_ai.response.finish_reasons": [turn.stop]}
        if turn.model:
            found["gen_ai.response.model"] = self._told(turn.model)
        if self._first:
            found["gen_ai.response.time_to_first_chunk"] = (self._first - self._since) / 1e9
        self._call(self._model, found | _usage(turn.usage))

    def _call(self, model: str, attributes: Attributes, error: str = "") -> None:
        """A model call that ends now."""
        attributes = {**self._attributes("chat", model), **attributes}
        name = f"chat {attributes['gen_ai.request.model']}"
        span = self._tracer.start_span(name, self._within, SpanKind.CLIENT, attributes, start_time=self._since)
        _close(span, error)
        self._since, self._first = time.time_ns(), 0

    def _tool(self, call: ToolCall, error: str, seconds: float | None = None) -> None:
        """`seconds` are what it took, where that is known."""
        _, begun = self._tools.pop(id(call), (call, time.time_ns()))
        self._since = time.time_ns()
        end = self._since if seconds is None else begun + round(seconds * 1e9)
        name = self._tool_name(call.name)
        attributes = {**self._shared, "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        attributes["gen_ai.tool.call.id"] = self._told(call.id)
        span = self._tracer.start_span(f"execute_tool {name}", self._within, attributes=attributes, start_time=begun)
        _close(span, error, end)

    def _tool_name(self, name: str) -> str:
        """A model may call what there is not, by any words."""
        agent = self._served.agent
        if name in OWN or any(tool.spec.name == name for tool in (*agent.tools, *agent.more_tools())):
            return name
        return "other"

    def _fell_back(self, model: str, instead_of: str, reason: str) -> None:
        self._model = model
        told = {"skill_agent.model": self._told(model), "skill_agent.instead_of": self._told(instead_of)}
        self._note("skill_agent.fell_back", told | ({"error.type": self._told(reason)} if reason else {}))

    def _finish(self, finish: Finish) -> None:
        if finish.limit == OUT_OF_TIME and not self._tools:
            self._call(self._model, {}, OUT_OF_TIME)
        for call, _ in list(self._tools.values()):
            self._tool(call, finish.limit or CANCELLED)
        if self._span:
            self._span.set_attributes({**_usage(finish.usage), "gen_ai.response.finish_reasons": [finish.reason]})
            if finish.limit:
                self._span.set_attribute("skill_agent.limit", finish.limit)
        self.end("")

    def _note(self, name: str, attributes: Attributes) -> None:
        if self._span:
            self._span.add_event(name, attributes)

    def _attributes(self, operation: str, model: str) -> dict[str, str | int | float | list[str]]:
        """`model` is `provider/model`."""
        provider, _, name = model.partition("/")
        return {
            **self._shared,
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDERS.get(provider, provider),
            "gen_ai.request.model": self._told(name),
        }


def _kind(error: BaseException) -> str:
    match error:
        case asyncio.CancelledError() | GeneratorExit():
            return CANCELLED
        case ProviderError() | ApiError():
            return error.code or type(error).__qualname__
    return type(error).__qualname__


def _usage(usage: Usage) -> dict[str, int]:
    """A provider's own difference of two counts may be less than nothing."""
    found = {"gen_ai.usage.input_tokens": max(usage.input, 0), "gen_ai.usage.output_tokens": max(usage.output, 0)}
    parts = {
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_write.input_tokens": usage.cache_write,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
    return found | {name: count for name, count in parts.items() if count > 0}


def _close(span: Span, error: str, end: int | None = None) -> None:
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(end)
