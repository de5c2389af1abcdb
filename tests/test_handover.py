"""Runs in the background that outlive their process: handed on when it stops, taken up when it is gone."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from messages import Message, ProviderEvent, Refusal, Request, Stop, ToolCall, ToolResult, Usage, assistant, user
from providers.scripted import Play, ScriptedProvider, call
from service import worker
from service.background import Pace
from service.resumption import UNKNOWN, Resumption
from tests.postgres import execute
from tests.processes import process
from tests.responses import RESPONSES, Json, text_of
from tests.surface import Service, service
from tests.test_background import begin, follow, some_events, state, wait_for
from tests.upstream import Upstream, chat_chunks, sse

ROOT = Path(__file__).resolve().parents[1]
QUICK = Pace(beat=0.2, lost=1.0, look=0.05)
NEVER = 60.0


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def told(events: list[Json], kind: str) -> list[Json]:
    return [event for event in events if event["type"] == kind]


def told_until(served: Service, id: str, is_last: Callable[[Json], bool]) -> list[Json]:
    """The events from the start, before the client leaves at one of them."""
    events: list[Json] = []
    for event in some_events(served, id, -1, -1):
        events.append(event)
        if is_last(event):
            return events
    raise AssertionError("the response has ended")


def says(word: str) -> Callable[[Json], bool]:
    return lambda event: word in event.get("delta", "")


def starts_tool(event: Json) -> bool:
    return bool(event.get("skill_agent", {}).get("type") == "tool_start")


def test_another_process_goes_on_where_one_has_stopped(store: str) -> None:
    with service(provider=ScriptedProvider([["One two ", NEVER]]), store=store) as served:
        id = begin(served)
        before = told_until(served, id, says("two"))
    with service(provider=ScriptedProvider(["One two three"]), store=store, pace=QUICK) as served:
        events = follow(served, id)
        found = state(served, id)
    assert events[: len(before)] == before, "nothing that has been told changes"
    assert found["status"] == "completed" and text_of(found) == "One two three"
    cut, whole = found["output"]
    assert (cut["status"], cut["content"], whole["status"]) == ("incomplete", [], "completed")
    assert [event["item"] for event in told(events, "response.output_item.done")] == [cut, whole]
    assert events[-1]["response"] == found


def test_whole_turns_are_kept_with_their_results_and_tokens(store: str, tmp_path: Path) -> None:
    write = call("write_file", path="notes.md", content="tea")
    usage = Usage(10, 5, total=15)
    first = ScriptedProvider([Play(["I note it.", write], usage=usage), ["It is", NEVER]])
    second = ScriptedProvider([Play(["It is noted."], usage=usage)])
    with service(provider=first, store=store) as served:
        id = begin(served, skill_agent={"activity": True})
        told_until(served, id, says("is"))
    with service(provider=second, store=store, pace=QUICK) as served:
        found = wait_for(served, id, "completed")
        going_on = served.post({"input": "and?", "previous_response_id": id, "stream": False}, RESPONSES)
    assert text_of(found) == "I note it.\n\nIt is noted." and found["usage"]["total_tokens"] == 30
    assert [item["status"] for item in found["output"]] == ["incomplete", "completed"]
    asked, did = second.requests[0].messages[-2:]
    assert asked.text == "I note it." and [part.name for part in asked.calls] == ["write_file"]
    assert not did.results[0].is_error
    steps = [step["type"] for step in found["skill_agent"]["steps"]]
    assert steps == ["turn", "tool_start", "tool_end", "turn"]
    assert going_on.status_code == 502, "the script is over"
    assert [message.text for message in second.requests[1].messages if message.role == "assistant"] == [
        "I note it.",
        "It is noted.",
    ]


class Lingering(ScriptedProvider):
    """Ends each answer, and then the stream never does."""

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        async for event in super().stream(request):
            yield event
        await asyncio.sleep(NEVER)


@pytest.mark.parametrize(
    ("said", "ended", "output"),
    [
        (Play(["All of it"]), "completed", ["message"]),
        (Play(["All that fit"], stop="length"), "incomplete", ["message"]),
        (Play(["Well", call("price", item="tea")]), "completed", ["message", "function_call"]),
        (Play([call("price", item="tea"), call("ls")]), "completed", ["function_call"]),
    ],
)
def test_an_answer_that_was_whole_is_ended_and_not_asked_for_again(
    file: str, said: Play, ended: str, output: list[str]
) -> None:
    price = {"type": "function", "name": "price", "parameters": {"type": "object", "properties": {}}}
    with service(provider=Lingering([said]), store=file) as served:
        id = begin(served, tools=[price], skill_agent={"activity": True})
        told_until(served, id, lambda event: event.get("skill_agent", {}).get("type") == "turn")
    second = ScriptedProvider(["Asked again"])
    with service(provider=second, store=file, pace=QUICK) as served:
        found = wait_for(served, id, ended)
        follow(served, id)
    assert [(item["type"], item["status"]) for item in found["output"]] == [(kind, "completed") for kind in output]
    assert text_of(found) == "".join(part for part in said.parts if isinstance(part, str))
    assert [item["arguments"] for item in found["output"] if "arguments" in item] == ['{"item": "tea"}'] * (
        output[-1] == "function_call"
    )
    assert second.calls == 0


def test_an_answer_that_paused_is_gone_on_with(file: str) -> None:
    with service(provider=Lingering([Play(["The first half"], stop="pause")]), store=file) as served:
        id = begin(served, skill_agent={"activity": True})
        told_until(served, id, lambda event: event.get("skill_agent", {}).get("type") == "turn")
    second = ScriptedProvider(["the second"])
    with service(provider=second, store=file, pace=QUICK) as served:
        assert wait_for(served, id, "completed") and second.calls == 1
    assert second.requests[0].messages[-1].text == "The first half"


def test_what_a_run_has_made_of_an_upload_stays(file: str) -> None:
    data = "data:text/csv;base64," + base64.b64encode(b"as it was sent").decode()
    sent = {"type": "input_file", "filename": "data.csv", "file_data": data}
    write = call("write_file", path="uploads/data.csv", content="as it was edited")
    with service(provider=ScriptedProvider([["Now.", write], ["then ", NEVER]]), store=file) as served:
        id = begin(served, input=[{"role": "user", "content": [sent]}])
        told_until(served, id, says("then"))
    second = ScriptedProvider([[call("read_file", path="uploads/data.csv")], "Done"])
    with service(provider=second, store=file, pace=QUICK) as served:
        wait_for(served, id, "completed")
    read = second.requests[-1].messages[-1].results[0]
    assert "as it was edited" in read.text
    assert "uploads/data.csv" in second.requests[0].messages[-3].text, "and the model is told of it"


SLEEPER = "import time\nopen('begun', 'w').close()\ntime.sleep(60)\n"


def test_a_tool_that_was_running_is_not_run_again(tmp_path: Path, store: str) -> None:
    skill = tmp_path / "skills" / "slow"
    (skill / "scripts").mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: slow\ndescription: Slow.\n---\nRun scripts/sleep.py.\n", "utf-8")
    (skill / "scripts" / "sleep.py").write_text(SLEEPER, "utf-8")
    run = call("run_skill_script", id="call_run", skill="slow", script="scripts/sleep.py")
    first, second = ScriptedProvider([["Now.", run]]), ScriptedProvider(["I do not know."])
    how: Json = {"store": store, "skills": (tmp_path / "skills",), "pace": QUICK}
    with service(provider=first, **how) as served:
        id = begin(served, skill_agent={"activity": True, "activate": "slow"})
        told_until(served, id, starts_tool)
    with service(provider=second, **how) as served:
        found = wait_for(served, id, "completed")
    (result,) = [result for message in second.requests[0].messages for result in message.results]
    assert result.call_id == "call_run" and result.is_error and UNKNOWN in result.text
    assert text_of(found) == "Now.\n\nI do not know."


def test_a_call_of_the_clients_ends_the_run_that_goes_on(store: str) -> None:
    price = {"type": "function", "name": "price", "parameters": {"type": "object", "properties": {}}}
    second = ScriptedProvider([[call("price", item="tea")], "3 euros"])
    with service(provider=ScriptedProvider([["Well", NEVER]]), store=store) as served:
        id = begin(served, tools=[price])
        told_until(served, id, says("Well"))
    with service(provider=second, store=store, pace=QUICK) as served:
        found = wait_for(served, id, "completed")
        _, asked = found["output"]
        assert (asked["type"], asked["name"], asked["status"]) == ("function_call", "price", "completed")
        output = [{"type": "function_call_output", "call_id": asked["call_id"], "output": "3"}]
        end = served.post({"input": output, "previous_response_id": id, "tools": [price]}, RESPONSES).json()
    assert text_of(end) == "3 euros"


def test_one_of_many_processes_takes_a_run(store: str) -> None:
    models = [ScriptedProvider(["Done"]) for _ in range(3)]
    with service(provider=ScriptedProvider([[NEVER]]), store=store) as served:
        ids = [begin(served)]
        wait_for(served, ids[0], "in_progress")
    with service(provider=models[0], store=store, pace=QUICK) as one:
        with service(provider=models[1], store=store, pace=QUICK), service(provider=models[2], store=store, pace=QUICK):
            assert text_of(wait_for(one, ids[0], "completed")) == "Done"
            follow(one, ids[0])
    assert sum(model.calls for model in models) == 1


def test_no_more_runs_are_taken_up_than_there_are_turns(file: str) -> None:
    with Upstream() as up:
        up.always(sse(chat_chunks("Half", finish="", usage=None), done=False).but(stall=True))
        with service(up, store=file) as served:
            ids = [begin(served) for _ in range(5)]
            assert up.wait_requests(5)
        with service(up, store=file, pace=QUICK, max_running=2) as served:
            assert up.wait_requests(7)
            assert served.post({"input": "hi"}, RESPONSES).status_code == 503, "as its turns are taken"
            assert len(up.requests) == 7
            up.always(sse(chat_chunks("All of it")))
            for id in ids[:2]:
                served.post({}, f"{RESPONSES}/{id}/cancel")
            assert [text_of(wait_for(served, id, "completed")) for id in ids[2:]] == ["All of it"] * 3


def change(store: str, statement: str) -> None:
    """By another hand than the service's."""
    if not store.startswith("sqlite"):
        execute(store, statement)
        return
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database:
        database.execute(statement)
        database.commit()


