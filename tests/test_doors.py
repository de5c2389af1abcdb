"""Default deny: no route answers a caller that is not known, but those that are opened; identities are not taken from
headers, pages get only what their origin is allowed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from messages import ProviderEvent
from messages import Request as ModelRequest
from providers.scripted import Play, ScriptedProvider
from server import create_app
from service.auth import Auth
from service.grants import Grants
from settings import Settings
from tests.responses import RESPONSES
from tests.servers import FromElsewhere, serve
from tests.surface import CHAT, HI, Json, Service, read_error, service

KEY, OTHER = "sk-agent-a-good-key", "sk-agent-another"
KEYS = ",".join(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in (("a", KEY), ("b", OTHER)))
OPEN = {"/health", "/ready", "/", "/docs"}
ASSETS = "/web/"
"""What the pages are made of: open too."""
ORIGIN = "https://chat.example.com"


def app(script: Any = ("Hi",), **environment: str) -> Starlette:
    return create_app(Settings.from_env(environment), ScriptedProvider(script))


def paths(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Method and path of every route, with something in the place of each parameter."""
    for route in routes:
        assert isinstance(route, Route), "a new kind of route needs a rule"
        path = route.path
        for parameter in route.param_convertors:
            path = path.replace("{" + parameter + "}", "x").replace("{" + parameter + ":path}", "x/y")
        yield from ((method, path) for method in sorted(route.methods or ("GET", "POST")))


@pytest.fixture(scope="module")
def locked() -> Iterator[Service]:
    with (
        serve(app(SKILL_AGENT_API_KEYS=KEYS)) as url,
        httpx.Client(trust_env=False, timeout=30, verify=False) as client,
    ):
        yield Service(url, client)


def test_no_route_answers_without_a_key_but_those_that_are_opened(locked: Service) -> None:
    found = list(paths(app().routes))
    assert len(found) > 30 and {path for _, path in found} >= OPEN
    for method, path in found:
        response = locked.client.request(method, f"{locked.url}{path}")
        if path.startswith(ASSETS):
            assert response.status_code == 404
        elif path in OPEN:
            assert response.status_code == 200
        else:
            assert response.status_code == 401, (method, path)
            assert response.headers["www-authenticate"] == "Bearer" and response.headers["x-request-id"]


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/health/",
        "//health",
        "/health/../v1/models",
        "/v1/models?x=/health",
        "/%68ealth/x",
        "/v1",
        "/HEALTH",
    ],
)
def test_no_spelling_of_a_path_is_open_by_mistake(locked: Service, path: str) -> None:
    response = locked.client.send(httpx.Request("GET", httpx.URL(locked.url).copy_with(raw_path=path.encode())))
    assert response.status_code == 401


def test_no_host_makes_a_path_another(locked: Service) -> None:
    for host in ("x/health?", "/health", "127.0.0.1/health#"):
        response = locked.get("/v1/models", headers={"host": host})
        assert response.status_code in (400, 401)


async def told(request: Request) -> Response:
    return JSONResponse({"caller": request.state.caller, "headers": dict(request.headers)})


def test_an_open_route_is_one_by_the_router_wherever_the_app_is_mounted() -> None:
    opened = [Route("/web/{path:path}", told)]
    inner = Starlette(routes=[*opened, Route("/v1/models", told)])
    settings = Settings.from_env({"SKILL_AGENT_API_KEYS": KEYS})
    guarded = Auth(inner, settings, Grants(settings), opened)
    with serve(Starlette(routes=[Mount("/web", guarded)]), lifespan="off") as url:
        assert httpx.get(f"{url}/web/v1/models", verify=False).status_code == 401


IDENTITY = {
    "x-forwarded-user": "boss",
    "x-forwarded-email": "boss@example.com",
    "x-forwarded-preferred-username": "boss",
    "x-forwarded-access-token": "dapi-secret",
    "x-forwarded-host": "inside",
    "x-real-ip": "127.0.0.1",
    "forwarded": "for=127.0.0.1",
}


def test_words_of_an_identity_are_no_identity_where_no_proxy_is_known(caplog: pytest.LogCaptureFixture) -> None:
    for environment in ({}, {"SKILL_AGENT_API_KEYS": KEYS}, {"DATABRICKS_APP_NAME": "mine"}):
        with serve(FromElsewhere(app(**environment))) as url, caplog.at_level(logging.DEBUG):
            forged = {**IDENTITY, "x-forwarded-for": "127.0.0.1"}
            assert httpx.get(f"{url}/v1/models", headers=forged, verify=False).status_code == 401
            assert "boss" not in caplog.text and "dapi-secret" not in caplog.text


