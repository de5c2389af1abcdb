"""The HTTP surface of Chat Completions: what clients send, as values of `messages`, and what goes back.

Format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

import media
from bodies import ApiError, Shape
from custom_tools import InputFormat, as_arguments, custom_spec
from media import Base64, DataUri, ImageAddress
from messages import (
    Audio,
    File,
    Image,
    JsonFormat,
    Message,
    Options,
    Part,
    Refusal,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolSpec,
    clean,
)


def _whole(value: Any) -> Any:
    """Some languages write 100 as 100.0; beyond 64 bits no JSON of ours could say it again."""
    fits = isinstance(value, float) and value.is_integer() and -(2**63) <= value < 2**63
    return int(value) if fits else value


def _limit(value: Any) -> Any:
    """Nothing and less is no limit."""
    value = _whole(value)
    return None if isinstance(value, int) and not isinstance(value, bool) and value < 1 else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
Limit: TypeAlias = Annotated[int | None, BeforeValidator(_limit)]
Json: TypeAlias = dict[str, Any]


class TextPart(Shape):
    type: Literal["text"]
    text: str


class RefusalPart(Shape):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Shape):
    url: ImageAddress
    detail: str | None = None


class ImagePart(Shape):
    type: Literal["image_url"]
    image_url: ImageUrl


class FileData(Shape):
    file_data: DataUri
    filename: str | None = None


class FilePart(Shape):
    type: Literal["file"]
    file: FileData


class AudioData(Shape):
    data: Base64
    format: str


class AudioPart(Shape):
    type: Literal["input_audio"]
    input_audio: AudioData


ContentPart: TypeAlias = Annotated[
    TextPart | RefusalPart | ImagePart | FilePart | AudioPart, Field(discriminator="type")
]


class CalledFunction(Shape):
    name: str
    arguments: str | None = None

    def as_call(self, id: str) -> ToolCall:
        return ToolCall(id, self.name, clean(self.arguments or "{}"))


class CalledCustom(Shape):
    name: str
    input: str


class ChatToolCall(Shape):
    id: str
    function: CalledFunction

    def as_call(self) -> ToolCall:
        return self.function.as_call(self.id)


class ChatCustomCall(Shape):
    id: str
    custom: CalledCustom

    def as_call(self) -> ToolCall:
        return ToolCall(self.id, self.custom.name, clean(as_arguments(self.custom.input)))


class ChatMessage(Shape):
    """`name` of a `function` message, and `function_call`, are the forms that tools had before they were tools."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    name: str | None = None
    function_call: CalledFunction | None = None
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[ChatToolCall | ChatCustomCall] | None = None
    tool_call_id: str | None = None

    def as_message(self) -> Message:
        parts = tuple(self._parts())
        if self.role in ("tool", "function"):
            said = tuple(part for part in parts if isinstance(part, Text | Image | File))
            answered = self.tool_call_id or legacy_id(self.name or "")
            return Message("tool", (ToolResult(answered, said),))
        calls = tuple(call.as_call() for call in self.tool_calls or ())
        if called := self.function_call:
            calls += (called.as_call(legacy_id(called.name)),)
        if self.role == "assistant":
            return Message("assistant", (*parts, *calls))
        return Message("user" if self.role == "user" else "system", parts)

    def _parts(self) -> Iterator[Part]:
        if isinstance(self.content, str):
            yield Text(clean(self.content))
        elif self.content:
            yield from map(_part, self.content)
        if self.refusal:
            yield Refusal(clean(self.refusal))


def legacy_id(name: str) -> str:
    """Functions had no ids: the result behind a call is its result."""
    return f"function_{name}"


ToolName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


class FunctionTool(Shape):
    name: ToolName
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None

    def as_spec(self) -> ToolSpec:
        schema = self.parameters or {"type": "object", "properties": {}}
        return ToolSpec(self.name, self.description or "", schema, self.strict)


class CustomTool(Shape):
    name: ToolName
    description: str | None = None
    format: InputFormat | None = None

    def as_spec(self) -> ToolSpec:
        return custom_spec(self.name, self.description, self.format)


class ChatFunction(Shape):
    type: Literal["function"]
    function: FunctionTool


class ChatCustom(Shape):
    type: Literal["custom"]
    custom: CustomTool