def test_a_run_that_another_process_has_taken_is_let_go(store: str) -> None:
    with Upstream() as up, service(up, store=store, pace=Pace(beat=0.1)) as served:
        up.always(sse(chat_chunks("begun")[:1], done=False).but(stall=True))
        id = begin(served)
        assert up.wait_requests(1)
        wait_for(served, id, "in_progress")
        change(store, "UPDATE checkpoints SET worker = 'another'")
        assert up.wait_closed(timeout=10)
        assert state(served, id)["status"] == "in_progress", "which is the other's to end"


def test_a_run_that_ends_its_process_each_time_fails_at_last(store: str) -> None:
    with service(provider=ScriptedProvider([[NEVER]]), store=store) as served:
        id = begin(served)
        wait_for(served, id, "in_progress")
    change(store, "UPDATE checkpoints SET taken = 3")
    with service(provider=ScriptedProvider([]), store=store, pace=QUICK) as served:
        assert wait_for(served, id, "failed")["error"]["code"] == "server_restarted"
        assert follow(served, id)[-1]["type"] == "response.failed"


def beat_of(file: str) -> float:
    with closing(sqlite3.connect(file.removeprefix("sqlite:///"))) as database:
        beat: float = database.execute("SELECT beat FROM checkpoints").fetchone()[0]
        return beat


