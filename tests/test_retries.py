"""Calls that are made again: how often in all, until when, and when the loop asks again by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from messages import Options, Reasoning
from providers.base import BadResponse, ModelInfo, Overloaded, ProviderDown, ProviderError, RateLimited
from providers.http import Http, bearer
from providers.limits import Timeouts, timeouts
from providers.openai import ChatCompletions
from providers.retries import RetryBudget
from providers.scripted import Play, call
from tests.agents import agent_of, ended, spoken
from tests.asking import Heard, ask, certificates
from tests.surface import CHAT, HI, service, write_skill
from tests.upstream import Reply, Upstream, chat_chunks, claude_events, json_reply, sse

GOOD = sse(chat_chunks("Hello world"))
BUSY = json_reply({"error": {"message": "busy", "type": "server_error"}}, 503)
DRIP = sse([piece for n in range(60) for piece in (chat_chunks(f"w{n}", finish="", usage=None)[1], 0.05)], done=False)
PINGS = sse([b": ping\n\n", 0.05] * 60, done=False)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(params=["aiohttp", "httpx"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[Http]:
    http = Http(httpx.AsyncHTTPTransport(verify=certificates()) if request.param == "httpx" else None, backoff=0.01)
    yield http
    await http.aclose()


def model_at(url: str, http: Http) -> ChatCompletions:
    return ChatCompletions(http, f"{url}/v1/chat/completions", bearer("sk-1234567"), ModelInfo("openai/m"))


async def fails(model: ChatCompletions, heard: Heard | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(model, heard=heard)
    return caught.value


# A host's budget


def test_repeats_are_a_fifth_of_the_calls_and_a_few_where_there_are_few() -> None:
    now = [0.0]
    budget = RetryBudget(clock=lambda: now[0])
    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    for _ in range(50):
        budget.note_call()
    assert sum(budget.take() for _ in range(50)) == 7, "ten in all"
    now[0] += 10.1
    assert [budget.take() for _ in range(4)] == [True, True, True, False], "calls and repeats are forgotten"


async def test_a_host_that_is_down_gets_little_more_than_the_calls_that_are_made(up: Upstream, http: Http) -> None:
    up.always(BUSY)
    model = model_at(up.url, http)
    await asyncio.gather(*(fails(model) for _ in range(100)))
    assert len(up.requests) <= 120
    up.always(GOOD)
    assert (await ask(model)).text == "Hello world"


async def test_hosts_have_budgets_of_their_own(up: Upstream, http: Http) -> None:
    up.always(BUSY)
    await asyncio.gather(*(fails(model_at(up.url, http)) for _ in range(5)))
    with Upstream() as other:
        other.reply(BUSY, BUSY, GOOD)
        assert (await ask(model_at(other.url, http))).text == "Hello world"


def test_a_service_recovers_with_its_provider(up: Upstream) -> None:
    """There is no other model, so that each request asks it, and the first one after it is back succeeds."""
    up.always(json_reply({"error": {"message": "busy", "type": "x"}}, 503, {"retry-after-ms": "1"}))
    with service(up) as server:
        for _ in range(20):
            assert server.post({"messages": HI}).status_code == 503
        assert len(up.requests) <= 24
        up.always(GOOD)
        assert server.whole().text == "Hello world"


# Time


@pytest.mark.parametrize(("reply", "said"), [(DRIP, True), (PINGS, False)], ids=["words", "pings"])
async def test_an_answer_that_drips_ends_with_the_calls_time(up: Upstream, reply: Reply, said: bool) -> None:
    up.always(reply)
    http = Http(timeouts=Timeouts(whole=0.6), backoff=0.01)
    heard = Heard()
    begun = time.monotonic()
    error = await fails(model_at(up.url, http), heard)
    assert (error.code, error.retryable, len(up.requests)) == ("deadline_exceeded", False, 1)
    assert bool(heard.text) == said and 0.5 < time.monotonic() - begun < 2.5
    await http.aclose()


def test_a_drip_is_told_on_both_surfaces(up: Upstream) -> None:
    up.always(DRIP)
    with service(up, timeouts=(("whole", 0.5),)) as server:
        whole, streamed = server.whole(), server.streamed()
    assert whole.error is not None and (whole.status, whole.error["code"]) == (504, "deadline_exceeded")
    assert streamed.error is not None and streamed.error["code"] == "deadline_exceeded"
    assert streamed.text.startswith("w0") and streamed.finish == "" and len(up.requests) == 2


async def test_a_time_for_all_attempts_is_not_overrun(up: Upstream) -> None:
    up.always(json_reply({"error": {"message": "slow", "type": "x"}}, 429, {"retry-after": "3"}))
    http = Http(timeouts=Timeouts(whole=1.0))
    begun = time.monotonic()
    assert isinstance(await fails(model_at(up.url, http)), RateLimited)
    assert len(up.requests) == 1 and time.monotonic() - begun < 1
    await http.aclose()


def test_no_wait_is_longer_than_the_run(up: Upstream) -> None:
    up.always(json_reply({"error": {"message": "slow", "type": "x"}}, 429, {"retry-after": "9"}))
    with service(up, max_seconds=2.0) as server:
        heard = server.whole()
    assert (heard.status, heard.headers["retry-after"], len(up.requests)) == (429, "9", 1)


async def test_a_model_may_be_silent_before_its_first_word_though_its_answer_is_open(up: Upstream) -> None:
    """Models that think first open their answer at once, and then say nothing for minutes."""
    opening, *rest = GOOD.chunks
    up.always(GOOD.but(chunks=[opening, 0.6, *rest]))
    http = Http(timeouts=Timeouts(between_bytes=0.2), backoff=0.01)
    assert (await ask(model_at(up.url, http))).text == "Hello world"
    await http.aclose()


def test_each_provider_has_limits_that_a_setting_changes() -> None:
    given = {"first_byte": 7.0, "databricks.first_byte": 9.0, "databricks.connect": 1.0}
    assert timeouts("openai", given) == Timeouts(first_byte=7.0)
    assert timeouts("databricks", given) == Timeouts(1.0, 9.0, timeouts("databricks", {}).between_bytes)


# Connections


async def test_a_name_that_does_not_resolve_is_tried_twice(http: Http) -> None:
    error = await fails(model_at("http://no-such-host.invalid", http))
    assert (error.code, error.tried) == ("upstream_unreachable", 2)
    assert error.message == "the host no-such-host.invalid cannot be found (its name does not resolve)"


async def test_a_host_that_refuses_is_told_in_plain_words(http: Http) -> None:
    error = await fails(model_at("http://127.0.0.1:9", http))
    assert error.message == "the host 127.0.0.1:9 cannot be reached (connection refused)"


async def test_a_connection_that_is_lost_before_the_head_is_replaced_at_no_cost(up: Upstream, http: Http) -> None:
    up.reply(GOOD, Reply(0, cut="fin"), BUSY, BUSY, GOOD)
    model = model_at(up.url, http)
    assert [(await ask(model)).text for _ in range(2)] == ["Hello world"] * 2
    up.always(Reply(0, cut="rst"))
    error = await fails(model)
    assert (error.code, error.tried, len(up.requests)) == ("upstream_disconnected", 2, 8), "the budget is spent"
    await fails(model)
    assert len(up.requests) == 9, "a host that is down is not called twice"


async def test_no_connection_that_is_free_is_our_own_overload(up: Upstream) -> None:
    up.always(Reply(stall=True))
    http = Http(httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1)), Timeouts(connect=0.3, first_byte=3.0))
    model = model_at(up.url, http)
    first = asyncio.create_task(fails(model))
    await asyncio.to_thread(up.wait_requests, 1)
    error = await fails(model)
    assert isinstance(error, Overloaded) and (error.retry_after, error.tried) == (1.0, 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await http.aclose()


# Too much


async def test_an_answer_of_more_than_32_mib_is_refused(up: Upstream) -> None:
    http = Http()
    block = b"x" * (1 << 20)
    up.always(Reply(200, {"content-type": "application/json"}, [b'{"choices": ["', *[block] * 33]).but(stall=True))
    error = await fails(model_at(up.url, http))
    assert (error.code, len(up.requests)) == ("upstream_response_too_large", 1)
    await http.aclose()


async def test_more_than_200_calls_are_refused(up: Upstream, http: Http) -> None:
    calls = [(f"c{n}", "price", "{}") for n in range(201)]
    up.always(sse(chat_chunks(tool_calls=calls)))
    error = await fails(model_at(up.url, http), Heard())
    assert (error.code, len(up.requests)) == ("upstream_response_too_large", 1)
    up.always(sse(chat_chunks(tool_calls=calls[:200])))
    assert len((await ask(model_at(up.url, http))).calls) == 200


async def test_an_endless_complaint_is_not_read_to_its_end(up: Upstream, http: Http) -> None:
    up.always(Reply(400, {"content-type": "text/plain"}, [b"no " * 30_000]).but(stall=True))
    error = await fails(model_at(up.url, http))
    assert (error.status, error.code) == (400, "invalid_request") and len(error.message) <= 500


# The loop


@pytest.mark.parametrize("fault", [{"done": False}, {"done": True}], ids=["no mark", "no finish"])
def test_a_turn_that_breaks_off_unheard_is_asked_for_again(up: Upstream, tmp_path: Path, fault: dict[str, Any]) -> None:
    """The client hears nothing of the agent's own calls, so that such a turn can be begun anew."""
    write_skill(tmp_path, "tea")
    calling = [("c1", "activate_skill", '{"name": "tea"}')]
    up.reply(sse(chat_chunks(tool_calls=calling, finish="", usage=None), **fault))
    up.reply(sse(chat_chunks(tool_calls=calling)), sse(chat_chunks("Brew it.")))
    with service(up, skills=(tmp_path,)) as server:
        heard = server.streamed(skill_agent={"activity": True})
    assert (heard.text, heard.error, len(up.requests)) == ("Brew it.", None, 3)
    assert [step["name"] for step in heard.steps if step["type"] == "tool_start"] == ["activate_skill"]


