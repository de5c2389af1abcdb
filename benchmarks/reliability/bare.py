"""The least that can stream: Starlette and a generator of 50 frames, as `steady` of the upstream sends them.

python -m benchmarks.reliability.bare PORT
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.reliability.dialects import ChatStream
from benchmarks.reliability.scripts import EVERY, FRAMES


async def _frames() -> AsyncIterator[bytes]:
    dialect = ChatStream()
    word = dialect.words("word ")
    yield dialect.begun()
    for _ in range(FRAMES):
        yield word
        await asyncio.sleep(EVERY)
    yield dialect.end("stop")


async def _stream(request: Request) -> Response:
    await request.body()
    return StreamingResponse(_frames(), media_type="text/event-stream")


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "healthy"})


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    routes = [Route("/v1/chat/completions", _stream, methods=["POST"]), Route("/health", _health)]
    app = Starlette(routes=routes)
    how = {"loop": "asyncio", "http": "httptools", "log_config": None, "access_log": False}
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **how)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