def test_a_store_that_is_away_for_a_while_is_no_restart(file: str) -> None:
    with service(provider=ScriptedProvider([[NEVER]]), store=file) as served:
        id = begin(served)
        wait_for(served, id, "in_progress")
    change(file, "ALTER TABLE events RENAME TO away")
    change(file, "CREATE VIEW events AS SELECT 1 AS response")
    with service(provider=ScriptedProvider(["Done"]), store=file, pace=QUICK) as served:
        beats, deadline = {0.0}, time.monotonic() + 20
        while len(beats) < 8:
            beats.add(beat_of(file))
            assert time.monotonic() < deadline, "it is tried again and again"
        change(file, "DROP VIEW events")
        change(file, "ALTER TABLE away RENAME TO events")
        assert text_of(wait_for(served, id, "completed")) == "Done"


def test_a_run_whose_previous_response_is_gone_fails(file: str) -> None:
    with service(provider=ScriptedProvider(["First", ["Half", NEVER]]), store=file) as served:
        before = served.post({"input": "remember 42"}, RESPONSES).json()["id"]
        id = begin(served, previous_response_id=before)
        told_until(served, id, says("Half"))
        served.client.delete(f"{served.url}{RESPONSES}/{before}")
    second = ScriptedProvider(["Done"])
    with service(provider=second, store=file, pace=QUICK) as served:
        assert wait_for(served, id, "failed")["error"]["code"] == "previous_response_not_found"
    assert second.calls == 0


