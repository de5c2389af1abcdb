"""An answer in the dialect of Chat Completions on its way, from chunks or from one whole answer.

Format: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from messages import (
    Done,
    Message,
    Part,
    ProviderEvent,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Refusal,
    RefusalDelta,
    Stop,
    Text,
    TextDelta,
    Usage,
)
from providers.base import BadResponse, ModelInfo, Overloaded, ProviderDown
from providers.calls import CallAssembler
from providers.errors import count, error_in, string

REASONING_FIELDS = ("reasoning_content", "reasoning")

STOPS: Mapping[str, Stop] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


class Answer:
    """Feed it payloads, send on what it yields, and end with `finish`, whose last event is `Done`.

    `taken` are the ids of calls in the conversation so far.
    """

    def __init__(self, info: ModelInfo, taken: set[str]) -> None:
        self._info = info
        self._provider = info.id.partition("/")[0]
        # Pieces: a string that grows with each of a hundred thousand deltas is copied as often.
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._reasoning_field = ""
        self._reasoning_told = False
        self._calls = CallAssembler(taken)
        self._stop = ""
        self._usage = Usage()
        self._model = ""

    def heard(self, payload: Any) -> list[ProviderEvent]:
        """What `feed` yields. Behind the finish reason, what is not in the dialect is left out."""
        news: list[ProviderEvent] = []
        try:
            news.extend(self.feed(payload))
        except (AttributeError, KeyError, TypeError, ValueError):
            if not self.finished:
                raise
        return news

    def feed(self, payload: Any) -> Iterator[ProviderEvent]:
        if not isinstance(payload, dict):
            raise BadResponse("a chunk is not an object", provider=self._provider)
        if error := error_in(payload, 200, self._provider):
            raise error
        self._model = string(payload.get("model")) or self._model
        if isinstance(payload.get("usage"), dict):
            self._usage = usage_of(payload["usage"])
        for choice in payload.get("choices") or ():
            yield from self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[ProviderEvent]:
        delta = choice.get("delta") or choice.get("message") or {}
        yield from self._reason(delta)
        yield from self._content(delta.get("content"), _logprobs(choice))
        if refusal := delta.get("refusal"):
            self._refusal.append(string(refusal))
            yield RefusalDelta(refusal)
        if delta.get("tool_calls"):
            yield from self._reasoned_whole()
        for call in delta.get("tool_calls") or ():
            yield from self._calls.feed(call)
        if function := delta.get("function_call"):
            yield from self._calls.feed({"index": 0, "function": function})
        self._stop = string(choice.get("finish_reason")) or self._stop

    def _reason(self, delta: Mapping[str, Any]) -> Iterator[ProviderEvent]:
        for name in REASONING_FIELDS:
            if isinstance(delta.get(name), str) and delta[name]:
                self._reasoning_field = name
                yield self._reasoned(delta[name])
                return

    def _reasoned(self, text: str) -> ReasoningDelta:
        self._reasoning.append(string(text))
        return ReasoningDelta(text)

    def _reasoned_whole(self) -> Iterator[ReasoningDone]:
        """Told once, before what comes behind the reasoning."""
        if self._reasoning and not self._reasoning_told:
            self._reasoning_told = True
            yield ReasoningDone(self._reasoning_part, self._info.id)

    @property
    def _reasoning_part(self) -> Reasoning:
        text = "".join(self._reasoning)
        echo = {self._reasoning_field: text} if self._reasoning_field else None
        return Reasoning(text, echo)

    def _content(self, content: object, logprobs: tuple[Mapping[str, Any], ...]) -> Iterator[ProviderEvent]:
        """A string, or a list of parts: text, Mistral's `thinking`, Databricks' `reasoning` with a summary."""
        if not isinstance(content, list):
            content = [{"type": "text", "text": string(content)}]
        for part in content:
            inner = part.get("thinking") or part.get("summary")
            if isinstance(inner, list | str) and inner:
                words = inner if isinstance(inner, str) else "".join(p.get("text") or "" for p in inner)
                yield self._reasoned(words)
            elif text := part.get("text"):
                yield from self._reasoned_whole()
                self._text.append(string(text))
                yield TextDelta(text, logprobs)

    @property
    def finished(self) -> bool:
        """Whether the finish reason is there: only the usage can still be missing."""
        return bool(self._stop)

    def finish(self) -> Iterator[ProviderEvent]:
        yield from self._calls.finish()
        yield from self._reasoned_whole()
        calls = self._calls.calls()
        stop = self._stopped(bool(calls))
        parts: list[Part] = []
        if self._reasoning:
            parts.append(self._reasoning_part)
        if self._text:
            parts.append(Text("".join(self._text)))
        if self._refusal:
            parts.append(Refusal("".join(self._refusal)))
        yield Done(Message("assistant", (*parts, *calls), self._info.id), stop, self._usage, self._model)

    def _stopped(self, called: bool) -> Stop:
        match self._stop:
            case "":
                raise BadResponse(
                    "the answer ends without a finish reason",
                    provider=self._provider,
                    code="upstream_truncated",
                )
            case "error":
                raise ProviderDown("the model broke off with an error", provider=self._provider, code="server_error")
            case "insufficient_system_resource":
                raise Overloaded("the provider ran out of resources", provider=self._provider)
        stop = STOPS.get(self._stop, "stop")
        if called and stop == "stop":
            return "tool_calls"
        return "stop" if stop == "tool_calls" and not called else stop


def _logprobs(choice: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Of the tokens of this delta, as they are: https://platform.openai.com/docs/api-reference/chat/object"""
    found = choice.get("logprobs")
    tokens = found.get("content") if isinstance(found, dict) else None
    return tuple(token for token in tokens if isinstance(token, dict)) if isinstance(tokens, list) else ()


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Also with the names that Anthropic's and DeepSeek's usage has behind compatible gateways."""
    read, write = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    input, output = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    return Usage(
        input=input,
        output=output,
        cache_read=count(read.get("cached_tokens") or usage.get("cache_read_input_tokens")),
        cache_write=count(read.get("cache_write_tokens") or usage.get("cache_creation_input_tokens")),
        reasoning=count(write.get("reasoning_tokens") or usage.get("reasoning_tokens")),
        total=count(usage.get("total_tokens") or input + output),
    )
