"""How the provider tests ask a model and gather what it says, over the real wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache

import httpx

from messages import (
    Done,
    Message,
    Options,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    Request,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
    user,
)
from providers.base import Provider

TOOL = ToolSpec("price", "The price of an item.", {"type": "object", "properties": {"item": {"type": "string"}}})


@cache
def certificates() -> ssl.SSLContext:
    """Those that are trusted, for transports of httpx; reading them takes longer than a test."""
    return httpx.create_ssl_context()


@dataclass(slots=True)
class Heard:
    """The deltas put together; `calls` are `(id, name, arguments)` by their index."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[ProviderEvent] = field(default_factory=list)

    @property
    def done(self) -> Done:
        last = self.events[-1]
        assert isinstance(last, Done)
        return last

    def take(self, event: ProviderEvent) -> None:
        self.events.append(event)
        match event:
            case TextDelta(text):
                self.text += text
            case ReasoningDelta(text):
                self.reasoning += text
            case RefusalDelta(text):
                self.refusal += text
            case ToolCallDelta(index, id, name, arguments):
                assert bool(id) == bool(name) == (index == len(self.calls)), "head with the first delta only"
                if id:
                    self.calls.append(("", "", ""))
                old = self.calls[index]
                self.calls[index] = (old[0] + id, old[1] + name, old[2] + arguments)


async def ask(
    model: Provider,
    messages: str | Sequence[Message] = "hi",
    tools: Sequence[ToolSpec] = (),
    options: Options | None = None,
    heard: Heard | None = None,
) -> Heard:
    """All of an answer. Whatever the wire did, the deltas and the message at the end say the same.

    Give `heard` to see what was said before an error.
    """
    said = [user(messages)] if isinstance(messages, str) else messages
    heard = heard or Heard()
    async with aclosing(model.stream(Request(said, tools, options or Options()))) as events:
        async for event in events:
            heard.take(event)
    message = heard.done.message
    assert heard.text == message.text and sum(isinstance(event, Done) for event in heard.events) == 1
    said_calls = [(id, name, arguments or "{}") for id, name, arguments in heard.calls]
    assert said_calls == [(call.id, call.name, call.arguments) for call in message.calls]
    return heard


async def ask_often(model: Provider, count: int) -> list[Heard]:
    return list(await asyncio.gather(*(ask(model) for _ in range(count))))
