"""The service as its clients see it: how tests start it, ask it and read what it says.

`streamed` holds every stream against the rules of Chat Completions, whatever the test is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import orjson

from providers.base import Provider
from server import create_app
from service.background import Pace
from settings import Settings
from tests.servers import serve
from tests.upstream import Upstream

Json: TypeAlias = dict[str, Any]

CHAT = "/v1/chat/completions"
HI: list[Json] = [{"role": "user", "content": "hi"}]
OPENING = {"role": "assistant", "content": "", "refusal": None}
PRICE: Json = {"type": "function", "function": {"name": "price", "parameters": {"type": "object", "properties": {}}}}


@dataclass(slots=True)
class Heard:
    """An answer, put together from either form; `calls` are `(id, name, arguments)`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    finish: str = ""
    usage: Json | None = None
    steps: list[Json] = field(default_factory=list)
    error: Json | None = None

    @property
    def said(self) -> tuple[object, ...]:
        """What must not depend on the form. A whole answer always tells its usage."""
        return self.model, self.text, self.reasoning, self.refusal, self.calls, self.finish, self.error


class Service:
    """A client of one server."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self.client = client

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.client.get(f"{self.url}{path}", **how)

    def post(self, body: object, path: str = CHAT, **how: Any) -> httpx.Response:
        """`body` as JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.client.post(f"{self.url}{path}", content=content, **how)

    def whole(self, **body: Any) -> Heard:
        response = self.post({"messages": HI, **body})
        return read_whole(response)

    def streamed(self, **body: Any) -> Heard:
        response = self.post({"messages": HI, **body, "stream": True})
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return read_stream(response, usage)


@contextmanager
def service(
    up: Upstream | None = None, provider: Provider | None = None, pace: Pace | None = None, **settings: Any
) -> Iterator[Service]:
    """The whole service on loopback. Its default model is `openai/test-model`, which `up` answers.

    Like other clients of tests this one reads no certificates, which takes longer than a service and its answer.
    """
    given: dict[str, Any] = {"model": "openai/test-model", "skills": ()}
    if up is not None:
        given |= {"openai_base_url": f"{up.url}/v1", "openai_api_key": "sk-the-right-key"}
    app = create_app(Settings(**(given | settings)), provider, pace)
    with serve(app) as url, httpx.Client(trust_env=False, timeout=30, verify=False) as client:
        yield Service(url, client)


def write_skill(parent: Path, name: str, description: str = "", body: str = "") -> None:
    folder = parent / name
    folder.mkdir(parents=True)
    words = description or f"What to know of {name}."
    text = f"---\nname: {name}\ndescription: {words}\n---\n{body or f'The whole art of {name}.'}\n"
    (folder / "SKILL.md").write_text(text, "utf-8")


def read_error(response: httpx.Response) -> Json:
    """The error of an answer that is nothing else."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return _error(response.json())


def _error(body: Json) -> Json:
    assert set(body) == {"error"}
    error = body["error"]
    assert isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    return error


def read_whole(response: httpx.Response) -> Heard:
    heard = Heard(response.status_code, response.headers)
    if response.status_code != 200:
        heard.error = read_error(response)
        return heard
    body = response.json()
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    assert isinstance(body["created"], int) and "system_fingerprint" not in body
    (choice,) = body["choices"]
    assert choice["index"] == 0 and choice["logprobs"] is None
    message = choice["message"]
    assert message["role"] == "assistant" and {"content", "refusal"} <= set(message)
    heard.model, heard.usage, heard.finish = body["model"], body["usage"], choice["finish_reason"]
    heard.text, heard.refusal = message["content"] or "", message["refusal"] or ""
    heard.reasoning = message.get("reasoning_content", "")
    for call in message.get("tool_calls", []):
        assert call["type"] == "function"
        heard.calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
    heard.steps = body.get("skill_agent", {}).get("steps", [])
    return heard


def frames(body: bytes) -> list[str]:
    """The data of each event. There are only `data:` lines, and comments of their own."""
    *blocks, rest = body.decode().split("\n\n")
    assert rest == ""
    blocks = [block for block in blocks if block != ": keep-alive"]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def read_stream(response: httpx.Response, usage: bool = False) -> Heard:
    """`usage` is whether it was asked for."""
    heard = Heard(response.status_code, response.headers)
    if response.status_code != 200:
        heard.error = read_error(response)
        return heard
    assert response.headers["content-type"].startswith("text/event-stream")
    *data, done = frames(response.content)
    assert done == "[DONE]"
    chunks = [orjson.loads(text) for text in data]
    if "error" in chunks[-1]:
        heard.error = _error(chunks.pop())
    if usage and heard.error is None:
        end = chunks.pop()
        assert end["choices"] == []
        heard.usage = end["usage"]
        assert end.keys() == chunks[-1].keys() and end["id"] == chunks[0]["id"]
    _check_heads(chunks, usage)
    for position, chunk in enumerate(chunks):
        _take(heard, chunk, first=position == 0, last=position == len(chunks) - 1)
    return heard


def _check_heads(chunks: list[Json], usage: bool) -> None:
    heads = {(c["id"], c["object"], c["created"], c["model"]) for c in chunks}
    assert len(heads) == 1 and chunks[0]["object"] == "chat.completion.chunk"
    keys = {"id", "object", "created", "model", "choices", *(["usage"] if usage else [])}
    assert all(chunk.keys() - {"skill_agent"} == keys for chunk in chunks)
    assert all(chunk.get("usage") is None for chunk in chunks)


def _take(heard: Heard, chunk: Json, first: bool, last: bool) -> None:
    (choice,) = chunk["choices"]
    delta = choice["delta"]
    assert choice["index"] == 0 and choice["logprobs"] is None
    heard.model = chunk["model"]
    assert (delta == OPENING) if first else ("role" not in delta)
    assert (choice["finish_reason"] is not None) == (last and heard.error is None)
    assert len(delta) == 1 or first or not delta
    if step := chunk.get("skill_agent"):
        assert delta == {} and last == (step["type"] == "finish")
        heard.steps += [] if last else [step]
    elif not delta:
        assert last
    heard.finish = choice["finish_reason"] or heard.finish
    heard.text += delta.get("content") or ""
    heard.reasoning += delta.get("reasoning_content") or ""
    heard.refusal += delta.get("refusal") or ""
    for call in delta.get("tool_calls", []):
        _take_call(heard, call)


def _take_call(heard: Heard, call: Json) -> None:
    if call["index"] == len(heard.calls):
        assert call.keys() == {"index", "id", "type", "function"} and call["type"] == "function"
        heard.calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
        return
    assert call.keys() == {"index", "function"} and call["function"].keys() == {"arguments"}
    id, name, arguments = heard.calls[call["index"]]
    heard.calls[call["index"]] = id, name, arguments + call["function"]["arguments"]
