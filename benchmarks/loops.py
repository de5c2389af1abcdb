"""asyncio's loop or uvloop: memory with clients that do not read, and CPU of streams. Takes a minute.

pip install uvloop; python benchmarks/loops.py [--stuck 50] [--streams 100]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.upstream import Reply, Upstream, chat_chunks, sse  # noqa: E402

SERVE = """
import sys, uvicorn
from server import create_app
from service.wire import Wire
from settings import Settings

class Patient(Wire):
    read_seconds = 3600

settings = Settings(model="openai/test", openai_base_url=sys.argv[1], openai_api_key="sk-none", skills=())
how = dict(loop=sys.argv[3], http=Patient, ws="none", log_level="warning", access_log=False)
uvicorn.run(create_app(settings), port=int(sys.argv[2]), **how)
"""
CHAT = "/v1/chat/completions"
ASK = {"model": "openai/test", "messages": [{"role": "user", "content": "hi"}], "stream": True}
PAGE, TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stuck", type=int, default=50, help="clients that do not read")
    parser.add_argument("--streams", type=int, default=100, help="streams whose CPU is measured")
    options = parser.parse_args()
    print("| loop | memory | with stuck readers | CPU of a stream of 200 events |\n" + "| --- " * 4 + "|")
    for loop in ("asyncio", "uvloop"):
        if loop == "uvloop" and not find_spec("uvloop"):
            print("| uvloop | is not installed |")
            continue
        idle, held = _stuck(loop, options.stuck)
        cpu = _cpu(loop, options.streams)
        told = [f"{idle:.0f} MB", f"+{held - idle:.0f} MB", f"{cpu * 1000:.1f} ms"]
        print(f"| {loop} | {' | '.join(told)} |", flush=True)


def _stuck(loop: str, count: int) -> tuple[float, float]:
    """Megabytes before, and at most while the readers are there."""
    with Upstream() as up, ExitStack() as stack:
        process, port = stack.enter_context(Serving(up, loop))
        up.always(sse(chat_chunks("Hello")))
        httpx.post(f"http://127.0.0.1:{port}{CHAT}", json=ASK, timeout=60).raise_for_status()
        idle = _megabytes(process.pid)
        up.always(_flood())
        for _ in range(count):
            stack.enter_context(_mute(port))
        up.wait_requests(count + 1, 60)
        held = idle
        for _ in range(100):
            time.sleep(0.1)
            held = max(held, _megabytes(process.pid))
        return idle, held


def _cpu(loop: str, count: int) -> float:
    """Seconds of one stream, of which 50 are read at a time."""
    with Upstream() as up, ExitStack() as stack:
        process, port = stack.enter_context(Serving(up, loop))
        up.always(sse(chat_chunks(" ".join(["word"] * 200))))
        asyncio.run(_read(port, 50))
        before = _seconds(process.pid)
        asyncio.run(_read(port, count))
        return (_seconds(process.pid) - before) / count


async def _read(port: int, count: int) -> None:
    turns = asyncio.Semaphore(50)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:

        async def one() -> None:
            async with turns, client.stream("POST", f"http://127.0.0.1:{port}{CHAT}", json=ASK) as answer:
                async for _ in answer.aiter_raw():
                    pass

        await asyncio.gather(*[one() for _ in range(count)])


class Serving:
    """The service in a process of its own, and its port."""

    def __init__(self, up: Upstream, loop: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        arguments = [f"{up.url}/v1", str(self._port), loop]
        self._process = subprocess.Popen([sys.executable, "-c", SERVE, *arguments], cwd=ROOT)

    def __enter__(self) -> tuple[subprocess.Popen[bytes], int]:
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{self._port}/ready").raise_for_status()
                return self._process, self._port
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the service does not start")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _flood() -> Reply:
    """80 MB, as fast as they are taken; then silence."""
    chunk = chat_chunks("x")[1]
    chunk["choices"][0]["delta"]["content"] = "flood " * 3000
    (flood,) = sse([chunk], done=False).chunks
    return sse([]).but(chunks=[flood] * 4_000, stall=True)


def _mute(port: int) -> socket.socket:
    """A client that asks and does not read."""
    body = json.dumps(ASK).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
    return sock


def _megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


if __name__ == "__main__":
    main()
