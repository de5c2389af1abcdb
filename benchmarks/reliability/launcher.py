"""The service as it is deployed, with what only these figures need: time limits in seconds rather than minutes, a route
that tells what the process holds, and a mark when its lifespan has ended.

python -m benchmarks.reliability.launcher FOLDER SCALED --port N
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import server
from benchmarks.reliability.process import held
from providers.http import Timeouts

SCALED = Timeouts(connect=0.3, first_byte=1.0, between_bytes=1.0)
ENDED = "lifespan-ended"
create_app = server.create_app


def main() -> None:
    folder, scaled = Path(sys.argv[1]), sys.argv[2] == "scaled"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def create(*given: Any) -> Starlette:
        app = create_app(*given)
        app.router.routes.append(Route("/debug/stats", _stats))
        app.router.lifespan_context = _marked(app.router.lifespan_context, folder / ENDED)
        if scaled:
            http = app.state.models._http
            http.timeouts, http.backoff = SCALED, 0.05
        return app

    server.create_app = create  # type: ignore[assignment]
    server.main(sys.argv[3:])


async def _stats(_: Request) -> Response:
    """But for this request's own task and connection."""
    mine = asdict(held(os.getpid()))
    return JSONResponse({**mine, "tasks": len(asyncio.all_tasks()), "threads": threading.active_count()})


def _marked(lifespan: Any, mark: Path) -> Any:
    @asynccontextmanager
    async def marked(app: Starlette) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            yield state
        mark.touch()  # noqa: ASYNC240 - nothing runs any more

    return marked


if __name__ == "__main__":
    main()
