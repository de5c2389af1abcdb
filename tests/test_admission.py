"""A bound on runs: so many at a time, a few that wait, 503 for the others; health always answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson

from key_forms import Rate
from service.admission import QUEUE_SECONDS
from tests.surface import CHAT, HI, Json, Service, read_error, service
from tests.upstream import Received, Reply, Upstream, chat_chunks, sse


def stalling() -> Reply:
    """An answer that begins and does not end."""
    return sse(chat_chunks("Hello", finish="", usage=None), done=False).but(stall=True)


def serving(up: Upstream, most: int) -> Any:
    return service(up, max_running=most)


def post(served: Service, **body: Any) -> httpx.Response:
    return httpx.post(f"{served.url}{CHAT}", json={"messages": HI, **body}, timeout=30, verify=False)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def overloaded(response: httpx.Response) -> None:
    assert response.status_code == 503
    error = read_error(response)
    assert (error["code"], error["type"]) == ("overloaded", "api_error")
    assert response.headers["retry-after"] == "1" and response.headers["x-should-retry"] == "true"


def test_runs_over_the_bound_wait_a_little_and_are_refused() -> None:
    with Upstream() as up, serving(up, 2) as served, ThreadPoolExecutor(8) as pool:
        up.always(stalling())
        client = httpx.Client(verify=False)
        body = {"messages": HI, "stream": True}
        with client.stream("POST", f"{served.url}{CHAT}", json=body, timeout=30):
            with client.stream("POST", f"{served.url}{CHAT}", json=body, timeout=30):
                begun = time.monotonic()
                refused = [each.result() for each in [pool.submit(post, served) for _ in range(4)]]
                for answer in refused:
                    overloaded(answer)
                assert time.monotonic() - begun >= QUEUE_SECONDS * 0.9
                assert all(served.get(path).status_code == 200 for path in ("/health", "/ready", "/v1/models"))
                assert len(up.requests) == 2
        up.always(sse(chat_chunks("Hello")))
        until(lambda: post(served).status_code == 200)
        client.close()


def test_who_waits_is_served_when_a_run_ends_in_time() -> None:
    with Upstream() as up, serving(up, 1) as served, ThreadPoolExecutor(2) as pool:
        begin = threading.Event()

        def slow(_: Received) -> Reply:
            begin.set()
            return sse([0.5, *chat_chunks("first")])

        up.reply(slow, sse(chat_chunks("second")))
        first = pool.submit(post, served)
        assert begin.wait(10)
        second = pool.submit(post, served)
        assert first.result().status_code == second.result().status_code == 200


def test_a_run_in_the_background_counts_until_it_is_over() -> None:
    with Upstream() as up, serving(up, 1) as served:
        up.reply(stalling())
        up.always(sse(chat_chunks("Hello")))
        begun = served.post({"input": "hi", "background": True}, "/v1/responses").json()
        assert up.wait_requests(1)
        overloaded(post(served))
        assert served.post({}, f"/v1/responses/{begun['id']}/cancel").status_code == 200
        until(lambda: post(served).status_code == 200)


def test_what_fails_gives_its_place_back() -> None:
    with Upstream() as up, serving(up, 1) as served:
        up.always(sse(chat_chunks("Hello")))
        for _ in range(3):
            assert served.post(b"{").status_code == 400
            assert served.post({"messages": HI, "model": "no/such"}).status_code == 404
        assert post(served).status_code == 200


def raw(served: Service, body: Json) -> socket.socket:
    address = httpx.URL(served.url)
    client = socket.create_connection((address.host, address.port or 80), timeout=30)
    data = orjson.dumps(body)
    client.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    return client


def test_who_leaves_while_waiting_leaves_its_place_to_others_and_what_it_sent_is_not_lost() -> None:
    with Upstream() as up, service(up, max_running=1, rates=(Rate(3, 3600),)) as served:
        up.always(stalling())
        first = raw(served, {"messages": HI, "stream": True})
        assert up.wait_requests(1)
        seconds: list[float] = []
        while not seconds or seconds[-1] < QUEUE_SECONDS * 0.9:  # until one has waited in a place that became free
            assert len(seconds) < 5
            raw(served, {"messages": HI}).close()
            time.sleep(0.1)
            asked = time.monotonic()
            overloaded(post(served))
            seconds.append(time.monotonic() - asked)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(post, served, messages=[{"role": "user", "content": "x" * 900_000}])
            time.sleep(0.3)
            up.always(sse(chat_chunks("Hello")))
            first.close()
            answer = waiting.result()
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-ratelimit-remaining-requests"] == "1", "who was refused or left has not counted"
        assert len(up.requests[-1].body) > 900_000
