"""A service that is told to stop: what is short is finished, what is long ends with a word, and nothing new begins."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sandbox.descendants import descendants
from tests.processes import OURS, UVICORN, process
from tests.responses import RESPONSES, Json, read_events, text_of
from tests.servers import Received, Reply
from tests.surface import CHAT, Service, read_error, read_stream, service
from tests.test_background import begin, follow, wait_for
from tests.upstream import Upstream, chat_chunks, sse

SOON = chat_chunks("Short and good")
SHORT = sse([*SOON[:3], 0.5, *SOON[3:]])
LONG = sse(chat_chunks("Two words", finish="", usage=None), done=False).but(stall=True)
SKILL = "---\nname: slow\ndescription: Slow.\n---\nRun scripts/linger.py.\n"
DRAIN = "1.5"
"""Seconds."""


def answer(request: Received) -> Reply:
    match next(message["content"] for message in request.json["messages"] if message["role"] == "user"):
        case "short":
            return SHORT
        case "script":
            arguments = json.dumps({"skill": "slow", "script": "scripts/linger.py"})
            return sse(chat_chunks(tool_calls=[("call_1", "run_skill_script", arguments)]))
    return LONG


def write_slow_skill(parent: Path) -> None:
    scripts = parent / "slow" / "scripts"
    scripts.mkdir(parents=True)
    (scripts.parent / "SKILL.md").write_text(SKILL)
    (scripts / "linger.py").write_text("import time\ntime.sleep(600)\n")


def chat(word: str, stream: bool) -> Json:
    messages = [{"role": "user", "content": word}]
    return {"messages": messages, "stream": stream, "skill_agent": {"activate": "slow"}}


def is_stopping(error: Any) -> bool:
    return bool(error["code"] == "server_shutting_down" and error["type"] == "api_error")


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", [OURS, UVICORN], ids=["server.py", "uvicorn"])
def test_what_is_short_is_finished_and_what_is_long_is_told(tmp_path: Path, how: Sequence[str]) -> None:
    write_slow_skill(tmp_path / "skills")
    asked = {
        "short": (CHAT, chat("short", True)),
        "short, whole": (CHAT, chat("short", False)),
        "long": (CHAT, chat("long", True)),
        "long, whole": (CHAT, chat("long", False)),
        "long response": (RESPONSES, {"input": "long", "stream": True}),
        "long response, whole": (RESPONSES, {"input": "long"}),
        "script": (CHAT, chat("script", True)),
    }
    more = {"SKILL_AGENT_SKILLS": str(tmp_path / "skills"), "SKILL_AGENT_DRAIN_SECONDS": DRAIN}
    store = tmp_path / "store.db"
    with (
        Upstream() as up,
        ThreadPoolExecutor() as pool,
        httpx.Client(trust_env=False, timeout=30, verify=False) as client,
    ):
        up.always(answer)
        with process(up, store, how, **more) as (url, running):
            served = Service(url, client)
            background = begin(served, input="long")
            heard = {name: pool.submit(served.post, body, path) for name, (path, body) in asked.items()}
            following = pool.submit(served.get, f"{RESPONSES}/{background}?stream=true")
            assert up.wait_requests(len(asked) + 1, timeout=20)
            wait_until(lambda: is_running("linger.py", running.pid))
            children = descendants(running.pid)
            begun = time.monotonic()
            running.send_signal(signal.SIGTERM)
            wait_until(lambda: served.get("/ready").status_code == 503)
            late = served.post(chat("short", True))
            assert served.get("/health").status_code == 200
            running.wait(timeout=30)
            assert time.monotonic() - begun >= float(DRAIN), "all the time there is was given"
            assert not [pid for pid in children if lives(pid)]
        check(heard)
        followed = following.result().content
        assert is_stopping(read_error(late)) and late.status_code == 503
        assert (late.headers["retry-after"], late.headers["x-should-retry"]) == ("1", "true")
        up.always(sse(chat_chunks("All of it")))
        with service(up, store=f"sqlite:///{store}") as served:
            assert text_of(wait_for(served, background, "completed")) == "All of it"
            last = orjson.loads(followed.split(b"data: ")[-2])
            assert last["type"] == "error" and is_stopping(last["error"])
            rest = follow(served, background, last["sequence_number"])
            assert rest[-1]["type"] == "response.completed"


def check(heard: dict[str, Future[httpx.Response]]) -> None:
    answers = {name: future.result() for name, future in heard.items()}
    assert read_stream(answers["short"]).text == "Short and good"
    assert answers["short, whole"].json()["choices"][0]["message"]["content"] == "Short and good"
    long = read_stream(answers["long"])
    assert long.text == "Two words" and is_stopping(long.error)
    for name in ("long, whole", "long response, whole"):
        assert answers[name].status_code == 503 and answers[name].headers["retry-after"] == "1"
        assert is_stopping(read_error(answers[name]))
    *_, error, failed = read_events(answers["long response"])
    assert error["type"] == "error" and is_stopping(error["error"])
    assert failed["response"]["error"]["code"] == "server_shutting_down"
    assert answers["script"].status_code == 503 or is_stopping(read_stream(answers["script"]).error)


def is_running(script: str, root: int) -> bool:
    for pid in descendants(root):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if script.encode() in file.read():
                    return True
        except OSError:
            continue
    return False


def lives(pid: int) -> bool:
    """Not one that only waits to be noticed by its new parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return not file.read().rpartition(b")")[2].startswith(b" Z")
    except OSError:
        return False


def ended(running: subprocess.Popen[bytes]) -> bool:
    return running.poll() is not None


def test_ctrl_c_ends_an_idle_service_at_once_and_a_busy_one_the_second_time(tmp_path: Path) -> None:
    with (
        Upstream() as up,
        httpx.Client(trust_env=False, timeout=60, verify=False) as client,
        ThreadPoolExecutor() as pool,
    ):
        up.always(answer)
        more = {"SKILL_AGENT_DRAIN_SECONDS": "50"}
        with process(up, tmp_path / "a.db", **more) as (_, idle), process(up, tmp_path / "b.db", **more) as (url, busy):
            idle.send_signal(signal.SIGINT)
            response = pool.submit(client.post, f"{url}{CHAT}", json=chat("long", False) | {"skill_agent": {}})
            assert up.wait_requests(1, timeout=20)
            busy.send_signal(signal.SIGINT)
            wait_until(lambda: httpx.get(f"{url}/ready", trust_env=False, verify=False).status_code == 503)
            assert not ended(busy)
            busy.send_signal(signal.SIGINT)
            wait_until(lambda: ended(idle) and ended(busy))
            assert response.exception() or response.result().status_code >= 500
        assert up.wait_closed(timeout=10)


@pytest.mark.parametrize(("how", "code"), [(OURS, 0), (("cli.py", "serve"), 130)], ids=["server.py", "cli.py serve"])
def test_a_shell_sees_that_a_command_was_interrupted(tmp_path: Path, how: Sequence[str], code: int) -> None:
    with Upstream() as up, process(up, tmp_path / "store.db", how) as (_, running):
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == code
