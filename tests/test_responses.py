"""Responses over HTTP: whole and streamed, gone on from, with tools, schemas and reasoning that comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from key_forms import ApiKey
from messages import Reasoning
from providers.base import RateLimited
from providers.scripted import ScriptedProvider, call
from tests.responses import FUNCTION, RESPONSES, create, refused, streamed, text_of, without_ids
from tests.surface import Json, Service, read_error, service, write_skill
from tests.upstream import Upstream, chat_chunks, claude_events, sse


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def served(up: Upstream) -> Iterator[Service]:
    with service(up, allowed_models=("openai/*",)) as server:
        up.always(sse(chat_chunks("Hello there", usage=(7, 3))))
        yield server


@pytest.fixture(scope="module")
def refusing() -> Iterator[tuple[Service, ScriptedProvider]]:
    """A service whose model has nothing to say, as nobody shall ask it."""
    model = ScriptedProvider([])
    with service(provider=model) as server:
        yield server, model


def told(up: Upstream) -> list[Json]:
    """What the model was told last, without the agent's own prompt."""
    messages: list[Json] = up.requests[-1].json["messages"]
    return [message for message in messages if message["role"] != "system"]


def user(text: str) -> Json:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    "chunks",
    [
        chat_chunks("Grüße 🙂 in\nlines"),
        chat_chunks("Four", reasoning="Two and two."),
        chat_chunks("", tool_calls=[("a1", "price", '{"item": "tea"}'), ("a2", "price", "")]),
        chat_chunks("Let me see.", tool_calls=[("a1", "price", '{"a": 1}')]),
        chat_chunks("", tool_calls=[("a1", "write", '{"input": "print(1)"}')]),
        chat_chunks("cut", finish="length"),
    ],
    ids=["text", "reasoning", "calls", "text-and-calls", "custom", "length"],
)
def test_whole_and_streamed_answers_say_the_same(up: Upstream, served: Service, chunks: list[Json]) -> None:
    tools = [FUNCTION, {"type": "custom", "name": "write"}, {"type": "web_search"}, {"type": "namespace", "x": 1}]
    up.reply(sse(chunks), sse(chunks))
    whole = create(served, input="hi", tools=tools)
    events = streamed(served, input="hi", tools=tools)
    assert without_ids(whole) == without_ids(events[-1]["response"])
    assert [tool["name"] for tool in whole["tools"]] == ["price", "write"]


