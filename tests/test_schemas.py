"""Requests that are wrong: each is answered 400 in the shape of OpenAI, with the field that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from providers.scripted import ScriptedProvider
from tests.surface import HI, Service, read_error, service

MISSING, TYPE, VALUE = "missing_required_parameter", "invalid_type", "invalid_value"


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def assistant(*calls: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "tool_calls": list(calls)}]}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": function}]}


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    """No request of this file may reach the model."""
    model = ScriptedProvider([])
    with service(provider=model) as server:
        yield server
    assert model.calls == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"   ", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"messages": [NaN]}', "invalid_json"),
        (b"\xff\xfe{}", "invalid_json"),
        (b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}', "invalid_json"),
        (b'{"messages":[{"role":"user","content":"\\ud8zz"}]}', "invalid_json"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "invalid_json"),
        (b"messages=hi", "invalid_json"),
        (b"null", TYPE),
        (b"[]", TYPE),
        (b'[{"role":"user","content":"hi"}]', TYPE),
        (b'"hi"', TYPE),
        (b"7", TYPE),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_body_that_is_no_json_object_is_refused(served: Service, body: bytes, code: str, content_type: str) -> None:
    response = served.post(body, headers={"content-type": content_type})
    error = read_error(response)
    assert response.status_code == 400
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, None)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"max_tokens": 1e30}, "max_tokens", TYPE),
        ({"seed": -1e30}, "seed", TYPE),
        ({"messages": None}, "messages", MISSING),
        ({"messages": []}, "messages", VALUE),
        ({"messages": "hi"}, "messages", TYPE),
        ({"messages": {}}, "messages", TYPE),
        ({"messages": [*HI, "hi"]}, "messages[1]", TYPE),
        ({"messages": [{"content": "hi"}]}, "messages[0].role", MISSING),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role", VALUE),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", TYPE),
        (user(5), "messages[0].content[0]", TYPE),
        (user({"text": "hi"}), "messages[0].content[0]", TYPE),
        (user({"type": "video"}), "messages[0].content[0]", TYPE),
        (user({"type": "text"}), "messages[0].content[0].text", MISSING),
        (user({"type": "text", "text": 5}), "messages[0].content[0].text", TYPE),
        (user({"type": "image_url", "image_url": "x"}), "messages[0].content[0].image_url", TYPE),
        (user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0].file.file_data", MISSING),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "messages[0].tool_calls[0].function",
            MISSING,
        ),
        ({"model": 5}, "model", TYPE),
        ({"stream": "yes"}, "stream", TYPE),
        ({"stream": 1}, "stream", TYPE),
        ({"stream_options": True}, "stream_options", TYPE),
        ({"temperature": "hot"}, "temperature", TYPE),
        ({"temperature": "0.5"}, "temperature", TYPE),
        ({"temperature": 2.1}, "temperature", VALUE),
        ({"top_p": -0.1}, "top_p", VALUE),
        ({"presence_penalty": 3}, "presence_penalty", VALUE),
        ({"max_tokens": "ten"}, "max_tokens", TYPE),
        ({"max_tokens": True}, "max_tokens", TYPE),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", TYPE),
        ({"seed": "s"}, "seed", TYPE),
        ({"stop": 5}, "stop", TYPE),
        ({"stop": ["a", 5]}, "stop[1]", TYPE),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", TYPE),
        ({"tools": {}}, "tools", TYPE),
        ({"tools": [{"type": "function"}]}, "tools[0].function", MISSING),
        ({"tools": [{"type": "magic"}]}, "tools[0]", TYPE),
        (tool(), "tools[0].function.name", MISSING),
        (tool(name="a b"), "tools[0].function.name", VALUE),
        (tool(name=""), "tools[0].function.name", VALUE),
        (tool(name="f", parameters=[]), "tools[0].function.parameters", TYPE),
        ({"tool_choice": "maybe"}, "tool_choice", VALUE),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", MISSING),
        ({"skill_agent": True}, "skill_agent", TYPE),
        ({"skill_agent": {"activity": "on"}}, "skill_agent.activity", TYPE),
        ({"skill_agent": {"skills": "tea"}}, "skill_agent.skills", TYPE),
        ({"skill_agent": {"activate": ["tea"]}}, "skill_agent.activate", TYPE),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_named(served: Service, fields: dict[str, Any], param: str, code: str, stream: bool) -> None:
    response = served.post({"messages": HI, "stream": stream, **fields})
    error = read_error(response)
    assert response.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"].startswith(f"{param}: ")


@pytest.mark.parametrize("before", [[], HI, [{"role": "assistant", "content": "hi"}]])
def test_results_that_nobody_asked_for_are_refused(served: Service, before: list[Any]) -> None:
    result = {"role": "tool", "tool_call_id": "no", "content": "x"}
    error = read_error(served.post({"messages": [*before, result, result]}))
    assert (error["param"], error["code"]) == (f"messages[{len(before)}].tool_call_id", VALUE)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "image.png",
        "http://example.com/a.png",
        "file:///etc/passwd",
        "data:",
        "data:image/png,abc",
        "data:image/png;base64",
        "data:image/png;base64,***",
        "data:image/png;base64,abc",
        "data:;base64,aGk=",
        "data:image/png;base64,aGk=é",
    ],
)
def test_a_bad_data_uri_is_refused(served: Service, uri: str) -> None:
    image = {"type": "image_url", "image_url": {"url": uri}}
    file = {"type": "file", "file": {"file_data": uri}}
    for part, place in ((image, "image_url.url"), (file, "file.file_data")):
        response = served.post(user(part))
        assert response.status_code == 400
        assert read_error(response)["param"] == f"messages[0].content[0].{place}"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "localhost",
        "db.internal",
        "127.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.0x1",
    ],
)
def test_an_image_in_a_private_network_is_refused(served: Service, host: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"https://{host}/a.png"}}
    error = read_error(served.post(user(image)))
    assert (error["param"], error["code"]) == ("messages[0].content[0].image_url.url", VALUE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content"),
        (
            {"messages": [*HI, {"role": "user", "content": [{"type": "text", "text": "\0"}]}]},
            "messages[1].content[0].text",
        ),
        ({"user": "\0"}, "user"),
        ({"skill_agent": {"skills": ["a", "\0"]}}, "skill_agent.skills[1]"),
    ],
)
def test_a_nul_character_is_refused(served: Service, fields: dict[str, Any], param: str) -> None:
    error = read_error(served.post({"messages": HI, **fields}))
    assert (error["param"], error["code"]) == (param, VALUE)


def test_many_wrong_requests_at_once_leave_the_server_well(served: Service) -> None:
    for size in (10, 1000):
        response = served.post({"messages": ["wrong"] * size})
        assert response.status_code == 400 and len(response.content) < 1000
    assert served.get("/health").status_code == 200
