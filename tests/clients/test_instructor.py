"""instructor, in the modes that use tools, JSON and schemas, and that of Responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import DefaultHttpxClient, OpenAI
from pydantic import BaseModel

from tests.clients.packages import package
from tests.clients.script import BREAKS, LIMITED, MODELS
from tests.surface import Service

instructor = package("instructor")
exceptions = package("instructor.core.exceptions")

HI = [{"role": "user", "content": "Tell me of tea"}]
MODES = ("TOOLS", "JSON_SCHEMA", "RESPONSES_TOOLS")


class Size(BaseModel):
    grams: int


class Offer(BaseModel):
    """What is on offer."""

    item: str
    price: float
    sizes: list[Size]


OFFER = Offer(item="tea", price=3.5, sizes=[Size(grams=3)])


@pytest.fixture
def client(served: Service) -> Iterator[OpenAI]:
    with DefaultHttpxClient(trust_env=False, verify=False) as http:
        yield OpenAI(base_url=f"{served.url}/v1", api_key="unused", http_client=http, max_retries=0, timeout=50)


def of_mode(client: OpenAI, mode: str) -> Any:
    return instructor.from_openai(client, mode=instructor.Mode[mode])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_an_object_comes_whole_and_streamed(client: OpenAI, model: str, mode: str) -> None:
    asking = of_mode(client, mode)
    how = {"model": model, "messages": HI, "max_retries": 0}
    assert asking.create(response_model=Offer, **how).model_dump() == OFFER.model_dump()
    parts = list(asking.create_partial(response_model=Offer, **how))
    assert parts[-1].model_dump() == OFFER.model_dump()


@pytest.mark.parametrize("model", MODELS)
def test_several_objects_come_as_a_list(client: OpenAI, model: str) -> None:
    found = of_mode(client, "TOOLS").create_iterable(response_model=Offer, model=model, messages=HI, max_retries=0)
    assert [each.model_dump() for each in found] == [OFFER.model_dump()]


@pytest.mark.parametrize("mode", MODES)
def test_errors_come_through(client: OpenAI, mode: str) -> None:
    cases: list[tuple[str, dict[str, Any], type[Exception], str]] = [
        ("no-such-model", {}, openai.NotFoundError, "no-such-model"),
        ("skill-agent", {"temperature": 5}, openai.BadRequestError, "temperature"),
        (LIMITED, {}, openai.RateLimitError, "money is spent"),
        (BREAKS, {}, openai.InternalServerError, "finish reason"),
    ]
    for model, how, kind, words in cases:
        with pytest.raises((kind, exceptions.InstructorRetryException), match=words):
            of_mode(client, mode).create(response_model=Offer, model=model, messages=HI, max_retries=0, **how)
