"""Whether answers outlive a silent provider behind a proxy that cuts idle connections. Takes a minute.

python benchmarks/idle_proxy.py [--silence 60] [--idle 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from providers.scripted import Play, ScriptedProvider  # noqa: E402
from server import create_app  # noqa: E402
from settings import Settings  # noqa: E402
from tests.servers import serve  # noqa: E402

SURFACES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": "hi"},
    "/v1/responses, background": {"input": "hi", "background": True},
    "/invocations": {"input": [{"role": "user", "content": "hi"}]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--silence", type=float, default=60, help="seconds that the provider says nothing")
    parser.add_argument("--idle", type=float, default=20, help="seconds of silence after which the proxy cuts")
    options = parser.parse_args()
    plays = [Play(["Begun. ", options.silence, "Done."]) for _ in SURFACES]
    with serve(create_app(Settings(), ScriptedProvider(plays))) as url:
        asyncio.run(_all(int(url.rpartition(":")[2]), options.idle))


async def _all(port: int, idle: float) -> None:
    async with _proxy(port, idle) as url, httpx.AsyncClient(trust_env=False, timeout=None) as client:
        rows = await asyncio.gather(*[_row(client, url, name, body) for name, body in SURFACES.items()])
    print("| streamed answer | seconds | longest silence on the wire | whole |\n| --- | --- | --- | --- |")
    print("\n".join(rows))


async def _row(client: httpx.AsyncClient, url: str, name: str, body: object) -> str:
    begun = last = time.monotonic()
    longest, text = 0.0, b""
    asked = {**json.loads(json.dumps(body)), "stream": True}
    try:
        async with client.stream("POST", f"{url}{name.partition(',')[0]}", json=asked) as response:
            async for data in response.aiter_raw():
                longest, last, text = max(longest, time.monotonic() - last), time.monotonic(), text + data
    except httpx.HTTPError as error:
        return f"| {name} | {time.monotonic() - begun:.0f} s | {longest:.1f} s | no: {type(error).__name__} |"
    whole = b"Done." in text and text.endswith(b"data: [DONE]\n\n")
    return f"| {name} | {time.monotonic() - begun:.0f} s | {longest:.1f} s | {'yes' if whole else 'no'} |"


@asynccontextmanager
async def _proxy(port: int, idle: float) -> AsyncIterator[str]:
    """Passes bytes on, and cuts a connection on which none have come from the server for so long."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        up = asyncio.create_task(_pass(reader, outer, None))
        try:
            with suppress(TimeoutError, asyncio.CancelledError):
                await _pass(inner, writer, idle)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            for each in (writer, outer):
                each.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: float | None) -> None:
    while data := await asyncio.wait_for(reader.read(65536), idle):
        writer.write(data)
        await writer.drain()


if __name__ == "__main__":
    main()
