"""The service as it is deployed, with what only these figures need: a route that tells what the process holds, a mark
when its lifespan has ended, and for R1, whose providers do nothing but fail, as many repeats as each call may have.

python -m benchmarks.reliability.launcher FOLDER scaled|- --port N
"""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import server
from benchmarks.reliability.process import held

ENDED = "lifespan-ended"
create_app = server.create_app


def main() -> None:
    folder = Path(sys.argv[1])
    if sys.argv[2] == "scaled":
        _lift_budget()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def create(*given: Any, **named: Any) -> Starlette:
        app = create_app(*given, **named)
        app.router.routes.append(Route("/debug/stats", _stats))
        app.router.lifespan_context = _marked(app.router.lifespan_context, folder / ENDED)
        return app

    server.create_app = create
    server.main(sys.argv[3:])


def _lift_budget() -> None:
    """The budget of repeats is what R10 is about; where all calls fail it would be used up."""
    with suppress(ImportError):
        retries: Any = importlib.import_module("providers.retries")
        retries.RetryBudget = partial(retries.RetryBudget, least=10**6)


async def _stats(_: Request) -> Response:
    """With this request's own task and connection, as always."""
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
