"""What a provider's error becomes: its kind, its words, its request id, and never an untyped exception."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from providers.anthropic import Messages
from providers.base import (
    AuthError,
    BadRequest,
    BadResponse,
    ContentFiltered,
    ContextOverflow,
    ModelInfo,
    NotFound,
    Overloaded,
    ProviderDown,
    ProviderError,
    RateLimited,
)
from providers.http import Http, bearer
from providers.openai import ChatCompletions
from tests.asking import ask
from tests.upstream import Reply, Upstream, json_reply, sse, text_reply

NEVER = {"x-should-retry": "false"}
"""The header with which an error comes at once."""
Model = ChatCompletions | Messages


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(params=[ChatCompletions, Messages])
async def model(request: pytest.FixtureRequest, up: Upstream) -> AsyncIterator[Model]:
    kind: type[Model] = request.param
    model = kind(Http(backoff=0.01), f"{up.url}/v1", bearer("k"), ModelInfo("some/m"))
    yield model
    await model.aclose()


async def _error(up: Upstream, model: Model, reply: Reply) -> ProviderError:
    up.always(reply)
    with pytest.raises(ProviderError) as caught:
        await ask(model)
    assert caught.value.provider == "some" and caught.value.message and len(caught.value.message) < 600
    return caught.value


def _openai(message: str, type: str = "invalid_request_error", code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def _claude(type: str, message: str = "words") -> dict[str, object]:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "r"}


def _databricks(code: str, message: str = "words") -> dict[str, object]:
    return {"error_code": code, "message": message, "details": [{"@type": "x"}]}


LONG = "This model's maximum context length is 8192 tokens"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, _openai("Incorrect API key", code="invalid_api_key"), AuthError, "upstream_auth_error"),
        (403, _openai("Country not supported"), AuthError, "upstream_permission_denied"),
        (404, _openai("no model", code="model_not_found"), NotFound, "model_not_found"),
        (400, _openai("bad", code="invalid_type"), BadRequest, "invalid_type"),
        (400, _openai(LONG, code="context_length_exceeded"), ContextOverflow, "context_length_exceeded"),
        (400, _openai(LONG), ContextOverflow, "context_length_exceeded"),
        (400, _openai("x", code="content_filter"), ContentFiltered, "content_filter"),
        (422, {"detail": [{"loc": ["body"], "msg": "Extra inputs"}]}, BadRequest, "invalid_request"),
        (413, _openai("too large"), BadRequest, "request_too_large"),
        (429, _openai("slow", "rate_limit_error", "rate_limit_exceeded"), RateLimited, "rate_limit_exceeded"),
        (429, _openai("out", "insufficient_quota", "insufficient_quota"), RateLimited, "insufficient_quota"),
        (408, _openai("slow"), ProviderDown, "upstream_timeout"),
        (409, _openai("conflict"), ProviderDown, "upstream_conflict"),
        (500, _openai("oops", "server_error"), ProviderDown, "server_error"),
        (502, _openai("oops", "server_error"), ProviderDown, "server_error"),
        (504, _openai("oops", "server_error"), ProviderDown, "upstream_timeout"),
        (503, _openai("oops", "server_error"), Overloaded, "overloaded"),
        (529, _claude("overloaded_error"), Overloaded, "overloaded"),
        (400, _claude("invalid_request_error", "prompt is too long: 9 tokens > 8"), ContextOverflow, None),
        (401, _claude("authentication_error"), AuthError, "upstream_auth_error"),
        (403, _claude("permission_error"), AuthError, "upstream_permission_denied"),
        (402, _claude("billing_error"), RateLimited, "insufficient_quota"),
        (413, _claude("request_too_large"), BadRequest, "request_too_large"),
        (404, _databricks("RESOURCE_DOES_NOT_EXIST"), NotFound, "model_not_found"),
        (403, _databricks("PERMISSION_DENIED"), AuthError, "upstream_permission_denied"),
        (400, _databricks("BAD_REQUEST", 'json: unknown field "x"'), BadRequest, "BAD_REQUEST"),
        (400, _databricks("BAD_REQUEST", "Input is too long for requested model."), ContextOverflow, None),
        (429, _databricks("REQUEST_LIMIT_EXCEEDED"), RateLimited, "rate_limit_exceeded"),
        (503, _databricks("TEMPORARILY_UNAVAILABLE"), Overloaded, "overloaded"),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "m"}}, ContextOverflow, None),
        (400, {"error": "just words"}, BadRequest, "invalid_request"),
    ],
)
async def test_a_status_and_a_body_are_a_typed_error(
    up: Upstream, model: Model, status: int, body: object, kind: type[ProviderError], code: str | None
) -> None:
    error = await _error(up, model, json_reply(body, status, NEVER))
    assert (type(error), error.status, error.code) == (kind, status, code or kind.code)


@pytest.mark.parametrize("header", ["x-request-id", "request-id", "apim-request-id"])
async def test_the_request_id_and_the_parameter_are_kept(up: Upstream, model: Model, header: str) -> None:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": "messages", "code": None}}
    error = await _error(up, model, json_reply(body, 400, {header: "req_1"}))
    assert (error.request_id, error.param, error.message) == ("req_1", "messages", "no")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (_claude("overloaded_error"), Overloaded),
        (_claude("rate_limit_error"), RateLimited),
        (_claude("authentication_error"), AuthError),
        (_claude("invalid_request_error"), BadRequest),
        (_claude("invalid_request_error", "prompt is too long"), ContextOverflow),
        (_claude("api_error"), ProviderDown),
        (_openai("slow", "rate_limit_error"), RateLimited),
        (_openai("x", "server_error"), ProviderDown),
        ({"error": {"message": "busy", "code": 503}}, Overloaded),
        ({"error": {"message": "x", "code": "429"}}, RateLimited),
        ({"error": "overloaded"}, ProviderDown),
        (_databricks("REQUEST_LIMIT_EXCEEDED"), RateLimited),
        (_databricks("RESOURCE_EXHAUSTED"), RateLimited),
        (_databricks("TEMPORARILY_UNAVAILABLE"), Overloaded),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_error_may_come_with_status_200(
    up: Upstream, model: Model, body: dict[str, object], kind: type[ProviderError], streamed: bool
) -> None:
    error = await _error(up, model, sse([body], events=True) if streamed else json_reply(body))
    assert isinstance(error, kind) and not isinstance(error, BadResponse)


ODD: list[Any] = [{}, [], 5, "", None, True, {"message": 5}, {"message": None, "code": []}, {"code": {"a": 1}}]
HOSTILE: list[dict[str, Any]] = [{"error": value} for value in ODD]
HOSTILE += [{"error": {"details": details, "message": "m"}} for details in ([1], "x", {"error_code": 5})]
HOSTILE += [{"error": {"type": ["x"], "param": {"y": 1}}}, {"error_code": None}, {"error_code": {}, "message": []}]


@pytest.mark.parametrize("body", HOSTILE, ids=json.dumps)
@pytest.mark.parametrize("status", [200, 400, 429, 503])
async def test_an_error_of_odd_types_is_still_a_typed_error(
    up: Upstream, model: Model, body: Mapping[str, object], status: int
) -> None:
    assert str(await _error(up, model, json_reply(body, status, NEVER)))


@pytest.mark.parametrize(
    "text", ["", "<html><title>Bad\n gateway</title></html>", "CODE: words", "[]", "\ud83d", "x" * 9999]
)
@pytest.mark.parametrize("status", [400, 502])
async def test_a_body_that_is_no_json_is_quoted(up: Upstream, model: Model, text: str, status: int) -> None:
    text = text.replace("\ud83d", "�")
    error = await _error(up, model, text_reply(text, status, NEVER, "text/html"))
    assert error.message == (" ".join(text.split())[:500] or f"HTTP {status}")


async def test_a_web_page_is_no_answer(up: Upstream, model: Model) -> None:
    page = "<html><title>Sign in</title></html>"
    error = await _error(up, model, text_reply(page, content_type="text/html"))
    assert isinstance(error, BadResponse) and "web page" in error.message and "Sign in" in error.message


@pytest.mark.parametrize("status", [201, 204])
async def test_an_empty_answer_is_an_error(up: Upstream, model: Model, status: int) -> None:
    error = await _error(up, model, Reply(status))
    assert isinstance(error, BadResponse) and error.code == "upstream_truncated"