def test_a_call_of_a_custom_tool_is_text(up: Upstream, served: Service) -> None:
    up.reply(sse(chat_chunks("", tool_calls=[("a1", "write", '{"input": "print(1)"}')])))
    answer = create(served, input="hi", tools=[{"type": "custom", "name": "write"}])
    (item,) = answer["output"]
    assert (item["type"], item["call_id"], item["name"], item["input"]) == (
        "custom_tool_call",
        "a1",
        "write",
        "print(1)",
    )
    result = {"type": "custom_tool_call_output", "call_id": "a1", "output": "1"}
    assert text_of(create(served, input=[user("hi"), item, result])) == "Hello there"
    assert [message["role"] for message in told(up)] == ["user", "assistant", "tool"]
    assert told(up)[1]["tool_calls"][0]["function"]["arguments"] == '{"input": "print(1)"}'


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({}, {"messages": []}),
        ({"input": "hi", "temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"input": "hi", "max_output_tokens": 9}, {"max_tokens": 9}),
        ({"input": "hi", "max_output_tokens": 0}, {"max_tokens": None}),
        ({"input": "hi", "reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"input": "hi", "text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"input": "hi", "safety_identifier": "ann"}, {"safety_identifier": "ann"}),
        ({"input": "hi", "tools": [FUNCTION], "tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"input": "hi", "tools": [FUNCTION], "tool_choice": {"type": "function", "name": "price"}},
            {"tool_choice": {"type": "function", "function": {"name": "price"}}},
        ),
        ({"input": "hi", "tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, {"tool_choice": None}),
        (
            {
                "input": "hi",
                "tools": [FUNCTION, {**FUNCTION, "name": "other"}],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"name": "price"}]},
            },
            {"tool_choice": "required"},
        ),
        (
            {"input": "hi", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
            {"logprobs": True, "top_logprobs": 2},
        ),
    ],
)
def test_what_is_asked_for_reaches_the_model(up: Upstream, served: Service, body: Json, sent: Json) -> None:
    create(served, model="openai/x", **body)
    asked = up.requests[-1].json
    assert {name: asked.get(name) for name in sent} == sent


def test_instructions_hold_for_one_answer(up: Upstream, served: Service) -> None:
    first = create(served, model="openai/x", input="hi", instructions="Be brief.")
    assert first["instructions"] == "Be brief."
    assert up.requests[-1].json["messages"][0] == {"role": "system", "content": "Be brief."}
    create(served, model="openai/x", input="again", previous_response_id=first["id"])
    assert "Be brief." not in str(up.requests[-1].json)


def test_parts_of_every_kind_are_understood(up: Upstream, served: Service) -> None:
    content = [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    create(served, model="openai/x", input=[{"type": "message", "role": "user", "content": content}])
    assert [part["type"] for part in told(up)[0]["content"]] == ["text", "image_url", "file", "input_audio"]


def test_an_answer_is_gone_on_from(up: Upstream, served: Service) -> None:
    first = create(served, input="one")
    second = create(served, input=[user("two")], previous_response_id=first["id"])
    third = create(served, input="three", previous_response_id=second["id"])
    assert [message["content"] for message in told(up)] == ["one", "Hello there", "two", "Hello there", "three"]
    assert third["previous_response_id"] == second["id"]
    create(served, input="other", previous_response_id=first["id"])
    assert [message["content"] for message in told(up)] == ["one", "Hello there", "other"]


def test_a_conversation_goes_on_under_its_name(up: Upstream, served: Service) -> None:
    for text in ("one", "two"):
        answer = create(served, input=text, conversation="conv_tea", previous_response_id="resp_nothing")
        assert answer["conversation"] == {"id": "conv_tea"}
    create(served, input="three", conversation={"id": "conv_tea"})
    assert [message["content"] for message in told(up)] == ["one", "Hello there", "two", "Hello there", "three"]
    create(served, input="new", conversation="conv_other")
    assert [message["content"] for message in told(up)] == ["new"]


def test_the_agents_own_calls_are_remembered_and_not_shown(up: Upstream, tmp_path: Path) -> None:
    write_skill(tmp_path, "tea", body="Steep it.")
    with service(up, skills=(tmp_path,)) as served:
        both = [("a", "activate_skill", '{"name": "tea"}'), ("b", "price", "{}")]
        up.reply(sse(chat_chunks("", tool_calls=both)), sse(chat_chunks("3 euros")), sse(chat_chunks("Bye")))
        first = create(served, input="tea?", tools=[FUNCTION])
        assert [(item["type"], item.get("call_id")) for item in first["output"]] == [("function_call", "b")]
        result = {"type": "function_call_output", "call_id": "b", "output": "3"}
        second = create(served, input=[result], tools=[FUNCTION], previous_response_id=first["id"])
        assert text_of(second) == "3 euros"
        assert [m["role"] for m in told(up)] == ["user", "assistant", "tool", "tool"]
        assert [call["id"] for call in told(up)[1]["tool_calls"]] == ["a", "b"]
        # The same for a client that keeps the history itself.
        create(served, input=[user("tea?"), *first["output"], result], tools=[FUNCTION], store=False)
        assert [call["id"] for call in told(up)[1]["tool_calls"]] == ["a", "b"]


def test_activity_is_shown_where_it_is_asked_for(up: Upstream, tmp_path: Path) -> None:
    write_skill(tmp_path, "tea", body="Steep it.")
    with service(up, skills=(tmp_path,)) as served:
        own = sse(chat_chunks("", tool_calls=[("a", "activate_skill", '{"name": "tea"}')]))
        up.reply(own, sse(chat_chunks("Tea")), own, sse(chat_chunks("Tea")))
        events = streamed(served, input="tea?", skill_agent={"activity": True})
        steps = [event["skill_agent"]["type"] for event in events if event["type"] == "skill_agent.activity"]
        assert steps == ["turn", "tool_start", "skill_activated", "tool_end", "turn"]
        assert [step["type"] for step in events[-1]["response"]["skill_agent"]["steps"]] == steps
        assert "skill_agent" not in create(served, input="tea?")


def test_signed_reasoning_comes_back_byte_for_byte_from_a_client_that_keeps_it(up: Upstream) -> None:
    settings: Json = {"model": "anthropic/claude-x", "anthropic_base_url": up.url, "anthropic_api_key": "k"}
    with service(up, **settings) as served:
        events = claude_events(
            "Hi", thinking="hm", signature="c2ln+/==", tool_uses=[("t", "price", {})], stop="tool_use"
        )
        up.reply(sse(events, done=False, events=True), sse(claude_events("Bye"), done=False, events=True))
        asked: Json = {"store": False, "include": ["reasoning.encrypted_content"], "tools": [FUNCTION]}
        first = streamed(served, input="hi", **asked)[-1]["response"]
        assert [item["type"] for item in first["output"]] == ["reasoning", "message", "function_call"]
        assert first["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
        result = {"type": "function_call_output", "call_id": "t", "output": "3"}
        create(served, input=[user("hi"), *first["output"], result], **asked)
    _, said, results = up.requests[1].json["messages"]
    assert said["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "c2ln+/=="}
    assert [block["type"] for block in said["content"]] == ["thinking", "text", "tool_use"]
    assert results["content"][0]["tool_use_id"] == "t"


def test_reasoning_that_was_not_sealed_here_is_left_out(up: Upstream, served: Service) -> None:
    forged = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "bm90IG91cnM="}
    create(served, model="openai/x", input=[user("hi"), forged, user("there")])
    assert [message["content"] for message in told(up)] == ["hi", "there"]


def test_items_of_stored_answers_can_be_named(up: Upstream, tmp_path: Path) -> None:
    """The AI SDK sends an answer's items back as references."""
    write_skill(tmp_path, "tea", body="Steep it.")
    with service(up, skills=(tmp_path,)) as served:
        calls = [("a", "activate_skill", '{"name": "tea"}'), ("b", "price", "{}")]
        up.reply(sse(chat_chunks("See", tool_calls=calls)), *[sse(chat_chunks("3 euros"))] * 3)
        first = create(served, input="tea?", tools=[FUNCTION])
        named = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
        result = {"type": "function_call_output", "call_id": "b", "output": "3"}
        create(served, input=[user("tea?"), *named, result], tools=[FUNCTION])
        assert [call["id"] for call in told(up)[1]["tool_calls"]] == ["a", "b"]
        # Only some of an answer's items stand for themselves.
        create(served, input=[user("tea?"), named[0], user("and?")])
        assert [message["content"] for message in told(up)] == ["tea?", "See", "and?"]
        status, error = refused(served, input=[user("tea?"), {"type": "item_reference", "id": "msg_no_1"}])
        assert (status, error["code"], error["param"]) == (404, "item_not_found", "input[1].id")


def test_answers_can_be_read_listed_and_deleted(served: Service) -> None:
    answer = create(
        served, input=[user("one"), {"type": "message", "role": "assistant", "content": "two"}, user("three")]
    )
    path = f"{RESPONSES}/{answer['id']}"
    assert served.get(path).json() == answer
    listed = served.get(f"{path}/input_items?order=asc").json()
    assert [item["content"][0]["text"] for item in listed["data"]] == ["one", "two", "three"]
    assert listed["object"] == "list" and not listed["has_more"]
    page = served.get(f"{path}/input_items?limit=2").json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["three", "two"] and page["has_more"]
    rest = served.get(f"{path}/input_items?after={page['last_id']}").json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["one"]
    assert served.client.delete(f"{served.url}{path}").json() == {
        "id": answer["id"],
        "object": "response",
        "deleted": True,
    }
    for response in (served.get(path), served.client.delete(f"{served.url}{path}"), served.get(f"{path}/input_items")):
        assert response.status_code == 404 and read_error(response)["code"] == "response_not_found"
    assert refused(served, input="x", previous_response_id=answer["id"])[0] == 400


def test_the_input_is_listed_whole(served: Service) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    first = create(served, input="hi")
    items: list[Json] = [
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": [image]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        call,
        {"type": "function_call_output", "call_id": "c", "output": "y"},
        {"type": "reasoning", "id": "rs_theirs", "summary": []},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "tea"}},
    ]
    id = create(served, input=items)["id"]
    listed = served.get(f"{RESPONSES}/{id}/input_items?order=asc").json()["data"]
    assert listed[0] == first["output"][0] and listed[5:] == items[5:]
    assert listed[1]["content"] == [{**image, "detail": "auto"}]
    assert listed[2]["content"] == [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []}]
    assert listed[3] == {**call, "id": listed[3]["id"], "status": "completed"}
    assert listed[4]["status"] == "completed" and all(item["id"] for item in listed)


