"""The dialect of Chat Completions, for OpenAI and everything compatible with it.

Format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from history import legal, merged, own, repair
from messages import (
    Audio,
    File,
    Image,
    JsonFormat,
    Message,
    Part,
    ProviderEvent,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolResult,
    ToolSpec,
)
from providers.base import BadRequest, ModelInfo, ProviderError
from providers.errors import parse, readable
from providers.http import Auth, Http, bearer
from providers.openai_answer import Answer
from providers.retries import Try
from settings import Settings, SettingsError

USAGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a host differs from the dialect.

    `fields` are the only request fields it knows (empty: all). `serial_calls`: it takes one tool call a message,
    so that parallel ones are told as if they had come one after the other. `echo_reasoning`: reasoning goes back
    with tool calls in the field it came in, as DeepSeek and Kimi demand. `sampling`: defaults that its models need.
    """

    max_tokens: str = "max_tokens"
    fields: frozenset[str] = frozenset()
    usage_option: bool = True
    strict_tools: bool = True
    serial_calls: bool = False
    merge_system: bool = False
    echo_reasoning: bool = True
    sampling: Mapping[str, Any] = field(default_factory=dict)


OPENAI = Quirks(max_tokens="max_completion_tokens", echo_reasoning=False)

# A field that a model refuses by name is sent under the other name, or left out, and the call made once more.
_RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_REFUSED = re.compile("unsupported|not support|unknown|unrecognized|unexpected|not permitted|not allowed", re.I)
_OPTIONAL = frozenset(
    (
        "stream_options",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "parallel_tool_calls",
        "verbosity",
        "logit_bias",
        "prompt_cache_key",
        "safety_identifier",
        "reasoning_effort",
        "logprobs",
        "top_logprobs",
        "strict",
    )
)


def connect(name: str, settings: Settings, http: Http) -> ChatCompletions:
    """OpenAI itself, or the compatible server of OPENAI_BASE_URL, which may need no key."""
    host = urlsplit(settings.openai_base_url).hostname or ""
    theirs = host.endswith(".openai.com")
    if theirs and not settings.openai_api_key:
        raise SettingsError("OPENAI_API_KEY", "expected a key of https://platform.openai.com/api-keys")
    url = f"{settings.openai_base_url}/chat/completions"
    auth = bearer(settings.openai_api_key or "none")
    return ChatCompletions(
        http,
        url,
        auth,
        ModelInfo(f"openai/{name}", json="native" if theirs else "asked"),
        OPENAI if theirs else Quirks(),
    )


