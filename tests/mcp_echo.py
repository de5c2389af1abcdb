"""A real MCP server for tests, of the SDK's own make: python mcp_echo.py [--port PORT] [--newest] [--notes FOLDER]

Over its input and output, or over streamable HTTP on loopback. `--newest` speaks the newest protocol only, and refuses
the handshake of the older ones. What it has done, and what became of calls, stands in files of the notes' folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
notes = Path()


async def echo(text: str) -> str:
    return text


async def process() -> int:
    """Which process this is."""
    return os.getpid()


async def environment() -> str:
    return json.dumps(dict(os.environ))


async def headers(ctx: Context[Any, Any]) -> str:
    """Also backwards, as what looks like a secret is taken out of what we say."""
    found = dict(ctx.headers or {})
    return json.dumps({**found, "backwards": found.get("authorization", "")[::-1]})


async def die(ctx: Context[Any, Any]) -> str:
    """Ends the process in the middle of the call."""
    with (notes / "deaths").open("a") as file:
        file.write("x")
    os._exit(3)


async def wait(name: str) -> str:
    """Says in the notes that it waits, and that it has been told not to."""
    (notes / f"{name}.waits").touch()
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        (notes / f"{name}.cancelled").touch()
        raise
    return "waited"


async def fail() -> str:
    raise ValueError("the oven is cold")


async def grow(name: str, ctx: Context[Any, Any]) -> str:
    """Adds a tool, and says so in the way of either protocol."""
    server.add_tool(echo, name=name, structured_output=False)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


async def pictures(kind: str = "image/png", count: int = 1, data: str = DOT, times: int = 1) -> Any:
    images = [ImageContent(type="image", mime_type=kind, data=data * times) for _ in range(count)]
    return CallToolResult(content=[TextContent(type="text", text="before"), *images])


async def long(characters: int) -> str:
    return "a" * (characters // 2) + "z" * (characters - characters // 2)


async def structured() -> Any:
    return CallToolResult(content=[], structured_content={"name": "Zoë", "price": 3})


async def nothing() -> Any:
    return CallToolResult(content=[])


async def everything() -> Any:
    text = TextResourceContents(uri="file:///a.md", text="# A")
    blob = BlobResourceContents(uri="file:///a.bin", mime_type="application/x-thing", blob="AAAA")
    picture = BlobResourceContents(uri="file:///a.png", mime_type="image/png", blob=DOT)
    return CallToolResult(
        content=[
            EmbeddedResource(type="resource", resource=text),
            EmbeddedResource(type="resource", resource=blob),
            EmbeddedResource(type="resource", resource=picture),
            AudioContent(type="audio", mime_type="audio/wav", data="AAAA"),
            ResourceLink(type="resource_link", name="manual", uri="file:///manual.pdf", description="How to"),
        ]
    )


async def only_the_newest(ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    if ctx.method == "initialize":
        raise MCPError(-32022, "this is not spoken here", {"supported": ["2026-07-28"], "requested": "?"})
    return await call_next(ctx)


server: Any = None


def main() -> None:
    global notes, server
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--newest", action="store_true")
    parser.add_argument("--notes", type=Path, default=Path())
    options = parser.parse_args()
    notes = options.notes
    server = MCPServer("echo", middleware=[only_the_newest] if options.newest else [], log_level="WARNING")
    for tool in (echo, process, environment, headers, die, wait, fail, grow, pictures, long, nothing, everything):
        server.add_tool(tool, structured_output=False)
    server.add_tool(structured, description="Says it in a structure. " + "x" * 2000, structured_output=False)
    server.add_tool(echo, name="a.name/of too many letters: " + "y" * 60, structured_output=False)
    print("secret of the environment:", os.environ.get("ECHO_KEY", ""), file=sys.stderr, flush=True)
    if options.port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", port=options.port)


if __name__ == "__main__":
    main()
