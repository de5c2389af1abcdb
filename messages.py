"""Pure values: what is said, and what happens while it is said.

A conversation is a list of `Message`. A message is a role and a tuple of parts.
A provider turns a `Request` into events; the loop adds its own. Nothing here does anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

Role = Literal["system", "user", "assistant", "tool"]
Stop = Literal["stop", "length", "tool_calls", "content_filter", "pause"]
Opaque: TypeAlias = Mapping[str, Any] | None
"""What a provider needs back unchanged with a part; sent only to `Message.origin`."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    opaque: Opaque = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the model declines, in its own words."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """`url` is an https address that the provider fetches, or `data` is base64 of `media_type`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A document: `data` is base64 of `media_type`."""

    media_type: str
    data: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Audio:
    """`data` is base64 of `format` (wav, mp3)."""

    format: str
    data: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str
    opaque: Opaque = None


@dataclass(frozen=True, slots=True)
class ProviderBlock:
    """A block that only its provider understands (a server tool's call, a compaction)."""

    opaque: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is the JSON text as the model wrote it, which may not parse. `own`: of one of the agent's tools."""

    id: str
    name: str
    arguments: str = "{}"
    opaque: Opaque = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    parts: tuple[Text | Image | File, ...] = ()
    is_error: bool = False

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))


Part: TypeAlias = Text | Refusal | Image | File | Audio | Reasoning | ProviderBlock | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """`origin` is the `provider/model` that wrote an assistant message; opaque values go back only there."""

    role: Role
    parts: tuple[Part, ...] = ()
    origin: str = ""

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def results(self) -> tuple[ToolResult, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolResult))


def system(text: str) -> Message:
    return Message("system", (Text(text),))


def user(text: str) -> Message:
    return Message("user", (Text(text),))


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


def clean(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates, which no JSON encoder takes."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `input` counts cached ones too; `total` is what the provider says, else input + output."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    total: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON schema of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`mode` "tool" means the one named."""

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The answer is to be JSON: any object, or one that fits `schema` (a JSON schema)."""

    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How to sample; None is the provider's default. `cache_key` and `user` help it to route and to account."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    parallel_tool_calls: bool | None = None
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    verbosity: str | None = None
    logit_bias: Mapping[str, float] | None = None
    cache_key: str | None = None
    user: str | None = None
    response_format: JsonFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One model call. `deadline` is when its run ends, on the loop's clock: nothing is waited for beyond it."""

    messages: Sequence[Message]
    tools: Sequence[ToolSpec] = ()
    options: Options = field(default_factory=Options)
    deadline: float = math.inf


# Events of a provider. `Done` is always last, and nothing else is.


@dataclass(frozen=True, slots=True)
class TextDelta:
    """`logprobs` are those of its tokens as the provider gives them, where they were asked for."""

    text: str
    logprobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDone:
    """A piece of reasoning is over; `part` has it whole, with what its `origin` needs back."""

    part: Reasoning
    origin: str = ""


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """`index` counts the calls of this message from 0. `id` and `name` come with its first delta only."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The whole message; `model` is the name the provider answered with."""

    message: Message
    stop: Stop
    usage: Usage = field(default_factory=Usage)
    model: str = ""


# Events of the loop. `Finish` is always last, and nothing else is.


@dataclass(frozen=True, slots=True)
class SkillActivated:
    name: str


@dataclass(frozen=True, slots=True)
class ToolStart:
    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolEnd:
    call: ToolCall
    result: ToolResult
    seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One model call is over; turns count from 1. `messages` are what the run has added to the conversation by now;
    none of the calls in the last of them has been run yet. `stop` is why the model ended there.
    """

    number: int
    usage: Usage
    model: str
    messages: tuple[Message, ...] = field(default=(), repr=False, compare=False)
    stop: Stop = field(default="stop", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class FellBack:
    """`model` answers in the place of `instead_of`, both `provider/model`. `reason` is the code of what went wrong
    there, "" where that was earlier.
    """

    model: str
    instead_of: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Compacted:
    """Old turns have become a summary; tokens of the conversation before and after, estimated."""

    before: int
    after: int


Step: TypeAlias = SkillActivated | ToolStart | ToolEnd | Turn | FellBack | Compacted

Delta: TypeAlias = TextDelta | ReasoningDelta | ReasoningDone | RefusalDelta | ToolCallDelta

ProviderEvent: TypeAlias = Delta | Step | Done
"""Steps come from another agent behind its URL, and `FellBack` from several models behind one."""


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file in a run's workspace; `size` in bytes. `id` is what a server gives it out by."""

    path: str
    size: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """How the run ended.

    `reason` is the answer's finish reason; `limit` names the budget that ended it early, if one did.
    `messages` are the new ones, fit to be appended to the conversation.
    `calls` are the calls that the caller has to answer (`reason` is then "tool_calls").
    `files` are those that the run made or changed in its workspace.
    """

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    text: str
    messages: tuple[Message, ...]
    usage: Usage
    steps: tuple[Step, ...]
    calls: tuple[ToolCall, ...] = ()
    limit: str = ""
    model: str = ""
    logprobs: tuple[Mapping[str, Any], ...] = ()
    files: tuple[MadeFile, ...] = ()


Event: TypeAlias = Delta | Step | Finish
