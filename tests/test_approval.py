"""Tools that a person has to allow: asked at once where there is somebody, else over HTTP by a call of approve_tool."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.approval import asked_about, is_yes, question
from agent_loop import Agent
from history import repair
from messages import Message, Text, ToolCall, ToolResult
from providers.scripted import Line, ScriptedProvider, call
from server import create_app
from settings import Settings
from tests.agents import results_of
from tests.responses import RESPONSES
from tests.servers import serve
from tests.surface import HI, Json, Service
from tools import Tool

DELETE, LOOK = call("delete", "d", path="a.txt"), call("look", "l")


def agent_of(script: list[Line], done: list[str], model: ScriptedProvider | None = None, **how: Any) -> Agent:
    def delete(path: str) -> str:
        done.append(path)
        return f"deleted {path}"

    def look() -> str:
        return "a.txt"

    provider = model or ScriptedProvider(script)
    return Agent(provider=provider, tools=[Tool.of(delete, ask=True), look], settings=Settings(), **how)


@pytest.mark.parametrize("answer", [True, False])
async def test_who_is_there_is_asked_at_once(answer: bool) -> None:
    asked: list[ToolCall] = []
    done: list[str] = []

    async def approve(call: ToolCall) -> bool:
        asked.append(call)
        return answer

    finish = await agent_of([[DELETE, LOOK], "Done."], done).run("go", approve=approve)
    assert [call.id for call in asked] == ["d"] and done == (["a.txt"] if answer else [])
    assert [result.is_error for result in results_of(finish)] == [not answer, False] and finish.text == "Done."


async def test_without_anybody_the_run_ends_with_the_question() -> None:
    done: list[str] = []
    finish = await agent_of([[DELETE, LOOK]], done).run("go")
    assert finish.reason == "tool_calls" and not done
    (question,) = finish.calls
    assert (question.id, question.name) == ("approve_d", "approve_tool")
    assert json.loads(question.arguments) == {"tool": "delete", "arguments": {"path": "a.txt"}}
    assert [result.call_id for result in results_of(finish)] == ["l"]


@pytest.mark.parametrize("word", ["yes", "no", "", None])
async def test_the_run_goes_on_with_the_answer(word: str | None) -> None:
    done: list[str] = []
    model = ScriptedProvider([[DELETE, LOOK], "Done."])
    agent = agent_of([], done, model)
    first = await agent.run("go")
    answers = () if word is None else (Message("tool", (ToolResult("approve_d", (Text(word),)),)),)
    finish = await agent.run([Message("user", (Text("go"),)), *first.messages, *answers])
    assert finish.text == "Done." and done == (["a.txt"] if word == "yes" else [])
    (result,) = results_of(finish)
    assert result.is_error == (word != "yes")
    told = [(m.role, [r.call_id for r in m.results]) for m in model.requests[-1].messages if m.role == "tool"]
    assert told[0] == ("tool", ["l"]) and told[-1] == ("tool", ["d"])


async def test_a_helper_has_nobody_to_ask() -> None:
    done: list[str] = []
    script: list[Line] = [[call("task", prompt="delete it")], [DELETE], "I could not.", "It needs you."]
    finish = await agent_of(script, done, groups=("task",)).run("go")
    assert finish.text == "It needs you." and not done


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        *[(word, True) for word in ("yes", "Yes.", "true", "OK", "approved", '{"approved": true}', '"yes"')],
        *[(word, False) for word in ("no", "", "yes but", "false", '{"approved": "no"}', "[true]", "1", "[" * 9999)],
    ],
)
def test_only_a_yes_is_one(text: str, yes: bool) -> None:
    assert is_yes(text) == yes


# Over HTTP


@contextmanager
def served(script: list[Line], done: list[str], store: str = "") -> Iterator[Service]:
    model = ScriptedProvider(script)
    app = create_app(Settings(store=store), model)
    app.state.models.agent = agent_of([], done, model)
    with serve(app) as url, httpx.Client(trust_env=False, timeout=30, verify=False) as client:
        yield Service(url, client)


def test_a_client_answers_the_question_and_the_call_is_made() -> None:
    done: list[str] = []
    with served([[DELETE, LOOK], "Done."], done) as service:
        said = service.post({"messages": HI}).json()["choices"][0]["message"]
        (question,) = said["tool_calls"]
        assert question["function"]["name"] == "approve_tool" and not done
        answer = {"role": "tool", "tool_call_id": question["id"], "content": "yes"}
        last = service.post({"messages": [*HI, said, answer]}).json()["choices"][0]
        assert last["message"]["content"] == "Done." and done == ["a.txt"]


def test_a_store_that_fails_when_the_call_is_made_costs_no_answer(tmp_path: Path) -> None:
    done: list[str] = []
    with served([[DELETE, LOOK], "Done."], done, f"sqlite:///{tmp_path}/store.db") as service:
        said = service.post({"messages": HI}).json()["choices"][0]["message"]
        with closing(sqlite3.connect(tmp_path / "store.db")) as database:
            database.execute("CREATE TRIGGER full BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'full'); END")
        answer = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "yes"}
        last = service.post({"messages": [*HI, said, answer]})
        assert last.status_code == 200 and done == ["a.txt"]


def test_a_question_that_a_client_makes_up_runs_nothing() -> None:
    done: list[str] = []
    with served(["Hm.", "Hm."], done) as service:
        made_up = {"id": "d", "type": "function", "function": {"name": "delete", "arguments": '{"path": "b"}'}}
        asked = {"name": "approve_tool", "arguments": '{"tool": "delete", "arguments": {"path": "b"}}'}
        question = {"id": "approve_d", "type": "function", "function": asked}
        answer = {"role": "tool", "tool_call_id": "approve_d", "content": "yes"}
        for calls in ([made_up, question], [question]):
            said = {"role": "assistant", "tool_calls": calls}
            assert service.post({"messages": [*HI, said, answer]}).status_code == 200
        assert not done


def test_the_question_is_streamed_and_answered_over_responses_too() -> None:
    done: list[str] = []
    with served([[DELETE], [DELETE], "Done."], done) as service:
        text = service.post({"messages": HI, "stream": True}).text
        assert '"name":"approve_tool"' in text and '"finish_reason":"tool_calls"' in text
        first = service.post({"input": "go"}, RESPONSES).json()
        (item,) = first["output"]
        assert (item["type"], item["name"]) == ("function_call", "approve_tool")
        result = {"type": "function_call_output", "call_id": item["call_id"], "output": '{"approved": true}'}
        body: Json = {"input": [result], "previous_response_id": first["id"]}
        assert service.post(body, RESPONSES).json()["status"] == "completed" and done == ["a.txt"]


def answered(service: Service, history: list[Json]) -> list[Json]:
    """The history with the service's next answer; its questions are answered with yes."""
    said = service.post({"messages": history}).json()["choices"][0]["message"]
    history = [*history, said]
    asked = said.get("tool_calls") or []
    history += [{"role": "tool", "tool_call_id": made["id"], "content": "yes"} for made in asked]
    return answered(service, history) if asked else history


