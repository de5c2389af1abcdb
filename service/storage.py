"""The store, opened when something is first stored: SQLAlchemy takes 0.2 s and 15 MB that few answers need."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.store import Store


class Storage:
    """`url` as in `sqlite:///path` or `postgresql://…`; "" keeps everything in memory."""

    def __init__(self, url: str = "") -> None:
        self._url = url or "sqlite://"
        self._opening = asyncio.Lock()
        self._store: Store | None = None

    async def open(self) -> Store:
        """Raises `SettingsError` where the address or its driver is of no use."""
        if self._store is None:
            async with self._opening:
                self._store = self._store or await self._opened()
        return self._store

    async def _opened(self) -> Store:
        await asyncio.to_thread(importlib.import_module, "service.store")
        from service.store import Store

        return await Store.open(self._url)

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()
