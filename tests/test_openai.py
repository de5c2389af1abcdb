"""What is sent in the dialect of Chat Completions."""

from __future__ import annotations

import json
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
    Refusal,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    assistant,
    system,
    user,
)
from providers import openai, resolve
from providers.base import BadRequest, ModelInfo
from providers.http import Http, bearer
from providers.openai import OPENAI, ChatCompletions, Quirks
from settings import Settings, SettingsError
from tests.asking import TOOL, Heard, ask
from tests.upstream import Upstream, chat_chunks, json_reply, sse

GOOD = sse(chat_chunks("ok"))
LEGACY = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
FULL = Options(
    0.5,
    0.9,
    77,
    ("a", "b"),
    7,
    0.1,
    0.2,
    "low",
    False,
    ToolChoice("required"),
    verbosity="low",
    logit_bias={"7": 1.0},
    cache_key="k",
    user="u",
    response_format=JsonFormat({"type": "object"}),
)
SERIAL = Quirks(serial_calls=True, merge_system=True)


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


def _model(http: Http, up: Upstream, quirks: Quirks | None = None) -> ChatCompletions:
    return ChatCompletions(http, f"{up.url}/v1/chat/completions", bearer("k"), ModelInfo("openai/m"), quirks)


async def _sent(
    http: Http, up: Upstream, messages: list[Message], quirks: Quirks | None = None, **how: Any
) -> list[dict[str, Any]]:
    await ask(_model(http, up, quirks), messages, **how)
    sent: list[dict[str, Any]] = up.requests[-1].json["messages"]
    return sent


def _called(*ids: str, text: str = "", origin: str = "", name: str = "price") -> Message:
    said = (Text(text),) if text else ()
    return Message("assistant", (*said, *(ToolCall(id, name, '{"item": "tea"}') for id in ids)), origin)


def _results(**texts: str) -> Message:
    return Message("tool", tuple(ToolResult(id, (Text(text),)) for id, text in texts.items()))


# Fields


async def test_what_is_unset_is_absent(up: Upstream, http: Http) -> None:
    await ask(_model(http, up))
    assert up.requests[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    head = up.requests[0].headers
    assert (head["authorization"], head["content-type"]) == ("Bearer k", "application/json")


@pytest.mark.parametrize(("quirks", "name"), [(None, "max_tokens"), (OPENAI, "max_completion_tokens")])
async def test_what_is_set_is_sent(up: Upstream, http: Http, quirks: Quirks | None, name: str) -> None:
    await ask(_model(http, up, quirks), tools=[TOOL, replace(TOOL, name="strict", strict=True)], options=FULL)
    body = up.requests[0].json
    plain = {"name": "price", "description": TOOL.description, "parameters": TOOL.parameters}
    assert body.pop("tools") == [
        {"type": "function", "function": plain},
        {"type": "function", "function": {**plain, "name": "strict", "strict": True}},
    ]
    del body["messages"]
    assert body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tool_choice": "required",
        "parallel_tool_calls": False,
        name: 77,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "reasoning_effort": "low",
        "verbosity": "low",
        "logit_bias": {"7": 1.0},
        "prompt_cache_key": "k",
        "safety_identifier": "u",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
    }


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(), None),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", "price"), {"type": "function", "function": {"name": "price"}}),
    ],
)
async def test_a_choice_of_tools_needs_tools(up: Upstream, http: Http, choice: ToolChoice, sent: object) -> None:
    options = Options(tool_choice=choice, parallel_tool_calls=True)
    await ask(_model(http, up), tools=[TOOL], options=options)
    await ask(_model(http, up), options=options)
    assert [request.json.get("tool_choice") for request in up.requests] == [sent, None]
    assert [request.json.get("parallel_tool_calls") for request in up.requests] == [True, None]


async def test_zero_is_a_value(up: Upstream, http: Http) -> None:
    await ask(_model(http, up), options=Options(temperature=0.0, top_p=0.0, seed=0, presence_penalty=0.0))
    body = up.requests[0].json
    assert (body["temperature"], body["top_p"], body["seed"], body["presence_penalty"]) == (0, 0, 0, 0)


