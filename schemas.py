"""The HTTP surface of Chat Completions: what clients send, as values of `messages`, and what goes back.

Format: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

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

ESCAPE = re.compile(rb"\\u[dD][89abAB]XX\\u[dD][c-fC-F]XX|\\u[dD][89a-fA-F]XX|\\.".replace(b"XX", b"[0-9a-fA-F]{2}"))
"""A JSON escape: a pair of surrogates, half a pair, or any other."""


class ApiError(Exception):
    """An answer in OpenAI's error shape."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.type = type
        self.headers = headers or {}

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


class Shape(BaseModel):
    """Unknown fields are ignored (clients send many), and nothing is taken for another type.

    Validators are built with the first request.
    """

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)


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
    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None

    def as_message(self) -> Message:
        parts = tuple(self._parts())
        if self.role == "tool":
            said = tuple(part for part in parts if isinstance(part, Text | Image | File))
            return Message("tool", (ToolResult(self.tool_call_id or "", said),))
        calls = tuple(
            ToolCall(call.id, call.function.name, clean(call.function.arguments or "{}"))
            for call in self.tool_calls or ()
        )
        role = "system" if self.role == "developer" else self.role
        return Message(role, (*parts, *calls) if role == "assistant" else parts)

    def _parts(self) -> Iterator[Part]:
        if isinstance(self.content, str):
            yield Text(clean(self.content))
        elif self.content:
            yield from map(_part, self.content)
        if self.refusal:
            yield Refusal(clean(self.refusal))


class FunctionTool(Shape):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class ChatTool(Shape):
    type: Literal["function"]
    function: FunctionTool

    def as_spec(self) -> ToolSpec:
        function = self.function
        schema = function.parameters or {"type": "object", "properties": {}}
        return ToolSpec(function.name, function.description or "", schema, function.strict)


class ChosenFunction(Shape):
    name: str


class NamedChoice(Shape):
    type: Literal["function"]
    function: ChosenFunction


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
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    skill_agent: Extension = Field(default_factory=Extension)

    def as_messages(self) -> list[Message]:
        return [message.as_message() for message in self.messages]

    def as_options(self) -> Options:
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
            parallel_tool_calls=self.parallel_tool_calls,
            tool_choice=self._choice(),
        )

    def _choice(self) -> ToolChoice:
        if isinstance(self.tool_choice, NamedChoice):
            return ToolChoice("tool", self.tool_choice.function.name)
        return ToolChoice(self.tool_choice or "auto")


def read_chat_request(body: bytes) -> ChatRequest:
    """Raises `ApiError` 400 with the field that is wrong."""
    try:
        found = _parsed(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", "invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_type")
    # JSON null means unset, everywhere at the top level.
    found = {name: value for name, value in found.items() if value is not None}
    try:
        return ChatRequest.model_validate(found)
    except ValidationError as error:
        raise _api_error(error) from None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise
        return orjson.loads(ESCAPE.sub(_whole_character, body))


def _whole_character(escape: re.Match[bytes]) -> bytes:
    """JavaScript clients can send half a pair, which no strict parser takes."""
    return rb"\ufffd" if len(escape[0]) == 6 else escape[0]


def _api_error(error: ValidationError) -> ApiError:
    """The first problem, with the field's place as the client wrote it."""
    problems = [(_place(e["loc"]), e["type"], e["msg"]) for e in error.errors(include_url=False, include_input=False)]
    # Of a union every member complains; the one that got furthest is meant.
    param, kind, words = max((p for p in problems if p[0].startswith(problems[0][0])), key=lambda p: len(p[0]))
    if kind == "missing":
        return ApiError(400, f"{param}: this field is required", "missing_required_parameter", param)
    if kind.startswith("model_"):
        words = "Input should be an object"
    wrong_type = kind.endswith(("_type", "_parsing")) or kind.startswith("union_tag")
    return ApiError(400, f"{param}: {words}", "invalid_type" if wrong_type else "invalid_value", param or None)


def _place(steps: tuple[int | str, ...]) -> str:
    """As in `messages[0].content`, without the names of types and union members that pydantic adds."""
    place = ""
    for before, step in zip((None, *steps), steps, strict=False):
        tag = isinstance(before, int) and step in ("text", "refusal", "image_url", "file", "input_audio")
        if isinstance(step, int):
            place += f"[{step}]"
        elif re.fullmatch(r"[a-z_]+", step) and step not in ("str", "list") and not tag:
            place += f".{step}" if place else step
    return place


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