async def test_what_a_tool_has_done_is_not_done_again() -> None:
    done: list[str] = []

    def pay(sum: int) -> str:
        """Pays."""
        done.append(str(sum))
        return "paid"

    broken = ProviderDown("cut")
    broken.begun = True
    agent, provider = agent_of([[call("pay", sum=3)], Play([call("pay", sum=4), broken]), "Paid."], pay)
    finish = await agent.run("pay 3")
    assert (finish.text, done, len(ended(finish))) == ("Paid.", ["3"], 1)
    assert spoken(provider.requests[1].messages) == spoken(provider.requests[2].messages)


async def test_words_that_were_heard_are_not_said_again() -> None:
    broken = ProviderDown("cut")
    broken.begun = True
    agent, provider = agent_of([Play(["Half", broken]), "Whole"])
    with pytest.raises(ProviderDown):
        await agent.run("hi")
    assert provider.calls == 1


async def test_two_empty_first_answers_are_an_error() -> None:
    agent, provider = agent_of([Play([]), Play([]), "late"])
    with pytest.raises(BadResponse, match="answers nothing") as caught:
        await agent.run("hm")
    assert (provider.calls, caught.value.code) == (2, "upstream_empty_response")


async def test_only_thoughts_are_asked_for_their_answer() -> None:
    agent, provider = agent_of([Play([Reasoning("hm")]), "Hello"])
    assert (await agent.run("hm")).text == "Hello"
    assert provider.requests[1].messages[-1].role == "user"


