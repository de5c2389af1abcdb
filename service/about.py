"""What the service says of itself: its models, its health, its description."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bodies import ApiError
from service import VERSION
from service.access import Json, response_of
from service.models import AGENT, Models

SERVICE = "openai-compatible-api"


async def list_models(request: Request) -> Response:
    models: Models = request.app.state.models
    return Json({"object": "list", "data": [_model(request, name) for name in models.names(request.state.grant)]})


async def one_model(request: Request) -> Response:
    models: Models = request.app.state.models
    if not (name := request.path_params["name"]):
        return await list_models(request)
    return Json(_model(request, models.find(name, request.state.grant).name))


def _model(request: Request, name: str) -> dict[str, Any]:
    owner = name.partition("/")[0] if "/" in name else "skill-agent"
    return {"id": name, "object": "model", "created": request.app.state.started, "owned_by": owner}


async def healthcheck(request: Request) -> Response:
    stamp = datetime.now(UTC).isoformat()
    return Json(
        {"status": "healthy", "timestamp": stamp, "service": SERVICE, "model": request.app.state.models.default}
    )


async def health(_: Request) -> Response:
    return Json({"status": "healthy"})


async def agent_info(_: Request) -> Response:
    """By which Databricks' tools know an agent, as MLflow's AgentServer tells it."""
    return Json({"name": AGENT, "use_case": "agent", "agent_api": "responses", "mlflow_version": None})


async def openapi(_: Request) -> Response:
    """The description of the API, made when it is first asked for."""
    return Json(await asyncio.to_thread(_document))


@cache
def _document() -> bytes:
    from service.openapi import document

    return document(VERSION)


async def ready(request: Request) -> Response:
    if request.app.state.ready and not request.app.state.drain.begun:
        return Json({"status": "ready"})
    return Json({"status": "not ready"}, 503)


async def no_completions(_: Request) -> Response:
    words = "The legacy completions API is not offered; use /v1/chat/completions."
    return response_of(ApiError(404, words, "unsupported_endpoint"))
