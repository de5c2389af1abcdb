"""Models behind the model: who answers where one cannot, what it is told, and how a client learns of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.context import size
from agent_loop import Agent
from messages import (
    FellBack,
    JsonFormat,
    Message,
    Options,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
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
from providers.breaker import Breaker
from providers.fallbacks import Fallbacks
from providers.scripted import Line, Play, ScriptedProvider, call
from settings import Settings
from tests.agents import agent_of, spoken
from tests.asking import TOOL, Heard, ask
from tests.responses import RESPONSES, create, read_events, text_of
from tests.surface import HI, Json, service, write_skill
from tests.upstream import Received, Reply, Upstream, chat_chunks, claude_events, json_reply, sse

BUSY = json_reply({"error": {"message": "busy", "type": "overloaded_error"}}, 503, {"retry-after-ms": "1"})
ACTIVITY = {"skill_agent": {"activity": True}}
GONE: list[ProviderError] = [
    AuthError("key", status=401),
    AuthError("no", status=403),
    NotFound("no", status=404),
    RateLimited("slow", retry_after=99),
    RateLimited("spent", code="insufficient_quota", retryable=False),
    Overloaded("busy"),
    ProviderDown("down"),
    ProviderDown("redirect", retryable=False),
    BadResponse("cut"),
]
ASKED: list[ProviderError] = [BadRequest("bad"), ContentFiltered("no"), ContextOverflow("long")]


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def scripted(name: str, *script: Line, **info: Any) -> ScriptedProvider:
    return ScriptedProvider(script, ModelInfo(f"scripted/{name}", **info))


def by_model(**replies: Reply) -> Any:
    def reply(request: Received) -> Reply:
        return replies[request.json["model"]]

    return reply


# Who answers


@pytest.mark.parametrize("error", GONE, ids=lambda error: f"{type(error).__name__}-{error.message}")
async def test_the_next_model_answers_where_one_cannot(error: ProviderError) -> None:
    first, second, third = scripted("a", error), scripted("b", Overloaded("busy")), scripted("c", "Hello")
    heard = await ask(Fallbacks([first, second, third]))
    assert heard.text == "Hello" and heard.done.message.origin == "scripted/c"
    assert heard.events[0] == FellBack("scripted/c", "scripted/a", error.code)
    assert [each.calls for each in (first, second, third)] == [1, 1, 1]


@pytest.mark.parametrize("error", ASKED, ids=lambda error: type(error).__name__)
async def test_no_other_model_is_asked_where_the_request_is_at_fault(error: ProviderError) -> None:
    second = scripted("b", "Hello")
    with pytest.raises(type(error)):
        await ask(Fallbacks([scripted("a", error), second]))
    assert second.calls == 0


async def test_no_other_model_is_asked_once_the_answer_has_begun() -> None:
    second, heard = scripted("b", "Hello"), Heard()
    with pytest.raises(Overloaded) as caught:
        await ask(Fallbacks([scripted("a", Play(["Half", begun(Overloaded("busy"))])), second]), heard=heard)
    assert caught.value.begun and heard.text == "Half" and second.calls == 0


def begun(error: ProviderError) -> ProviderError:
    error.begun = True
    return error


async def test_the_first_models_error_is_told_where_nobody_answers() -> None:
    with pytest.raises(RateLimited, match="slow"):
        await ask(Fallbacks([scripted("a", RateLimited("slow")), scripted("b", AuthError("key"))]))


def with_model(model: Fallbacks) -> Agent:
    return Agent(provider=model, system_prompt="", groups=(), settings=Settings())


LONG = [said for at in range(20) for said in (user(f"q{at} " + "word " * 200), assistant(f"a{at} " + "word " * 200))]
TOO_LONG = ContextOverflow("too long")


@pytest.mark.parametrize("window", [0, 100_000])
async def test_a_conversation_is_shortened_for_a_smaller_model_that_stands_in(window: int) -> None:
    first = scripted("a", *[ProviderDown("down")] * 3, window=window)
    second = scripted("b", TOO_LONG, "They talked.", "Hello")
    finish = await with_model(Fallbacks([first, second])).run([*LONG, user("last?")])
    assert finish.text == "Hello" and (first.calls, second.calls) == (3, 3)
    whole, question, short = (size(request.messages) for request in second.requests)
    assert question < whole * 0.7 and short < whole * 0.5


async def test_the_first_models_error_is_told_where_nothing_can_be_shortened_for_the_other() -> None:
    model = Fallbacks([scripted("a", ProviderDown("down")), scripted("b", TOO_LONG)])
    with pytest.raises(ProviderDown, match="down"):
        await with_model(model).run("word " * 9000)


async def test_a_run_stays_with_the_model_that_it_has_come_to() -> None:
    first = scripted("a", Overloaded("busy"), "of a new run")
    second = scripted("b", [Reasoning("hm", {"x": 1}), call("price", item="tea")], "3 euros")
    agent, _ = agent_of([], price)
    agent.provider = Fallbacks([first, second])
    finish = await agent.run("tea?")
    assert finish.text == "3 euros" and (first.calls, second.calls) == (1, 2)
    assert [step for step in finish.steps if isinstance(step, FellBack)] == [
        FellBack("scripted/b", "scripted/a", "overloaded")
    ]
    assert (await agent.run([user("tea?"), *finish.messages, user("and coffee?")])).text == "of a new run"


def price(item: str) -> str:
    """The price of an item."""
    return f"{item} costs 3 euros"


# Breakers


async def test_a_model_that_keeps_failing_is_not_asked_for_a_while() -> None:
    first = scripted("a", *[Overloaded("busy")] * 9)
    model = Fallbacks([first, scripted("b", *["Hello"] * 9)])
    for _ in range(9):
        assert (await ask(model)).text == "Hello"
    assert first.calls == 5


async def test_a_model_that_keeps_failing_is_better_than_nobody() -> None:
    first = scripted("a", *[Overloaded("busy")] * 7, "At last")
    second = scripted("b", *[Overloaded("busy")] * 9)
    model = Fallbacks([first, second])
    for _ in range(7):
        with pytest.raises(Overloaded):
            await ask(model)
    assert (await ask(model)).text == "At last"


async def test_wrong_keys_and_requests_say_nothing_of_a_model() -> None:
    errors: list[ProviderError] = [AuthError("key"), NotFound("no"), BadRequest("bad")] * 4
    first = scripted("a", *errors)
    model = Fallbacks([first, scripted("b", *["Hello"] * 12)])
    for error in errors:
        if isinstance(error, BadRequest):
            with pytest.raises(BadRequest):
                await ask(model)
        else:
            await ask(model)
    assert first.calls == 12


def test_a_breaker_opens_probes_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for good in (True, True, False, False):
        breaker.succeeded() if good else breaker.failed()
    assert breaker.is_closed
    breaker.failed()
    assert not breaker.is_closed and not breaker.is_due()
    for wait in (5, 10, 20, 40, 60, 60):
        now[0] += wait - 0.1
        assert not breaker.is_due()
        now[0] += 0.1
        assert breaker.is_due()
        breaker.probe()
        assert not breaker.is_due(), "one probe at a time"
        breaker.failed(probe=True)
    now[0] += 60
    breaker.probe()
    breaker.ended(probe=True)
    assert breaker.is_due(), "a probe that says nothing is made again"
    breaker.probe()
    breaker.succeeded(probe=True)
    assert breaker.is_closed


def test_old_failures_are_forgotten() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(20):
        breaker.failed()
        now[0] += 20
    assert breaker.is_closed


async def test_a_probe_whose_caller_leaves_is_made_again() -> None:
    first = scripted("a", *[Overloaded("busy")] * 5, Play([60.0, "late"]), "Hello")
    now = [0.0]
    model = Fallbacks([first, scripted("b", *["stand-in"] * 9)], lambda: now[0])
    for _ in range(5):
        await ask(model)
    now[0] += 5
    leaving = asyncio.create_task(ask(model))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert first.calls == 6 and (await ask(model)).text == "Hello"


# What the other model is told


def test_thoughts_and_marks_of_another_model_are_left_out(up: Upstream, tmp_path: Path) -> None:
    """Over the wires of two dialects: the first turn is Claude's, then it is overloaded."""
    write_skill(tmp_path, "tea")
    first = claude_events(thinking="Hm.", signature="sig", tool_uses=[("t1", "activate_skill", {"name": "tea"})])
    up.route("/v1/messages", sse(first, done=False, events=True), BUSY)
    up.always(sse(chat_chunks("Brew it.")))
    providers: Json = {"anthropic_base_url": up.url, "anthropic_api_key": "k", "fallbacks": ("openai/gpt-x",)}
    with service(up, model="anthropic/claude-sonnet-4-5", skills=(tmp_path,), **providers) as served:
        heard = served.whole(reasoning_effort="high", **ACTIVITY)
    assert (heard.text, heard.model) == ("Brew it.", "openai/gpt-x")
    told = up.requests[-1].json["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "tool"]
    assert told[2]["tool_calls"][0]["function"]["name"] == "activate_skill" and "The whole art" in told[3]["content"]
    assert not any(word in str(told) for word in ("Hm.", "sig", "thinking"))
    (step,) = (step for step in heard.steps if step["type"] == "fell_back")
    assert (step["model"], step["reason"]) == ("openai/gpt-x", "overloaded")


async def test_a_model_without_tools_is_told_in_words() -> None:
    plain = scripted("b", "It is 3 euros.", tools=False)
    model = Fallbacks([scripted("a", Overloaded("busy")), plain])
    talk = [
        user("tea?"),
        Message("assistant", (Text("Let me see."), ToolCall("c1", "price", '{"item": "tea"}')), "scripted/a"),
        Message("tool", (ToolResult("c1", (Text("3 euros"),)),)),
    ]
    assert (await ask(model, talk, [TOOL])).text == "It is 3 euros."
    (request,) = plain.requests
    assert not request.tools and not any(message.calls or message.results for message in request.messages)
    assert spoken(request.messages) == [
        ("user", "tea?"),
        ("assistant", "Let me see."),
        ("user", "(found by a tool)\n3 euros"),
    ]


@pytest.mark.parametrize(
    ("ways", "shared"), [("nn", "native"), ("na", "asked"), ("an", "asked"), ("nt", "tool"), ("ta", "tool")]
)
async def test_json_is_had_in_a_way_that_all_of_them_know(ways: str, shared: str) -> None:
    names = {"n": "native", "a": "asked", "t": "tool"}
    members = [scripted(str(n), Overloaded("busy"), "{}", json=names[way]) for n, way in enumerate(ways)]
    model = Fallbacks(members)
    assert model.info.json == shared and model.info.id == "scripted/0"
    options = Options(response_format=JsonFormat({"type": "object"}))
    with pytest.raises(Overloaded):
        await ask(model, options=options)
    told = ["".join("t" if request.options.response_format is None else "n") for m in members for request in m.requests]
    assert told == ["t" if way == "t" else "n" for way in ways]


# How a client learns of it


@pytest.mark.parametrize("name", ["skill-agent", "openai/first"])
def test_an_answer_names_the_model_that_gave_it(up: Upstream, name: str) -> None:
    up.always(by_model(first=BUSY, second=sse(chat_chunks("Hello", model="second-2026"))))
    with service(up, model="openai/first", fallbacks=("openai/second",)) as served:
        for heard in (served.whole(model=name), served.streamed(model=name)):
            assert (heard.status, heard.text, heard.model) == (200, "Hello", "openai/second")
        resource = create(served, input="hi", model=name)
        assert (text_of(resource), resource["model"]) == ("Hello", "openai/second")
        events = read_events(served.post({"input": "hi", "model": name, "stream": True, **ACTIVITY}, RESPONSES))
        assert events[-1]["response"]["model"] == "openai/second"
        (step,) = (e["skill_agent"] for e in events if e.get("skill_agent", {}).get("type") == "fell_back")
        assert step == {
            "type": "fell_back",
            "model": "openai/second",
            "instead_of": "openai/first",
            "reason": "overloaded",
        }
        listed = [model["id"] for model in served.get("/v1/models").json()["data"]]
        assert listed == ["skill-agent", "openai/first", "openai/second"]
        assert served.whole(model="openai/second").model == "openai/second"
        assert served.whole(model="openai/third").status == 404


def test_a_model_that_is_named_is_asked_alone(up: Upstream) -> None:
    up.always(by_model(first=sse(chat_chunks("no")), second=BUSY))
    with service(up, model="openai/first", fallbacks=("openai/second",)) as served:
        assert served.whole(model="openai/second").status == 503
    assert Counter(request.json["model"] for request in up.requests)["first"] == 0


def test_nothing_is_said_twice(up: Upstream) -> None:
    half = sse(chat_chunks("Half", finish="", usage=None), done=False).but(cut="fin")
    up.always(by_model(first=half, second=sse(chat_chunks("Whole"))))
    with service(up, model="openai/first", fallbacks=("openai/second",)) as served:
        heard = served.streamed()
    assert heard.text == "Half" and heard.error is not None and len(up.requests) == 1


def test_a_wait_that_is_too_long_goes_to_the_other_model(up: Upstream) -> None:
    later = json_reply({"error": {"message": "slow", "type": "x"}}, 429, {"retry-after": "31"})
    up.always(by_model(first=later, second=sse(chat_chunks("Hello"))))
    with service(up, model="openai/first", fallbacks=("openai/second",)) as served:
        assert served.whole().text == "Hello"
    assert len(up.requests) == 2


def test_the_request_is_the_same_but_for_what_is_the_models(up: Upstream, tmp_path: Path) -> None:
    write_skill(tmp_path, "tea")
    up.always(by_model(first=BUSY, second=sse(chat_chunks("Hello"))))
    with service(up, model="openai/first", fallbacks=("openai/second",), skills=(tmp_path,)) as served:
        assert served.post({"messages": HI, "temperature": 0.5, "seed": 7}).status_code == 200
    first, second = up.requests[0].json, up.requests[-1].json
    assert (first.pop("model"), second.pop("model")) == ("first", "second") and first == second


@pytest.mark.parametrize("status", [401, 403])
def test_what_the_caller_may_not_ask_no_other_model_is_asked_instead(up: Upstream, status: int) -> None:
    """The caller's own token was refused, which is then told with the status that it has."""
    up.always(by_model(first=json_reply({"error_code": "X", "message": "no"}, status), second=sse(chat_chunks("no"))))
    settings: Json = {"databricks_host": up.url, "databricks_token": "t", "databricks_app": True}
    settings |= {"model": "databricks/first", "fallbacks": ("openai/second",), "on_behalf_of_user": True}
    with service(up, **settings) as served:
        response = served.post({"messages": HI}, headers={"x-forwarded-access-token": "of-ann"})
    assert response.status_code == status and len(up.requests) == 1
    assert up.requests[0].headers["authorization"] == "Bearer of-ann"
