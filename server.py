"""The web service: routes, lifespan, error handlers.

python server.py [--host H] [--port P]
uvicorn server:app
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent.structured import SchemaError
from bodies import ApiError
from defaults import data_folder, default_port, default_store
from providers.base import Provider, ProviderError
from providers.http import warm
from providers.on_behalf import ITSELF, caller
from redaction import Redaction
from response_schemas import ResponseRequest
from schemas import ChatRequest
from service import about, pages
from service import log as service_log
from service.access import Access, Rescue, response_of
from service.admission import Admission, Gate
from service.auth import Auth
from service.background import Pace
from service.completions import Completions
from service.conversations import Conversations
from service.drain import Drain, Drained
from service.errors import api_error
from service.files import Files
from service.grants import Grants
from service.handover import Handover
from service.intake import Intake
from service.memory import give_back, spare_collections
from service.models import Models
from service.on_behalf import OnBehalfOfUser
from service.parked import Parked
from service.rates import HEADERS as RATE_HEADERS
from service.responses import Responses
from service.storage import Storage
from service.telemetry import tracing
from service.workspaces import Workspaces
from settings import Settings, SettingsError
from skill_store import SkillError

if TYPE_CHECKING:
    from mcp_servers import McpServers

log = logging.getLogger(service_log.NAME)
CLOSING_SECONDS = 1
"""That uvicorn waits for connections; their answers are over by then."""
CONNECTING_SECONDS = 10
USAGE = 2
"""The exit code of a setting or an option that cannot be right, as argparse has it."""


def _told(redact: Callable[[str], str], error: Exception) -> ApiError:
    """The error as the client may see it; what is ours to mend is in the log whole."""
    found = api_error(error, redact)
    if found.status == 500:
        log.error("an answer failed", exc_info=error)
    return found


async def _failed(request: Request, error: Exception) -> Response:
    return response_of(request.app.state.told(error))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette gives no other
    code = "method_not_allowed" if error.status_code == 405 else None
    return response_of(ApiError(error.status_code, error.detail, code, headers=dict(error.headers or {})))


HANDLERS: dict[Any, Any] = {HTTPException: _http_error} | dict.fromkeys(
    (ApiError, ProviderError, SkillError, SchemaError), _failed
)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    models: Models = app.state.models
    drain: Drain = app.state.drain
    drain.watch()
    app.state.ready = True
    warming = asyncio.create_task(asyncio.to_thread(_warm, models, app.state.alone))
    # The service answers before its MCP servers do: the agent has their tools as they come.
    connecting = asyncio.create_task(_connect(models.mcp)) if models.mcp else None
    giving_back = asyncio.create_task(give_back()) if app.state.alone else None
    taking_up = asyncio.create_task(_taken_up(app, [warming, *([connecting] if connecting else ())]))
    yield
    app.state.ready = False
    await drain.cut()
    await warming
    taking_up.cancel()
    await asyncio.gather(taking_up, return_exceptions=True)
    for task in filter(None, (connecting, giving_back)):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await app.state.responses.aclose()
    if models.tracing:
        await models.tracing.aclose(drain.left)
    await app.state.storage.aclose()
    if app.state.passing:
        from sandbox import remove

        await asyncio.to_thread(remove, app.state.passing)
    await models.aclose()


async def _connect(servers: McpServers) -> None:
    caller.set(ITSELF)
    await servers.start()


async def _taken_up(app: Starlette, first: Sequence[asyncio.Task[None]]) -> None:
    """Runs that another process has left need the tools of MCP servers, if those are not too slow."""
    await asyncio.wait(first, timeout=CONNECTING_SECONDS)
    await app.state.handover.watch()


def _warm(models: Models, alone: bool) -> None:
    """Behind the first health check: what is wrong with the skills is logged, and the first answer's tools are made."""
    catalog = models.skills.scan(thorough=True)
    for problem in catalog.problems:
        log.warning("%s", problem)
    log.info("skill-agent answers with %s, %d skills", models.default, len(catalog.skills))
    from agent.script_tools import has_scripts

    if any(map(has_scripts, catalog.skills.values())):
        log.info("scripts run in %s", models.agent.workshop.sandbox.describe())
    ChatRequest.model_rebuild()
    ResponseRequest.model_rebuild()
    warm()
    if alone:
        spare_collections()


