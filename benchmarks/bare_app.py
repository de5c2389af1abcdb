"""The least that a service of ours could be: the same libraries imported, one route."""

import sys

import frontmatter  # noqa: F401
import httpx  # noqa: F401
import orjson  # noqa: F401
import tenacity  # noqa: F401
import uvicorn
from pydantic import BaseModel  # noqa: F401
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def health(_: Request) -> Response:
    return JSONResponse({"status": "healthy"})


uvicorn.run(
    Starlette(routes=[Route("/health", health)]),
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="asyncio",
    http="httptools",
    log_config=None,
    access_log=False,
)
