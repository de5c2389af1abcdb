"""Answers, models and bad requests over HTTP: a real server, asked as any client would, before a real upstream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from messages import Usage
from providers.scripted import Play, ScriptedProvider, call
from schemas import ChatRequest
from server import create_app
from settings import Settings
from tests.servers import serve
from tests.surface import CHAT, HI, PRICE, Json, Service, read_error, read_whole, service, write_skill
from tests.upstream import Upstream, chat_chunks, sse

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjQ="


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def skills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skills")
    write_skill(folder, "baking", "Bake cakes and bread.")
    write_skill(folder, "tea", "Brew tea.")
    return folder


@pytest.fixture(scope="module")
def served(up: Upstream, skills: Path) -> Iterator[Service]:
    """The agent with two skills, and `openai/*` as plain models."""
    aliases = (("gpt-*", "skill-agent"), ("cake", "skill-agent:baking"))
    with service(up, skills=(skills,), allowed_models=("openai/gpt-*", "openai/listed"), aliases=aliases) as server:
        up.always(sse(chat_chunks("Hello there", usage=(7, 3))))
        yield server


def sent(up: Upstream) -> Json:
    """What the provider was asked last."""
    body: Json = up.requests[-1].json
    return body


def prompt(up: Upstream) -> str:
    return "".join(m["content"] for m in sent(up)["messages"] if m["role"] == "system")


def tools(up: Upstream) -> list[str]:
    return [tool["function"]["name"] for tool in sent(up).get("tools", [])]


def refusing() -> list[Json]:
    chunks = chat_chunks("", finish="content_filter")
    chunks[0]["choices"][0]["delta"] = {"role": "assistant", "refusal": "I will not."}
    return chunks


@pytest.mark.parametrize(
    "chunks",
    [
        chat_chunks("Grüße 🙂 in\nlines"),
        chat_chunks("Four", reasoning="Two and two."),
        chat_chunks("", tool_calls=[("a1", "price", '{"item": "tea"}'), ("a2", "price", "")]),
        chat_chunks("Let me see.", tool_calls=[("a1", "price", '{"a": 1}')]),
        chat_chunks("cut", finish="length"),
        refusing(),
    ],
    ids=["text", "reasoning", "calls", "text-and-calls", "length", "refusal"],
)
def test_whole_and_streamed_answers_say_the_same(up: Upstream, served: Service, chunks: list[Json]) -> None:
    up.reply(sse(chunks), sse(chunks))
    how: Json = {"model": "openai/gpt-x", "tools": [PRICE]}
    whole, streamed = served.whole(**how), served.streamed(**how)
    assert whole.said == streamed.said and whole.error is None
    assert whole.text or whole.calls or whole.refusal


def test_an_answer_tells_its_tokens(up: Upstream, served: Service) -> None:
    told = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    details = {
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert served.whole().usage == {**told, **details}
    assert served.streamed(stream_options={"include_usage": True}).usage == {**told, **details}
    assert served.streamed().usage is None


def test_stream_options_of_an_answer_that_is_not_streamed_are_ignored(served: Service) -> None:
    assert served.whole(stream=False, stream_options={"include_usage": True}).text == "Hello there"


def test_a_stream_is_not_stored_or_buffered_on_its_way(served: Service) -> None:
    headers = served.streamed().headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform" and headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers


def test_the_answer_does_not_depend_on_the_accept_header(served: Service) -> None:
    for accept in ("application/json", "*/*", "text/html"):
        response = served.post({"messages": HI, "stream": True}, headers={"accept": accept})
        assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_every_route_has_both_prefixes(served: Service, prefix: str) -> None:
    assert read_whole(served.post({"messages": HI}, f"{prefix}/chat/completions")).text == "Hello there"
    for path in ("models", "models/skill-agent", "models/openai/listed", "healthcheck"):
        assert served.get(f"{prefix}/{path}").status_code == 200


def test_the_models_are_the_agent_its_skills_and_the_allowed_ones(served: Service) -> None:
    listed = served.get("/v1/models").json()
    assert listed["object"] == "list"
    names = ["skill-agent", "skill-agent:baking", "skill-agent:tea", "openai/test-model", "openai/listed"]
    assert [model["id"] for model in listed["data"]] == names
    assert served.get("/v1/models/").json() == listed
    for model in listed["data"]:
        assert set(model) == {"id", "object", "created", "owned_by", "skill_agent"}
        assert model["object"] == "model" and isinstance(model["created"], int)
        assert served.get(f"/v1/models/{model['id']}").json() == model
    assert served.get("/v1/models/openai%2Fgpt-x").json()["id"] == "openai/gpt-x"


def test_a_skill_that_comes_while_the_server_runs_is_served(up: Upstream, tmp_path: Path) -> None:
    with service(up, skills=(tmp_path,)) as server:
        assert len(server.get("/v1/models").json()["data"]) == 2
        write_skill(tmp_path, "new")
        assert server.get("/v1/models/skill-agent:new").status_code == 200


def test_the_healthcheck_says_that_and_when_without_asking_a_provider(up: Upstream, served: Service) -> None:
    before = len(up.requests)
    body = served.get("/api/v1/healthcheck").json()
    assert body["status"] == "healthy" and body["service"] == "openai-compatible-api"
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert served.get("/health").status_code == served.get("/ready").status_code == 200
    assert len(up.requests) == before


def test_a_harmless_request_id_is_kept_and_any_other_replaced(served: Service) -> None:
    def answered(given: str | None, path: str = "/health") -> str:
        headers = {} if given is None else {"x-request-id": given.encode()}
        return str(served.get(path, headers=headers).headers["x-request-id"])

    assert answered("run-1.a_B") == answered("run-1.a_B", "/nowhere") == "run-1.a_B"
    for odd in (None, "", "a b", "a\tb", "x" * 65, "é", "<script>"):
        assert re.fullmatch("[0-9a-f]{32}", answered(odd))
    assert answered(None) != answered(None)
    assert served.streamed().headers["x-request-id"]


def test_an_absent_empty_or_null_model_is_the_agent(served: Service) -> None:
    for model in ({}, {"model": None}, {"model": ""}, {"model": "skill-agent"}):
        assert served.whole(**model).model == "skill-agent"


def test_the_agent_has_its_prompt_and_the_catalog_of_skills(up: Upstream, served: Service) -> None:
    served.whole()
    assert "baking" in prompt(up) and "Brew tea." in prompt(up) and "whole art" not in prompt(up)
    files = ["edit_file", "glob", "grep", "ls", "read_file", "write_file"]
    assert tools(up) == sorted(["activate_skill", "read_skill_file", "task", "write_todos", *files])


def test_a_plain_model_is_asked_without_anything_of_the_agent(up: Upstream, served: Service) -> None:
    assert served.whole(model="openai/gpt-x", temperature=0.5).model == "openai/gpt-x"
    assert sent(up) == {
        "model": "gpt-x",
        "messages": HI,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
    }
    assert served.whole(model="openai/test-model").error is None
    assert sent(up)["messages"] == HI and "tools" not in sent(up)


def test_a_model_named_with_a_skill_has_it_loaded(up: Upstream, served: Service) -> None:
    assert served.whole(model="skill-agent:tea").model == "skill-agent:tea"
    assert "The whole art of tea." in prompt(up) and "art of baking" not in prompt(up)


def test_an_alias_stands_in_for_a_name_that_is_not_served(up: Upstream, served: Service) -> None:
    assert served.whole(model="gpt-4o").model == "skill-agent"
    assert served.get("/v1/models/gpt-4o").json()["id"] == "skill-agent"
    served.whole(model="cake")
    assert "The whole art of baking." in prompt(up)


def test_an_alias_for_everything_leaves_the_served_names_alone(up: Upstream, skills: Path) -> None:
    with service(up, skills=(skills,), allowed_models=("openai/gpt-*",), aliases=(("*", "skill-agent"),)) as server:
        for name in ("skill-agent:tea", "openai/gpt-x", "openai/test-model"):
            assert server.whole(model=name).model == name
        assert server.whole(model="whatever").model == server.whole(model="openai/other").model == "skill-agent"


def test_many_plain_models_do_not_push_the_default_one_out(up: Upstream) -> None:
    with service(up, allowed_models=("openai/gpt-*",)) as server:
        for number in range(70):
            server.get(f"/v1/models/openai/gpt-{number}")
            server.whole(model=f"openai/gpt-{number}")
        assert server.whole(model="openai/test-model").error is None


@pytest.mark.parametrize("model", ["gpt4", "openai/other", "skill-agent:none", "openai/", "/", "anthropic/gpt-x", "é"])
def test_a_model_that_is_not_served_is_not_found(served: Service, model: str) -> None:
    for heard in (served.whole(model=model), served.streamed(model=model)):
        assert heard.status == 404 and heard.error is not None
        assert (heard.error["code"], heard.error["param"]) == ("model_not_found", "model")
    response = served.get(f"/v1/models/{quote(model, safe='')}")
    assert response.status_code == 404 and read_error(response)["code"] == "model_not_found"


def test_an_allowed_model_without_credentials_is_not_found_with_the_reason(up: Upstream) -> None:
    with service(up, allowed_models=("anthropic/*",)) as server:
        heard = server.whole(model="anthropic/claude")
        assert heard.status == 404 and heard.error is not None and "ANTHROPIC_API_KEY" in heard.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v1/nowhere", 404),
        ("POST", "/chat/completions", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
    ],
)
def test_a_wrong_address_or_method_is_told_in_the_shape_of_openai(
    served: Service, method: str, path: str, status: int
) -> None:
    response = served.client.request(method, f"{served.url}{path}")
    assert response.status_code == status
    assert read_error(response)["type"] == "invalid_request_error"
    assert ("allow" in response.headers) == (status == 405)


# Fields


EVERY_FIELD = [name for name in ChatRequest.model_fields if name != "messages"]


def test_null_means_unset_in_every_field(up: Upstream, served: Service) -> None:
    served.whole()
    unset = sent(up)
    served.whole(**dict.fromkeys(EVERY_FIELD))
    assert sent(up) == unset
    inside: Json = {
        "stream_options": {"include_usage": None},
        "skill_agent": {"activity": None, "skills": None, "activate": None},
        "tools": [{"type": "function", "function": {"name": "f", "description": None, "parameters": None}}],
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": None}}]},
            {"role": "assistant", "content": None, "tool_calls": None, "refusal": None, "tool_call_id": None},
        ],
    }
    assert served.whole(**inside).error is None


def test_what_is_asked_for_reaches_the_model(up: Upstream, served: Service) -> None:
    wanted: Json = {
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["\n"],
        "seed": -9007199254740991,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {**PRICE["function"], "description": "d", "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "price"}},
    }
    served.whole(model="openai/gpt-x", **wanted, max_completion_tokens=9)
    assert {**sent(up), "max_tokens": 9} == sent(up) and wanted.items() <= sent(up).items()
    served.whole(model="openai/gpt-x", tools=[PRICE], stop="END", tool_choice="none", max_tokens=8)
    assert (sent(up)["stop"], sent(up)["tool_choice"], sent(up)["max_tokens"]) == (["END"], "none", 8)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_no_limit(up: Upstream, served: Service, limit: int) -> None:
    served.whole(max_tokens=limit, max_completion_tokens=limit)
    assert "max_tokens" not in sent(up)
    served.whole(max_tokens=limit, max_completion_tokens=12.0)
    assert sent(up)["max_tokens"] == 12


def test_unknown_and_unsupported_fields_are_ignored(up: Upstream, served: Service) -> None:
    served.whole()
    bare = sent(up)
    odd: Json = {
        "n": 1,
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "web_search_options": {},
        "nonsense": {"deep": [1]},
    }
    served.whole(**odd, messages=[{**HI[0], "name": "Ann", "prompt_cache_breakpoint": {}}])
    assert sent(up) == bare


def test_several_answers_stand_side_by_side(up: Upstream, served: Service) -> None:
    one = served.post({"messages": HI}).json()["usage"]["prompt_tokens"]
    answer = served.post({"messages": HI, "n": 3}).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["prompt_tokens"] == 3 * one
    lines = served.post({"messages": HI, "n": 2, "stream": True, "stream_options": {"include_usage": True}}).text
    chunks = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: {")]
    ends = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(ends) == [0, 1] and chunks[-1]["usage"]["prompt_tokens"] == 2 * one
    for index in (0, 1):
        deltas = [c["delta"] for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        assert deltas[0]["role"] == "assistant" and not any("role" in delta for delta in deltas[1:])


def test_functions_are_called_in_the_form_of_old(up: Upstream, served: Service) -> None:
    up.reply(*[sse(chat_chunks(tool_calls=[("c1", "price", '{"item": "tea"}')]))] * 2)
    asked: Json = {"messages": HI, "functions": [PRICE["function"]], "function_call": {"name": "price"}}
    choice = served.post(asked).json()["choices"][0]
    assert choice["finish_reason"] == "function_call" and "tool_calls" not in choice["message"]
    assert choice["message"]["function_call"] == {"name": "price", "arguments": '{"item": "tea"}'}
    assert sent(up)["tool_choice"] == {"type": "function", "function": {"name": "price"}}
    streamed = served.post({**asked, "stream": True}).text
    assert '"function_call":{"name":"price"' in streamed and '"finish_reason":"function_call"' in streamed
    result = {"role": "function", "name": "price", "content": "3"}
    served.post({**asked, "messages": [*HI, choice["message"], result]})
    assert [m["role"] for m in sent(up)["messages"]][-2:] == ["assistant", "tool"]


def test_only_the_allowed_tools_are_offered(up: Upstream, served: Service) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "price"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    served.post({"model": "openai/gpt-x", "messages": HI, "tools": [PRICE, other], "tool_choice": choice})
    assert [tool["function"]["name"] for tool in sent(up)["tools"]] == ["price"]
    assert sent(up)["tool_choice"] == "required"


def test_an_answer_fits_the_schema_that_was_asked_for(up: Upstream, served: Service) -> None:
    up.reply(sse(chat_chunks("no")), sse(chat_chunks('{"price": 3}')))
    before = len(up.requests)
    schema = {"type": "object", "properties": {"price": {"type": "integer"}}, "required": ["price"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema, "strict": True}}
    answer = served.post({"messages": HI, "response_format": wanted}).json()
    assert answer["choices"][0]["message"]["content"] == '{"price": 3}' and len(up.requests) == before + 2
    no_schema: Json = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": 5}}}
    bad = served.post({"messages": HI, "response_format": no_schema})
    assert bad.status_code == 400 and bad.json()["error"]["param"] == "response_format.json_schema.schema"


@pytest.mark.parametrize(("field", "value"), [("n", 9), ("modalities", ["text", "audio"])])
def test_what_would_give_a_wrong_answer_is_refused(served: Service, field: str, value: object) -> None:
    answer = served.post({"messages": HI, field: value})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field


def test_a_developer_speaks_as_the_system(up: Upstream, served: Service) -> None:
    served.whole(messages=[{"role": "developer", "content": "Be brief."}, *HI])
    assert prompt(up).endswith("Be brief.") and [m["role"] for m in sent(up)["messages"]] == ["system", "user"]


def test_the_parts_of_a_message_reach_the_model(up: Upstream, served: Service) -> None:
    parts: list[Json] = [
        {"type": "text", "text": "What are these?"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    served.whole(model="openai/gpt-x", messages=[{"role": "user", "content": parts}])
    assert sent(up)["messages"] == [{"role": "user", "content": parts}]
    only_text = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    served.whole(model="openai/gpt-x", messages=[{"role": "user", "content": only_text}])
    assert sent(up)["messages"] == [{"role": "user", "content": "a\nb"}]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a \ud800 b", "a � b"),
        (r"\udc00", "�"),
        (r"\ud83d\ude42 \ud83d", "🙂 �"),
        (r"\\ud800", r"\ud800"),
    ],
)
def test_half_a_character_in_a_request_is_replaced(up: Upstream, served: Service, written: str, read: str) -> None:
    body = '{"model":"openai/gpt-x","messages":[{"role":"user","content":"' + written + '"}]}'
    assert read_whole(served.post(body.encode())).error is None
    assert sent(up)["messages"][0]["content"] == read
    named = '{"messages":[{"role":"user","content":"x"}],"model":"' + written + '"}'
    assert served.post(named.encode()).status_code == 404


# Tools


def test_the_clients_tool_call_comes_back_and_its_result_goes_on(up: Upstream, served: Service) -> None:
    up.reply(sse(chat_chunks("", tool_calls=[("c1", "price", '{"item":"tea"}')])))
    first = served.whole(tools=[PRICE])
    assert (first.calls, first.finish) == ([("c1", "price", '{"item":"tea"}')], "tool_calls")
    asked: Json = {"role": "assistant", "content": None}
    asked["tool_calls"] = [
        {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"item":"tea"}'}}
    ]
    result = {"role": "tool", "tool_call_id": "c1", "content": "3 euros"}
    second = served.streamed(tools=[PRICE], messages=[*HI, asked, result])
    assert (second.text, second.finish) == ("Hello there", "stop")
    system, *rest = sent(up)["messages"]
    del asked["content"]
    assert system["role"] == "system" and rest == [*HI, asked, result]


@pytest.mark.parametrize("stream", [False, True])
def test_the_agents_own_tools_stay_hidden_beside_the_clients(skills: Path, stream: bool) -> None:
    model = ScriptedProvider([[call("activate_skill", name="tea")], ["One moment.", call("price", item="tea")]])
    with service(provider=model, skills=(skills,)) as server:
        heard = (server.streamed if stream else server.whole)(tools=[PRICE])
    assert heard.calls == [("call_2", "price", '{"item": "tea"}')] and heard.finish == "tool_calls"
    assert heard.text == "One moment." and heard.steps == []
    assert "The whole art of tea." in model.requests[1].messages[-1].results[0].text


def test_a_tool_of_the_client_with_the_agents_name_is_the_clients(skills: Path) -> None:
    model = ScriptedProvider([[call("client_activate_skill", name="tea")]])
    theirs = {"type": "function", "function": {"name": "activate_skill"}}
    with service(provider=model, skills=(skills,)) as server:
        assert server.whole(tools=[theirs]).calls == [("call_1", "activate_skill", '{"name": "tea"}')]


# The extension


def script() -> ScriptedProvider:
    return ScriptedProvider(
        [
            Play(["Looking.", call("activate_skill", name="tea")], usage=Usage(10, 2, total=12)),
            Play(["Steep it."], usage=Usage(20, 3, total=23)),
        ]
    )


@pytest.mark.parametrize("stream", [False, True])
def test_activity_shows_the_agents_steps(skills: Path, stream: bool) -> None:
    with service(provider=script(), skills=(skills,)) as server:
        heard = (server.streamed if stream else server.whole)(skill_agent={"activity": True})
    assert heard.text == "Looking.\n\nSteep it." and heard.calls == []
    kinds = [step["type"] for step in heard.steps]
    assert kinds == ["turn", "tool_start", "skill_activated", "tool_end", "turn"]
    turn, start, activated, end, _ = heard.steps
    assert turn["number"] == 1 and turn["usage"]["total_tokens"] == 12 and turn["model"] == "model"
    assert (start["name"], json.loads(start["arguments"])) == ("activate_skill", {"name": "tea"})
    assert activated["name"] == "tea" and end["id"] == start["id"]
    assert end["is_error"] is False and "art of tea" in end["result"] and end["seconds"] >= 0


@pytest.mark.parametrize("extension", [{}, {"activity": False}, {"unknown": 1}])
def test_without_activity_nothing_of_the_agents_work_shows(skills: Path, extension: Json) -> None:
    for form in ("whole", "streamed"):
        with service(provider=script(), skills=(skills,)) as server:
            heard = getattr(server, form)(skill_agent=extension, tools=[PRICE])
            body = server.post({"messages": HI, "model": "no"}).text
        assert heard.said[1:6] == ("Looking.\n\nSteep it.", "", "", [], "stop") and heard.steps == []
        assert "skill_agent" not in body


def test_the_tokens_of_all_turns_are_counted(skills: Path) -> None:
    with service(provider=script(), skills=(skills,)) as server:
        usage = server.streamed(stream_options={"include_usage": True}).usage
        assert usage is not None
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (30, 5, 35)


def test_a_whole_answer_with_activity_says_which_limit_ended_it(skills: Path) -> None:
    with service(provider=script(), skills=(skills,), max_turns=1) as server:
        response = server.post({"messages": HI, "skill_agent": {"activity": True}})
    body = response.json()
    assert body["choices"][0]["finish_reason"] == "length" and body["skill_agent"]["limit"] == "max_turns"


def test_skills_narrow_the_catalog(up: Upstream, served: Service) -> None:
    served.whole(skill_agent={"skills": ["tea"]})
    assert "Brew tea." in prompt(up) and "baking" not in prompt(up)
    served.whole(skill_agent={"skills": []})
    assert "tea" not in prompt(up) and tools(up) == []


@pytest.mark.parametrize("extension", [{"activate": "tea"}, {"activate": "tea", "skills": ["baking"]}])
def test_activate_loads_a_skill_before_the_first_turn(up: Upstream, served: Service, extension: Json) -> None:
    heard = served.streamed(skill_agent={**extension, "activity": True})
    assert "The whole art of tea." in prompt(up)
    assert heard.steps[0] == {"type": "skill_activated", "name": "tea"}


@pytest.mark.parametrize("extension", [{"activate": "nope"}, {"skills": ["tea", "nope"]}])
def test_an_unknown_skill_is_a_bad_request(served: Service, extension: Json) -> None:
    for heard in (served.whole(skill_agent=extension), served.streamed(skill_agent=extension)):
        assert heard.status == 400 and heard.error is not None
        assert (heard.error["code"], heard.error["param"]) == ("skill_not_found", "skill_agent")
        assert "nope" in heard.error["message"] and "tea" in heard.error["message"]


def test_the_models_own_wrong_calls_are_no_errors_of_the_client(skills: Path) -> None:
    lines: list[Any] = [[call("nope")], [call("activate_skill", name="nope")], "Sorry."]
    with service(provider=ScriptedProvider(lines), skills=(skills,)) as server:
        heard = server.whole(skill_agent={"activity": True})
    assert (heard.text, heard.finish) == ("Sorry.", "stop")
    assert [step["is_error"] for step in heard.steps if step["type"] == "tool_end"] == [True, True]


def test_pages_of_the_origins_that_are_named_may_call(skills: Path) -> None:
    with serve(create_app(Settings(cors=("https://chat.example",)), ScriptedProvider(["Hi"]))) as url:
        ask = {"origin": "https://chat.example", "access-control-request-method": "POST"}
        allowed = httpx.options(f"{url}/v1/chat/completions", headers=ask)
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example"
        refused = httpx.options(f"{url}/v1/chat/completions", headers={**ask, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
        answer = httpx.post(
            f"{url}/v1/chat/completions", json={"messages": HI}, headers={"origin": ask["origin"]}, verify=False
        )
        assert answer.headers["access-control-allow-origin"] == ask["origin"]


def test_the_completions_of_old_are_not_offered_and_say_so(served: Service) -> None:
    answer = httpx.post(f"{served.url}/v1/completions", json={"prompt": "hi"}, verify=False)
    assert answer.status_code == 404 and "chat/completions" in answer.json()["error"]["message"]


def test_a_nul_of_the_model_is_no_trap_for_the_client(up: Upstream, served: Service) -> None:
    up.reply(sse(chat_chunks("a\0b")), sse(chat_chunks("fine")))
    said = served.streamed().text
    assert said == "a\ufffdb"
    assert served.whole(messages=[*HI, {"role": "assistant", "content": said}, *HI]).text == "fine"
