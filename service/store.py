"""What outlives a request: responses with their events, turns that wait for their client, the service's own key.

SQLite or PostgreSQL: the address says which. Importing this imports SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Table, Update, delete, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from service import tables
from service.record import LIVE, Checkpoint, Record
from service.tables import checkpoints, events, files, keys, responses, turns, workspaces
from setting_forms import without_password
from settings import SettingsError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
KEPT_SECONDS = 30 * 24 * 3600.0
"""How long responses are kept, as OpenAI keeps them."""
TURN_SECONDS = 3600.0
"""How long a turn waits for its client."""
TIDY_SECONDS = 3600.0


P = ParamSpec("P")
T = TypeVar("T")


def unbroken(
    method: Callable[Concatenate[Store, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, T]]:
    """Goes on to its end when its caller is cancelled: a query that is broken off takes its connection along, and a
    database in memory with it.
    """

    @wraps(method)
    async def whole(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        work = asyncio.ensure_future(method(self, *args, **kwargs))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        return await asyncio.shield(work)

    return whole


class Store:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._tidied = 0.0
        self._working: set[asyncio.Future[Any]] = set()

    @classmethod
    async def open(cls, url: str) -> Store:
        """Raises `SettingsError` where the address or its driver is of no use."""
        try:
            address = _driven(make_url(url))
            _make_folder(address)
            engine = tables.engine(address)
            await _create(engine)
        except (ImportError, OSError, TypeError, SQLAlchemyError) as error:
            why = f"cannot be used ({type(error).__name__})"
            raise SettingsError("SKILL_AGENT_STORE", why, without_password(url)) from error
        return cls(engine)

    async def aclose(self) -> None:
        await asyncio.gather(*self._working, return_exceptions=True)
        await self._engine.dispose()

    # Responses

    @unbroken
    async def put(self, record: Record, checkpoint: Checkpoint | None = None) -> None:
        """A new one, with what its run is gone on from if it is one in the background."""
        await self._tidy()
        async with self._engine.begin() as connection:
            await connection.execute(insert(responses).values(**asdict(record)))
            if checkpoint:
                await connection.execute(insert(checkpoints).values(**asdict(checkpoint)))

    @unbroken
    async def get(self, id: str, owner: str) -> Record | None:
        async with self._engine.begin() as connection:
            found = await connection.execute(select(responses).where(*_of(id, owner)))
            row = found.mappings().first()
        return Record(**row) if row else None

    @unbroken
    async def chain(self, id: str, owner: str) -> list[Record]:
        """The response and those before it that are still there, the oldest first; [] where it is gone itself."""
        async with self._engine.begin() as connection:
            found = await connection.execute(tables.chain(id, owner))
            records = {row["id"]: Record(**row) for row in found.mappings()}
        links: list[Record] = []
        while id in records:
            links.insert(0, records.pop(id))
            id = links[0].previous
        return links

    @unbroken
    async def last_of(self, conversation: str, owner: str) -> str:
        """The id of the newest response of a conversation, "" where there is none."""
        async with self._engine.begin() as connection:
            return await connection.scalar(tables.last_of(conversation, owner)) or ""

    @unbroken
    async def progress(
        self, record: Record, numbered: Sequence[tuple[int, bytes]], reached: Checkpoint, whole: bool
    ) -> bool:
        """The state of a run in the background and its new events, unless it has ended already or another has it:
        then False. Of a checkpoint that is not `whole` only the sign of life is new.
        """
        rows = [{"response": record.id, "number": number, "data": data} for number, data in numbered]
        told = (
            {"said": reached.said, "stop": reached.stop, "usage": reached.usage, "number": reached.number}
            if whole
            else {}
        )
        async with self._engine.begin() as connection:
            mine = await connection.execute(tables.held(reached).values(beat=record.beat, **told))
            if not mine.rowcount or not (await connection.execute(_change(record))).rowcount:
                return False
            if rows:
                await connection.execute(insert(events), rows)
            if not record.live:
                await connection.execute(delete(checkpoints).where(checkpoints.c.id == record.id))
            return True

    @unbroken
    async def end(self, record: Record, last: Callable[[int], bytes]) -> bool:
        """The end of a run, by another hand than its own; `last` makes the event from its number."""
        async with self._engine.begin() as connection:
            live = (await connection.execute(_change(record))).rowcount > 0
            if live:
                newest = await connection.scalar(tables.newest_event(record.id))
                number = 0 if newest is None else newest + 1
                row = {"response": record.id, "number": number, "data": last(number)}
                await connection.execute(insert(events).values(row))
                await connection.execute(delete(checkpoints).where(checkpoints.c.id == record.id))
            return live

    @unbroken
    async def delete(self, id: str, owner: str) -> bool:
        async with self._engine.begin() as connection:
            done = await connection.execute(delete(responses).where(*_of(id, owner)))
            if done.rowcount:
                await connection.execute(delete(events).where(events.c.response == id))
                await connection.execute(delete(checkpoints).where(checkpoints.c.id == id))
            return bool(done.rowcount)

    @unbroken
    async def events_after(self, id: str, number: int) -> list[tuple[int, bytes]]:
        chosen = select(events).where(events.c.response == id, events.c.number > number).order_by(events.c.number)
        async with self._engine.begin() as connection:
            return [(row.number, row.data) for row in await connection.execute(chosen)]

    # Runs that are handed on

    @unbroken
    async def is_held(self, id: str) -> bool:
        """Whether a run can be gone on with."""
        async with self._engine.begin() as connection:
            return bool(await connection.scalar(select(checkpoints.c.id).where(checkpoints.c.id == id)))

    @unbroken
    async def release(self, checkpoint: Checkpoint) -> None:
        """Nobody works on the run any more: whoever looks first has it, as the one who has taken it up once more."""
        async with self._engine.begin() as connection:
            await connection.execute(tables.held(checkpoint).values(worker="", beat=0.0, taken=checkpoint.taken))

    @unbroken
    async def claim(self, worker: str, is_left: Callable[[str, str, float], bool], limit: int) -> list[Checkpoint]:
        """Takes up so many of the runs that are left, judged by their id, worker and last sign; the oldest first, and
        each by one who asks.
        """
        seen = select(checkpoints.c.id, checkpoints.c.worker, checkpoints.c.beat).order_by(checkpoints.c.created)
        claimed: list[Checkpoint] = []
        async with self._engine.begin() as connection:
            rows = (await connection.execute(seen)).all()
        for id, before, beat in [tuple(row) for row in rows if is_left(row.id, row.worker, row.beat)]:
            if len(claimed) == limit:
                break
            async with self._engine.begin() as connection:
                if (await connection.execute(tables.taken(id, before, beat, worker, time.time()))).rowcount:
                    mine = await connection.execute(select(checkpoints).where(checkpoints.c.id == id))
                    claimed += [Checkpoint(**found) for found in mine.mappings()]
        return claimed

    # Turns that wait for their client

    @unbroken
    async def keep_turn(self, key: str, messages: bytes, workspace: str) -> None:
        await self._tidy()
        row = {"key": key, "created": time.time(), "messages": messages, "workspace": workspace}
        await self._put_anew(turns, turns.c.key == key, row)

    @unbroken
    async def turns(self, among: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        """Messages and workspace by key, of those that are not older than an hour."""
        fresh = (turns.c.key.in_(among), turns.c.created >= time.time() - TURN_SECONDS)
        async with self._engine.begin() as connection:
            found = await connection.execute(select(turns).where(*fresh))
            return {row.key: (row.messages, row.workspace) for row in found}

    # Files of conversations

    @unbroken
    async def keep_workspace(self, key: str, workspace: str) -> None:
        """Two conversations that went alike to the letter cannot be told apart: from then on neither is found."""
        await self._tidy()
        async with self._engine.begin() as connection:
            known = await connection.scalar(select(workspaces.c.workspace).where(workspaces.c.key == key))
            if known is None:
                row = {"key": key, "created": time.time(), "workspace": workspace}
                await connection.execute(insert(workspaces).values(row))
            elif known != workspace:
                await connection.execute(update(workspaces).where(workspaces.c.key == key).values(workspace=""))

    @unbroken
    async def workspaces(self, among: Sequence[str]) -> dict[str, str]:
        """Names by key."""
        async with self._engine.begin() as connection:
            found = await connection.execute(select(workspaces).where(workspaces.c.key.in_(among)))
            return {row.key: row.workspace for row in found}

    @unbroken
    async def keep_file(self, id: str, owner: str, workspace: str, path: str) -> None:
        row = {"id": id, "owner": owner, "created": time.time(), "workspace": workspace, "path": path}
        await self._put_anew(files, files.c.id == id, row)

    @unbroken
    async def file(self, id: str, owner: str) -> tuple[str, str, float] | None:
        """Workspace, path and time."""
        async with self._engine.begin() as connection:
            found = await connection.execute(select(files).where(files.c.id == id, files.c.owner == owner))
            row = found.first()
            return (row.workspace, row.path, row.created) if row else None

    async def _put_anew(self, table: Table, same: ColumnElement[bool], row: dict[str, Any]) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(delete(table).where(same))
            await connection.execute(insert(table).values(row))

    # The service's own

    @unbroken
    async def key(self) -> bytes:
        """The service's own secret, made once for a store."""
        with suppress(IntegrityError):  # which another process that is quicker causes
            async with self._engine.begin() as connection:
                if not await connection.scalar(select(keys.c.value)):
                    await connection.execute(insert(keys).values(name="seal", value=secrets.token_bytes(32)))
        async with self._engine.begin() as connection:
            return bytes((await connection.execute(select(keys.c.value))).scalar_one())

    async def _tidy(self) -> None:
        """Deletes what is past its time, now and then."""
        now = time.time()
        if now - self._tidied < TIDY_SECONDS:
            return
        self._tidied = now
        async with self._engine.begin() as connection:
            for statement in tables.outdated(now - KEPT_SECONDS, now - TURN_SECONDS):
                await connection.execute(statement)