def test_what_is_not_to_be_stored_is_not(served: Service) -> None:
    answer = create(served, input="hi", store=False)
    assert answer["store"] is False and served.get(f"{RESPONSES}/{answer['id']}").status_code == 404


def test_an_answer_in_a_schema_is_checked_and_mended() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"format": {"type": "json_schema", "name": "count", "schema": schema, "strict": True}}
    model = ScriptedProvider(['{"n": "one"}', '{"n": 1}'])
    with service(provider=model) as served:
        answer = create(served, input="count", text=form)
    assert text_of(answer) == '{"n": 1}' and model.calls == 2
    assert answer["text"]["format"]["schema"] == schema


def test_a_conversation_is_compacted_into_an_item_that_goes_on(up: Upstream, served: Service) -> None:
    up.reply(sse(chat_chunks("They launch on Tuesday.")))
    compacted = served.post(
        {"model": "skill-agent", "input": [user("Launch?"), user("Tuesday.")]}, f"{RESPONSES}/compact"
    )
    body = compacted.json()
    assert body["object"] == "response.compaction" and body["output"][0]["type"] == "compaction"
    assert "Tuesday." in up.requests[-1].json["messages"][-1]["content"]
    create(served, input=[*body["output"], user("When?")])
    assert ["They launch on Tuesday." in message["content"] for message in told(up)] == [True, False]
    forged = {**body["output"][0], "encrypted_content": body["output"][0]["encrypted_content"][:-8] + "AAAAAAA="}
    assert refused(served, input=[forged])[1]["param"] == "input[0].encrypted_content"
    assert refused(served, f"{RESPONSES}/compact", input="hi")[1]["param"] == "model"


