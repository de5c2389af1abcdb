"""Azure OpenAI's addresses and keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from messages import Options
from providers import resolve
from providers.base import ContentFiltered, RateLimited
from providers.http import Http
from settings import Settings, SettingsError
from tests.asking import TOOL, ask
from tests.upstream import Upstream, chat_chunks, json_reply, sse

FILTER = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(sse([FILTER, *chat_chunks("ok")]))
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(backoff=0.01)
    yield http
    await http.aclose()


def _settings(url: str, **more: Any) -> Settings:
    return Settings(azure_endpoint=url, azure_api_key="key", **more)


@pytest.mark.parametrize("path", ["", "/openai", "/openai/v1"])
async def test_without_a_version_the_new_address_is_used(up: Upstream, http: Http, path: str) -> None:
    heard = await ask(resolve("azure/gpt 5/mini", _settings(up.url + path), http))
    assert heard.text == "ok" and heard.done.message.origin == "azure/gpt 5/mini"
    assert up.requests[0].path == "/openai/v1/chat/completions"
    assert up.requests[0].json["model"] == "gpt 5/mini"


@pytest.mark.parametrize("path", ["", "/openai", "/openai/v1"])
async def test_with_a_version_the_deployment_is_in_the_address(up: Upstream, http: Http, path: str) -> None:
    settings = _settings(up.url + path, azure_api_version="2024-10-21")
    await ask(resolve("azure/gpt 5/mini", settings, http))
    assert up.requests[0].path == "/openai/deployments/gpt%205%2Fmini/chat/completions?api-version=2024-10-21"


async def test_a_key_goes_in_its_own_header(up: Upstream, http: Http) -> None:
    await ask(resolve("azure/d", _settings(up.url, azure_ad_token="token"), http))
    assert up.requests[0].headers["api-key"] == "key" and "authorization" not in up.requests[0].headers


async def test_a_token_is_a_bearers(up: Upstream, http: Http) -> None:
    await ask(resolve("azure/d", Settings(azure_endpoint=up.url, azure_ad_token="token"), http))
    assert up.requests[0].headers["authorization"] == "Bearer token" and "api-key" not in up.requests[0].headers


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="AZURE_OPENAI_ENDPOINT is not set"):
        resolve("azure/d", Settings(azure_api_key="key"), Http())
    with pytest.raises(SettingsError, match="AZURE_OPENAI_API_KEY is not set"):
        resolve("azure/d", Settings(azure_endpoint="https://x.openai.azure.com"), Http())


async def test_the_limit_has_its_newer_name_and_an_old_deployment_teaches_the_older(up: Upstream, http: Http) -> None:
    model = resolve("azure/d", _settings(up.url), http)
    up.reply(json_reply({"error": {"message": "Unrecognized request argument supplied: max_completion_tokens"}}, 400))
    up.reply(json_reply({"error": {"message": "Unrecognized request argument supplied: stream_options"}}, 400))
    for _ in range(2):
        await ask(model, tools=[TOOL], options=Options(max_tokens=9))
    limits = [(r.json.get("max_completion_tokens"), r.json.get("max_tokens")) for r in up.requests]
    assert limits == [(9, None), (None, 9), (None, 9), (None, 9)]
    assert ["stream_options" in r.json for r in up.requests] == [True, True, False, False]


async def test_its_filter_is_a_typed_error(up: Upstream, http: Http) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    error = {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter", "innererror": inner}
    up.always(json_reply({"error": {**error, "status": 400}}, 400, {"apim-request-id": "r1"}))
    with pytest.raises(ContentFiltered) as caught:
        await ask(resolve("azure/d", _settings(up.url), http))
    assert (caught.value.code, caught.value.request_id, len(up.requests)) == ("content_filter", "r1", 1)


async def test_its_wait_in_milliseconds_is_kept(up: Upstream, http: Http) -> None:
    headers = {"retry-after-ms": "30", "retry-after": "1", "x-ratelimit-remaining-requests": "0"}
    up.reply(json_reply({"error": {"code": "429", "message": "slow down"}}, 429, headers))
    assert (await ask(resolve("azure/d", _settings(up.url), http))).text == "ok"
    up.always(json_reply({"error": {"code": "429", "message": "slow down"}}, 429, headers))
    with pytest.raises(RateLimited) as caught:
        await ask(resolve("azure/d", _settings(up.url), http))
    assert caught.value.retry_after == 0.03