def _middleware(
    settings: Settings, opened: Sequence[BaseRoute], grants: Grants, drain: Drain, watching: Sequence[Middleware]
) -> list[Middleware]:
    """From the outside in: whatever fails has an id and is logged, and pages of allowed origins may read it."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors,
        allow_methods=["GET", "POST", "DELETE"],
        # Clients send headers of their own, OpenAI's among them; no cookies are, so that a page has what it was given.
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after", "x-should-retry", *RATE_HEADERS],
    )
    forwarded = [Middleware(OnBehalfOfUser)] if settings.on_behalf_of_user and settings.databricks_app else []
    return [
        Middleware(Access),
        *watching,
        *([cors] if settings.cors else ()),
        Middleware(Rescue),
        Middleware(Drained, drain=drain),
        Middleware(Auth, settings=settings, grants=grants, opened=opened),
        Middleware(Intake, largest=settings.max_body),
        *forwarded,
    ]


def create_app(
    settings: Settings | None = None, provider: Provider | None = None, pace: Pace | None = None
) -> Starlette:
    """The service. `provider` answers instead of the settings' model. Raises `SettingsError`."""
    settings = settings or Settings.from_env()
    told = partial(_told, Redaction(settings.secrets).whole)
    models, storage = Models(settings, provider=provider), Storage(settings.store)
    models.tracing = tracing(settings)
    folder = _workspace_folder(settings)
    workspaces = Workspaces(folder, storage)
    drain = Drain(settings.drain_seconds)
    conversations = Conversations(Parked(storage), workspaces, drain)
    responses = Responses(models, storage, conversations, told, drain, pace)
    completions = Completions(models, conversations, responses.reader, told)
    grants = Grants(settings)
    gate = Gate(settings.max_running)
    models.metrics.watch_waiting(lambda: gate.waiting)
    opened = [*pages.ROUTES, Route("/health", about.health), Route("/ready", about.ready)]
    routes = [
        *opened,
        Route("/metrics", models.metrics.tell),
        *_routes(completions, responses, Files(workspaces), gate),
    ]
    app = Starlette(
        routes=routes,
        middleware=_middleware(settings, opened, grants, drain, _watching(models, routes)),
        exception_handlers=HANDLERS,
        lifespan=_lifespan,
    )
    app.state.models = models
    app.state.drain = drain
    app.state.handover = Handover(responses, storage, drain, grants, gate, pace or Pace())
    app.state.storage = storage
    app.state.responses = responses
    app.state.told = told
    app.state.passing = None if settings.store else folder
    app.state.max_body = settings.max_body
    app.state.started = int(time.time())
    app.state.ready = False
    app.state.alone = False  # in the process: others' garbage is theirs to look for
    return app


def _watching(models: Models, routes: list[BaseRoute]) -> list[Middleware]:
    from service.metrics import Measured

    measured = Middleware(Measured, metrics=models.metrics, routes=routes)
    if models.tracing is None:
        return [measured]
    from service.tracing import Traced

    return [Middleware(Traced, tracing=models.tracing, routes=routes), measured]