@pytest.mark.parametrize("path", ["/responses", "/invocations"])
def test_databricks_clients_get_events_without_names(up: Upstream, served: Service, path: str) -> None:
    events = streamed(served, path, input=[user("hi")], custom_inputs={"a": 1}, context={"conversation_id": "c"})
    assert events[-1]["response"]["store"] is False
    assert text_of(create(served, path, input=[user("hi")])) == "Hello there"
    info = served.get("/agent/info").json()
    assert (info["name"], info["use_case"], info["agent_api"]) == ("skill-agent", "agent", "responses")


def test_a_body_of_responses_is_understood_by_chat_completions(up: Upstream, served: Service) -> None:
    """Cursor sends such a body there, with flat tools."""
    asked: Json = {"input": [user("hi")], "tools": [FUNCTION], "instructions": "Be brief."}
    answer = served.post(asked).json()
    assert answer["object"] == "chat.completion" and answer["choices"][0]["message"]["content"] == "Hello there"
    assert up.requests[-1].json["tools"][-1]["function"]["name"] == "price"
    assert served.post({"messages": [user("hi")], "tools": [FUNCTION]}).status_code == 200
    assert up.requests[-1].json["tools"][-1]["function"]["name"] == "price"


def test_an_error_before_the_first_event_has_its_own_status() -> None:
    for stream in (False, True):
        with service(provider=ScriptedProvider([RateLimited("slow down", retry_after=9)])) as served:
            response = served.post({"input": "hi", "stream": stream}, RESPONSES)
            assert response.status_code == 429 and response.headers["retry-after"] == "9"
            assert read_error(response)["code"] == "rate_limit_exceeded"


def test_an_error_behind_the_first_event_is_told_in_both_shapes() -> None:
    with service(provider=ScriptedProvider([["Half", RateLimited("slow down")]])) as served:
        *_, error, failed = streamed(served, input="hi")
    assert error["type"] == "error" and error["error"]["code"] == error["code"] == "rate_limit_exceeded"
    assert failed["response"]["status"] == "failed" and failed["response"]["error"]["code"] == "rate_limit_exceeded"


def test_text_around_reasoning_and_tools_reads_as_one(tmp_path: Path) -> None:
    write_skill(tmp_path, "tea")
    turns: list[list[Any]] = [[Reasoning("a"), "One.", call("activate_skill", name="tea")], [Reasoning("b"), "Two."]]
    with service(provider=ScriptedProvider(turns), skills=(tmp_path,)) as served:
        answer = streamed(served, input="hi")[-1]["response"]
    assert [item["type"] for item in answer["output"]] == ["reasoning", "message"] * 2
    assert text_of(answer) == "One.\n\nTwo."


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"input": 5}, 400, "input", "invalid_type"),
        ({"input": [5]}, 400, "input[0]", "invalid_type"),
        ({"input": [{"type": "message", "role": "robot", "content": "x"}]}, 400, "input[0].role", "invalid_value"),
        ({"input": [{"type": "message"}]}, 400, "input[0].role", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": 5}]}, 400, "input[0].content", "invalid_type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, 400, "input[0].content[0].text", None),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, 400, "input[0].content[0]", "invalid_type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://10.0.0.1/"}]}]},
            400,
            "input[0].content[0].image_url",
            "invalid_value",
        ),
        ({"input": [{"type": "function_call", "name": "x"}]}, 400, "input[0].call_id", None),
        (
            {"input": [{"type": "function_call_output", "call_id": "no", "output": "x"}]},
            400,
            "input[0].call_id",
            "invalid_value",
        ),
        ({"input": "x", "previous_response_id": "resp_no"}, 400, "previous_response_id", "previous_response_not_found"),
        ({"input": "x", "model": "no"}, 404, "model", "model_not_found"),
        ({"input": "a\0b"}, 400, "input", "invalid_value"),
        ({"input": "x", "tools": [{"type": "function"}]}, 400, "tools[0].name", "missing_required_parameter"),
        ({"input": "x", "tools": {}}, 400, "tools", "invalid_type"),
        ({"input": "x", "temperature": 9}, 400, "temperature", "invalid_value"),
        (
            {"input": "x", "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "banana"}}}},
            400,
            "text.format.schema",
            "invalid_value",
        ),
        ({"input": "x", "background": True, "store": False}, 400, "store", "invalid_value"),
        ({"input": "x", "skill_agent": {"activate": "no"}}, 400, "skill_agent", "skill_not_found"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"stream": True}, {"background": True}], ids=["whole", "stream", "background"])
