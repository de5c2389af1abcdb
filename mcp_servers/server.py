"""One MCP server: a task of its own that connects, connects again when the connection is lost, and keeps its tools."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio

from history import legal
from mcp_servers.config import Config
from mcp_servers.results import output
from mcp_servers.wire import LOST, REFUSED, UNSENT, Authenticate, Unreachable, Unsent, transport
from messages import Image, Text, ToolSpec, clean
from redaction import Redaction
from tools import Output, Tool, ToolError

log = logging.getLogger("skill_agent.mcp")
LONGEST_DESCRIPTION = 1000
LONGEST_REST = 60.0
"""Seconds between two attempts to connect, at most."""
STEADY = 30.0
"""Seconds after which a connection was a good one, and the next loss is the first again."""
PING_SECONDS = 10.0
LISTEN_AGAIN = 60.0
MOST_PAGES = 100
DEEPEST = 100
ENDS = "it ends at once (its own words are in the log at debug)"
UNCERTAIN = "which may have been made or not"
LONGEST_FAULT = 500
MOST_TOLD = 10
CLOSED, METHOD_NOT_FOUND = -32000, -32601
"""Codes of the SDK and of JSON-RPC. Servers give the first one for errors of their own as well."""


class _Lost(Exception):
    """The connection went while the call was under way."""


@dataclass(eq=False, slots=True)
class _Session:
    """One connection. Its errors are predicates of the server.

    `woken` is set when it is `lost`, its tools have `changed`, or it is no more `sure` that it lives.
    """

    client: Any = None
    up: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    changed: bool = False
    sure: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.sure.set()

    def change(self) -> None:
        self.changed = True
        self.woken.set()

    def doubt(self) -> None:
        self.sure.clear()
        self.woken.set()

    def lose(self) -> None:
        self.lost = True
        self.woken.set()
        self.sure.set()

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Raises `Unsent`, `_Lost`, or `ToolError` with what the server objects to."""
        from mcp import MCPError

        if self.lost:
            raise Unsent("the connection is lost")
        try:
            return await self.client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == UNSENT:
                raise Unsent(error.message) from error
            if self.lost or (error.code == CLOSED and error.message == "Connection closed"):
                raise _Lost from error
            if error.code == LOST or (error.code == CLOSED and error.message.startswith("SSE stream")):
                self.doubt()
                raise ToolError(f"has broken off this call, {UNCERTAIN}: {error.message}") from error
            raise ToolError(f"answers with an error: {error.message}") from error
        except (RuntimeError, ValueError) as error:
            raise ToolError(f"has answered against the protocol, or its own schema: {error}") from error


