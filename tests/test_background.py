"""Runs that go on without their client: followed from any point, cancelled, and honest about an early end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from providers.base import RateLimited
from providers.scripted import Play, ScriptedProvider
from tests.responses import RESPONSES, Json, read_events, text_of
from tests.surface import Service, read_error, service
from tests.upstream import Upstream, chat_chunks, sse

WORDS = [f"word{number} " for number in range(40)]


def slow(seconds: float = 0.02) -> Play:
    return Play([part for word in WORDS for part in (word, seconds)])


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def begin(served: Service, **body: Any) -> str:
    response = served.post({"input": "hi", "background": True, **body}, RESPONSES)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "queued" and response.json()["background"]
    id: str = response.json()["id"]
    return id


def follow(served: Service, id: str, after: int = -1) -> list[Json]:
    response = served.get(f"{RESPONSES}/{id}?stream=true&starting_after={after}")
    return read_events(response, first=after + 1)


def state(served: Service, id: str) -> Json:
    found: Json = served.get(f"{RESPONSES}/{id}").json()
    return found


def wait_for(served: Service, id: str, status: str) -> Json:
    deadline = time.monotonic() + 20
    while (found := state(served, id))["status"] != status:
        assert time.monotonic() < deadline, found["status"]
        time.sleep(0.02)
    return found


def some_events(served: Service, id: str, after: int, count: int) -> Iterator[Json]:
    """The next few events, before the client leaves."""
    path = f"{served.url}{RESPONSES}/{id}?stream=true&starting_after={after}"
    with served.client.stream("GET", path) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                yield orjson.loads(line.removeprefix("data: "))
                count -= 1
            if not count:
                return


def test_an_answer_is_followed_in_pieces_without_a_gap_or_an_echo() -> None:
    with service(provider=ScriptedProvider([slow()])) as served:
        id = begin(served)
        events: list[Json] = []
        for _ in range(4):
            events += some_events(served, id, len(events) - 1, 9)
        events += follow(served, id, len(events) - 1)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert deltas == "".join(WORDS) == text_of(state(served, id))
        assert events == follow(served, id), "it can be read again from the start"


def test_it_survives_the_client_that_began_it() -> None:
    with service(provider=ScriptedProvider([slow()])) as served:
        body = {"input": "hi", "background": True, "stream": True}
        with served.client.stream("POST", f"{served.url}{RESPONSES}", json=body) as response:
            line = next(line for line in response.iter_lines() if line.startswith("data: "))
        id = orjson.loads(line.removeprefix("data: "))["response"]["id"]
        assert text_of(wait_for(served, id, "completed")) == "".join(WORDS)
        assert text_of(follow(served, id)[-1]["response"]) == "".join(WORDS)


def test_another_process_follows_it(store: str) -> None:
    with service(provider=ScriptedProvider([slow()]), store=store) as one:
        with service(provider=ScriptedProvider([]), store=store) as other:
            id = begin(one)
            assert text_of(follow(other, id)[-1]["response"]) == "".join(WORDS)


def test_it_can_be_gone_on_from_when_it_is_done() -> None:
    model = ScriptedProvider([slow(), "Bye"])
    with service(provider=model) as served:
        id = begin(served)
        body = {"input": "and?", "previous_response_id": id}
        assert read_error(served.post(body, RESPONSES))["param"] == "previous_response_id"
        wait_for(served, id, "completed")
        assert served.post(body, RESPONSES).status_code == 200
    assert [message.text for message in model.requests[-1].messages[1:]] == ["hi", "".join(WORDS), "and?"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_cancelling_ends_the_model_call_and_the_stream(store: str, elsewhere: bool) -> None:
    with Upstream() as up, service(up, store=store) as one, service(up, store=store) as two:
        up.always(sse(chat_chunks("begun")[:1], done=False).but(stall=True))
        id = begin(one)
        assert up.wait_requests(1)
        other = two if elsewhere else one
        cancelled = other.post({}, f"{RESPONSES}/{id}/cancel").json()
        assert cancelled["status"] == state(one, id)["status"] == "cancelled"
        assert up.wait_closed(timeout=10)
        assert follow(other, id)[-1]["response"]["status"] == "cancelled"
        assert other.post({}, f"{RESPONSES}/{id}/cancel").json()["status"] == "cancelled"


def test_deleting_it_ends_it() -> None:
    with Upstream() as up, service(up) as served:
        up.always(sse(chat_chunks("begun")[:1], done=False).but(stall=True))
        id = begin(served)
        assert up.wait_requests(1)
        assert served.client.delete(f"{served.url}{RESPONSES}/{id}").json()["deleted"]
        assert up.wait_closed(timeout=10)
        assert served.get(f"{RESPONSES}/{id}").status_code == 404


def test_a_failure_is_told_to_whoever_asks_later() -> None:
    with service(provider=ScriptedProvider([["Half", RateLimited("slow down")]])) as served:
        id = begin(served)
        failed = wait_for(served, id, "failed")
        assert failed["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
        assert [event["type"] for event in follow(served, id)][-2:] == ["error", "response.failed"]


def test_a_run_whose_process_is_gone_has_failed(file: str) -> None:
    with service(provider=ScriptedProvider(["Hi"]), store=file) as served:
        id = begin(served)
        wait_for(served, id, "completed")
        path = file.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as database:  # as a process leaves it that is killed in the middle
            database.execute("UPDATE responses SET status = 'in_progress', beat = ?", [time.time() - 120])
            database.execute("DELETE FROM events WHERE number > 3")
            database.commit()
        assert [event["type"] for event in follow(served, id, 3)] == ["response.failed"]
        assert state(served, id)["error"]["message"] == "the process that made this answer is gone"


def test_only_answers_in_the_background_are_followed_or_cancelled() -> None:
    with service(provider=ScriptedProvider(["Hi"])) as served:
        id = served.post({"input": "hi"}, RESPONSES).json()["id"]
        assert read_error(served.get(f"{RESPONSES}/{id}?stream=true"))["param"] == "stream"
        assert served.post({}, f"{RESPONSES}/{id}/cancel").status_code == 400
        assert served.post({}, f"{RESPONSES}/resp_no/cancel").status_code == 404
        assert read_error(served.get(f"{RESPONSES}/{id}?stream=true&starting_after=x"))["code"]


def test_a_follower_that_leaves_leaves_nothing_behind() -> None:
    with service(provider=ScriptedProvider([slow(0.05)])) as served:
        id = begin(served)
        for _ in range(20):
            list(some_events(served, id, -1, 2))
        assert text_of(wait_for(served, id, "completed")) == "".join(WORDS)
        with httpx.Client(trust_env=False, verify=False) as fresh:
            assert fresh.get(f"{served.url}/health").status_code == 200