@pytest.mark.parametrize("behind", [False, True])
def test_forwarded_headers_are_taken_away_unless_databricks_proxy_is_there(behind: bool) -> None:
    proxy = {"DATABRICKS_APP_NAME": "mine", "DATABRICKS_APP_PORT": "8000"} if behind else {}
    settings = Settings.from_env(proxy)
    guarded = Auth(Starlette(routes=[Route("/", told)]), settings, Grants(settings))
    with serve(guarded, lifespan="off") as url:
        heard = httpx.get(url, headers=IDENTITY, verify=False).json()
    assert (IDENTITY.items() <= heard["headers"].items()) == behind
    assert heard["caller"] == ("user:boss" if behind else "")
    assert behind or not IDENTITY.keys() & heard["headers"].keys()


@pytest.mark.parametrize(
    "shown",
    ["é", "\u2028", "ключ", "\U0001f600", KEY + "é", "x" * 20_000, "' OR 1=1 --"],
)
def test_hostile_keys_are_wrong_keys(locked: Service, shown: str) -> None:
    for name, value in (("x-api-key", shown), ("authorization", f"Bearer {shown}"), ("authorization", shown)):
        response = locked.get("/v1/models", headers=[(name, value.encode())])
        assert response.status_code == 401 and read_error(response)["code"] == "invalid_api_key"


def headers(key: str) -> Any:
    return {"headers": {"x-api-key": key}}


def test_what_is_stored_is_not_there_for_other_keys() -> None:
    settings = Settings.from_env({"SKILL_AGENT_API_KEYS": KEYS})
    with service(provider=ScriptedProvider([Play(["Hi"]), Play(["Hi"])]), api_keys=settings.api_keys) as served:
        for background in (False, True):
            body: Json = {"input": "hi", "background": background}
            id = served.post(body, RESPONSES, **headers(KEY)).json()["id"]
            there = f"{RESPONSES}/{id}"
            while served.get(there, **headers(KEY)).json()["status"] != "completed":
                time.sleep(0.02)
            for response in (
                served.get(there, **headers(OTHER)),
                served.get(f"{there}?stream=true", **headers(OTHER)),
                served.get(f"{there}/input_items", **headers(OTHER)),
                served.get(f"/responses/{id}", **headers(OTHER)),
                served.post({}, f"{there}/cancel", **headers(OTHER)),
                served.client.delete(f"{served.url}{there}", **headers(OTHER)),
                served.post({"input": "on", "previous_response_id": id}, RESPONSES, **headers(OTHER)),
            ):
                assert response.status_code in (400, 404) and "not found" in read_error(response)["message"]
            assert served.get(there, **headers(KEY)).status_code == 200


# Pages


@pytest.fixture(scope="module")
def shared() -> Iterator[Service]:
    with serve(app(SKILL_AGENT_API_KEYS=KEYS, SKILL_AGENT_CORS=ORIGIN, SKILL_AGENT_RATE_LIMIT="1/hour")) as url:
        with httpx.Client(trust_env=False, timeout=30, verify=False) as client:
            yield Service(url, client)


SENT = "authorization,content-type,x-stainless-os"
"""As OpenAI's client in a page does, which has more of the latter."""


def preflight(served: Service, origin: str) -> httpx.Response:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": SENT}
    return served.client.options(f"{served.url}{CHAT}", headers={"origin": origin, **asked})


def test_a_page_of_an_allowed_origin_may_ask_before_it_shows_a_key(shared: Service) -> None:
    answer = preflight(shared, ORIGIN)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    other = preflight(shared, "https://evil.example")
    assert other.status_code == 400 and "access-control-allow-origin" not in other.headers


def test_a_page_of_an_allowed_origin_can_read_why_it_was_refused(shared: Service) -> None:
    def status(body: Any, key: str = KEY, size: int = 0) -> int:
        content = body if isinstance(body, bytes) else httpx.Request("POST", shared.url, json=body).read()
        response = shared.post(content, headers={"origin": ORIGIN, "x-api-key": key})
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "retry-after" in response.headers["access-control-expose-headers"]
        assert "x-ratelimit-reset-tokens" in response.headers["access-control-expose-headers"]
        return response.status_code

    assert status({"messages": HI}, "wrong") == 401
    assert status(b"x" * 5_000_000) == 413
    assert status({"messages": HI}) == 200
    assert status({"messages": HI}) == 429


class Broken(ScriptedProvider):
    async def stream(self, _: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        raise LookupError("what nobody expected")
        yield


def test_what_nobody_expected_is_told_to_pages_too() -> None:
    settings = Settings.from_env({"SKILL_AGENT_CORS": ORIGIN, "SKILL_AGENT_AUTH": "none"})
    with serve(create_app(settings, Broken([]))) as url:
        answer = httpx.post(f"{url}{CHAT}", json={"messages": HI}, headers={"origin": ORIGIN}, verify=False)
        assert answer.status_code == 500 and read_error(answer)["code"] == "internal_error"
        assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_without_allowed_origins_nothing_is_said_to_pages(locked: Service) -> None:
    answer = preflight(locked, ORIGIN)
    assert answer.status_code == 401 and not [name for name in answer.headers if name.startswith("access-control")]
