"""Databricks model serving: its addresses, its strict schema and its odd answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from messages import (
    Audio,
    File,
    Image,
    JsonFormat,
    Message,
    Options,
    Reasoning,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    assistant,
    system,
    user,
)
from providers import databricks, default_model, resolve
from providers.anthropic import Messages
from providers.base import AuthError, BadRequest, NotFound, Overloaded, ProviderError, RateLimited
from providers.http import Http
from providers.openai import ChatCompletions
from settings import Settings
from tests.asking import TOOL, ask
from tests.upstream import Upstream, chat_chunks, claude_events, json_reply, sse

GOOD = sse(chat_chunks("ok"))
KNOWN = {"model", "messages", "stream", "stop", "temperature", "top_p", "max_tokens", "n", "response_format", "tools"}
KNOWN |= {"tool_choice", "reasoning_effort", "top_k", "thinking", "output_config", "service_tier"}
IN_MESSAGES = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}
EVERYTHING = Options(
    0.5,
    0.9,
    77,
    ("a",),
    7,
    0.1,
    0.2,
    "low",
    False,
    ToolChoice("tool", "price"),
    verbosity="low",
    logit_bias={"7": 1.0},
    cache_key="k",
    user="u",
    response_format=JsonFormat({"type": "object"}),
)
MODELS = ["databricks-gpt-5-mini", "databricks-meta-llama-3-3-70b-instruct", "databricks-gpt-oss-120b", "my-own"]


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(GOOD)
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(backoff=0.01)
    yield http
    await http.aclose()


def _chat(name: str, up: Upstream, http: Http, claude: str = "chat") -> ChatCompletions:
    settings = Settings(databricks_host=up.url, databricks_token="dapi", databricks_claude=claude)
    model = resolve(f"databricks/{name}", settings, http)
    assert isinstance(model, ChatCompletions)
    return model


CALLS = Message(
    "assistant",
    (Reasoning("hm", {"reasoning_content": "hm"}), ToolCall("c1", "price"), ToolCall("c2", "price", "{", {"x": 1})),
)
RESULTS = Message("tool", (ToolResult("c1", (Text("1"), Image("image/png", "AA"))), ToolResult("c2", (), True)))
FILES = Message("user", (Text("a"), Image(url="https://x/y"), File("application/pdf", "AA"), Audio("wav", "AA")))
HISTORY = [system("s"), FILES, CALLS, RESULTS, assistant("b"), system("t"), user("c")]


# The schema


@pytest.mark.parametrize("name", [*MODELS, "databricks-claude-sonnet-4-5"])
async def test_no_unknown_field_is_ever_sent(up: Upstream, http: Http, name: str) -> None:
    model = _chat(name, up, http)
    history = [replace(m, origin=model.info.id) if m.role == "assistant" else m for m in HISTORY]
    await ask(model, history, tools=[TOOL, replace(TOOL, strict=False)], options=EVERYTHING)
    await ask(model)
    body, bare = (request.json for request in up.requests)
    assert set(body) == KNOWN - {"n", "top_k", "thinking", "output_config", "service_tier"}
    assert set(bare) == {"model", "messages", "stream"}
    assert (body["max_tokens"], body["model"], up.requests[0].path) == (77, name, "/serving-endpoints/chat/completions")
    assert not [m for m in body["messages"] if not set(m) <= IN_MESSAGES[m["role"]]]
    assert not [m for m in body["messages"] if "content" in m and not m["content"]]
    assert None not in [value for m in (body, bare, *body["messages"]) for value in m.values()]


@pytest.mark.parametrize(
    ("name", "kept"), [*zip(MODELS, (True, False, False, False), strict=True), ("databricks-claude-opus-5", False)]
)
async def test_strict_is_for_gpt_only(up: Upstream, http: Http, name: str, kept: bool) -> None:
    await ask(_chat(name, up, http), tools=[replace(TOOL, strict=True)])
    assert ("strict" in up.requests[0].json["tools"][0]["function"]) is kept


async def test_a_limit_that_is_refused_is_left_out(up: Upstream, http: Http) -> None:
    body = {"error_code": "BAD_REQUEST", "message": 'Bad request: json: unknown field "max_tokens"\n'}
    up.reply(json_reply(body, 400))
    await ask(_chat("my-own", up, http), options=Options(max_tokens=5))
    assert set(up.requests[1].json) == {"model", "messages", "stream"}


@pytest.mark.parametrize("name", [*MODELS, "databricks-claude-sonnet-4-5"])
async def test_only_claude_takes_parallel_calls(up: Upstream, http: Http, name: str) -> None:
    await ask(_chat(name, up, http), HISTORY)
    sent = up.requests[0].json["messages"]
    told = [[c["id"] for c in m.get("tool_calls", [])] or m.get("tool_call_id", m["role"]) for m in sent]
    if "claude" in name:
        assert told == ["system", "user", ["c1", "c2"], "c1", "c2", "user", "assistant", "system", "user"]
    else:
        assert told == ["system", "user", ["c1"], "c1", "user", ["c2"], "c2", "assistant", "user"]
        assert sent[0]["content"] == "s\n\nt"


async def test_blank_text_is_not_sent(up: Upstream, http: Http) -> None:
    calls = Message("assistant", (Text("\n\n"), ToolCall("c1", "price")))
    said = [user(" "), assistant(""), user("hi"), calls, Message("tool", (ToolResult("c1", (Text("\n"),)),))]
    await ask(_chat("databricks-claude-sonnet-4-5", up, http), said)
    sent = up.requests[0].json["messages"]
    assert [m.get("content") for m in sent] == ["hi", None, "(no output)"] and "content" not in sent[1]


# Answers


async def test_usage_on_every_chunk_counts_once(up: Upstream, http: Http) -> None:
    chunks = chat_chunks("Hello world", usage=None)
    for at, chunk in enumerate(chunks):
        chunk["usage"] = {"prompt_tokens": 10, "completion_tokens": at, "total_tokens": 10 + at}
    up.reply(sse(chunks))
    assert (await ask(_chat("my-own", up, http))).done.usage == Usage(10, len(chunks) - 1, total=9 + len(chunks))


async def test_an_anthropic_usage_is_read(up: Upstream, http: Http) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}
    up.reply(sse([*chat_chunks("hi", usage=None), {"choices": [], "usage": {**usage, "reasoning_tokens": 1}}]))
    assert (await ask(_chat("my-own", up, http))).done.usage == Usage(9, 2, 4, 3, 1, 11)


async def test_a_summary_of_reasoning_is_told_and_not_sent_back(up: Upstream, http: Http) -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "Eq"}]}
    deltas = [[thought], [{"type": "text", "text": "so"}]]
    up.reply(sse([*({"choices": [{"delta": {"content": d}}]} for d in deltas), *chat_chunks("")]))
    model = _chat("databricks-claude-sonnet-4-5", up, http)
    heard = await ask(model)
    assert (heard.reasoning, heard.text) == ("hm", "so")
    await ask(model, [user("hi"), heard.done.message, user("x")])
    assert up.requests[1].json["messages"][1] == {"role": "assistant", "content": "so"}


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "BAD_REQUEST", "Multiple tool calls are not supported.\n", BadRequest),
        (401, "UNAUTHENTICATED", "Credential was not sent", AuthError),
        (403, "PERMISSION_DENIED", "You do not have CAN_QUERY", AuthError),
        (404, "RESOURCE_DOES_NOT_EXIST", "no such endpoint", NotFound),
        (429, "REQUEST_LIMIT_EXCEEDED", "Exceeded", RateLimited),
        (503, "TEMPORARILY_UNAVAILABLE", "starting", Overloaded),
    ],
)
@pytest.mark.parametrize("claude", ["messages", "chat"])
async def test_its_errors_are_typed(
    up: Upstream, http: Http, status: int, code: str, message: str, kind: type[ProviderError], claude: str
) -> None:
    up.always(json_reply({"error_code": code, "message": message}, status, {"x-should-retry": "false"}))
    settings = Settings(databricks_host=up.url, databricks_token="dapi", databricks_claude=claude)
    with pytest.raises(kind) as caught:
        await ask(resolve("databricks/databricks-claude-x", settings, http))
    assert (caught.value.message, caught.value.status) == (message.strip(), status)


# Claude


async def test_claude_goes_through_messages(up: Upstream, http: Http) -> None:
    up.always(sse(claude_events("ok", "hm", "Eq"), done=False, events=True))
    settings = Settings(databricks_host=up.url, databricks_token="dapi")
    model = resolve("databricks/databricks-claude-sonnet-4-5", settings, http)
    heard = await ask(model, [system("s"), user("hi")], tools=[replace(TOOL, strict=True)], options=EVERYTHING)
    assert isinstance(model, Messages) and (heard.text, heard.reasoning) == ("ok", "hm")
    request = up.requests[0]
    assert request.path == "/serving-endpoints/anthropic/v1/messages"
    assert request.headers["authorization"] == "Bearer dapi" and request.json["model"] == "databricks-claude-sonnet-4-5"
    fields = {"model", "max_tokens", "system", "messages", "tools", "tool_choice", "stream", "stop_sequences"}
    assert set(request.json) == {*fields, "temperature", "output_config"}


@pytest.mark.parametrize("claude", ["messages", "chat"])
async def test_other_models_do_not_care_how_claude_is_asked(up: Upstream, http: Http, claude: str) -> None:
    assert (await ask(_chat("databricks-gpt-5-mini", up, http, claude))).text == "ok"


async def test_a_name_is_passed_on_untouched(up: Upstream, http: Http) -> None:
    await ask(_chat("system.ai.Some-Model", up, http))
    assert up.requests[0].json["model"] == "system.ai.Some-Model"


@pytest.mark.parametrize("host", ["name.cloud.databricks.com", "https://name.cloud.databricks.com/"])
def test_the_host_needs_no_scheme(host: str) -> None:
    env = {"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": "dapi"}
    model = databricks.connect("m", Settings.from_env(env), Http())
    assert isinstance(model, ChatCompletions)
    assert model.url == "https://name.cloud.databricks.com/serving-endpoints/chat/completions"


@pytest.mark.parametrize(
    "given", [{"databricks_token": "t"}, {"databricks_client_secret": "s"}, {"databricks_profile": "p"}]
)
def test_its_credentials_choose_a_model_of_it(given: dict[str, Any]) -> None:
    assert default_model(Settings(openai_api_key="k", **given)) == "databricks/databricks-claude-sonnet-4-5"