def _routes(completions: Completions, responses: Responses, files: Files, gate: Gate) -> list[BaseRoute]:
    """The API's are served at two places, as clients have it."""
    running = [Middleware(Admission, gate=gate)]

    def api(at: str) -> list[Route]:
        return [
            Route(f"{at}/chat/completions", completions.create, methods=["POST"], middleware=running),
            Route(f"{at}/responses", responses.create, methods=["POST"], middleware=running),
            Route(f"{at}/responses", responses.no_websocket, methods=["GET"]),
            Route(f"{at}/responses/compact", responses.compact, methods=["POST"], middleware=running),
            Route(f"{at}/responses/{{id}}", responses.retrieve, methods=["GET"]),
            Route(f"{at}/responses/{{id}}", responses.delete, methods=["DELETE"]),
            Route(f"{at}/responses/{{id}}/cancel", responses.cancel, methods=["POST"]),
            Route(f"{at}/responses/{{id}}/input_items", responses.input_items, methods=["GET"]),
            Route(f"{at}/completions", about.no_completions, methods=["POST"]),
            Route(f"{at}/files/{{id}}", files.retrieve),
            Route(f"{at}/files/{{id}}/content", files.content),
            Route(f"{at}/models", about.list_models),
            Route(f"{at}/models/{{name:path}}", about.one_model),
            Route(f"{at}/healthcheck", about.healthcheck),
        ]

    return [
        *api("/v1"),
        *api("/api/v1"),
        Route("/openapi.json", about.openapi),
        Route("/agent/info", about.agent_info),
        Route("/responses", responses.create_for_databricks, methods=["POST"], middleware=running),
        Route("/responses/{id}", responses.retrieve, methods=["GET"]),
        Route("/invocations", responses.create_for_databricks, methods=["POST"], middleware=running),
    ]


def _workspace_folder(settings: Settings) -> Path:
    """Beside a store that is a file; with one in memory, files too are kept only as long as the process lives."""
    path = settings.store.removeprefix("sqlite:///")
    if settings.store.startswith("sqlite:///") and path:
        return Path(path).parent / "workspaces"
    if settings.store:
        return data_folder() / "workspaces"
    return Path(tempfile.gettempdir()) / f"skill-agent-{uuid.uuid4().hex}"


def __getattr__(name: str) -> Starlette:
    """`app` for `uvicorn server:app`, made when it is asked for: importing this module reads nothing."""
    if name != "app":
        raise AttributeError(name)
    return _created()


def _created() -> Starlette:
    """The app of the environment's settings; a setting that cannot be right ends the process with one line."""
    from sandbox import hide_process

    hide_process()  # from scripts that share our user: neither memory nor environment can be read
    try:
        settings = Settings.from_env()
        service_log.set_up(settings.log, Redaction(settings.secrets))
        if settings.auth == "none":
            log.warning("SKILL_AGENT_AUTH=none: whoever can reach this service is served")
        store = settings.store or default_store()
        if not store:
            log.warning("the user's data folder cannot be written: responses are kept in memory (SKILL_AGENT_STORE)")
        app = create_app(replace(settings, store=store))
        app.state.alone = True
        return app
    except SettingsError as error:
        _give_up(error)


def _give_up(error: SettingsError) -> NoReturn:
    print(f"skill-agent: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(USAGE)


def _bind(host: str, port: int) -> None:
    """Tries the address, so that one that is taken is said before anything else. Raises `SettingsError`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        raise SettingsError("--port", f"{host} cannot be listened on ({error.strerror or error})", str(port)) from None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="server.py", description="Serve skills behind an OpenAI-compatible endpoint.")
    # Databricks' proxy comes from outside of the app's container; everywhere else nothing does unless it is asked for.
    outside = "0.0.0.0" if os.environ.get("DATABRICKS_APP_PORT") else "127.0.0.1"  # noqa: S104
    parser.add_argument("--host", default=outside, help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, help="default DATABRICKS_APP_PORT, else PORT, else 8000")
    options = parser.parse_args(arguments)
    try:
        port = options.port if options.port is not None else default_port(os.environ)
        if not 0 <= port < 65536:
            raise SettingsError("--port", "expected a port number", str(port))
        _bind(options.host, port)
    except SettingsError as error:
        _give_up(error)
    from service.wire import Wire, allow_files

    allow_files()
    app = _created()
    app.state.drain.quits = True
    print(f"http://{options.host}:{port}/v1", file=sys.stderr)  # noqa: T201
    uvicorn.run(
        app,
        host=options.host,
        port=port,
        loop="asyncio",
        http=Wire,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )


if __name__ == "__main__":
    main()
