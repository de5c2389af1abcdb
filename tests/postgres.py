"""A PostgreSQL of the tests' own, where its programs are installed: in a temporary folder, on a loopback port."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.servers import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
ROLE = "tests"


def why_not() -> str:
    """What is missing, "" where nothing is."""
    if find_spec("asyncpg") is None:
        return "asyncpg is not installed (requirements-postgres.txt)"
    if _program("initdb") is None:
        return "PostgreSQL's programs are not installed"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser"
    return ""


@contextmanager
def postgres() -> Iterator[str]:
    """The server's address, without a database."""
    with tempfile.TemporaryDirectory(prefix="skill-agent-postgres-") as parent:
        if os.geteuid() == 0:
            shutil.chown(parent, "postgres")
        data = f"{parent}/data"
        _run("initdb", "--pgdata", data, "--auth", "trust", "--username", ROLE, "--no-sync", "--encoding", "UTF8")
        port = free_port()
        how = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        _run("pg_ctl", "--pgdata", data, "--wait", "--log", f"{parent}/log", "--options", how, "start")
        try:
            yield f"postgresql://{ROLE}@127.0.0.1:{port}"
        finally:
            _run("pg_ctl", "--pgdata", data, "--wait", "--mode", "immediate", "stop")


def new_database(server: str) -> str:
    """The address of an empty database."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_ask(f"{server}/postgres", f"CREATE DATABASE {name}"))
    return f"{server}/{name}"


def execute(database: str, statement: str) -> None:
    asyncio.run(_ask(database, statement))


async def _ask(database: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(database)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(PROGRAMS)), os.environ.get("PATH", "")]))


def _run(name: str, *arguments: str) -> None:
    program = _program(name)
    assert program
    as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    command = [*as_other, program, *arguments]
    subprocess.run(command, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=50)
