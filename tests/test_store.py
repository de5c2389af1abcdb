"""What the service keeps, in either kind of database."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from providers.scripted import ScriptedProvider, call
from server import create_app
from service.record import Checkpoint, Record
from service.storage import Storage
from service.store import KEPT_SECONDS, Store
from settings import Settings, SettingsError
from tests.responses import RESPONSES, create, text_of
from tests.surface import CHAT, HI, PRICE, read_error, read_whole, service


def run(store: str, work: Callable[[Store], Awaitable[None]]) -> None:
    async def opened() -> None:
        storage = Storage(store)
        try:
            await work(await storage.open())
        finally:
            await storage.aclose()

    asyncio.run(opened())


def record(**changes: Any) -> Record:
    new = {"id": f"resp_{uuid.uuid4().hex}", "owner": "key:a", "created": time.time()}
    return Record(**{**new, "status": "completed", "body": b"{}", **changes})


def test_answers_are_kept_gone_on_from_and_deleted(store: str) -> None:
    price = {"type": "function", "name": "price", "parameters": {"type": "object", "properties": {}}}
    model = ScriptedProvider(["One 🙂", [call("price", item="tea")], "3 euros", "Still"])
    with service(provider=model, store=store) as served:
        first = create(served, input="one", conversation="c1")
        second = create(served, input="two", previous_response_id=first["id"], tools=[price])
        (asked,) = second["output"]
        output = [{"type": "function_call_output", "call_id": asked["call_id"], "output": "3"}]
        third = create(served, input=output, previous_response_id=second["id"], tools=[price])
        assert text_of(third) == "3 euros"
        create(served, input="four", conversation="c1")
        path = f"{RESPONSES}/{first['id']}"
        assert served.get(path).json() == first
        assert served.get(f"{path}/input_items").json()["data"][0]["content"][0]["text"] == "one"
        assert served.client.delete(f"{served.url}{path}").json()["deleted"]
        assert served.get(path).status_code == 404
    said = [[message.text for message in request.messages if message.role == "user"] for request in model.requests]
    assert said == [["one"], ["one", "two"], ["one", "two"], ["one", "four"]]


def test_turns_that_wait_for_their_client_are_kept(store: str) -> None:
    own, theirs = call("ls", id="own"), call("price", id="theirs")
    model = ScriptedProvider([[own, theirs], "3 euros"])
    with service(provider=model, store=store) as served:
        asked = read_whole(served.post({"messages": HI, "tools": [PRICE]}))
        calls = [{"id": id, "type": "function", "function": {"name": n, "arguments": a}} for id, n, a in asked.calls]
        result = {"role": "tool", "tool_call_id": "theirs", "content": "3"}
        back = [*HI, {"role": "assistant", "tool_calls": calls}, result]
        assert read_whole(served.post({"messages": back, "tools": [PRICE]}, CHAT)).text == "3 euros"
    made = [part.id for message in model.requests[1].messages for part in message.calls]
    assert made == ["own", "theirs"]


def test_many_that_open_it_at_once_all_can(store: str) -> None:
    async def work() -> None:
        storages = [Storage(store) for _ in range(6)]
        keys = await asyncio.gather(*(key(storage) for storage in storages))
        assert len(set(keys)) == 1
        await asyncio.gather(*(storage.aclose() for storage in storages))

    async def key(storage: Storage) -> bytes:
        return await (await storage.open()).key()

    asyncio.run(work())


def test_a_run_goes_to_one_of_those_who_ask(store: str) -> None:
    async def work(kept: Store) -> None:
        live = [record(status="in_progress", created=time.time() + number) for number in range(5)]
        for each in live:
            await kept.put(each, Checkpoint(each.id, each.owner, each.created, "m", b"{}", worker="old", beat=7.25))
        claims = await asyncio.gather(*(kept.claim(f"worker {n}", lambda *seen: seen[2] == 7.25, 9) for n in range(4)))
        assert sorted(run.id for claimed in claims for run in claimed) == sorted(each.id for each in live)
        assert all(run.taken == 1 and run.worker == f"worker {n}" for n, got in enumerate(claims) for run in got)
        assert await kept.claim("late", lambda *seen: seen[2] == 7.25, 9) == []
        (oldest,) = await kept.claim("next", lambda *_: True, 1)
        assert oldest.id == live[0].id

    run(store, work)


def test_only_its_worker_writes_of_a_run(store: str) -> None:
    async def work(kept: Store) -> None:
        live = record(status="in_progress")
        held = Checkpoint(live.id, live.owner, live.created, "m", b"{}", worker="new")
        await kept.put(live, held)
        old = Checkpoint(live.id, live.owner, live.created, "m", b"{}", worker="old")
        assert not await kept.progress(live, [(0, b"old")], old, True)
        assert await kept.progress(live, [(0, b"new")], held, True)
        assert await kept.events_after(live.id, -1) == [(0, b"new")]
        await kept.release(old)
        assert await kept.progress(live, [], held, False) and await kept.is_held(live.id)
        done = record(id=live.id)
        assert await kept.progress(done, [(1, b"end")], held, True) and not await kept.is_held(live.id)
        assert not await kept.progress(done, [(2, b"late")], held, True)

    run(store, work)


def test_what_is_past_its_time_goes(store: str) -> None:
    async def work(kept: Store) -> None:
        await kept.put(old)
        assert await kept.get(old.id, old.owner) == old and await kept.get(old.id, "key:b") is None

    async def later(kept: Store) -> None:
        await kept.put(record())
        assert await kept.get(old.id, old.owner) is None

    old = record(created=time.time() - KEPT_SECONDS)
    run(store, work)
    run(store, later)


def test_a_driver_that_is_missing_stops_the_start_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(SettingsError, match=r"requirements-postgres\.txt") as caught:
        create_app(Settings(store="postgresql://u:pa55@db/x"), ScriptedProvider([]))
    assert "pa55" not in str(caught.value)


def test_a_database_that_is_away_is_told_without_its_password() -> None:
    pytest.importorskip("asyncpg")
    address = "postgresql://u:pa55word@127.0.0.1:1/x?sslmode=prefer"
    with service(provider=ScriptedProvider(["Hi"]), store=address) as served:
        error = read_error(served.post({"input": "hi", "background": True}, RESPONSES))
    assert error["code"] == "misconfigured" and "pa55word" not in error["message"]
