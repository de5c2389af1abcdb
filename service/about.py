"""What the service says of itself: its models, its health, its description."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bodies import ApiError
from service import VERSION
from service.access import Json, response_of
from service.model_cards import card, examples
from service.models import AGENT, Models
from skill_store import Skill

SERVICE = "openai-compatible-api"


async def list_models(request: Request) -> Response:
    models: Models = request.app.state.models
    skills, names = models.skills.scan().skills, models.names(request.state.grant)
    limits = {"max_body": request.app.state.max_body}
    return Json({"object": "list", "data": [_model(request, name, skills) for name in names], "skill_agent": limits})


async def one_model(request: Request) -> Response:
    models: Models = request.app.state.models
    if not (asked := request.path_params["name"]):
        return await list_models(request)
    name, skills = models.find(asked, request.state.grant).name, models.skills.scan().skills
    told = _model(request, name, skills)
    skill = skills.get(name.removeprefix(f"{AGENT}:"))
    if skill and (prompts := await asyncio.to_thread(examples, skill)):
        told["skill_agent"]["examples"] = prompts
    return Json(told)


def _model(request: Request, name: str, skills: Mapping[str, Skill]) -> dict[str, Any]:
    owner = name.partition("/")[0] if "/" in name else "skill-agent"
    told = {"id": name, "object": "model", "created": request.app.state.started, "owned_by": owner}
    return {**told, "skill_agent": card(request.app.state.models, name, skills)}


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
