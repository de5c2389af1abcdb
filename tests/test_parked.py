"""Turns with the agent's tools and the client's in one: what the model is told when the client comes back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from messages import Finish, Message, Text, ToolCall, ToolResult, Usage, user
from server import create_app
from service.parked import Parked
from service.storage import Storage
from service.store import TURN_SECONDS
from settings import Settings
from tests.servers import serve
from tests.upstream import Upstream, chat_chunks, claude_events, sse

TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}
HI = {"role": "user", "content": "tea?"}
SKILL = "---\nname: tea\ndescription: All about tea.\n---\nSteep it.\n"


@pytest.fixture
def skills(tmp_path: Path) -> Path:
    (tmp_path / "tea").mkdir()
    (tmp_path / "tea" / "SKILL.md").write_text(SKILL)
    return tmp_path


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def ask(url: str, *messages: Any) -> Any:
    body = {"messages": [HI, *messages], "tools": [TOOL]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30, verify=False).json()["choices"][0]


def test_claude_gets_one_message_with_all_calls_results_and_its_signature(up: Upstream, skills: Path) -> None:
    settings = Settings(
        model="anthropic/claude-sonnet-4-5", anthropic_api_key="k", anthropic_base_url=up.url, skills=(skills,)
    )
    both = [("toolu_a", "activate_skill", {"name": "tea"}), ("toolu_b", "price", {"item": "tea"})]
    first = claude_events(thinking="hm", signature="c2ln+/==", tool_uses=both, stop="tool_use")
    up.reply(sse(first, done=False, events=True), sse(claude_events("3 euros"), done=False, events=True))
    with serve(create_app(settings)) as url:
        choice = ask(url)
        assert choice["finish_reason"] == "tool_calls"
        assert [call["id"] for call in choice["message"]["tool_calls"]] == ["toolu_b"]
        result = {"role": "tool", "tool_call_id": "toolu_b", "content": "3"}
        assert ask(url, choice["message"], result)["message"]["content"] == "3 euros"
    _, said, results = up.requests[1].json["messages"]
    assert [block["type"] for block in said["content"]] == ["thinking", "tool_use", "tool_use"]
    assert said["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "c2ln+/=="}
    assert [block["tool_use_id"] for block in results["content"]] == ["toolu_a", "toolu_b"]
    assert "Steep it." in str(results["content"][0])


def test_earlier_turns_of_the_agent_come_back_too(up: Upstream, skills: Path) -> None:
    settings = Settings(model="openai/m", openai_base_url=f"{up.url}/v1", openai_api_key="k", skills=(skills,))
    up.reply(
        sse(chat_chunks(tool_calls=[("a", "activate_skill", '{"name": "tea"}')])),
        sse(chat_chunks(tool_calls=[("b", "price", "{}")])),
        sse(chat_chunks("3 euros")),
    )
    with serve(create_app(settings)) as url:
        choice = ask(url)
        ask(url, choice["message"], {"role": "tool", "tool_call_id": "b", "content": "3"})
    said = up.requests[2].json["messages"][2:]
    assert [message["role"] for message in said] == ["assistant", "tool", "assistant", "tool"]
    assert [message.get("tool_call_id") for message in said] == [None, "a", None, "b"]


def test_where_it_is_gone_the_conversation_is_still_valid(up: Upstream, skills: Path) -> None:
    settings = Settings(model="openai/m", openai_base_url=f"{up.url}/v1", openai_api_key="k", skills=(skills,))
    up.reply(sse(chat_chunks("3 euros")))
    call = {"id": "b", "type": "function", "function": {"name": "price", "arguments": "{}"}}
    with serve(create_app(settings)) as url:
        ask(url, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "b", "content": "3"})
    assert [message["role"] for message in up.requests[0].json["messages"]] == ["system", "user", "assistant", "tool"]


def test_another_process_puts_the_turn_back_too(up: Upstream, skills: Path, tmp_path: Path) -> None:
    settings = Settings(
        model="openai/m",
        openai_base_url=f"{up.url}/v1",
        openai_api_key="k",
        skills=(skills,),
        store=f"sqlite:///{tmp_path}/store.db",
    )
    up.reply(
        sse(chat_chunks(tool_calls=[("a", "activate_skill", '{"name": "tea"}'), ("b", "price", '{"item": "tea"}')])),
        sse(chat_chunks("3 euros")),
    )
    with serve(create_app(settings)) as url:
        said = ask(url)["message"]
    # Clients that parse the arguments write them anew.
    said["tool_calls"][0]["function"]["arguments"] = '{ "item" : "tea" }'
    with serve(create_app(settings)) as url:
        ask(url, said, {"role": "tool", "tool_call_id": "b", "content": "3"})
    _, _, whole, *results = up.requests[1].json["messages"]
    assert [call["id"] for call in whole["tool_calls"]] == ["a", "b"]
    assert [result["tool_call_id"] for result in results] == ["a", "b"]


def turn() -> tuple[Message, Message, Finish]:
    whole = Message("assistant", (ToolCall("a", "ours"), ToolCall("b", "theirs", '{"x": 1}')))
    done = Message("tool", (ToolResult("a", (Text("1"),)),))
    return whole, done, Finish("tool_calls", "", (whole, done), Usage(), (), (ToolCall("b", "theirs", '{"x": 1}'),))


async def test_a_turn_is_its_callers_and_of_its_conversation() -> None:
    storage = Storage()
    parked = Parked(storage)
    whole, done, finish = turn()
    await parked.keep("ann", [user("hi")], finish)
    seen = Message("assistant", (ToolCall("b", "theirs", '{"x":1}'),))
    other = Message("assistant", (ToolCall("b", "theirs", '{"x": 2}'),))
    assert (await parked.restore("ann", [user("hi"), seen]))[0] == [user("hi"), whole, done]
    assert (await parked.restore("ben", [user("hi"), seen]))[0] == [user("hi"), seen]
    assert (await parked.restore("ann", [user("hi"), other]))[0] == [user("hi"), other]
    assert (await parked.restore("ann", [user("ho"), seen]))[0] == [user("ho"), seen]
    await storage.aclose()


async def test_a_turn_is_kept_for_an_hour(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    storage = Storage(f"sqlite:///{file}")
    parked = Parked(storage)
    whole, done, finish = turn()
    await parked.keep("", [user("hi")], finish)
    seen = Message("assistant", (ToolCall("b", "theirs", '{"x": 1}'),))
    for age, expected in ((TURN_SECONDS - 60, [whole, done]), (TURN_SECONDS + 1, [seen])):
        with closing(sqlite3.connect(file)) as database:
            database.execute("UPDATE turns SET created = ?", [time.time() - age])
            database.commit()
        assert (await parked.restore("", [user("hi"), seen]))[0] == [user("hi"), *expected]
    await storage.aclose()


async def test_a_store_that_fails_costs_the_memory_and_not_the_answer(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path}/nowhere\0/store.db")
    parked = Parked(storage)
    *_, finish = turn()
    await parked.keep("", [user("hi")], finish)
    seen = Message("assistant", (ToolCall("b", "theirs", '{"x": 1}'),))
    assert (await parked.restore("", [user("hi"), seen]))[0] == [user("hi"), seen]