async def test_a_host_that_asks_no_usage_is_not_asked(up: Upstream, http: Http) -> None:
    await ask(_model(http, up, Quirks(usage_option=False)))
    assert "stream_options" not in up.requests[0].json


async def test_the_defaults_of_a_host_yield_to_what_is_set(up: Upstream, http: Http) -> None:
    quirks = Quirks(sampling={"temperature": 0.3, "top_k": 5})
    await ask(_model(http, up, quirks), options=Options(temperature=1.0))
    assert (up.requests[0].json["temperature"], up.requests[0].json["top_k"]) == (1.0, 5)


# Fields that a model refuses


async def _learns(up: Upstream, http: Http, error: object, status: int = 400) -> list[set[str]]:
    """The fields of the refused request, of the one behind it, and of a later one."""
    model = _model(http, up)
    up.reply(json_reply(error, status))
    options = Options(max_tokens=9, temperature=0.5, top_p=0.4, reasoning_effort="low")
    for _ in range(2):
        assert (await ask(model, tools=[replace(TOOL, strict=True)], options=options)).text == "ok"
    assert len(up.requests) == 3
    strict = ["strict" in request.json["tools"][0]["function"] for request in up.requests]
    return [set(r.json) | ({"strict"} if s else set()) for r, s in zip(up.requests, strict, strict=True)]


@pytest.mark.parametrize("param", ["max_tokens", None])
async def test_the_other_name_of_the_limit_is_learned(up: Upstream, http: Http, param: str | None) -> None:
    error = {"message": LEGACY, "type": "invalid_request_error", "param": param, "code": "unsupported_parameter"}
    first, *rest = await _learns(up, http, {"error": error})
    assert rest == [first - {"max_tokens"} | {"max_completion_tokens"}] * 2
    assert up.requests[1].json["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ({"error": {"message": "Unsupported value: it does not support 0.5", "param": "temperature"}}, "temperature"),
        ({"error_code": "BAD_REQUEST", "message": 'json: unknown field "stream_options"\n'}, "stream_options"),
        ({"error": {"message": "Unrecognized request argument supplied: stream_options"}}, "stream_options"),
        ({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, "stream_options"),
        ({"error": {"message": "Unknown parameter", "param": "tools[0].function.strict"}}, "strict"),
        ({"error": {"message": "`top_p` is not supported by this model"}}, "top_p"),
        ({"error": {"message": "Unsupported parameter: 'reasoning_effort'"}}, "reasoning_effort"),
    ],
)
async def test_a_field_that_is_refused_by_name_is_left_out(
    up: Upstream, http: Http, error: dict[str, Any], name: str
) -> None:
    first, *rest = await _learns(up, http, error, 422 if "detail" in error else 400)
    assert rest == [first - {name}] * 2


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Invalid 'temperature': expected a value <= 2", "param": "temperature"},
        {"message": "max_tokens is too large: 9000", "param": "max_tokens", "code": "invalid_value"},
        {"message": "Unsupported parameter: 'n'", "param": "n", "code": "unsupported_parameter"},
        {"message": "Unknown role", "param": "messages[0].role"},
    ],
)
async def test_a_bad_value_is_an_error_and_teaches_nothing(up: Upstream, http: Http, error: object) -> None:
    model, options = _model(http, up), Options(max_tokens=9, temperature=0.5)
    up.reply(json_reply({"error": error}, 400))
    with pytest.raises(BadRequest):
        await ask(model, options=options)
    await ask(model, options=options)
    assert len(up.requests) == 2 and up.requests[0].body == up.requests[1].body


async def test_a_field_is_refused_once_only(up: Upstream, http: Http) -> None:
    up.always(json_reply({"error": {"message": LEGACY, "param": "max_tokens"}}, 400))
    with pytest.raises(BadRequest):
        await ask(_model(http, up), options=Options(max_tokens=9))
    assert len(up.requests) == 2