def _nested(tool: Any) -> Any:
    """Also where name and parameters stand beside the type, as in the Responses API: some editors send that."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind in ("function", "custom") and kind not in tool and "name" in tool:
        return {"type": kind, kind: tool}
    return tool


ChatTool: TypeAlias = Annotated[
    Annotated[ChatFunction | ChatCustom, Field(discriminator="type")], BeforeValidator(_nested)
]


class Chosen(Shape):
    name: str


class FunctionChoice(Shape):
    type: Literal["function"]
    function: Chosen


class CustomChoice(Shape):
    type: Literal["custom"]
    custom: Chosen


NamedChoice: TypeAlias = Annotated[FunctionChoice | CustomChoice, Field(discriminator="type")]


class AllowedTools(Shape):
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedChoice]

    @property
    def names(self) -> set[str]:
        return {_chosen(choice) for choice in self.tools}


class AllowedChoice(Shape):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ObjectChoice: TypeAlias = Annotated[FunctionChoice | CustomChoice | AllowedChoice, Field(discriminator="type")]


def _chosen(choice: FunctionChoice | CustomChoice) -> str:
    return choice.function.name if isinstance(choice, FunctionChoice) else choice.custom.name


class StreamOptions(Shape):
    include_usage: bool | None = None


class Extension(Shape):
    """Our own, opt-in: other servers ignore it."""

    activity: bool | None = None
    skills: list[str] | None = None
    activate: str | None = None


class JsonSchema(Shape):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    schema_: Json = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(Shape):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def as_format(self) -> JsonFormat | None:
        if self.type == "text":
            return None
        if self.type == "json_object":
            return JsonFormat()
        if self.json_schema is None:
            place = "response_format.json_schema"
            raise ApiError(400, f"{place}: this field is required", "missing_required_parameter", place)
        return JsonFormat(self.json_schema.schema_, self.json_schema.name, self.json_schema.strict)


class ChatRequest(Shape):
    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: Limit = None
    max_completion_tokens: Limit = None
    stop: str | list[str] | None = None
    seed: Whole | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    reasoning_effort: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Whole | None = Field(None, ge=0, le=20)
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    n: Whole = Field(1, ge=1, le=8)
    modalities: list[str] | None = None
    response_format: ResponseFormat | None = None
    parallel_tool_calls: bool | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ObjectChoice | None = None
    functions: list[FunctionTool] | None = None
    function_call: Literal["none", "auto"] | Chosen | None = None
    skill_agent: Extension = Field(default_factory=Extension)

    @property
    def legacy(self) -> bool:
        """Whether calls go back in the old form."""
        return bool(self.functions) and not self.tools

    def as_messages(self) -> list[Message]:
        """Raises `ApiError` 400 where all that is new are results that nobody asked for."""
        messages = [message.as_message() for message in self.messages]
        made = {call.id for message in messages for call in message.calls}
        new = list(takewhile(lambda message: message.role == "tool", reversed(messages)))
        wanted = any(result.call_id in made for message in _behind_answer(messages) for result in message.results)
        if new and not wanted:
            place = f"messages[{len(messages) - len(new)}].tool_call_id"
            raise ApiError(400, f"{place}: there is no tool call with this id before it", "invalid_value", place)
        return messages

    def as_tools(self) -> list[ToolSpec]:
        if self.tools is None:
            return [function.as_spec() for function in self.functions or ()]
        specs = [(t.function if isinstance(t, ChatFunction) else t.custom).as_spec() for t in self.tools]
        if not isinstance(self.tool_choice, AllowedChoice):
            return specs
        return [spec for spec in specs if spec.name in self.tool_choice.allowed_tools.names]

    @property
    def custom_names(self) -> frozenset[str]:
        """The tools whose calls go back as custom ones."""
        return frozenset(tool.custom.name for tool in self.tools or () if isinstance(tool, ChatCustom))

    def as_options(self) -> Options:
        if "audio" in (self.modalities or ()):
            raise ApiError(400, "no model here speaks: ask for text", "unsupported_parameter", "modalities")
        return Options(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            reasoning_effort=self.reasoning_effort,
            verbosity=self.verbosity,
            logit_bias=self.logit_bias,
            cache_key=self.prompt_cache_key,
            user=self.safety_identifier or self.user,
            response_format=self.response_format.as_format() if self.response_format else None,
            parallel_tool_calls=False if self.legacy else self.parallel_tool_calls,
            tool_choice=self._choice(),
            logprobs=self.logprobs,
            top_logprobs=self.top_logprobs,
        )

    def _choice(self) -> ToolChoice:
        choice = self.function_call if self.tools is None and self.functions else self.tool_choice
        match choice:
            case FunctionChoice() | CustomChoice():
                return ToolChoice("tool", _chosen(choice))
            case Chosen():
                return ToolChoice("tool", choice.name)
            case AllowedChoice():
                return ToolChoice(choice.allowed_tools.mode)
            case None:
                return ToolChoice()
        return ToolChoice(choice)


def _behind_answer(messages: list[Message]) -> list[Message]:
    """What is new: everything behind the model's last message."""
    return list(takewhile(lambda message: message.role != "assistant", reversed(messages)))


def _part(part: ContentPart) -> Part:
    match part:
        case TextPart():
            return Text(clean(part.text))
        case RefusalPart():
            return Refusal(clean(part.refusal))
        case ImagePart():
            return media.image(part.image_url.url, part.image_url.detail)
        case FilePart():
            return media.file(part.file.file_data, part.file.filename)
        case AudioPart():
            return Audio(part.input_audio.format, part.input_audio.data)