async def test_nothing_before_a_stop_sequence_is_an_answer() -> None:
    agent, provider = agent_of([Play([])])
    finish = await agent.run("hm", options=Options(stop=("x",)))
    assert (finish.text, finish.reason, finish.messages, provider.calls) == ("", "stop", (), 1)


@pytest.mark.parametrize("surface", [CHAT, "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_answer_is_an_error_on_both_surfaces(up: Upstream, surface: str, stream: bool) -> None:
    up.always(sse(chat_chunks("")))
    with service(up) as server:
        response = server.post({"messages": HI, "input": "hi", "stream": stream}, surface)
        assert "upstream_empty_response" in response.text and len(up.requests) == 2


def test_calls_of_claude_without_ids_are_each_made_once(up: Upstream, tmp_path: Path) -> None:
    write_skill(tmp_path, "tea")
    write_skill(tmp_path, "milk")
    uses = [("same", "activate_skill", {"name": "tea"}), ("same", "activate_skill", {"name": "milk"})]
    calling = orjson.loads(orjson.dumps(claude_events(tool_uses=uses)).replace(b'"id":"same",', b'"id":"",', 1))
    up.reply(sse(calling, done=False, events=True), sse(claude_events("Brew it."), done=False, events=True))
    settings: dict[str, Any] = {"model": "anthropic/claude-x", "anthropic_base_url": up.url}
    with service(up, anthropic_api_key="k", skills=(tmp_path,), **settings) as server:
        heard = server.whole(skill_agent={"activity": True})
    ends = [step for step in heard.steps if step["type"] == "tool_end"]
    assert heard.text == "Brew it." and [step["name"] for step in ends] == ["activate_skill"] * 2
    assert len({step["id"] for step in ends}) == 2 and not any(step["is_error"] for step in ends)