async def test_a_refusal_after_output_is_not_tried_again(up: Upstream, http: Http) -> None:
    error = {"error": {"message": LEGACY, "param": "max_tokens", "type": "invalid_request_error"}}
    up.reply(sse([*chat_chunks("Hello", finish="", usage=None), error]))
    heard = Heard()
    with pytest.raises(BadRequest):
        await ask(_model(http, up), options=Options(max_tokens=9), heard=heard)
    assert (heard.text, len(up.requests)) == ("Hello", 1)


# Messages


async def test_roles_and_texts_are_sent_as_they_are(up: Upstream, http: Http) -> None:
    said = [system("be brief"), user("hi"), assistant("hello"), system("be kind"), user("bye")]
    sent = await _sent(http, up, said)
    assert [(m["role"], m["content"]) for m in sent] == [(m.role, m.text) for m in said]


async def test_empty_messages_are_left_out(up: Upstream, http: Http) -> None:
    blank = [Message("user", ()), user(""), user(" \n"), assistant(""), assistant("\n\n"), Message("assistant", ())]
    image = Message("user", (Text(""), Image(url="https://x/y.png")))
    sent = await _sent(http, up, [*blank, system(""), image, user("hi")])
    assert sent == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "user", "content": "hi"},
    ]


async def test_a_call_without_words_has_no_content(up: Upstream, http: Http) -> None:
    sent = await _sent(http, up, [user("hi"), _called("c1", text="\n\n"), _results(c1="\n")])
    assert "content" not in sent[1] and sent[2]["content"] == "(no output)"


async def test_files_are_sent_in_parts(up: Upstream, http: Http) -> None:
    parts = (
        Text("look"),
        Image("image/png", "AAAA", detail="low"),
        Image(url="https://x/y.png"),
        File("application/pdf", "BBBB", "a.pdf"),
        File("application/pdf", "BBBB"),
        Audio("wav", "CCCC"),
    )
    sent = await _sent(http, up, [Message("user", parts)])
    pdf = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}
    assert sent[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": pdf},
        {"type": "file", "file": {**pdf, "filename": "file"}},
        {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "wav"}},
    ]


