"""The dialect of Anthropic's Messages.

Format: https://docs.anthropic.com/en/api/messages and .../messages-streaming
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import takewhile
from typing import Any

from history import legal, merged, own, repair
from messages import (
    File,
    Image,
    JsonFormat,
    Message,
    Part,
    ProviderBlock,
    ProviderEvent,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.anthropic_answer import Answer
from providers.base import BadRequest, BadResponse, ModelInfo
from providers.errors import parse, readable
from providers.http import Auth, HeaderAuth, Http
from providers.retries import Try
from settings import Settings, SettingsError

VERSION = "2023-06-01"
MAX_TOKENS = 16_384
"""For requests that do not say: `max_tokens` is required, and rate limits count it up front."""
SHORTER = {"claude-3-haiku": 4096, "claude-3-opus": 4096, "claude-3-sonnet": 4096, "claude-3-5": 8192}
"""Models that write less: https://docs.anthropic.com/en/docs/about-claude/models"""

OLDER = re.compile(r"claude-(?:[23]|instant)|claude-(?:opus|sonnet)-4(?:-0|-20\d{6}|$)")
"""Models without structured outputs."""
BUDGETED = re.compile(r"claude-(?:3-7|(?:opus|sonnet|haiku)-4(?:-[015])?(?:-20\d{6}|@|$))")
"""Models whose thinking has a budget of tokens; newer ones choose it themselves, by the effort asked for."""
UNSAMPLED = re.compile(r"claude-(?:[a-z]+-)?(?:[5-9]|\d\d)(?:[.-]|$)")
"""Models that refuse sampling parameters: from the fifth generation on."""
EFFORTS = {"minimal": "low", "xhigh": "max"}
UNHELD = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"}
UNHELD |= {"minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "$schema"}

CACHED = {"type": "ephemeral"}

# Fields of the thinking budget, tokens by effort.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 32_768}


def connect(name: str, settings: Settings, http: Http) -> Messages:
    if not settings.anthropic_api_key:
        raise SettingsError("ANTHROPIC_API_KEY", "expected a key of https://console.anthropic.com")
    url = f"{settings.anthropic_base_url.removesuffix('/v1')}/v1/messages"
    info = ModelInfo(f"anthropic/{name}", json="tool" if OLDER.search(name) else "asked")
    return Messages(http, url, HeaderAuth("x-api-key", settings.anthropic_api_key), info)


class Messages:
    """A model behind `POST {base}/v1/messages`. `url` is the whole address."""

    def __init__(self, http: Http, url: str, auth: Auth, info: ModelInfo) -> None:
        self.info = info
        self._provider = info.id.partition("/")[0]
        self._http = http
        self.url = url
        self._auth = auth

    async def aclose(self) -> None:
        await self._http.aclose()

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        attempts = self._http.retrying(partial(self._attempt, request), self._provider, self.url, request.deadline)
        async with aclosing(attempts) as events:
            async for event in events:
                yield event

    async def _attempt(self, request: Request, this: Try) -> AsyncGenerator[ProviderEvent, None]:
        provider = self._provider
        answer = Answer(self.info)
        head = {"anthropic-version": VERSION}
        async with self._http.open(self.url, self.body(request), self._auth, this, head) as response:
            async with aclosing(self._http.payloads(response, this)) as payloads:
                async for data in payloads:
                    with readable(provider):
                        news = list(answer.feed(parse(data, provider)))
                    for event in news:
                        yield event
                    if answer.complete:
                        return
        raise BadResponse("the answer ends without message_stop", provider=provider, code="upstream_truncated")

    def body(self, request: Request) -> dict[str, Any]:
        options = request.options
        limit = options.max_tokens or _longest(self.info.name)
        thinking = self._thinking(request, limit)
        wanted = {
            "model": self.info.name,
            "max_tokens": limit,
            "system": _system(request.messages),
            "messages": self._messages(request.messages),
            "tools": _tools(request) or None,
            "tool_choice": _choice(options.tool_choice, options.parallel_tool_calls) if request.tools else None,
            "stream": True,
            "stop_sequences": [stop for stop in options.stop if stop.strip()] or None,
            "thinking": thinking,
            "output_config": _output(options.response_format, options.reasoning_effort if _adapts(thinking) else None),
            **({} if thinking or UNSAMPLED.search(self.info.name) else _sampling(options.temperature, options.top_p)),
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def _thinking(self, request: Request, limit: int) -> dict[str, Any] | None:
        """None also where the API refuses it: beside a forced tool, and inside a tool loop that began without it."""
        budget = min(_BUDGETS.get(request.options.reasoning_effort or "", 0), limit // 2)
        forced = request.tools and request.options.tool_choice.mode in ("required", "tool")
        if budget < 1024 or forced or _in_unthinking_loop(request.messages, self.info.id):
            return None
        return {"type": "enabled", "budget_tokens": budget} if BUDGETED.search(self.info.name) else {"type": "adaptive"}

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Turns by turns, a user's first; the last two of the user's are where the cache may end."""
        spoken = [_as_user(own(m, self.info.id)) for m in repair(messages) if m.role != "system"]
        turns = [(m.role, _blocks(m)) for m in merged(m for m in merged(spoken) if _says_something(m))]
        if turns and turns[0][0] == "assistant":
            turns.insert(0, ("user", [{"type": "text", "text": "(the conversation goes on)"}]))
        for _, blocks in [turn for turn in turns if turn[0] == "user"][-2:]:
            blocks[-1] = {**blocks[-1], "cache_control": CACHED}
        return [{"role": role, "content": blocks} for role, blocks in turns]


def _in_unthinking_loop(messages: Sequence[Message], origin: str) -> bool:
    """Whether calls have been made since the user spoke, and none of this model's thinking goes back with them."""
    spoken = [own(message, origin) for message in reversed(messages) if message.role != "system"]
    loop = list(takewhile(lambda message: message.role != "user", spoken))
    parts = [part for message in loop for part in message.parts]
    return any(message.calls for message in loop) and not any(isinstance(p, Reasoning) and _block(p) for p in parts)


def _longest(model: str) -> int:
    return next((limit for name, limit in SHORTER.items() if name in model), MAX_TOKENS)


def _adapts(thinking: dict[str, Any] | None) -> bool:
    return thinking is not None and thinking["type"] == "adaptive"


def _output(wanted: JsonFormat | None, effort: str | None) -> dict[str, Any] | None:
    """A schema for the whole answer, and how much to think for it.

    https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs and .../effort
    """
    config: dict[str, Any] = {}
    if wanted is not None and wanted.schema is not None:
        config["format"] = {"type": "json_schema", "schema": _held(wanted.schema)}
    if effort:
        config["effort"] = EFFORTS.get(effort, effort)
    return config or None


def _held(schema: Any) -> Any:
    """The schema as far as the API can hold a model to it: objects closed, bounds left to our own check."""
    if isinstance(schema, list):
        return [_held(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _held(value) for name, value in schema.items() if name not in UNHELD}
    for named in {"properties", "$defs"} & schema.keys():
        kept[named] = {name: _held(value) for name, value in schema[named].items()}
    return {**kept, "additionalProperties": False} if schema.get("type") == "object" else kept


def _sampling(temperature: float | None, top_p: float | None) -> dict[str, float]:
    """One of the two at most, as newer models refuse both."""
    if temperature is not None:
        return {"temperature": min(temperature, 1.0)}
    return {} if top_p is None else {"top_p": top_p}


def _system(messages: Sequence[Message]) -> list[dict[str, Any]] | None:
    texts = [m.text for m in messages if m.role == "system" and m.text.strip()]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
    if blocks:
        blocks[-1]["cache_control"] = CACHED
    return blocks or None


def _tools(request: Request) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = [
        {"name": tool.name, "description": tool.description, "input_schema": {"type": "object", **tool.parameters}}
        for tool in request.tools
    ]
    if tools:
        tools[-1]["cache_control"] = CACHED
    return tools


def _choice(choice: ToolChoice, parallel: bool | None) -> dict[str, Any] | None:
    kinds = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}
    made: dict[str, Any] = {"type": kinds[choice.mode]}
    if choice.mode == "tool":
        made["name"] = choice.name
    if parallel is False and choice.mode != "none":
        made["disable_parallel_tool_use"] = True
    return None if made == {"type": "auto"} else made


def _as_user(message: Message) -> Message:
    return Message("user", message.parts) if message.role == "tool" else message


def _blocks(message: Message) -> list[dict[str, Any]]:
    """Results stand before everything else, as the API demands; empty text is left out, as it refuses it."""
    parts = sorted(message.parts, key=lambda part: not isinstance(part, ToolResult))
    blocks = [block for part in parts if (block := _block(part))]
    if message.role == "assistant" and blocks and blocks[-1]["type"] == "text":
        blocks[-1] = {**blocks[-1], "text": blocks[-1]["text"].rstrip()}
    return blocks


def _says_something(message: Message) -> bool:
    """Not only thinking: a message that ends with it is refused."""
    return any(block["type"] not in ("thinking", "redacted_thinking") for block in _blocks(message))


def _block(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text, opaque):
            return (dict(opaque) if opaque else {"type": "text", "text": text}) if text.strip() else None
        case Refusal(text):
            return {"type": "text", "text": text} if text.strip() else None
        case Reasoning(_, opaque):
            unsigned = opaque and opaque["type"] == "thinking" and not opaque.get("signature")
            return dict(opaque) if opaque and not unsigned else None
        case ProviderBlock(opaque):
            return dict(opaque)
        case ToolCall():
            call = {
                "type": "tool_use",
                "id": legal(part.id),
                "name": legal(part.name),
                "input": json.loads(part.arguments),
            }
            return {**(part.opaque or {}), **call}
        case ToolResult():
            return _result(part)
        case Image() | File():
            return _source(part)
        case _:
            return None


def _result(result: ToolResult) -> dict[str, Any]:
    content = [block for part in result.parts if (block := _block(part))]
    encoded: dict[str, Any] = {"type": "tool_result", "tool_use_id": legal(result.call_id)}
    if content:
        encoded["content"] = content
    if result.is_error:
        encoded["is_error"] = True
    return encoded


def _source(part: Image | File) -> dict[str, Any]:
    if isinstance(part, Image) and part.url:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    if isinstance(part, File) and part.media_type.startswith("text/"):
        text = _decoded(part)
        document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}
        return {**document, "title": part.name} if part.name else document
    kind = "image" if isinstance(part, Image) else "document"
    return {"type": kind, "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}


def _decoded(file: File) -> str:
    try:
        return base64.b64decode(file.data).decode("utf-8", "replace")
    except ValueError as error:
        raise BadRequest(f"the file {file.name!r} is not base64: {error}") from error