class Server:
    """Connects for as long as the task that `start` gives runs; `tools` are those that can be called now."""

    def __init__(self, config: Config, authenticate: Authenticate | None, connect_seconds: float, rest: float) -> None:
        self.config = config
        self.tools: tuple[Tool, ...] = ()
        self._redact = Redaction(config.credentials)
        self._authenticate = self._noting(authenticate) if authenticate else None
        self._limit = connect_seconds
        self._rest = rest
        self._mode = "legacy"
        self._failures = 0
        self._told: set[str] = set()
        self._warned = False
        self._session = _Session(lost=True)

    def _noting(self, authenticate: Authenticate) -> Authenticate:
        async def headers() -> Mapping[str, str]:
            found = await authenticate()
            self._redact.add(*(value.rpartition(" ")[2] for value in found.values()))
            return found

        return headers

    def start(self) -> asyncio.Task[None]:
        self._scope = anyio.CancelScope()
        self._hurry = asyncio.Event()
        self._next: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return asyncio.create_task(self._run(), name=f"MCP server {self.config.name}")

    async def tried(self) -> None:
        """Returns when the first attempt has ended, or its time is over."""
        await asyncio.wait([self._next], timeout=self._limit + 1)

    def stop(self) -> None:
        self._scope.cancel()

    # The connection. The SDK wants it entered and left in one task.

    async def _run(self) -> None:
        try:
            with self._scope:
                while True:
                    begun = time.monotonic()
                    fault = await self._attempt()
                    if time.monotonic() - begun > self._limit + STEADY:
                        self._failures = 0
                        self._told.clear()
                    self._complain(fault or "the connection is lost")
                    if fault:
                        self.tools = ()
                        self._settle(fault)
                        self._next = asyncio.get_running_loop().create_future()
                    with anyio.move_on_after(min(LONGEST_REST, self._rest * 2**self._failures)):
                        await self._hurry.wait()
                    self._failures = min(self._failures + 1, 16)
        finally:
            self.tools = ()
            self._settle("the service is stopping")

    def _settle(self, outcome: str) -> None:
        """Tells all who wait how the attempt has ended; "" is well."""
        self._hurry.clear()
        if not self._next.done():
            self._next.set_result(outcome)

    def _complain(self, fault: str) -> None:
        """Each fault once, until the server has been well for a while."""
        known = fault in self._told or len(self._told) >= MOST_TOLD
        self._told.add(fault)
        self._warned = self._warned or not known
        log.log(logging.DEBUG if known else logging.WARNING, "MCP server %s: %s", self.config.name, fault)

    async def _attempt(self) -> str:
        """A connection from beginning to end. Returns why there was none, or "".

        All servers know the handshake but those that speak nothing but the newest protocol, and they say so.
        """
        fault = ""
        for mode in dict.fromkeys((self._mode, "legacy", "auto")):
            fault, refused = await self._connection(mode)
            if not refused:
                self._mode = mode
                break
        return fault

    async def _connection(self, mode: str) -> tuple[str, bool]:
        """As `_attempt`, and whether the server itself refuses to begin like this."""
        session = _Session()
        fault, refused = f"it does not answer within {self._limit:g} seconds", False
        try:
            with anyio.move_on_after(self._limit) as scope:
                await self._live(session, mode, scope)
                fault = ENDS
        except Exception as error:
            fault, refused = self._words(error)
        finally:
            self._lose(session)
        return ("", False) if session.up else (fault, refused)

    async def _live(self, session: _Session, mode: str, scope: anyio.CancelScope) -> None:
        from mcp import Client
        from mcp.types import Implementation, ToolListChangedNotification

        async def heard(message: object) -> None:
            if isinstance(message, ToolListChangedNotification):
                session.change()

        way = transport(self.config, self._authenticate, lambda: self._lose(session))
        info = Implementation(name="skill-agent", version="1")
        async with Client(way, mode=mode, cache=None, message_handler=heard, client_info=info) as session.client:
            self.tools = await self._listed(session)
            scope.deadline = math.inf
            async with anyio.create_task_group() as tasks:
                if mode != "legacy":
                    tasks.start_soon(self._listen, session)
                self._up(session)
                await self._watch(session)
                tasks.cancel_scope.cancel()

    def _up(self, session: _Session) -> None:
        if not session.lost:
            self._session, session.up = session, True
            self._settle("")
            if self._warned:
                log.info("MCP server %s: connected", self.config.name)
                self._warned = False

    def _lose(self, session: _Session) -> None:
        if session.up and not session.lost:
            self._next = asyncio.get_running_loop().create_future()
        session.lose()

    async def _watch(self, session: _Session) -> None:
        """Until the connection is lost."""
        from mcp import MCPError

        while not session.lost:
            await session.woken.wait()
            session.woken.clear()
            with suppress(MCPError, RuntimeError, ValueError), anyio.move_on_after(self._limit):
                if session.changed and not session.lost:
                    session.changed = False
                    self.tools = await self._listed(session)
            if not session.sure.is_set():
                await self._ping(session)

    async def _ping(self, session: _Session) -> None:
        """After a call without an answer: a server that does not answer this either is begun anew."""
        from mcp import MCPError

        with anyio.move_on_after(min(PING_SECONDS, self.config.timeout)) as scope:
            try:
                await session.client.session.send_ping()
            except MCPError as error:
                if error.code in (UNSENT, LOST):  # any other one is an answer
                    self._lose(session)
        if scope.cancelled_caught:
            self._lose(session)
        session.sure.set()

    async def _listen(self, session: _Session) -> None:
        """The newest protocol has changes on a stream of their own."""
        from mcp import MCPError

        while True:
            with suppress(MCPError, RuntimeError, TimeoutError):
                async with session.client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        session.change()
            await anyio.sleep(LISTEN_AGAIN)
            session.change()

    def _words(self, error: BaseException) -> tuple[str, bool]:
        """What went wrong, in one line without secrets, and whether the server itself has said so."""
        from mcp import MCPError

        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, Unsent) or (isinstance(error, MCPError) and error.code == CLOSED and not self.config.url):
            return ENDS, False
        if not isinstance(error, MCPError):
            named = str(error) if isinstance(error, Unreachable) else f"{type(error).__name__}: {error}"
            return self._line(named), False
        return self._line(error.message), error.code not in (CLOSED, UNSENT, LOST, REFUSED)

    def _line(self, words: str) -> str:
        return self.config.hide(" ".join(clean(words).split()))[:LONGEST_FAULT]

    # The tools

    async def _listed(self, session: _Session) -> tuple[Tool, ...]:
        from mcp import MCPError

        found, cursor = [], None
        try:
            for _ in range(MOST_PAGES):
                page = await session.client.list_tools(cursor=cursor)
                found += page.tools
                if not (cursor := page.next_cursor):
                    break
        except MCPError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
        offered = {tool.name for tool in found}
        if missing := [name for name in self.config.asked if name not in offered]:
            self._complain(f"ask names tools that are not there: {', '.join(missing)}")
        return tuple(self._tool(tool) for tool in found)

    def _tool(self, found: Any) -> Tool:
        name: str = found.name

        async def run(**arguments: Any) -> Output:
            return await self.call(name, arguments)

        description = found.description or found.title or ""
        if len(description) > LONGEST_DESCRIPTION:
            description = f"{description[: LONGEST_DESCRIPTION - 1]}…"
        parameters = {"type": "object", "properties": {}, **found.input_schema}
        spec = ToolSpec(legal(f"mcp__{self.config.name}__{name}"), description, parameters)
        return Tool(spec, None, run, self.config.asks(name), outside=True)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Output:
        """A tool's output. Raises `ToolError`. Cancelling the caller's task cancels the request at the server."""
        try:
            found = output(await self._called(name, _plain(arguments)))
            return [self._shown(part) for part in found] if found else found
        except ToolError as error:
            raise ToolError(self._redact(self.config.hide(str(error)))) from None

    def _shown(self, part: Text | Image) -> Text | Image:
        """A server may say back what it was given to let us in."""
        return Text(self._redact(part.text)) if isinstance(part, Text) else part

    async def _called(self, name: str, arguments: dict[str, Any]) -> Any:
        """A call that has certainly not been made is made once more, over a new connection."""
        try:
            return await self._once(name, arguments)
        except Unsent:
            try:
                return await self._once(name, arguments)
            except Unsent as error:
                raise self._error(f"cannot be reached; nothing was done: {error}") from None

    async def _once(self, name: str, arguments: dict[str, Any]) -> Any:
        session = await self._connected()
        try:
            async with asyncio.timeout(self.config.timeout):
                return await session.call(name, arguments)
        except TimeoutError:
            session.doubt()
            limit = f"{self.config.timeout:g} seconds"
            raise self._error(f"does not answer within {limit}; the call may have had its effect") from None
        except Unsent:
            self._lose(session)
            raise
        except _Lost:
            self._lose(session)
            fault = await self._restarted()
            again = f"it cannot be connected again: {fault}" if fault else "it is connected again"
            raise self._error(f"was lost during this call, {UNCERTAIN}; {again}") from None
        except ToolError as error:
            raise self._error(str(error)) from None

    async def _connected(self) -> _Session:
        await self._session.sure.wait()
        if self._session.lost and (fault := await self._restarted()):
            raise self._error(f"cannot be reached; nothing was done: {fault}")
        return self._session

    def _error(self, words: str) -> ToolError:
        return ToolError(f"the MCP server {self.config.name} {self._line(words)}")

    async def _restarted(self) -> str:
        """Waits for the attempt that is under way, or one that begins now. Returns why it has failed, or ""."""
        self._hurry.set()
        return await asyncio.shield(self._next)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What every JSON parser reads: a server that cannot read a message says nothing."""
    if _is_deep(arguments, DEEPEST):
        raise ToolError(f"the arguments are nested more than {DEEPEST} levels deep")
    plain: dict[str, Any] = json.loads(clean(json.dumps(arguments, ensure_ascii=False)))
    return plain


def _is_deep(value: object, left: int) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return left == 0 or any(_is_deep(item, left - 1) for item in inner)