async def test_calls_and_results_are_paired(up: Upstream, http: Http) -> None:
    sent = await _sent(http, up, [user("hi"), _called("c1", "c2", text="so"), _results(c2="two", c1="one")])
    function = {"name": "price", "arguments": '{"item": "tea"}'}
    calls = [{"id": id, "type": "function", "function": function} for id in ("c1", "c2")]
    assert sent[1:] == [
        {"role": "assistant", "content": "so", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
    ]


async def test_pictures_of_results_follow_in_a_users_message(up: Upstream, http: Http) -> None:
    seen = Message("tool", (ToolResult("c1", (Text("one"), Image("image/png", "AAAA"))), ToolResult("c2", ())))
    sent = await _sent(http, up, [user("hi"), _called("c1", "c2"), seen])
    assert [(m["role"], m["content"]) for m in sent[2:4]] == [("tool", "one"), ("tool", "(no output)")]
    assert sent[4]["role"] == "user" and sent[4]["content"] == [
        {"type": "text", "text": "Attached to the result of c1:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


async def test_a_refusal_goes_back_as_text(up: Upstream, http: Http) -> None:
    sent = await _sent(http, up, [user("hi"), Message("assistant", (Refusal("no"),)), user("why")])
    assert sent[1] == {"role": "assistant", "content": "no"}


async def test_illegal_ids_and_names_are_made_legal_alike(up: Upstream, http: Http) -> None:
    ids = ["functions.price:0", "x" * 90, "ü"]
    said = [user("hi"), _called(*ids, name="skills.price"), _results(**dict.fromkeys(ids, "1"))]
    sent = await _sent(http, up, said)
    calls = sent[1]["tool_calls"]
    assert [call["id"] for call in calls] == [m["tool_call_id"] for m in sent[2:]] and len(sent) == 5
    for call in calls:
        assert len(call["id"]) <= 40 and call["id"].replace("_", "").isascii() and ":" not in call["id"]
        assert call["function"]["name"].startswith("skills_price_") and "." not in call["function"]["name"]


async def test_bad_arguments_go_back_as_json(up: Upstream, http: Http) -> None:
    said = [user("hi"), Message("assistant", (ToolCall("c1", "price", '{"item": "te'),)), _results(c1="cut")]
    sent = await _sent(http, up, said)
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"INVALID_JSON": '{"item": "te'}


async def test_calls_are_told_one_by_one_where_only_one_is_taken(up: Upstream, http: Http) -> None:
    said = [system("a"), user("hi"), _called("c1", "c2", "c3", text="so"), _results(c1="1", c3="3")]
    said += [_called("c4"), _results(c4="4"), system("b"), user("x"), user("y")]
    sent = await _sent(http, up, said, SERIAL)
    told = [[c["id"] for c in m.get("tool_calls", [])] or m.get("tool_call_id") or m["content"] for m in sent]
    assert told == ["a\n\nb", "hi", ["c1"], "c1", ["c2"], "c2", ["c3"], "c3", ["c4"], "c4", "x\ny"]
    assert [m.get("content") for m in sent[2:8]] == [
        "so",
        "1",
        None,
        "No result was recorded for this call.",
        None,
        "3",
    ]


async def test_what_no_json_holds_is_mended(up: Upstream, http: Http) -> None:
    broken = Message(
        "assistant", (Text("\ud83d"), ToolCall("c1", "price", '{"n": 1e999, "big": 1234567890123456789012}'))
    )
    sent = await _sent(http, up, [user("a\ud83d\ude42b\udfff"), broken, _results(c1="\udc00")])
    assert [m["content"] for m in sent] == ["a🙂b�", "�", "�"]


# Reasoning


def _thought(origin: str) -> Message:
    reasoning = Reasoning("hm", {"reasoning_content": "hm"})
    return Message("assistant", (reasoning, Text("so"), ToolCall("c1", "price")), origin)


@pytest.mark.parametrize(("origin", "echoed"), [("openai/m", "hm"), ("openai/other", None), ("deepseek/m", None)])
async def test_reasoning_goes_back_to_its_origin_only(up: Upstream, http: Http, origin: str, echoed: object) -> None:
    sent = await _sent(http, up, [user("hi"), _thought(origin), _results(c1="1")])
    assert sent[1].get("reasoning_content") == echoed and sent[1]["content"] == "so"


async def test_reasoning_goes_back_only_with_calls_and_not_to_openai(up: Upstream, http: Http) -> None:
    answer = Message("assistant", (Reasoning("hm", {"reasoning_content": "hm"}), Text("so")), "openai/m")
    sent = await _sent(http, up, [user("hi"), answer, user("x")])
    sent += await _sent(http, up, [user("hi"), _thought("openai/m"), _results(c1="1")], OPENAI)
    assert not [m for m in sent if "reasoning_content" in m]


# Who is asked


@pytest.mark.parametrize("key", ["", "sk-1"])
async def test_a_compatible_server_may_need_no_key(up: Upstream, http: Http, key: str) -> None:
    settings = Settings(openai_base_url=f"{up.url}/v1", openai_api_key=key)
    model = resolve("openai/org/some-model", settings, http)
    await ask(model, options=Options(max_tokens=5))
    request = up.requests[0]
    assert (request.path, request.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {key or 'none'}")
    assert (request.json["model"], request.json["max_tokens"]) == ("org/some-model", 5)


def test_openai_itself_needs_a_key_and_takes_the_newer_limit() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        openai.connect("gpt-5-mini", Settings(), Http())
    model = openai.connect("gpt-5-mini", Settings(openai_api_key="k"), Http())
    assert model.url == "https://api.openai.com/v1/chat/completions"