def test_a_wrong_request_is_refused_and_nothing_is_stored(
    refusing: tuple[Service, ScriptedProvider], body: Json, status: int, param: str, code: str | None, more: Json
) -> None:
    served, model = refusing
    found, error = refused(served, **{**more, **body})
    assert (found, error["param"]) == (status, param) and code in (None, error["code"])
    assert model.calls == 0


def test_an_answer_belongs_to_its_caller(tmp_path: Path) -> None:
    keys = tuple(ApiKey(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("ann", "ben"))
    with service(provider=ScriptedProvider(["Hi", "Hi"]), api_keys=keys) as served:
        ann: Any = {"headers": {"authorization": "Bearer ann"}}
        ben: Any = {"headers": {"authorization": "Bearer ben"}}
        id = served.post({"input": "hi"}, RESPONSES, **ann).json()["id"]
        assert served.get(f"{RESPONSES}/{id}", **ann).status_code == 200
        assert served.get(f"{RESPONSES}/{id}", **ben).status_code == 404
        body = {"input": "hi", "previous_response_id": id}
        assert read_error(served.post(body, RESPONSES, **ben))["code"] == "previous_response_not_found"
        assert served.post(body, RESPONSES, **ann).status_code == 200


def test_a_websocket_is_refused_so_that_its_client_falls_back(served: Service) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    response = served.get(RESPONSES, headers={**upgrade, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="})
    assert response.status_code == 426 and read_error(response)["code"] == "upgrade_required"
    assert served.get(RESPONSES).status_code == 405


def test_a_conversation_goes_on_where_an_older_answer_is_gone(up: Upstream, served: Service) -> None:
    first = create(served, input="one")
    second = create(served, input="two", previous_response_id=first["id"])
    served.client.delete(f"{served.url}{RESPONSES}/{first['id']}")
    create(served, input="three", previous_response_id=second["id"])
    assert [message["content"] for message in told(up)] == ["two", "Hello there", "three"]


def test_an_answer_that_was_cut_stays_in_its_conversation(up: Upstream, served: Service) -> None:
    up.reply(sse(chat_chunks("cut", finish="length")))
    assert create(served, input="one", conversation="c")["status"] == "incomplete"
    create(served, input="two", conversation="c")
    assert [message["content"] for message in told(up)] == ["one", "cut", "two"]


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"role": "user", "content": "hi", "id": [1]}]},
        {"input": [{"type": "", "content": "x"}]},
        {"input": [{"type": "x", "deep": None}]},
        {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": None}]},
        {"input": "x", "tool_choice": {"type": "allowed_tools", "tools": [{"name": ["x"]}]}},
    ],
)
@pytest.mark.parametrize("depth", [0, 90, 300, 1015])
def test_odd_bodies_are_no_fault_of_ours(served: Service, body: Json, depth: int) -> None:
    deep = "[" * depth + '"\\\\u0000"' + "]" * depth
    text = json.dumps({**body, "more": 1}).replace("null", deep).replace('"more": 1', f'"more": {deep}')
    assert served.post(text.encode(), RESPONSES).status_code in (200, 400)


def test_an_item_with_a_null_id_is_listed(served: Service) -> None:
    id = create(served, input=[{"role": "user", "content": "x", "id": None}])["id"]
    (item,) = served.get(f"{RESPONSES}/{id}/input_items").json()["data"]
    assert item["id"] and item["content"] == [{"type": "input_text", "text": "x"}]