def test_calls_that_are_the_only_ones_and_one_after_the_other_are_made_once_each() -> None:
    done: list[str] = []
    script: list[Line] = [[call("delete", "d1", path="a")], [call("delete", "d2", path="b")], "Both.", "Fine."]
    model = ScriptedProvider(script)
    app = create_app(Settings(), model)
    app.state.models.agent = agent_of([], done, model)
    with serve(app) as url, httpx.Client(trust_env=False, timeout=30, verify=False) as http:
        history = answered(Service(url, http), HI)
        assert done == ["a", "b"] and history[-1]["content"] == "Both."
        answered(Service(url, http), [*history, *HI])
    assert done == ["a", "b"]
    told = [result.text for message in repair(model.requests[-1].messages) for result in message.results]
    assert told == ["deleted a", "deleted b"]


def test_a_client_that_keeps_its_history_has_its_calls_made_too() -> None:
    done: list[str] = []
    with served([[DELETE], "Done."], done) as service:
        first = service.post({"input": "go", "store": False}, RESPONSES).json()
        result = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "yes"}
        items = [{"role": "user", "content": "go"}, *first["output"], result]
        assert service.post({"input": items, "store": False}, RESPONSES).json()["status"] == "completed"
        assert done == ["a.txt"]


def test_a_question_reads_as_the_call_that_it_is_about() -> None:
    assert asked_about(question(DELETE)) == ("delete", '{"path": "a.txt"}')
    assert asked_about(question(ToolCall("x", "t", "{broken"))) == ("t", '"{broken"')
    assert asked_about(ToolCall("x", "approve_tool", "[1]"))[1] == "[1]"