def _of(id: str, owner: str) -> tuple[ColumnElement[bool], ...]:
    return responses.c.id == id, responses.c.owner == owner


def _change(record: Record) -> Update:
    """Writes what a run changes of its response, as long as it lives."""
    changed = {"status": record.status, "body": record.body, "said": record.said, "beat": record.beat}
    live = (*_of(record.id, record.owner), responses.c.status.in_(LIVE))
    return update(responses).where(*live).values(**changed)


def _driven(address: URL) -> URL:
    """With the driver that is used; what libpq calls `sslmode` is `ssl` there."""
    given = {"ssl": address.query["sslmode"]} if "sslmode" in address.query else {}
    plain = address.difference_update_query(["sslmode", "channel_binding"]).update_query_dict(given)
    return plain.set(drivername=DRIVERS.get(address.drivername, address.drivername))


async def _create(engine: AsyncEngine) -> None:
    """Makes the tables, also where another process is making the same ones."""
    for attempts_left in (2, 1, 0):
        try:
            async with engine.begin() as connection:
                await connection.run_sync(tables.create)
            return
        except DBAPIError:
            if not attempts_left:
                raise
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311


def _make_folder(address: URL) -> None:
    """For this user only: conversations are private."""
    database = address.database
    if address.get_backend_name() == "sqlite" and database and os.sep in database:
        Path(database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
