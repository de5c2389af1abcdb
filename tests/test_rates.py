"""Rates of callers: requests and tokens in a window, told in headers and refused as OpenAI does."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from key_forms import Rate
from messages import Usage
from providers.scripted import Play, ScriptedProvider
from server import create_app
from settings import Settings
from tests.servers import serve
from tests.surface import CHAT, HI, Json, Service, read_error, service
from tests.upstream import Received, Reply, Upstream, chat_chunks, sse

ANSWER = Play(["Hi"], usage=Usage(60, 40, total=100))
RESPONSES = "/v1/responses"


def serving(*rates: Rate, **settings: Any) -> Any:
    return service(provider=ScriptedProvider([ANSWER] * 20), rates=rates, **settings)


def refused(response: httpx.Response, of: str) -> int:
    """The seconds to wait."""
    error = read_error(response)
    assert response.status_code == 429 and (error["code"], error["type"]) == ("rate_limit_exceeded", of)
    assert response.headers[f"x-ratelimit-remaining-{of}"] == "0"
    return int(response.headers["retry-after"])


def test_requests_over_the_rate_are_refused_until_the_window_is_over() -> None:
    with serving(Rate(2, 1)) as served:
        answers = [served.post({"messages": HI}) for _ in range(3)]
        while answers[-1].status_code == 200:  # a slow machine begins a new window
            answers.append(served.post({"messages": HI}))
        time.sleep(refused(answers[-1], "requests"))
        assert served.post({"messages": HI}).status_code == 200


def test_what_is_left_is_told_in_the_headers_of_openai() -> None:
    with serving(Rate(3, 3600), Rate(1000, 60, "tokens")) as served:
        for left in (2, 1, 0):
            headers = served.post({"messages": HI}).headers
            assert headers["x-ratelimit-limit-requests"] == "3"
            assert headers["x-ratelimit-remaining-requests"] == str(left)
            assert headers["x-ratelimit-reset-requests"].startswith(("59m", "1h0m"))
            assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert headers["x-ratelimit-remaining-tokens"] in ("800", "700")
        assert 3500 < refused(served.post({"messages": HI}), "requests") <= 3600


def test_without_rates_there_are_no_such_headers() -> None:
    with serving() as served:
        assert not [name for name in served.post({"messages": HI}).headers if "ratelimit" in name]


def whole(served: Service) -> httpx.Response:
    return served.post({"messages": HI})


def streamed(served: Service) -> httpx.Response:
    return served.post({"messages": HI, "stream": True})


def response(served: Service) -> httpx.Response:
    return served.post({"input": "hi"}, RESPONSES)


def in_the_background(served: Service) -> httpx.Response:
    begun = served.post({"input": "hi", "background": True}, RESPONSES)
    while served.get(f"{RESPONSES}/{begun.json()['id']}").json()["status"] != "completed":
        time.sleep(0.02)
    return begun


def databricks(served: Service) -> httpx.Response:
    return served.post({"input": [{"role": "user", "content": "hi"}]}, "/invocations")


def compact(served: Service) -> httpx.Response:
    return served.post({"input": "hi", "model": "skill-agent"}, f"{RESPONSES}/compact")


@pytest.mark.parametrize("ask", [whole, streamed, response, in_the_background, databricks, compact])
def test_tokens_are_charged_when_an_answer_has_ended_and_the_next_is_refused(ask: Any) -> None:
    with serving(Rate(150, 3600, "tokens")) as served:
        assert ask(served).status_code == ask(served).status_code == 200
        refused(served.post({"messages": HI}), "tokens")
        assert served.get("/v1/models").status_code == 200


def test_an_answer_that_its_client_leaves_is_charged_for_what_it_had_written() -> None:
    play = Play(["word " * 400 + "last", 30.0])
    with service(provider=ScriptedProvider([play, ANSWER]), rates=(Rate(300, 3600, "tokens"),)) as served:
        with served.client.stream("POST", f"{served.url}{CHAT}", json={"messages": HI, "stream": True}) as answer:
            next(line for line in answer.iter_lines() if "last" in line)
        deadline = time.monotonic() + 10
        while (last := served.post({"messages": []})).status_code == 400 and time.monotonic() < deadline:
            time.sleep(0.02)
        refused(last, "tokens")


def left(served: Service) -> int:
    """Tokens, told to a request that nothing is charged for."""
    return int(served.post({"messages": []}).headers["x-ratelimit-remaining-tokens"])


def test_what_a_helper_used_is_charged_though_the_client_leaves_and_the_broken_turn_with_what_it_read() -> None:
    with Upstream() as up:

        def answer(request: Received) -> Reply:
            last = request.json["messages"][-1]
            if last["role"] == "tool":
                return sse(chat_chunks("Half")[:2], done=False).but(stall=True)
            if last["content"] == "sub":
                return sse(chat_chunks("done", usage=(3000, 500)))
            return sse(chat_chunks(tool_calls=[("c1", "task", '{"prompt": "sub"}')], usage=(10, 5)))

        up.always(answer)
        with service(up, rates=(Rate(100_000, 3600, "tokens"),)) as served:
            said = [{"role": "user", "content": "word " * 4000}]
            body = {"messages": said, "stream": True}
            with served.client.stream("POST", f"{served.url}{CHAT}", json=body) as streamed:
                lines = streamed.iter_lines()
                assert any("Half" in line for line in lines)
                counted = left(served)
            assert counted == 100_000 - 3515, "before the answer has ended"
            deadline = time.monotonic() + 10
            while (now := left(served)) == counted and time.monotonic() < deadline:
                time.sleep(0.02)
            assert 5000 <= counted - now < 8000
            assert left(served) == now, "charged once"


@pytest.mark.parametrize("usage", [(60, 40), None])
def test_a_turn_whose_tokens_nobody_tells_is_estimated(usage: tuple[int, int] | None) -> None:
    with Upstream() as up, service(up, rates=(Rate(1000, 3600, "tokens"),)) as served:
        up.always(sse(chat_chunks("word " * 80, usage=usage)))
        body = {"messages": HI, "model": "openai/test-model"}
        used = 1000 - int(served.post(body).headers["x-ratelimit-remaining-tokens"])
        assert used == 100 if usage else 100 <= used < 130


def test_callers_do_not_share_a_rate_and_keys_of_a_name_do(tmp_path: Path) -> None:
    entries = [
        f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in (("a", "1"), ("a", "2"), ("b", "3"))
    ]
    settings = Settings.from_env({"SKILL_AGENT_API_KEYS": ",".join(entries), "SKILL_AGENT_RATE_LIMIT": "1/hour"})
    with serve(create_app(settings, ScriptedProvider([ANSWER] * 9))) as url:
        statuses = [asked(url, key).status_code for key in ("1", "2", "3")]
        assert statuses == [200, 429, 200]


def asked(url: str, key: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{url}{CHAT}", json={"messages": HI, **body}, headers={"x-api-key": key}, verify=False)


def test_a_key_may_have_rates_of_its_own(tmp_path: Path) -> None:
    digest = {key: hashlib.sha256(key.encode()).hexdigest() for key in "123"}
    file = tmp_path / "keys"
    file.write_text(
        f"many:{digest['1']} limit=3/hour,100/day\n"
        f"few:{digest['2']}  # as all others\n"
        f"tokens:{digest['3']}\ttokens=1/hour limit=5/hour\n"
    )
    settings = Settings.from_env({"SKILL_AGENT_API_KEYS": f"@{file}", "SKILL_AGENT_RATE_LIMIT": "1/hour"})
    with serve(create_app(settings, ScriptedProvider([ANSWER] * 9))) as url:
        assert [asked(url, "1").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert [asked(url, "2").status_code for _ in range(2)] == [200, 429]
        assert asked(url, "3").status_code == 200
        refused(asked(url, "3"), "tokens")


def test_health_and_what_runs_no_model_have_no_rate() -> None:
    with serving(Rate(1, 3600)) as served:
        body: Json = {"messages": HI}
        assert [served.post(body).status_code, served.post(body).status_code] == [200, 429]
        for path in ("/health", "/ready", "/v1/healthcheck", "/v1/models"):
            assert served.get(path).status_code == 200
