"""The document that describes the API: https://spec.openapis.org/oas/v3.1.0"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from response_schemas import CompactRequest, ResponseRequest
from schemas import ChatRequest
from service import shapes

Json: TypeAlias = dict[str, Any]
PREFIX = "/v1"
REF = "#/components/schemas/{model}"
HI = [{"role": "user", "content": "Invent a cookie flavour with lavender"}]


@dataclass(frozen=True, slots=True)
class Operation:
    """`events` are what a streamed answer is made of; `query` are its parameters, with their schemas."""

    method: str
    path: str
    summary: str
    answer: Any
    asked: type[BaseModel] | None = None
    example: Json | None = None
    events: Any = None
    query: tuple[tuple[str, Json], ...] = ()


OPERATIONS = (
    Operation(
        "post",
        f"{PREFIX}/chat/completions",
        "Answer a conversation, streamed where `stream` is true",
        shapes.ChatCompletion,
        ChatRequest,
        {"model": "skill-agent", "messages": HI},
        shapes.ChatCompletionChunk,
    ),
    Operation(
        "post",
        f"{PREFIX}/responses",
        "Answer, and keep the answer to go on from; with `background` at once, to be followed",
        shapes.ResponseResource,
        ResponseRequest,
        {"model": "skill-agent", "input": HI[0]["content"]},
        shapes.ResponseEvent,
    ),
    Operation(
        "post",
        f"{PREFIX}/responses/compact",
        "Make a conversation into one item to go on from",
        shapes.Compaction,
        CompactRequest,
        {"model": "skill-agent", "input": HI},
    ),
    Operation(
        "get",
        f"{PREFIX}/responses/{{id}}",
        "A stored answer, or with `stream` the events of one in the background",
        shapes.ResponseResource,
        events=shapes.ResponseEvent,
        query=(("stream", {"type": "boolean"}), ("starting_after", {"type": "integer", "minimum": 0})),
    ),
    Operation("delete", f"{PREFIX}/responses/{{id}}", "Delete a stored answer", shapes.Deleted),
    Operation("post", f"{PREFIX}/responses/{{id}}/cancel", "Stop an answer in the background", shapes.ResponseResource),
    Operation(
        "get",
        f"{PREFIX}/responses/{{id}}/input_items",
        "What a stored answer was asked with",
        shapes.Items,
        query=(
            ("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
            ("order", {"enum": ["asc", "desc"], "default": "desc"}),
            ("after", {"type": "string"}),
        ),
    ),
    Operation("get", f"{PREFIX}/files/{{id}}", "A file that the agent has made", shapes.StoredFile),
    Operation("get", f"{PREFIX}/files/{{id}}/content", "Its content", bytes),
    Operation("get", f"{PREFIX}/models", "The agent, the agent with each skill, and plain models", shapes.ModelList),
    Operation("get", f"{PREFIX}/models/{{id}}", "One of them", shapes.Model),
    Operation("get", f"{PREFIX}/healthcheck", "Whether the service is well; asks no provider", shapes.Health),
    Operation(
        "post",
        "/responses",
        "As Databricks' agents answer: events without names, nothing kept",
        shapes.ResponseResource,
        ResponseRequest,
        {"input": HI},
        shapes.ResponseEvent,
    ),
    Operation(
        "post",
        "/invocations",
        "The same",
        shapes.ResponseResource,
        ResponseRequest,
        {"input": HI},
        shapes.ResponseEvent,
    ),
    Operation("get", "/agent/info", "By which Databricks' tools know an agent", shapes.AgentInfo),
    Operation("get", "/health", "Whether the process lives", shapes.Health),
    Operation("get", "/ready", "Whether it takes requests", shapes.Health),
    Operation("get", "/metrics", "What the service counts of itself, for Prometheus", bytes),
)


def document(version: str) -> bytes:
    definitions = _definitions(OPERATIONS)
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    bearer = {"type": "http", "scheme": "bearer"}
    api_key = {"type": "apiKey", "in": "header", "name": "x-api-key"}
    about = "A folder of skills behind an OpenAI-compatible endpoint. Every path under /v1 is under /api/v1 too."
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "skill-agent", "version": version, "description": about},
            "servers": [{"url": "/"}],
            "security": [{}, {"bearer": []}, {"key": []}],
            "paths": paths,
            "components": {"schemas": definitions, "securitySchemes": {"bearer": bearer, "key": api_key}},
        }
    )


def _definitions(operations: Sequence[Operation]) -> Json:
    """The schemas of everything that is asked and answered, by the type's name."""
    asked = {operation.asked: None for operation in operations if operation.asked}
    _, top = models_json_schema([(model, "validation") for model in asked], ref_template=REF)
    told = {found.__name__: found for o in operations for found in (o.answer, o.events, shapes.Error) if found}
    told.pop("bytes")
    inputs = [(name, "serialization", TypeAdapter(shape).core_schema) for name, shape in told.items()]
    _, answers = GenerateJsonSchema(ref_template=REF).generate_definitions(inputs)  # type: ignore[arg-type]
    return {**top["$defs"], **answers}


def _described(operation: Operation) -> Json:
    content = {"*/*": {}} if operation.answer is bytes else {"application/json": {"schema": _ref(operation.answer)}}
    if operation.events:
        content["text/event-stream"] = {"schema": {"description": _stream(operation.events)}}
    failed = {"description": "What is wrong", "content": {"application/json": {"schema": _ref(shapes.Error)}}}
    described: Json = {
        "summary": operation.summary,
        "operationId": _id(operation),
        "responses": {"200": {"description": "The answer", "content": content}, "default": failed},
    }
    if operation.asked:
        body = {"schema": _ref(operation.asked), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    parameters = [_parameter(name, "query", schema) for name, schema in operation.query]
    if "{id}" in operation.path:
        parameters.insert(0, {**_parameter("id", "path", {"type": "string", "minLength": 1}), "required": True})
    return {**described, "parameters": parameters} if parameters else described


def _parameter(name: str, place: str, schema: Json) -> Json:
    return {"name": name, "in": place, "schema": schema}


def _stream(events: Any) -> str:
    return f"Server-sent events: each `data` is a {events.__name__}, the last one is [DONE]."


def _id(operation: Operation) -> str:
    words = operation.path.removeprefix(PREFIX).replace("{", "").replace("}", "").strip("/")
    prefix = "" if operation.path.startswith(PREFIX) else "root_"
    return f"{prefix}{operation.method}_{words.replace('/', '_')}"


def _ref(shape: Any) -> Json:
    return {"$ref": REF.format(model=shape.__name__)}
