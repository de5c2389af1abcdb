"""litellm with `openai/<model>` and an `api_base`: `completion`, and `responses`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clients.packages import package
from tests.clients.script import ASK, BREAKS, COSTS, LIMITED, MODELS, RESULT, TEXT
from tests.surface import PRICE, Service

# Without the first it would fetch a list of prices when it is imported.
litellm = package("litellm", LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False", LITELLM_MODE="PRODUCTION")

# What it does with pydantic's models is its own affair.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*using the `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

HI = [{"role": "user", "content": "hi"}]
FLAT = {"type": "function", **PRICE["function"]}


class Offer(BaseModel):
    item: str
    price: float
    sizes: list[int]


OFFER = {"item": "tea", "price": 3.5, "sizes": [3]}


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    """Without one litellm makes an event loop for itself, and leaves it open."""
    with asyncio.Runner() as runner:
        runner.get_loop()
        yield


def complete(served: Service, model: str, messages: list[Any], **how: Any) -> Any:
    where = {"api_base": f"{served.url}/v1", "api_key": "unused", "num_retries": 0, "max_retries": 0}
    return litellm.completion(model=f"openai/{model}", messages=messages, **where, **how)


def respond(served: Service, model: str, input: Any, **how: Any) -> Any:
    where = {"api_base": f"{served.url}/v1", "api_key": "unused", "max_retries": 0}
    return litellm.responses(model=f"openai/{model}", input=input, **where, **how)


def ask(served: Service, model: str, messages: list[Any], streamed: bool, **how: Any) -> Any:
    if not streamed:
        return complete(served, model, messages, **how)
    chunks = list(complete(served, model, messages, stream=True, stream_options={"include_usage": True}, **how))
    return litellm.stream_chunk_builder(chunks, messages=messages)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_text_comes_whole_and_streamed(served: Service, model: str, streamed: bool) -> None:
    answer = ask(served, model, HI, streamed)
    assert answer.choices[0].message.content == TEXT and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens in (15, 30)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_tools_make_the_round_trip(served: Service, model: str, streamed: bool) -> None:
    said: list[Any] = [{"role": "user", "content": "What do tea and milk cost?"}]
    first = ask(served, model, said, streamed, tools=[PRICE]).choices[0]
    calls = first.message.tool_calls
    assert first.finish_reason == "tool_calls" and [call.function.name for call in calls] == ["price", "price"]
    assert [json.loads(call.function.arguments) for call in calls] == [{"item": "tea"}, {"item": "milk"}]
    said += [first.message, *({"role": "tool", "tool_call_id": call.id, "content": RESULT} for call in calls)]
    end = ask(served, model, said, streamed, tools=[PRICE]).choices[0]
    assert end.message.content == f"It costs {RESULT} and {RESULT}." and end.finish_reason == "stop"


@pytest.mark.parametrize("model", MODELS)
def test_structured_output_fits(served: Service, model: str) -> None:
    answer = complete(served, model, HI, response_format=Offer)
    assert json.loads(answer.choices[0].message.content) == OFFER


def test_errors_are_typed(served: Service) -> None:
    cases: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        ("no-such-model", {}, litellm.NotFoundError, "no-such-model"),
        ("skill-agent", {"temperature": 5}, litellm.BadRequestError, "temperature"),
        (LIMITED, {}, litellm.RateLimitError, "money is spent"),
        (BREAKS, {}, litellm.BadGatewayError, "finish reason"),
    ]
    for model, how, kind, words in cases:
        with pytest.raises(kind, match=words):
            complete(served, model, HI, **how)


def test_a_stream_that_breaks_is_an_error(served: Service) -> None:
    heard = ""
    with pytest.raises(litellm.exceptions.MidStreamFallbackError, match="finish reason"):
        for chunk in complete(served, BREAKS, HI, stream=True):
            heard += chunk.choices[0].delta.content or ""
    assert heard == TEXT


# Responses


@pytest.fixture(scope="module", autouse=True)
def _known() -> None:
    """litellm streams Responses of those models only that it knows; for others it asks for the whole answer."""
    known = {"litellm_provider": "openai", "mode": "chat", "supports_native_streaming": True}
    names = [name for model in (*MODELS, BREAKS) for name in (model, f"openai/{model}")]
    litellm.register_model(dict.fromkeys(names, known))


def events(served: Service, model: str, input: Any, **how: Any) -> tuple[list[str], Any]:
    """The pieces of text, and the response at the end."""
    heard = list(respond(served, model, input, stream=True, **how))
    assert heard[1].type == "response.in_progress" and heard[-1].type == "response.completed"
    return [event.delta for event in heard if event.type == "response.output_text.delta"], heard[-1].response


def text_of(response: Any) -> str:
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    return "".join(part.text for part in parts)


@pytest.mark.parametrize("model", MODELS)
def test_responses_are_text_whole_and_streamed(served: Service, model: str) -> None:
    whole = respond(served, model, "hi")
    assert text_of(whole) == TEXT and whole.status == "completed" and whole.usage.total_tokens in (15, 30)
    pieces, end = events(served, model, "hi")
    assert "".join(pieces) == TEXT == text_of(end) and len(pieces) > 1


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_tools_of_responses_make_the_round_trip(served: Service, model: str, streamed: bool, remembered: bool) -> None:
    said: list[Any] = [{"role": "user", "content": ASK}]
    how: Any = {"tools": [FLAT]}
    first = events(served, model, said, **how)[1] if streamed else respond(served, model, said, **how)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("price", {"item": "tea"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    more = [result] if remembered else [*said, *first.output, result]
    how |= {"previous_response_id": first.id} if remembered else {}
    end = events(served, model, more, **how)[1] if streamed else respond(served, model, more, **how)
    assert text_of(end) == COSTS


@pytest.mark.parametrize("model", MODELS)
def test_structured_responses_fit(served: Service, model: str) -> None:
    assert json.loads(text_of(respond(served, model, "hi", text_format=Offer))) == OFFER


def test_errors_of_responses_are_typed(served: Service) -> None:
    cases: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        ("no-such-model", {}, litellm.NotFoundError, "no-such-model"),
        ("skill-agent", {"temperature": 5}, litellm.BadRequestError, "temperature"),
        (LIMITED, {}, litellm.RateLimitError, "money is spent"),
    ]
    for model, how, kind, words in cases:
        with pytest.raises(kind, match=words):
            respond(served, model, "hi", **how)


def test_a_streamed_response_that_breaks_has_failed(served: Service) -> None:
    heard = ""
    with pytest.raises(Exception, match="finish reason"):
        for event in respond(served, BREAKS, "hi", stream=True):
            heard += event.delta if event.type == "response.output_text.delta" else ""
    assert heard == TEXT
