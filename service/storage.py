"""The store, opened when something is first stored: SQLAlchemy takes 0.2 s and 15 MB that few answers need."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from setting_forms import without_password
from settings import SettingsError

if TYPE_CHECKING:
    from service.store import Store

POSTGRESQL = "postgresql://"
NO_DRIVER = "PostgreSQL needs its driver: pip install -r requirements-postgres.txt"


class Storage:
    """`url` as in `sqlite:///path` or `postgresql://…`; "" keeps everything in memory.

    Raises `SettingsError` where the address needs a driver that is not installed.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url or "sqlite://"
        self._opening = asyncio.Lock()
        self._store: Store | None = None
        self._path = self._url.removeprefix("sqlite://").removeprefix("/").partition("?")[0]
        if self._is_remote and importlib.util.find_spec("asyncpg") is None:
            raise SettingsError("SKILL_AGENT_STORE", NO_DRIVER, without_password(url))

    @property
    def _is_remote(self) -> bool:
        return self._url.startswith(POSTGRESQL)

    @property
    def lasts(self) -> bool:
        """Whether another process finds what this one leaves."""
        return self._is_remote or self._path not in ("", ":memory:")

    async def open(self) -> Store:
        """Raises `SettingsError` where the address is of no use."""
        if self._store is None:
            async with self._opening:
                self._store = self._store or await self._opened()
        return self._store

    async def _opened(self) -> Store:
        await asyncio.to_thread(importlib.import_module, "service.store")
        from service.store import Store

        return await Store.open(self._url)

    async def has_runs(self) -> bool:
        """Whether there may be runs in the background. A file is looked into without SQLAlchemy."""
        if self._store is not None or self._is_remote:
            return True
        return self.lasts and await asyncio.to_thread(_has_runs, self._path)

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()


def _has_runs(path: str) -> bool:
    if not os.path.exists(path):
        return False
    import sqlite3

    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM checkpoints LIMIT 1").fetchone() is not None
    except sqlite3.Error:  # a file of an earlier release has no such table
        return False
