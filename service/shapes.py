"""The shapes of answers, for the document that describes the API; requests are in the schemas."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Json = dict[str, Any]


class ErrorBody(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(TypedDict):
    error: ErrorBody


class Function(TypedDict):
    name: str
    arguments: str


class Custom(TypedDict):
    name: str
    input: str


class FunctionCall(TypedDict):
    id: str
    type: Literal["function"]
    function: Function


class CustomCall(TypedDict):
    id: str
    type: Literal["custom"]
    custom: Custom


class AssistantMessage(TypedDict):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Json]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[FunctionCall | CustomCall]]
    function_call: NotRequired[Function]


class Choice(TypedDict):
    index: int
    message: AssistantMessage
    logprobs: Json | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatUsage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    skill_agent: NotRequired[Json]


class ChunkChoice(TypedDict):
    index: int
    delta: Json
    logprobs: Json | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None


class ChatCompletionChunk(TypedDict):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: NotRequired[ChatUsage | None]
    skill_agent: NotRequired[Json]


class Item(TypedDict):
    id: str
    type: str
    status: NotRequired[Literal["in_progress", "completed", "incomplete"]]


class ResponseUsage(TypedDict):
    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseError(TypedDict):
    code: str
    message: str


class IncompleteDetails(TypedDict):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseResource(TypedDict):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[Item]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: Json
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float
    text: Json
    tool_choice: str | Json
    tools: list[Json]
    top_logprobs: int
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    truncation: Literal["disabled", "auto"]
    usage: ResponseUsage | None
    user: NotRequired[str]
    metadata: dict[str, str]


class ResponseEvent(TypedDict):
    type: str
    sequence_number: int


class Deleted(TypedDict):
    id: str
    object: Literal["response"]
    deleted: bool


class Items(TypedDict):
    object: Literal["list"]
    data: list[Item]
    first_id: str
    last_id: str
    has_more: bool


class Compaction(TypedDict):
    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[Item]
    usage: ResponseUsage


class StoredFile(TypedDict):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str


class ModelPrices(TypedDict):
    """US dollars for a million tokens."""

    input: float
    output: float | None
    cache_read: float | None
    cache_write: float | None


class ModelCard(TypedDict):
    """`description` and `examples` are a skill's; `window` is in tokens."""

    description: NotRequired[str]
    examples: NotRequired[list[str]]
    window: NotRequired[int]
    prices: NotRequired[ModelPrices]


class Model(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    skill_agent: ModelCard


class Limits(TypedDict):
    """`max_body`: bytes of a request's body that are taken."""

    max_body: int


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[Model]
    skill_agent: Limits


class Health(TypedDict):
    status: str
    timestamp: NotRequired[str]
    service: NotRequired[str]
    model: NotRequired[str]


class AgentInfo(TypedDict):
    name: str
    use_case: Literal["agent"]
    agent_api: Literal["responses"]
    mlflow_version: str | None
