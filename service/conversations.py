"""Runs that go on where their conversation was: its turns whole again, its files at hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from messages import Event, Finish, MadeFile, Message, Options, ToolSpec
from schemas import Extension
from service.drain import Drain
from service.log import NAME
from service.models import Served
from service.parked import Parked
from service.resumption import Resumption
from service.workspaces import Place, Workspaces, take_in

log = logging.getLogger(NAME)


class Conversations:
    def __init__(self, parked: Parked, workspaces: Workspaces, drain: Drain) -> None:
        self._drain = drain
        self._parked = parked
        self._workspaces = workspaces

    async def begin(
        self,
        served: Served,
        owner: str,
        heard: Sequence[Message],
        extension: Extension,
        tools: Sequence[ToolSpec],
        options: Options,
        count: int = 1,
        known: str = "",
        resumption: Resumption | None = None,
    ) -> tuple[list[AsyncGenerator[Event, None]], Place | None]:
        """So many runs of a request, and where their files are. `known` is the workspace of what was said before,
        `resumption` what an earlier process has left of the run.

        Raises `SkillError` before anything is run.
        """
        messages, parked = await self._parked.restore(owner, heard)
        place = await self._workspaces.of(owner, heard, known or parked) if served.has_files else None
        if place and "files" in served.agent.groups:
            messages = await asyncio.to_thread(take_in, messages, place.files, resumption is not None)
        files = place.files if place else None
        if resumption and (end := resumption.end):
            runs = [_ended(end)]
        else:
            messages = [*messages, *(resumption.told if resumption else ())]
            runs = [served.run(messages, extension, tools, options, files) for _ in range(count)]
            runs = [resumption.joined(run) if resumption else run for run in runs]
        return [self._keeping(owner, heard, self._drain.uncut(run), place) for run in runs], place

    async def _keeping(
        self, owner: str, heard: Sequence[Message], events: AsyncGenerator[Event, None], place: Place | None
    ) -> AsyncGenerator[Event, None]:
        """The events of a run; what the next request needs is kept before anyone is told of the end."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finish):
                    made = await self._made(owner, heard, event, place) if place else ()
                    await self._parked.keep(owner, heard, event, place.id if place and place.is_there else "")
                    event = replace(event, files=tuple(made))
                yield event

    async def _made(self, owner: str, heard: Sequence[Message], finish: Finish, place: Place) -> Sequence[MadeFile]:
        """What the run has made. A store that fails costs the files and not the answer."""
        try:
            return await self._workspaces.keep(owner, heard, finish, place)
        except Exception:
            log.warning("the files of a conversation could not be noted", exc_info=True)
            return finish.files


async def _ended(finish: Finish) -> AsyncGenerator[Event, None]:
    """In place of a run, where nothing is left but to tell its end."""
    yield finish
