"""Real provider answers through the whole service: what its client reads is what the provider said.

One server and one upstream serve all; the model's name tells the upstream which recording to play, and how to
cut it. "bytes" is one byte at a time; of recordings of more than 20 KB, where that would be slow, pieces of a
few hundred bytes cut anywhere, also inside a character (the same places each time). "utf8" cuts inside every
character that can be cut. A refusal's explanation in `message.refusal` of Anthropic's is extra and not compared.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests import recordings
from tests.recordings import Case, Expected
from tests.servers import Received, Reply
from tests.surface import Heard, Json, Service, service
from tests.upstream import Upstream, json_reply

LARGE = 20_000
CASES = {case.id: case for case in recordings.cases()}
BROKEN = [name for name, case in CASES.items() if case.expected is None]
WHOLE = [name for name, case in CASES.items() if case.expected is not None]

pytestmark = pytest.mark.skipif(not recordings.available(), reason=recordings.ABSENT)


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    with Upstream() as up:
        up.always(replay)
        given: dict[str, Any] = {"anthropic_base_url": up.url, "anthropic_api_key": "sk-ant-key"}
        with service(up, allowed_models=("openai/*", "anthropic/*"), **given) as server:
            yield server


def replay(request: Received) -> Reply:
    name, _, cut = request.json["model"].partition("|")
    if cut == "utf8":
        return CASES[name].reply("utf8")
    reply = CASES[name].reply()
    return recut(reply) if cut == "bytes" else reply


def recut(reply: Reply) -> Reply:
    text = b"".join(chunk for chunk in reply.chunks if isinstance(chunk, bytes))
    if len(text) <= LARGE:
        return reply.recut(1)
    dice = random.Random(len(text))
    pieces: list[bytes | float] = []
    while text:
        size = dice.randint(1, 600)
        pieces.append(text[:size])
        text = text[size:]
    return reply.but(chunks=pieces)


def ask(served: Service, name: str, cut: str = "", stream: bool = True) -> Heard:
    case = CASES[name]
    provider = "openai" if case.dialect == "chat" else "anthropic"
    names = dict.fromkeys(called for _, called, _ in case.expected.tool_calls) if case.expected else {}
    tools = [{"type": "function", "function": {"name": called}} for called in names]
    body: Json = {"model": f"{provider}/{name}|{cut}", "tools": tools}
    if stream:
        return served.streamed(**body, stream_options={"include_usage": True})
    return served.whole(**body)


def read(heard: Heard, case: Case) -> Expected:
    assert heard.error is None and heard.usage is not None
    calls = tuple((id, name, parsed(arguments)) for id, name, arguments in heard.calls)
    return Expected(
        text=heard.text,
        reasoning=heard.reasoning,
        refusal=heard.refusal if case.dialect == "chat" else "",
        tool_calls=calls,
        finish=heard.finish,
        prompt_tokens=heard.usage["prompt_tokens"],
        completion_tokens=heard.usage["completion_tokens"],
    )


def parsed(arguments: str) -> Any:
    """A call that the limit of tokens cut off stays text; one without arguments has an object of none."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_says_what_the_provider_said(served: Service, name: str) -> None:
    assert read(ask(served, name, stream=False), CASES[name]) == CASES[name].expected


@pytest.mark.parametrize("cut", ["", "bytes", "utf8"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_streamed_answer_says_what_the_provider_said(served: Service, name: str, cut: str) -> None:
    assert read(ask(served, name, cut), CASES[name]) == CASES[name].expected


@pytest.mark.parametrize("cut", ["", "bytes", "utf8"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error_and_never_a_finish(served: Service, name: str, stream: bool, cut: str) -> None:
    heard = ask(served, name, cut, stream)
    assert heard.error is not None and heard.finish == ""
    assert heard.error["code"] == "upstream_bad_response"


@pytest.mark.parametrize("case", recordings.error_cases(), ids=lambda case: case.id)
def test_a_recorded_refusal_keeps_its_words(case: recordings.ErrorCase) -> None:
    with Upstream() as up, service(up) as served:
        up.always(json_reply(case.body, case.status))
        for heard in (served.whole(), served.streamed()):
            assert heard.status == case.status and heard.error is not None
            words = case.body["error"]
            assert (words if isinstance(words, str) else words["message"])[:100] in heard.error["message"]
