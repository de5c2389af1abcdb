"""The HTTP surface of Responses: what clients send, as values of `messages`.

Format: https://platform.openai.com/docs/api-reference/responses and https://www.openresponses.org
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag

import media
from bodies import Shape
from custom_tools import as_arguments
from media import DataUri, ImageAddress
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
from schemas import AudioData, CustomTool, Extension, FunctionTool, JsonSchema, Limit, StreamOptions, Whole

# Parts of messages and of tools' outputs.


class TextPart(Shape):
    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text"]
    text: str

    def as_part(self) -> Part:
        return Text(clean(self.text))


class RefusalPart(Shape):
    type: Literal["refusal"]
    refusal: str

    def as_part(self) -> Part:
        return Refusal(clean(self.refusal))


class ImagePart(Shape):
    type: Literal["input_image"]
    image_url: ImageAddress
    detail: str | None = None

    def as_part(self) -> Part:
        return media.image(self.image_url, self.detail)


class FilePart(Shape):
    type: Literal["input_file"]
    file_data: DataUri
    filename: str | None = None

    def as_part(self) -> Part:
        return media.file(self.file_data, self.filename)


class AudioPart(Shape):
    type: Literal["input_audio"]
    input_audio: AudioData

    def as_part(self) -> Part:
        return Audio(self.input_audio.format, self.input_audio.data)


ContentPart: TypeAlias = Annotated[
    TextPart | RefusalPart | ImagePart | FilePart | AudioPart, Field(discriminator="type")
]
Content: TypeAlias = str | list[ContentPart]


def _parts(content: Content | None) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(clean(content)),)
    return tuple(part.as_part() for part in content or ())


# Items of the input. Those that come back from an earlier answer have an id and a status, which say nothing new.


class MessageItem(Shape):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content | None = None

    def as_message(self) -> Message:
        role: Any = "system" if self.role == "developer" else self.role
        return Message(role, _parts(self.content))


class FunctionCallItem(Shape):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = "{}"

    def as_message(self) -> Message:
        return Message("assistant", (ToolCall(self.call_id, self.name, clean(self.arguments or "{}")),))


class CustomCallItem(Shape):
    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str = ""

    def as_message(self) -> Message:
        return Message("assistant", (ToolCall(self.call_id, self.name, clean(as_arguments(self.input))),))


class OutputItem(Shape):
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: Content | None = None

    def as_message(self) -> Message:
        said = tuple(part for part in _parts(self.output) if isinstance(part, Text | Image | File))
        return Message("tool", (ToolResult(self.call_id, said),))


class SealedItem(Shape):
    """What only this service can read: reasoning with its signatures, a summary of what was said."""

    type: Literal["reasoning", "compaction", "compaction_summary"]
    encrypted_content: str | None = None


class ReferenceItem(Shape):
    """An item of a stored response, by its id."""

    type: Literal["item_reference"]
    id: str


class OtherItem(Shape):
    """Calls of tools that run at OpenAI and their like: nothing that a model elsewhere could be told."""

    type: str


Item: TypeAlias = MessageItem | FunctionCallItem | CustomCallItem | OutputItem | SealedItem | ReferenceItem | OtherItem
KINDS = {
    "message": "message",
    "function_call": "call",
    "custom_tool_call": "custom",
    "function_call_output": "output",
    "custom_tool_call_output": "output",
    "reasoning": "sealed",
    "compaction": "sealed",
    "compaction_summary": "sealed",
    "item_reference": "reference",
}


def _kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else "message"
    if not kind:
        return "message" if "role" in item else "reference" if "id" in item else "message"
    return KINDS.get(kind, "other") if isinstance(kind, str) else "other"


AnyItem: TypeAlias = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("call")]
    | Annotated[CustomCallItem, Tag("custom")]
    | Annotated[OutputItem, Tag("output")]
    | Annotated[SealedItem, Tag("sealed")]
    | Annotated[ReferenceItem, Tag("reference")]
    | Annotated[OtherItem, Tag("other")],
    Discriminator(_kind),
]


class Items(Shape):
    items: list[AnyItem]


# Tools


class FlatFunction(FunctionTool):
    type: Literal["function"]


class FlatCustom(CustomTool):
    type: Literal["custom"]


class OtherTool(Shape):
    """Tools that run at OpenAI (web search, computers, remote MCP): not offered here."""

    type: str


def _tool_kind(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else ""
    return kind if kind in ("function", "custom") else "other"


AnyTool: TypeAlias = Annotated[
    Annotated[FlatFunction, Tag("function")]
    | Annotated[FlatCustom, Tag("custom")]
    | Annotated[OtherTool, Tag("other")],
    Discriminator(_tool_kind),
]


class AllowedTool(Shape):
    name: str | None = None


class ChosenTool(Shape):
    """One tool, or with `tools` those that are allowed; a choice of a tool that is not offered here chooses none."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[AllowedTool] | None = None


