"""openai-python's helpers: `.parse()`, `.stream()` and pydantic tools, for Responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import DefaultHttpxClient, OpenAI
from openai.types.responses import ToolParam
from pydantic import BaseModel

from tests.clients.script import ASK, BREAKS, COSTS, LIMITED, MODELS, RESULT, TEXT, THINKS
from tests.surface import Service

PRICE: ToolParam = {
    "type": "function",
    "name": "price",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"item": {"type": "string"}},
        "required": ["item"],
        "additionalProperties": False,
    },
}


class Offer(BaseModel):
    item: str
    price: float
    sizes: list[int]


OFFER = Offer(item="tea", price=3.5, sizes=[3])


@pytest.fixture
def client(served: Service) -> Iterator[OpenAI]:
    with DefaultHttpxClient(trust_env=False, verify=False) as http:
        yield OpenAI(base_url=f"{served.url}/v1", api_key="sk-client", http_client=http, max_retries=0, timeout=50)


@pytest.mark.parametrize("model", MODELS)
def test_text_comes_whole_and_streamed(client: OpenAI, model: str) -> None:
    whole = client.responses.create(model=model, input="hi")
    assert (whole.output_text, whole.status, whole.error) == (TEXT, "completed", None)
    with client.responses.stream(model=model, input="hi") as events:
        heard = list(events)
        end = events.get_final_response()
    assert "".join(event.delta for event in heard if event.type == "response.output_text.delta") == TEXT
    assert [event.sequence_number for event in heard] == list(range(len(heard)))
    assert end.output_text == TEXT and end.usage == whole.usage
    thoughts = [part.text for item in end.output if item.type == "reasoning" for part in item.summary]
    assert thoughts == (["".join(THINKS)] if model.endswith("thinks") else [])
    assert client.responses.retrieve(end.id).output_text == TEXT


@pytest.mark.parametrize("model", MODELS)
def test_objects_are_parsed(client: OpenAI, model: str) -> None:
    assert client.responses.parse(model=model, input="Tell me of tea", text_format=Offer).output_parsed == OFFER
    with client.responses.stream(model=model, input="Tell me of tea", text_format=Offer) as events:
        assert events.get_final_response().output_parsed == OFFER


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_conversation_goes_on_after_calls(client: OpenAI, model: str, streamed: bool) -> None:
    first = ask(client, streamed, model=model, input=ASK, tools=[PRICE])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("price", {"item": "tea"}) and first.output_text == ""
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    kept = ask(client, streamed, model=model, input=[result], previous_response_id=first.id, tools=[PRICE])
    said = [{"role": "user", "content": ASK}, *first.output, result]
    sent = ask(client, streamed, model=model, input=said, tools=[PRICE], store=False)
    assert kept.output_text == sent.output_text == COSTS
    last = ask(client, streamed, model=model, input=ASK, previous_response_id=kept.id, tools=[PRICE])
    assert [item.name for item in last.output if item.type == "function_call"] == ["price"]


def ask(client: OpenAI, streamed: bool, **body: Any) -> Any:
    if not streamed:
        return client.responses.create(**body)
    with client.responses.stream(**body) as events:
        return events.get_final_response()


def test_helpers_raise_typed_errors(client: OpenAI) -> None:
    wrong: Any = [{"role": "nobody", "content": "hi"}]
    cases: list[tuple[str, Any, type[Any], str]] = [
        ("no-such-model", "hi", openai.NotFoundError, "model_not_found"),
        ("skill-agent", wrong, openai.BadRequestError, "invalid_value"),
        (LIMITED, "hi", openai.RateLimitError, "insufficient_quota"),
    ]
    for model, input, kind, code in cases:
        with pytest.raises(kind) as raised:
            client.responses.parse(model=model, input=input)
        assert raised.value.code == code and raised.value.request_id
        with pytest.raises(kind) as raised, client.responses.stream(model=model, input=input):
            pass
        assert raised.value.code == code


def test_a_stream_that_breaks_is_an_error(client: OpenAI) -> None:
    heard = ""
    with pytest.raises(openai.APIError, match="finish reason"):
        with client.responses.stream(model=BREAKS, input="hi") as events:
            for event in events:
                heard += event.delta if event.type == "response.output_text.delta" else ""
    assert heard == TEXT
