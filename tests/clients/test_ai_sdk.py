"""Vercel's AI SDK with `@ai-sdk/openai-compatible`, and with `@ai-sdk/openai` for chat and for Responses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.packages import needs_node, node
from tests.clients.script import BREAKS, COSTS, LIMITED, MODELS, OURS, RESULT, TEXT, THINKS, told
from tests.surface import Service
from tests.upstream import Upstream

SURFACES = ("compatible", "chat", "responses")
OFFER = {"item": "tea", "price": 3.5, "sizes": [{"grams": 3.5}]}
TEA, MILK = ["price", {"item": "tea"}], ["price", {"item": "milk"}]
CONVERSATION = [
    {"calls": [TEA], "text": COSTS, "finishes": ["tool-calls", "stop"]},
    {"calls": [TEA, MILK], "text": f"It costs {RESULT} and {RESULT}.", "finishes": ["tool-calls", "stop"]},
]

pytestmark = needs_node("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "zod")


def ask(served: Service, surface: str, model: str, what: str) -> Any:
    return node("ai_sdk.mjs", f"{served.url}/v1", surface, model, what)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("model", MODELS)
def test_answers_are_understood(served: Service, surface: str, model: str) -> None:
    heard = ask(served, surface, model, "answers")
    texts = heard["texts"]
    assert texts["whole"] == texts["streamed"] == [TEXT, "stop", *((20, 10) if model == "skill-agent" else (10, 5))]
    assert texts["pieces"] > 1
    if surface != "chat":  # which has no reasoning at OpenAI
        assert texts["reasoning"] == (["".join(THINKS)] * 2 if model.endswith("thinks") else ["", ""])
    assert heard["whole"] == heard["streamed"] == CONVERSATION
    assert heard["forced"] == [[TEA], [TEA]]
    assert heard["objects"] == {"whole": OFFER, "streamed": OFFER, "last": OFFER}


@pytest.mark.parametrize("where", ["kept", "sealed"])
@pytest.mark.parametrize("model", MODELS)
def test_conversations_go_on_kept_here_or_sealed_there(up: Upstream, served: Service, model: str, where: str) -> None:
    assert ask(served, "responses", model, where) == [CONVERSATION, CONVERSATION]
    think = ["thinking"] if model.endswith("thinks") else []
    skill = [f"call {OURS[0]}", "result"] if model == "skill-agent" else []
    first = ["user", *skill, *think, "call price", "result", *think, "assistant"]
    assert told(up.requests[-1]) == [*first, "user", *think, "call price", "call price", "result", "result"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("model", "status", "words"),
    [("no-such-model", 404, "no-such-model"), ("skill-agent", 400, "temperature"), (LIMITED, 429, "money is spent")],
)
def test_errors_have_their_status(served: Service, surface: str, model: str, status: int, words: str) -> None:
    heard = ask(served, surface, model, "errors")
    assert heard["whole"]["kind"] == "AI_APICallError" and heard["whole"]["status"] == status
    assert words in heard["whole"]["message"]
    assert heard["streamed"]["text"] == "" and heard["streamed"]["error"]["status"] == status
    assert words in heard["streamed"]["error"]["message"]


@pytest.mark.parametrize("surface", SURFACES)
def test_a_stream_that_breaks_is_an_error(served: Service, surface: str) -> None:
    heard = ask(served, surface, BREAKS, "errors")
    assert heard["whole"]["status"] == 502 and "finish reason" in heard["whole"]["message"]
    assert heard["streamed"]["text"] == TEXT and "finish reason" in heard["streamed"]["error"]["message"]