class ChatCompletions:
    """A model behind `POST {base}/chat/completions`. `url` is the whole address."""

    def __init__(self, http: Http, url: str, auth: Auth, info: ModelInfo, quirks: Quirks | None = None) -> None:
        self.info = info
        self._provider = info.id.partition("/")[0]
        self._http = http
        self.url = url
        self._auth = auth
        self._quirks = quirks or Quirks()
        self._refused: set[str] = set()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        while True:
            tries, begun = len(self._refused), False
            try:
                async with aclosing(self._begun(request)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except BadRequest as error:
                self._learn(error)
                if begun or len(self._refused) == tries:
                    raise

    def _begun(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        return self._http.retrying(partial(self._attempt, request), self._provider, self.url, request.deadline)

    def _learn(self, error: BadRequest) -> None:
        """Notes a field that this model does not take, if the error names one of ours (not one with a bad value)."""
        if _REFUSED.search(f"{error.code} {error.message}"):
            where = error.param or error.message
            self._refused |= {name for name in (*_OPTIONAL, *_RENAMED) if re.search(rf"\b{name}\b", where)}

    async def _attempt(self, request: Request, this: Try) -> AsyncGenerator[ProviderEvent, None]:
        provider = self._provider
        answer = self.answer({call.id for message in request.messages for call in message.calls})
        opened = self._http.open(self.url, self.body(request), self._auth, this)
        try:
            async with opened as response, aclosing(self._http.payloads(response, this)) as payloads:
                while data := await _next(payloads, answer):
                    if data.strip() == b"[DONE]":
                        break
                    with readable(provider):
                        news = answer.heard(parse(data, provider))
                    for event in news:
                        yield event
        except ProviderError:
            if not answer.finished:
                raise
        with readable(provider):
            news = list(answer.finish())
        for event in news:
            yield event

    def answer(self, taken: set[str]) -> Answer:
        return Answer(self.info, taken)

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON of the request, without fields that are unset or that the host does not know."""
        options, quirks = request.options, self._quirks
        choice = options.tool_choice
        wanted = {
            "model": self.info.name,
            "messages": self._messages(request.messages),
            "stream": True,
            "stream_options": {"include_usage": True} if quirks.usage_option else None,
            "tools": [self._tool(tool) for tool in request.tools] or None,
            "tool_choice": _choice(choice.mode, choice.name) if request.tools else None,
            "parallel_tool_calls": options.parallel_tool_calls if request.tools else None,
            quirks.max_tokens: options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop": list(options.stop) or None,
            "seed": options.seed,
            "presence_penalty": options.presence_penalty,
            "frequency_penalty": options.frequency_penalty,
            "reasoning_effort": options.reasoning_effort,
            "verbosity": options.verbosity,
            "logit_bias": options.logit_bias,
            "prompt_cache_key": options.cache_key,
            "safety_identifier": options.user,
            "response_format": _format(options.response_format),
            "logprobs": options.logprobs,
            "top_logprobs": options.top_logprobs if options.logprobs else None,
        }
        body = {**quirks.sampling, **{name: value for name, value in wanted.items() if value is not None}}
        for name in self._refused & body.keys():
            value = body.pop(name)
            if name in _RENAMED:
                body[_RENAMED[name]] = value
        return {name: value for name, value in body.items() if not quirks.fields or name in quirks.fields}

    def _tool(self, tool: ToolSpec) -> dict[str, Any]:
        function: dict[str, Any] = {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        }
        if tool.strict is not None and self._quirks.strict_tools and "strict" not in self._refused:
            function["strict"] = tool.strict
        return {"type": "function", "function": function}

    def _messages(self, messages: Any) -> list[dict[str, Any]]:
        valid = [own(message, self.info.id) for message in repair(messages)]
        if self._quirks.serial_calls:
            valid = list(_one_call_each(valid))
        if self._quirks.merge_system:
            valid = _system_first([message for message in valid if any(self._encoded(message))])
        return [encoded for message in valid for encoded in self._encoded(message)]

    def _encoded(self, message: Message) -> Iterator[dict[str, Any]]:
        if message.role == "tool":
            yield from _tool_messages(message.results)
        elif message.role == "assistant":
            yield from self._assistant(message)
        else:
            content = _content(message.parts)
            if content:
                yield {"role": message.role, "content": content}

    def _assistant(self, message: Message) -> Iterator[dict[str, Any]]:
        text = message.text or "".join(p.text for p in message.parts if isinstance(p, Refusal))
        encoded: dict[str, Any] = {"role": "assistant"}
        if text.strip():
            encoded["content"] = text
        if message.calls:
            encoded["tool_calls"] = [
                {
                    "id": legal(c.id, 40),
                    "type": "function",
                    "function": {"name": legal(c.name), "arguments": c.arguments},
                    **(c.opaque or {}),
                }
                for c in message.calls
            ]
            for part in message.parts if self._quirks.echo_reasoning else ():
                if isinstance(part, Reasoning) and part.opaque:
                    encoded.update(part.opaque)
        if len(encoded) > 1:
            yield encoded


async def _next(payloads: AsyncGenerator[bytes, None], answer: Answer) -> bytes | None:
    """The next payload. When the answer is finished only its usage is missing, and that is not waited for long."""
    if not answer.finished:
        return await anext(payloads, None)
    with suppress(TimeoutError):
        async with asyncio.timeout(USAGE_SECONDS):
            return await anext(payloads, None)
    return None


def _format(wanted: JsonFormat | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    described: dict[str, Any] = {"name": legal(wanted.name), "schema": wanted.schema}
    if wanted.strict is not None:
        described["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": described}


def _choice(mode: str, name: str) -> Any:
    if mode == "tool":
        return {"type": "function", "function": {"name": name}}
    return None if mode == "auto" else mode


def _one_call_each(messages: list[Message]) -> Iterator[Message]:
    """`repair` has put all results into the message behind the calls: they are dealt out one by one."""
    for message, behind in zip(messages, [*messages[1:], None], strict=True):
        if message.role == "tool" and len(message.results) > 1:
            continue
        if len(message.calls) < 2 or behind is None:
            yield message
            continue
        rest = tuple(part for part in message.parts if part not in message.calls)
        for call, result in zip(message.calls, behind.results, strict=True):
            yield Message("assistant", (*rest, call), message.origin)
            yield Message("tool", (result,))
            rest = ()


def _system_first(messages: list[Message]) -> list[Message]:
    first = [m for m in messages if m.role == "system"]
    text = "\n\n".join(m.text for m in first)
    rest = merged(m for m in messages if m.role != "system")
    return [*([Message("system", (Text(text),))] if text else []), *rest]


def _tool_messages(results: tuple[ToolResult, ...]) -> Iterator[dict[str, Any]]:
    """A message a result; pictures follow in a user's message, as tool messages hold only text."""
    pictures: list[Part] = []
    for result in results:
        yield {
            "role": "tool",
            "tool_call_id": legal(result.call_id, 40),
            "content": result.text if result.text.strip() else "(no output)",
        }
        seen = [part for part in result.parts if not isinstance(part, Text)]
        if seen:
            pictures += [Text(f"Attached to the result of {result.call_id}:"), *seen]
    if pictures:
        yield {"role": "user", "content": _content(tuple(pictures))}


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    """A plain string where there is only text: some servers take nothing else."""
    if all(isinstance(part, Text | Refusal) for part in parts):
        text = "\n".join(part.text for part in parts if isinstance(part, Text | Refusal))
        return text if text.strip() else ""
    return [encoded for part in parts if (encoded := _part(part))]


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text) if text.strip():
            return {"type": "text", "text": text}
        case Image():
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            return {
                "type": "image_url",
                "image_url": {"url": url, **({"detail": part.detail} if part.detail else {})},
            }
        case File():
            data = f"data:{part.media_type};base64,{part.data}"
            return {"type": "file", "file": {"filename": part.name or "file", "file_data": data}}
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case _:
            return None
