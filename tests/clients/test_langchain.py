"""LangChain's `ChatOpenAI`, over Chat Completions and over Responses."""

from __future__ import annotations

from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.clients.packages import package
from tests.clients.script import ASK, BREAKS, COSTS, LIMITED, MODELS, RESULT, TEXT
from tests.surface import Service

langchain = package("langchain_openai")
messages = package("langchain_core.messages")

Surface = Literal["chat", "responses"]
SURFACES: tuple[Surface, ...] = ("chat", "responses")
on_both = pytest.mark.parametrize("surface", SURFACES)
# LangChain dumps openai-python's parsed answers, whose types are generic.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


class Offer(BaseModel):
    """What is on offer."""

    item: str
    price: float
    sizes: list[int]


OFFER = Offer(item="tea", price=3.5, sizes=[3])


def price(item: str) -> str:
    """The price of an item."""
    return f"{item}: {RESULT}"


def chat(served: Service, surface: Surface, model: str, **how: Any) -> Any:
    how = {"use_responses_api": surface == "responses", "max_retries": 0, "timeout": 50, **how}
    return langchain.ChatOpenAI(base_url=f"{served.url}/v1", api_key="unused", model=model, **how)


@pytest.mark.parametrize("model", MODELS)
@on_both
def test_text_comes_whole_and_streamed(served: Service, surface: Surface, model: str) -> None:
    client = chat(served, surface, model, stream_usage=True)
    whole = client.invoke("hi")
    assert whole.text == TEXT and whole.tool_calls == [] and whole.usage_metadata["total_tokens"] >= 15
    chunks = list(client.stream("hi"))
    assert "".join(chunk.text for chunk in chunks) == TEXT and len(chunks) > 3
    total = sum(chunks[1:], chunks[0])
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


@pytest.mark.parametrize("model", MODELS)
@on_both
async def test_text_comes_to_async_callers(served: Service, surface: Surface, model: str) -> None:
    async with openai.DefaultAsyncHttpxClient(
        trust_env=False, verify=False
    ) as http:  # LangChain's own outlives this event loop
        client = chat(served, surface, model, http_async_client=http)
        assert (await client.ainvoke([messages.SystemMessage("Be kind."), messages.HumanMessage("hi")])).text == TEXT
        assert "".join([chunk.text async for chunk in client.astream("hi")]) == TEXT


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
@on_both
def test_tools_make_the_round_trip(served: Service, surface: Surface, model: str, streamed: bool) -> None:
    client = chat(served, surface, model).bind_tools([price])
    said = [messages.HumanMessage("What do tea and milk cost?")]
    for _ in range(2):
        first = ask(client, said, streamed)
        assert [(call["name"], call["args"]) for call in first.tool_calls] == [
            ("price", {"item": "tea"}),
            ("price", {"item": "milk"}),
        ]
        results = [messages.ToolMessage(RESULT, tool_call_id=call["id"]) for call in first.tool_calls]
        end = ask(client, [*said, first, *results], streamed)
        assert end.text == f"It costs {RESULT} and {RESULT}." and end.tool_calls == []
        said = [*said, first, *results, end, messages.HumanMessage("Again: what do tea and milk cost?")]


def ask(client: Any, said: list[Any], streamed: bool) -> Any:
    if not streamed:
        return client.invoke(said)
    chunks = list(client.stream(said))
    return sum(chunks[1:], chunks[0])


@pytest.mark.parametrize("choice", ["required", "price"])
@pytest.mark.parametrize("model", MODELS)
@on_both
def test_a_call_can_be_forced(served: Service, surface: Surface, model: str, choice: str) -> None:
    client = chat(served, surface, model).bind_tools([price], tool_choice=choice, parallel_tool_calls=False)
    (call,) = client.invoke("hi").tool_calls
    assert (call["name"], call["args"]) == ("price", {"item": "tea"})


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize("model", MODELS)
@on_both
def test_structured_output_fits(served: Service, surface: Surface, model: str, method: str) -> None:
    client = chat(served, surface, model)
    if method == "json_mode":
        client = client.with_structured_output(None, method=method)
        assert client.invoke("Tell me of tea, in JSON") == {"item": "tea"}
        return
    structured = client.with_structured_output(Offer, method=method)
    assert structured.invoke("Tell me of tea") == OFFER
    assert list(structured.stream("Tell me of tea"))[-1] == OFFER


@on_both
def test_errors_are_typed(served: Service, surface: Surface) -> None:
    cases: list[tuple[str, dict[str, Any], type[Any], str]] = [
        ("no-such-model", {}, openai.NotFoundError, "no-such-model"),
        ("skill-agent", {"temperature": 5}, openai.BadRequestError, "temperature"),
        (LIMITED, {}, openai.RateLimitError, "money is spent"),
    ]
    for model, how, kind, words in cases:
        client = chat(served, surface, model, **how)
        with pytest.raises(kind, match=words):
            client.invoke("hi")
        with pytest.raises(kind, match=words):
            list(client.stream("hi"))


@on_both
def test_a_stream_that_breaks_is_an_error(served: Service, surface: Surface) -> None:
    with pytest.raises(openai.InternalServerError, match="finish reason"):
        chat(served, surface, BREAKS).invoke("hi")
    heard = ""
    with pytest.raises(Exception, match="finish reason"):
        for chunk in chat(served, surface, BREAKS).stream("hi"):
            heard += chunk.text
    assert heard == TEXT


def test_the_server_remembers_a_conversation(served: Service) -> None:
    client = chat(served, "responses", "skill-agent", use_previous_response_id=True).bind_tools([price])
    said = [messages.HumanMessage(ASK)]
    first = client.invoke(said)
    said += [first, messages.ToolMessage(RESULT, tool_call_id=first.tool_calls[0]["id"])]
    end = client.invoke(said)
    assert end.text == COSTS and end.response_metadata["id"] != first.response_metadata["id"]
