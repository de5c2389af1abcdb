"""openai-node's helpers: `.parse()`, `.stream()` and `runTools`, for chat and for Responses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.packages import needs_node, node
from tests.clients.script import BREAKS, LIMITED, MODELS, RESULT, TEXT
from tests.surface import Service

SURFACES = ("chat", "responses")
OFFER = {"item": "tea", "price": 3.5, "sizes": [{"grams": 3.5}]}
COST = f"It costs {RESULT} and {RESULT}."

pytestmark = [needs_node("openai", "zod"), pytest.mark.parametrize("surface", SURFACES)]


def ask(served: Service, surface: str, model: str, what: str) -> Any:
    return node("openai_helpers.mjs", f"{served.url}/v1", surface, model, what)


@pytest.mark.parametrize("model", MODELS)
def test_helpers_understand_answers(served: Service, surface: str, model: str) -> None:
    heard = ask(served, surface, model, "answers")
    assert heard["texts"] == [TEXT, TEXT, "stop" if surface == "chat" else "completed"]
    assert heard["objects"] == [OFFER, OFFER]
    assert heard["whole"] == heard["streamed"]
    assert heard["whole"]["calls"] == ["tea", "milk"] and heard["whole"]["text"] == COST
    if surface == "chat":
        assert heard["whole"]["roles"] == ["user", "assistant", "tool", "tool", "assistant"]
    else:
        assert heard["whole"]["again"] == COST


@pytest.mark.parametrize(
    ("model", "kind", "status", "code"),
    [
        ("no-such-model", "NotFoundError", 404, "model_not_found"),
        ("skill-agent", "BadRequestError", 400, "invalid_value"),
        (LIMITED, "RateLimitError", 429, "insufficient_quota"),
    ],
)
def test_helpers_throw_typed_errors(
    served: Service, surface: str, model: str, kind: str, status: int, code: str
) -> None:
    for error in ask(served, surface, model, "errors").values():
        assert (error["kind"], error["status"], error["code"]) == (kind, status, code) and error["id"]


def test_a_stream_that_breaks_is_an_error(served: Service, surface: str) -> None:
    heard = ask(served, surface, BREAKS, "errors")
    assert (heard["whole"]["kind"], heard["whole"]["status"]) == ("InternalServerError", 502)
    assert "finish reason" in heard["streamed"]["message"]
