"""Stores that tests are run on: a file of SQLite, and PostgreSQL where its programs are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import new_database, postgres, why_not


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    if reason := why_not():
        pytest.skip(reason)
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return new_database(request.getfixturevalue("database_server"))
