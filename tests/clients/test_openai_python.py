"""openai-python's helpers: `.parse()`, `.stream()` and pydantic tools, for chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from openai import DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.clients.script import ASK, BREAKS, COSTS, LIMITED, MODELS, RESULT, TEXT
from tests.surface import Service

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": ASK}]
BOTH: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What do tea and milk cost?"}]


class price(BaseModel):  # noqa: N801 - the tool's name
    """The price of an item."""

    item: str


class Offer(BaseModel):
    item: str
    price: float
    sizes: list[int]


TOOLS = [openai.pydantic_function_tool(price)]
OFFER = Offer(item="tea", price=3.5, sizes=[3])


@pytest.fixture
def client(served: Service) -> Iterator[OpenAI]:
    with DefaultHttpxClient(trust_env=False, verify=False) as http:
        yield OpenAI(base_url=f"{served.url}/v1", api_key="sk-client", http_client=http, max_retries=0, timeout=50)


@pytest.mark.parametrize("model", MODELS)
def test_parse_reads_text_objects_and_calls(client: OpenAI, model: str) -> None:
    assert client.chat.completions.parse(model=model, messages=HI).choices[0].message.content == TEXT
    found = client.chat.completions.parse(model=model, messages=HI, response_format=Offer)
    assert found.choices[0].message.parsed == OFFER and found.choices[0].finish_reason == "stop"
    called = client.chat.completions.parse(model=model, messages=BOTH, tools=TOOLS)
    calls = called.choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [price(item="tea"), price(item="milk")]


@pytest.mark.parametrize("model", MODELS)
def test_stream_tells_of_text_objects_and_calls(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=HI) as events:
        assert "".join(event.delta for event in events if event.type == "content.delta") == TEXT
        assert events.get_final_completion().choices[0].finish_reason == "stop"
    with client.chat.completions.stream(model=model, messages=HI, response_format=Offer) as events:
        (end,) = [event for event in events if event.type == "content.done"]
        assert end.parsed == OFFER == events.get_final_completion().choices[0].message.parsed
    with client.chat.completions.stream(model=model, messages=BOTH, tools=TOOLS) as events:
        done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        assert [(event.index, event.name, event.parsed_arguments) for event in done] == [
            (0, "price", price(item="tea")),
            (1, "price", price(item="milk")),
        ]
        assert events.get_final_completion().choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("model", MODELS)
def test_a_conversation_goes_on_after_calls(client: OpenAI, model: str) -> None:
    said = QUESTION
    for streamed in (False, True):
        first = _completion(client, model, said, streamed)
        assert first.choices[0].finish_reason == "tool_calls"
        message = first.choices[0].message
        said = [*said, cast("ChatCompletionMessageParam", message)]
        for call in message.tool_calls or []:
            assert (call.function.name, json.loads(call.function.arguments)) == ("price", {"item": "tea"})
            said = [*said, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
        end = _completion(client, model, said, streamed).choices[0]
        assert (end.message.content, end.finish_reason) == (COSTS, "stop")
        said = [*said, cast("ChatCompletionMessageParam", end.message), *QUESTION]


def _completion(client: OpenAI, model: str, said: list[ChatCompletionMessageParam], streamed: bool) -> Any:
    if not streamed:
        return client.chat.completions.create(model=model, messages=said, tools=TOOLS)
    with client.chat.completions.stream(model=model, messages=said, tools=TOOLS) as events:
        return events.get_final_completion()


def test_helpers_raise_typed_errors(client: OpenAI) -> None:
    wrong: Any = [{"role": "nobody", "content": "hi"}]
    cases: list[tuple[str, Any, type[Any], str]] = [
        ("no-such-model", HI, openai.NotFoundError, "model_not_found"),
        ("skill-agent", wrong, openai.BadRequestError, "invalid_value"),
        (LIMITED, HI, openai.RateLimitError, "insufficient_quota"),
    ]
    for model, messages, kind, code in cases:
        with pytest.raises(kind) as raised:
            client.chat.completions.parse(model=model, messages=messages)
        assert raised.value.code == code and raised.value.request_id
        with pytest.raises(kind) as raised, client.chat.completions.stream(model=model, messages=messages):
            pass
        assert raised.value.code == code


def test_a_stream_that_breaks_is_an_error(client: OpenAI) -> None:
    heard = ""
    with pytest.raises(openai.APIError, match="finish reason") as raised:
        with client.chat.completions.stream(model=BREAKS, messages=HI) as events:
            for event in events:
                heard += event.delta if event.type == "content.delta" else ""
    assert heard == TEXT and raised.value.code == "upstream_truncated"