class Reasoning(Shape):
    effort: str | None = None
    summary: str | None = None


class TextFormat(JsonSchema):
    """As in Chat Completions, with the schema's fields beside the type."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = Field("answer", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")

    def as_format(self) -> JsonFormat | None:
        match self.type:
            case "text":
                return None
            case "json_object":
                return JsonFormat()
        return JsonFormat(self.schema_, self.name, self.strict)


class TextOptions(Shape):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ConversationId(Shape):
    id: str = Field(min_length=1, max_length=128)


def _conversation(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class Asked(Shape):
    """What `responses` and `responses/compact` have in common."""

    model: str | None = None
    input: str | list[AnyItem] = Field(default_factory=list)
    instructions: str | list[AnyItem] | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    skill_agent: Extension = Field(default_factory=Extension)

    @property
    def items(self) -> Sequence[Item]:
        return _listed(self.input)

    @property
    def orders(self) -> list[Message]:
        """The instructions, which hold for this answer only."""
        given = self.instructions
        if isinstance(given, str):
            return [Message("system", (Text(clean(given)),))] if given else []
        return [item.as_message() for item in given or () if isinstance(item, MessageItem)]


class CompactRequest(Asked):
    model: str


class ResponseRequest(Asked):
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    conversation: Annotated[ConversationId, BeforeValidator(_conversation)] | None = None
    include: list[str] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_output_tokens: Limit = None
    max_tool_calls: Limit = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    top_logprobs: Whole | None = Field(None, ge=0, le=20)
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextOptions = Field(default_factory=TextOptions)
    tools: list[AnyTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    truncation: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    user: str | None = None
    stream_options: StreamOptions | None = None

    # What Chat Completions has beside: some send this body there.
    n: ClassVar[int] = 1
    legacy: ClassVar[bool] = False

    @property
    def offered(self) -> list[FlatFunction | FlatCustom]:
        return [tool for tool in self.tools or () if isinstance(tool, FlatFunction | FlatCustom)]

    @property
    def custom_names(self) -> frozenset[str]:
        return frozenset(tool.name for tool in self.tools or () if isinstance(tool, FlatCustom))

    def as_tools(self) -> list[ToolSpec]:
        specs = [tool.as_spec() for tool in self.offered]
        choice = self.tool_choice
        if not isinstance(choice, ChosenTool) or choice.tools is None:
            return specs
        allowed = {tool.name for tool in choice.tools}
        return [spec for spec in specs if spec.name in allowed]

    def as_options(self) -> Options:
        logprobs = "message.output_text.logprobs" in (self.include or ())
        return Options(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_output_tokens,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
            verbosity=self.text.verbosity,
            cache_key=self.prompt_cache_key,
            user=self.safety_identifier or self.user,
            response_format=self.text.format.as_format() if self.text.format else None,
            parallel_tool_calls=self.parallel_tool_calls,
            tool_choice=self._choice(),
            logprobs=logprobs or None,
            top_logprobs=self.top_logprobs if logprobs else None,
        )

    def _choice(self) -> ToolChoice:
        match self.tool_choice:
            case ChosenTool(tools=None, name=str(name)) if name in {tool.name for tool in self.offered}:
                return ToolChoice("tool", name)
            case ChosenTool(tools=list()) as allowed:
                return ToolChoice(allowed.mode)
            case str(mode):
                return ToolChoice(mode)
        return ToolChoice()


def _listed(given: str | list[AnyItem]) -> Sequence[Item]:
    return [MessageItem(role="user", content=given)] if isinstance(given, str) else given