def test_what_cannot_be_read_of_a_run_fails_at_last(file: str) -> None:
    with service(provider=ScriptedProvider([[NEVER]]), store=file) as served:
        id = begin(served)
        wait_for(served, id, "in_progress")
    change(file, "UPDATE checkpoints SET said = '{'")
    with service(provider=ScriptedProvider([]), store=file, pace=QUICK) as served:
        assert wait_for(served, id, "failed")["error"]["code"] == "server_restarted"


# A process that is killed


def test_no_run_is_lost_when_its_process_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with Upstream() as up, httpx.Client(trust_env=False, timeout=30, verify=False) as client:
        up.always(sse(chat_chunks("Half a", finish="", usage=None), done=False).but(stall=True))
        with process(up, file) as (url, running):
            served = Service(url, client)
            ids = [begin(served) for _ in range(10)]
            assert up.wait_requests(5)
            running.send_signal(signal.SIGKILL)
            running.wait()
        up.always(sse(chat_chunks("All of it")))
        with service(up, store=f"sqlite:///{file}") as served:
            assert {text_of(wait_for(served, id, "completed")) for id in ids} == {"All of it"}
            for id in ids[:3]:
                follow(served, id)


def test_a_process_that_is_gone_is_known_to_be() -> None:
    assert not worker.is_dead(worker.name())
    assert not worker.is_dead("1/another machine:1/1/1") and not worker.is_dead("")
    command = [sys.executable, "-c", "from service import worker; print(worker.name())"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        name = child.stdout.readline().strip()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert worker.is_dead(name), "while nobody has noticed"
    assert worker.is_dead(name)


# What is told to the model that goes on


def resumption(*said: Message, held: bool = False, stop: Stop = "stop") -> Resumption:
    return Resumption.of(said, Usage(), {"read_file"}, held, stop)


def calls(*names: str, own: bool = True) -> Message:
    return Message("assistant", tuple(ToolCall(name, name, own=own) for name in names))


def test_only_what_reads_is_done_again() -> None:
    left = resumption(calls("read_file", "write_file", "ls"), Message("tool", (ToolResult("ls"),)))
    *_, errors, words = left.told
    assert [(result.call_id, result.is_error) for result in errors.results] == [("write_file", True)]
    assert [(result.call_id, result.text) for result in words.results] == [("approve_read_file", "yes")]
    assert left.end is None and words not in left.said


def test_an_answer_that_was_whole_is_not_asked_for_again() -> None:
    end = resumption(calls("ls"), Message("tool", (ToolResult("ls"),)), assistant("Done")).end
    assert end is not None and (end.reason, end.text) == ("stop", "Done")
    assert resumption(Message("assistant", (Refusal("I will not"),))).end
    end = resumption(calls("price", own=False)).end
    assert end is not None and end.reason == "tool_calls" and [call.name for call in end.calls] == ["price"]
    assert resumption().end is resumption(assistant("{}"), held=True).end is resumption(assistant("")).end is None
    assert resumption(calls("ls"), user("more?")).end is resumption(assistant("{"), user("again")).end is None


def test_an_answer_that_was_cut_is_at_its_end_unless_nobody_has_heard_it() -> None:
    cut = resumption(calls("read_file"), stop="length")
    assert cut.end is not None and cut.end.reason == "length" and cut.said[-1].results[0].is_error
    held = resumption(calls("ls"), Message("tool", (ToolResult("ls"),)), assistant("{"), held=True, stop="length")
    assert held.end is None and len(held.said) == 2


def test_beside_a_call_of_the_clients_nothing_is_done_again() -> None:
    end = resumption(
        Message("assistant", (ToolCall("a", "read_file", own=True), ToolCall("b", "price", own=False)))
    ).end
    assert end is not None and end.messages[-1].results[0].is_error and [call.id for call in end.calls] == ["b"]
