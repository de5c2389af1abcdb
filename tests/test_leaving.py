"""Clients that leave, whatever is being done for them at that moment: nothing of it is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.descendants import descendants
from server import create_app
from settings import Settings
from tests.servers import Received, Reply, serve
from tests.surface import CHAT, Json
from tests.upstream import Upstream, chat_chunks, sse

pytest.importorskip("mcp", reason="the MCP SDK is not installed (requirements-mcp.txt)")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read in /proc")
ECHO = Path(__file__).with_name("mcp_echo.py")
EACH = 10
"""Clients that leave in the same way."""
THREADS = 4
"""Of those whose work needs one: there are few more on a small machine."""
Held: TypeAlias = tuple[int, int, int, int]
SILENCE = Reply(status=0, stall=True)
BEGUN = sse(chat_chunks("Two words", finish="", usage=None), done=False).but(stall=True)
SKILL = "---\nname: slow\ndescription: Slow.\n---\nRun scripts/linger.py.\n"
LINGER = "import time\ntime.sleep(600)\n"
SLOW_PATTERN = "(x+x+)+y"

WAYS: dict[str, tuple[str, bool]] = {
    "in the middle of a stream": ("words", True),
    "before the first word": ("silence", True),
    "while waiting for a whole answer": ("silence", False),
    "while a script runs": ("script", True),
    "while an MCP server works": ("server", False),
    "while files are searched": ("search", True),
}
"""What the user says, and whether the answer is streamed."""


class Stage:
    """The service with slow things to do, and what its process holds."""

    def __init__(self, up: Upstream, url: str, notes: Path) -> None:
        self.up = up
        self.notes = notes
        self._address = urlsplit(url)
        self._url = url

    def held(self) -> Held:
        """Tasks, descriptors, processes below, and connections at the provider."""
        with httpx.Client(trust_env=False, verify=False) as client:
            tasks: int = client.get(f"{self._url}/tasks").json()
        return tasks, len(os.listdir("/proc/self/fd")), len(descendants(os.getpid())), self.up.open

    def is_back_at(self, before: Held) -> Callable[[], bool]:
        return lambda: all(now <= then for now, then in zip(self.held(), before, strict=True))

    def ask(self, word: str, stream: bool) -> socket.socket:
        body: Json = {"messages": [{"role": "user", "content": word}], "stream": stream}
        content = orjson.dumps({**body, "skill_agent": {"activate": "slow"}})
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        client = socket.create_connection((self._address.hostname or "", self._address.port or 0), timeout=30)
        client.sendall(head.encode() + content)
        return client

    def leave(self, way: str, clients: int) -> None:
        """So many clients ask, and leave when what they asked for is under way."""
        word, stream = WAYS[way]
        before = self._begun(word)
        with ExitStack() as asking:
            for client in [asking.enter_context(self.ask(word, stream)) for _ in range(clients)]:
                heard = b""
                while word == "words" and b"words" not in heard:
                    heard += client.recv(65536)
            wait_until(lambda: self._begun(word) >= before + clients)

    def _begun(self, word: str) -> int:
        match word:
            case "script":
                return sum(b"linger.py" in command for command in commands())
            case "search":
                return sum(b"itertools" in command for command in commands())
            case "server":
                return len(list(self.notes.glob("*.waits")))
        return len(self.up.requests)


def commands() -> Iterator[bytes]:
    """Of the processes below, without those that only start others."""
    for pid in descendants(os.getpid()):
        try:
            yield Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def calling(tool: str, **arguments: object) -> Reply:
    """On a connection that is not kept for the next one."""
    return sse(chat_chunks(tool_calls=[("call_1", tool, json.dumps(arguments))])).but(framing="close")


def answers() -> Callable[[Received], Reply]:
    """A provider that does what the user's word says."""
    numbers = count()

    def answer(request: Received) -> Reply:
        messages = request.json["messages"]
        match next(message["content"] for message in messages if message["role"] == "user"):
            case "words":
                return BEGUN
            case "script":
                return calling("run_skill_script", skill="slow", script="scripts/linger.py")
            case "server":
                return calling("mcp__echo__wait", name=f"call{next(numbers)}")
            case "search" if messages[-1]["role"] == "user":
                return calling("write_file", path="x.txt", content="x" * 100)
            case "search":
                return calling("grep", pattern=SLOW_PATTERN, regex=True)
        return SILENCE

    return answer


async def tasks(_: Request) -> Response:
    return JSONResponse(len(asyncio.all_tasks()))


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    scripts = folder / "skills" / "slow" / "scripts"
    scripts.mkdir(parents=True)
    (scripts.parent / "SKILL.md").write_text(SKILL)
    (scripts / "linger.py").write_text(LINGER)
    notes = folder / "notes"
    notes.mkdir()
    echo = {"command": sys.executable, "args": [str(ECHO), "--notes", str(notes)], "timeout": 60}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"echo": echo}}))
    with Upstream() as up:
        up.always(answers())
        how: Json = {"model": "openai/test-model", "openai_base_url": f"{up.url}/v1", "openai_api_key": "sk-the-key"}
        app = create_app(Settings(**how, skills=(folder / "skills",), mcp=folder / "mcp.json"))
        app.router.routes.append(Route("/tasks", tasks))
        with serve(app) as url:
            wait_until(lambda: any("echo" in tool.spec.name for tool in app.state.models.mcp.tools()))
            yield Stage(up, url, notes)


def test_nothing_is_left_of_what_was_done_for_clients_that_left(tmp_path: Path) -> None:
    with stage(tmp_path) as held:
        for way in WAYS:
            held.leave(way, 1)
        wait_until(lambda: held.up.open <= 1)
        time.sleep(0.5)
        before = held.held()
        for way in WAYS:
            held.leave(way, EACH if way != "while files are searched" else THREADS)
            wait_until(held.is_back_at(before))
        assert len(list(held.notes.glob("*.cancelled"))) == len(list(held.notes.glob("*.waits")))
