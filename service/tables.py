"""The store's tables. Importing this imports SQLAlchemy."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Delete,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    Update,
    delete,
    event,
    func,
    select,
    update,
)
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from service.record import Checkpoint

BUSY_SECONDS = 10.0
"""How long a writer waits for another process's."""

CACHE_KIB = 512
"""Of the database that is kept in memory: what is asked for is seldom what was asked for before."""

FINISHED = ("completed", "incomplete")

_meta = MetaData()

responses = Table(
    "responses",
    _meta,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("created", Float, nullable=False, index=True),
    Column("status", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("items", LargeBinary, nullable=False),
    Column("heard", LargeBinary, nullable=False),
    Column("said", LargeBinary, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("conversation", String(128), nullable=False),
    Column("background", Boolean, nullable=False),
    Column("beat", Float, nullable=False),
    Column("workspace", String(32), nullable=False),
    Index("of_conversation", "owner", "conversation", "created"),
)
events = Table(
    "events",
    _meta,
    Column("response", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
checkpoints = Table(
    "checkpoints",
    _meta,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("created", Float, nullable=False),
    Column("model", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("said", LargeBinary, nullable=False),
    Column("stop", String(16), nullable=False),
    Column("usage", LargeBinary, nullable=False),
    Column("number", Integer, nullable=False),
    Column("worker", String(128), nullable=False),
    Column("beat", Float, nullable=False),
    Column("taken", Integer, nullable=False),
)
turns = Table(
    "turns",
    _meta,
    Column("key", String(64), primary_key=True),
    Column("created", Float, nullable=False, index=True),
    Column("messages", LargeBinary, nullable=False),
    Column("workspace", String(32), nullable=False),
)
workspaces = Table(
    "workspaces",
    _meta,
    Column("key", String(64), primary_key=True),
    Column("created", Float, nullable=False, index=True),
    Column("workspace", String(32), nullable=False),
)
files = Table(
    "files",
    _meta,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("created", Float, nullable=False, index=True),
    Column("workspace", String(32), nullable=False),
    Column("path", String(4096), nullable=False),
)
keys = Table(
    "keys",
    _meta,
    Column("name", String(32), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


def create(connection: Connection) -> None:
    _meta.create_all(connection)


def chain(id: str, owner: str) -> Select[Any]:
    """A response and all before it."""
    newest = select(responses).where(responses.c.id == id, responses.c.owner == owner).cte(recursive=True)
    older = select(responses).join(newest, responses.c.id == newest.c.previous).where(responses.c.owner == owner)
    return select(newest.union_all(older))


def last_of(conversation: str, owner: str) -> Select[Any]:
    mine = (responses.c.conversation == conversation, responses.c.owner == owner, responses.c.status.in_(FINISHED))
    return select(responses.c.id).where(*mine).order_by(responses.c.created.desc()).limit(1)


def newest_event(response: str) -> Select[Any]:
    return select(func.max(events.c.number)).where(events.c.response == response)


def held(checkpoint: Checkpoint) -> Update:
    """For what only the worker that has the run may change."""
    mine = (checkpoints.c.id == checkpoint.id, checkpoints.c.worker == checkpoint.worker)
    return update(checkpoints).where(*mine)


def taken(id: str, before: str, beat: float, worker: str, now: float) -> Update:
    """Gives a run to another worker, unless the one before has given a sign since that last one."""
    as_seen = (checkpoints.c.id == id, checkpoints.c.worker == before, checkpoints.c.beat == beat)
    return update(checkpoints).where(*as_seen).values(worker=worker, beat=now, taken=checkpoints.c.taken + 1)


def outdated(response: float, turn: float) -> list[Delete]:
    """Deletes responses created before one time and turns before another."""
    old = select(responses.c.id).where(responses.c.created < response)
    return [
        delete(events).where(events.c.response.in_(old)),
        delete(checkpoints).where(checkpoints.c.id.in_(old)),
        delete(responses).where(responses.c.created < response),
        delete(turns).where(turns.c.created < turn),
        delete(workspaces).where(workspaces.c.created < response),
        delete(files).where(files.c.created < response),
    ]


def engine(address: URL) -> AsyncEngine:
    """SQLite gets one connection: its writers wait for each other anyway, and a database in memory has no second."""
    if address.get_backend_name() != "sqlite":
        return create_async_engine(address, pool_pre_ping=True)
    made = create_async_engine(
        address, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_SECONDS}
    )
    event.listen(made.sync_engine, "connect", _set_up_sqlite)
    return made


def _set_up_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    cursor.close()
