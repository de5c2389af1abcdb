"""The document that describes the API is true: its paths, its examples and the shapes of answers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from starlette.routing import Route

from providers.scripted import Play, ScriptedProvider, call
from server import create_app
from settings import Settings
from tests.surface import Json, Service, service

HI: list[Json] = [{"role": "user", "content": "hi"}]
ROOT = Path(__file__).resolve().parents[1]
APART = {"/v1/completions", "/openapi.json", "/responses/{id}", "/", "/docs", "/web/{version}/{path:path}"}
"""Routes that are not described: what is not offered, the document itself, a second name, the pages."""


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    with service(provider=ScriptedProvider([Play(["Hello"])] * 99)) as server:
        yield server


@pytest.fixture(scope="module")
def document(served: Service) -> Json:
    found: Json = served.get("/openapi.json").json()
    return found


def check(document: Json, path: str, method: str, status: str, answer: Any) -> None:
    """Holds an answer against its description."""
    response = document["paths"][path][method]["responses"][status]
    schema = response["content"]["application/json"]["schema"]
    jsonschema_rs.validate({**schema, "components": document["components"]}, answer)


def test_it_has_the_version_of_the_project(document: Json) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert document["openapi"] == "3.1.0" and document["info"]["version"] == project["version"]


def test_every_route_is_described_and_nothing_else(document: Json) -> None:
    routes: set[tuple[str, str]] = set()
    for route in create_app(Settings(), ScriptedProvider([])).routes:
        assert isinstance(route, Route)
        path = route.path.replace("{name:path}", "{id}")
        routes |= {(path, method.lower()) for method in route.methods or () if method != "HEAD"}
    wanted = {(path, method) for path, method in routes if not path.startswith("/api") and path not in APART}
    wanted -= {("/v1/responses", "get")}  # which says that there is no WebSocket
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == wanted


def test_every_reference_leads_somewhere(document: Json) -> None:
    names = document["components"]["schemas"].keys()
    text = str(document)
    assert all(part.split("'")[0] in names for part in text.split("#/components/schemas/")[1:])


def test_every_example_is_answered_as_described(served: Service, document: Json) -> None:
    asked = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                example = operation["requestBody"]["content"]["application/json"]["example"]
                response = served.post(example, path)
                assert response.status_code == 200
                check(document, path, method, "200", response.json())
                asked += 1
    assert asked == 5


def test_what_is_read_is_as_described(served: Service, document: Json) -> None:
    for path in ("/v1/models", "/v1/healthcheck", "/health", "/ready", "/agent/info"):
        check(document, path, "get", "200", served.get(path).json())
    check(document, "/v1/models/{id}", "get", "200", served.get("/v1/models/skill-agent").json())
    id = served.post({"input": "hi", "background": True}, "/v1/responses").json()["id"]
    found = "/v1/responses/{id}"
    check(document, found, "get", "200", served.get(f"/v1/responses/{id}").json())
    check(document, f"{found}/input_items", "get", "200", served.get(f"/v1/responses/{id}/input_items").json())
    check(document, f"{found}/cancel", "post", "200", served.post({}, f"/v1/responses/{id}/cancel").json())
    check(document, found, "delete", "200", served.client.delete(f"{served.url}/v1/responses/{id}").json())
    check(document, found, "get", "default", served.get(f"/v1/responses/{id}").json())


def test_answers_with_calls_are_as_described(document: Json) -> None:
    tools = [{"type": "function", "function": {"name": "price"}}, {"type": "custom", "custom": {"name": "write"}}]
    model = ScriptedProvider([[call("price"), call("write", input="x")]])
    with service(provider=model) as served:
        answer = served.post({"messages": HI, "tools": tools}).json()
    assert [made["type"] for made in answer["choices"][0]["message"]["tool_calls"]] == ["function", "custom"]
    check(document, "/v1/chat/completions", "post", "200", answer)
