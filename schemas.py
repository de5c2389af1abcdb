"""The HTTP surface of Chat Completions: what clients send, as values of `messages`, and what goes back.

Format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from bodies import ApiError as ApiError
from bodies import Shape, read
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


def _limit(value: Any) -> Any:
    """Some languages write 100 as 100.0; nothing and less is no limit."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if isinstance(value, int) and not isinstance(value, bool) and value < 1 else value


Limit: TypeAlias = Annotated[int | None, BeforeValidator(_limit)]
Json: TypeAlias = dict[str, Any]


class TextPart(Shape):
    type: Literal["text"]
    text: str


class RefusalPart(Shape):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Shape):
    url: str
    detail: str | None = None


class ImagePart(Shape):
    type: Literal["image_url"]
    image_url: ImageUrl


class FileData(Shape):
    file_data: str
    filename: str | None = None


class FilePart(Shape):
    type: Literal["file"]
    file: FileData


class AudioData(Shape):
    data: str
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


class ChatToolCall(Shape):
    id: str
    function: CalledFunction


class ChatMessage(Shape):
    """`name` of a `function` message, and `function_call`, are the forms that tools had before they were tools."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    name: str | None = None
    function_call: CalledFunction | None = None
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None

    def as_message(self) -> Message:
        parts = tuple(self._parts())
        if self.role in ("tool", "function"):
            said = tuple(part for part in parts if isinstance(part, Text | Image | File))
            answered = self.tool_call_id or legacy_id(self.name or "")
            return Message("tool", (ToolResult(answered, said),))
        calls = tuple(
            ToolCall(call.id, call.function.name, clean(call.function.arguments or "{}"))
            for call in self.tool_calls or ()
        )
        if called := self.function_call:
            calls += (ToolCall(legacy_id(called.name), called.name, clean(called.arguments or "{}")),)
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


class FunctionTool(Shape):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None

    def as_spec(self) -> ToolSpec:
        schema = self.parameters or {"type": "object", "properties": {}}
        return ToolSpec(self.name, self.description or "", schema, self.strict)


class ChatTool(Shape):
    type: Literal["function"]
    function: FunctionTool


class ChosenFunction(Shape):
    name: str


class NamedChoice(Shape):
    type: Literal["function"]
    function: ChosenFunction


class AllowedTools(Shape):
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedChoice]


class AllowedChoice(Shape):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ObjectChoice: TypeAlias = Annotated[NamedChoice | AllowedChoice, Field(discriminator="type")]


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
    seed: int | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    reasoning_effort: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    logit_bias: dict[str, float] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    n: int = Field(1, ge=1, le=8)
    modalities: list[str] | None = None
    response_format: ResponseFormat | None = None
    parallel_tool_calls: bool | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ObjectChoice | None = None
    functions: list[FunctionTool] | None = None
    function_call: Literal["none", "auto"] | ChosenFunction | None = None
    skill_agent: Extension = Field(default_factory=Extension)

    @property
    def legacy(self) -> bool:
        """Whether calls go back in the old form."""
        return bool(self.functions) and not self.tools

    def as_messages(self) -> list[Message]:
        return [message.as_message() for message in self.messages]

    def as_tools(self) -> list[ToolSpec]:
        if self.tools is None:
            return [function.as_spec() for function in self.functions or ()]
        specs = [tool.function.as_spec() for tool in self.tools]
        if not isinstance(self.tool_choice, AllowedChoice):
            return specs
        allowed = {tool.function.name for tool in self.tool_choice.allowed_tools.tools}
        return [spec for spec in specs if spec.name in allowed]

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
        )

    def _choice(self) -> ToolChoice:
        choice = self.function_call if self.tools is None and self.functions else self.tool_choice
        match choice:
            case NamedChoice():
                return ToolChoice("tool", choice.function.name)
            case ChosenFunction():
                return ToolChoice("tool", choice.name)
            case AllowedChoice():
                return ToolChoice(choice.allowed_tools.mode)
            case None:
                return ToolChoice()
        return ToolChoice(choice)


def read_chat_request(body: bytes) -> ChatRequest:
    """Raises `ApiError` 400 with the field that is wrong."""
    return read(ChatRequest, body)


def _part(part: ContentPart) -> Part:
    match part:
        case TextPart():
            return Text(clean(part.text))
        case RefusalPart():
            return Refusal(clean(part.refusal))
        case ImagePart():
            return _image(part.image_url)
        case FilePart():
            media_type, data = _data_uri(part.file.file_data, "file.file_data")
            return File(media_type, data, part.file.filename or "")
        case AudioPart():
            return Audio(part.input_audio.format, part.input_audio.data)


def _image(image: ImageUrl) -> Image:
    if image.url.startswith("https://"):
        return Image(url=image.url, detail=image.detail or "")
    media_type, data = _data_uri(image.url, "image_url.url")
    return Image(media_type, data, detail=image.detail or "")


def _data_uri(uri: str, param: str) -> tuple[str, str]:
    """Media type and base64 of RFC 2397's `data:<type>;base64,<data>`."""
    head, comma, data = uri.partition(",")
    media_type = head.removeprefix("data:").removesuffix(";base64").partition(";")[0]
    try:
        if not (comma and head.startswith("data:") and head.endswith(";base64") and media_type):
            raise ValueError
        b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        message = f"{param}: expected data:<media type>;base64,<data> (or an https address, for images)"
        raise ApiError(400, message, "invalid_value", param) from None
    return media_type, data
