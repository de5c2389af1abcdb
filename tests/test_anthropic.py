"""What is sent in the dialect of Anthropic's Messages."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from messages import (
    Audio,
    File,
    Image,
    JsonFormat,
    Message,
    Options,
    Part,
    ProviderBlock,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolSpec,
    assistant,
    system,
    user,
)
from providers import anthropic, resolve
from providers.anthropic import MAX_TOKENS, Messages
from providers.base import BadRequest, ModelInfo
from providers.http import HeaderAuth, Http
from settings import Settings, SettingsError
from tests.asking import TOOL, ask
from tests.upstream import Upstream, claude_events, sse

GOOD = sse(claude_events("ok"), done=False, events=True)
CACHED = {"type": "ephemeral"}
THINKING = {"type": "thinking", "thinking": "h̀m ", "signature": "EqQB+/=="}
SIGNED_ONLY = {"type": "thinking", "thinking": "", "signature": "EqQB"}
REDACTED = {"type": "redacted_thinking", "data": "Emwk"}
UNSIGNED = {"type": "thinking", "thinking": "hm", "signature": ""}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "tea"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "x"}]}


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


@pytest.fixture
def model(up: Upstream, http: Http) -> Messages:
    return _named("claude-sonnet-4-5", up, http)


def _named(name: str, up: Upstream, http: Http) -> Messages:
    return Messages(http, f"{up.url}/v1/messages", HeaderAuth("x-api-key", "k"), ModelInfo(f"anthropic/{name}"))


def _bare(value: Any) -> Any:
    """Without cache marks."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if key != "cache_control"}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


async def _body(model: Messages, up: Upstream, messages: Sequence[Message] | str = "hi", **how: Any) -> dict[str, Any]:
    await ask(model, messages, **how)
    body: dict[str, Any] = up.requests[-1].json
    return body


async def _turns(model: Messages, up: Upstream, messages: Sequence[Message]) -> list[tuple[str, Any]]:
    """Roles and what they say, without cache marks; a lone text as it is."""
    turns = _bare((await _body(model, up, messages))["messages"])
    return [(turn["role"], _plain(turn["content"])) for turn in turns]


def _plain(blocks: list[dict[str, Any]]) -> Any:
    return blocks[0]["text"] if len(blocks) == 1 and set(blocks[0]) == {"type", "text"} else blocks


def _said(*parts: Part, origin: str = "anthropic/claude-sonnet-4-5") -> Message:
    return Message("assistant", parts, origin)


def _result(id: str, *parts: Text | Image | File, error: bool = False) -> Message:
    return Message("tool", (ToolResult(id, parts, error),))


def _use(id: str, **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "price", "input": input}


CALL = ToolCall("c1", "price", '{"item": "tea"}')


# Fields


async def test_the_smallest_request(model: Messages, up: Upstream) -> None:
    body = await _body(model, up)
    text = {"type": "text", "text": "hi", "cache_control": CACHED}
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": [text]}],
        "stream": True,
    }
    head = up.requests[0].headers
    assert (head["x-api-key"], head["anthropic-version"]) == ("k", "2023-06-01") and "authorization" not in head


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("claude-sonnet-4-5", None, 16_384),
        ("claude-sonnet-4-5", 100, 100),
        ("claude-3-haiku-20240307", None, 4096),
        ("claude-3-5-sonnet-latest", None, 8192),
        ("databricks-claude-3-7-sonnet", None, 16_384),
    ],
)
async def test_a_limit_is_always_sent(up: Upstream, http: Http, name: str, given: int | None, sent: int) -> None:
    body = await _body(_named(name, up, http), up, options=Options(max_tokens=given))
    assert body["max_tokens"] == sent


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (Options(), {}),
        (Options(temperature=0.0), {"temperature": 0.0}),
        (Options(temperature=1.7), {"temperature": 1.0}),
        (Options(top_p=0.5), {"top_p": 0.5}),
        (Options(temperature=0.5, top_p=0.5), {"temperature": 0.5}),
        (Options(temperature=0.5, reasoning_effort="low"), {}),
        (Options(seed=1, presence_penalty=1, frequency_penalty=1), {}),
    ],
)
async def test_one_way_of_sampling_at_most_is_sent(
    model: Messages, up: Upstream, options: Options, sent: dict[str, float]
) -> None:
    body = await _body(model, up, options=options)
    assert {name: body[name] for name in ("temperature", "top_p", "seed", "presence_penalty") if name in body} == sent


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-8", True),
        ("claude-3-5-sonnet-latest", True),
        ("claude-sonnet-5", False),
        ("claude-opus-5-5-20260901", False),
        ("databricks-claude-sonnet-5", False),
    ],
)
async def test_models_that_refuse_sampling_are_not_sent_any(up: Upstream, http: Http, name: str, sent: bool) -> None:
    model = Messages(http, f"{up.url}/v1/messages", HeaderAuth("x-api-key", "k"), ModelInfo(f"anthropic/{name}"))
    assert ("temperature" in model.body(Request([user("hi")], (), Options(temperature=0.5)))) == sent


async def test_stops_that_are_blank_are_left_out(model: Messages, up: Upstream) -> None:
    assert (await _body(model, up, options=Options(stop=("a", "\n", " "))))["stop_sequences"] == ["a"]
    assert "stop_sequences" not in await _body(model, up, options=Options(stop=("\n",)))


@pytest.mark.parametrize(
    ("mode", "parallel", "sent"),
    [
        ("auto", None, None),
        ("auto", True, None),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("tool", None, {"type": "tool", "name": "price"}),
    ],
)
async def test_the_forms_of_a_tool_choice(
    model: Messages, up: Upstream, mode: Any, parallel: bool | None, sent: object
) -> None:
    choice = ToolChoice(mode, "price" if mode == "tool" else "")
    options = Options(tool_choice=choice, parallel_tool_calls=parallel)
    assert (await _body(model, up, tools=[TOOL], options=options)).get("tool_choice") == sent
    assert "tool_choice" not in await _body(model, up, options=options)


async def test_tools_have_a_schema_of_an_object(model: Messages, up: Upstream) -> None:
    body = await _body(model, up, tools=[ToolSpec("now", parameters={}), replace(TOOL, strict=True)])
    price = {"name": "price", "description": TOOL.description, "input_schema": TOOL.parameters}
    now = {"name": "now", "description": "", "input_schema": {"type": "object"}}
    assert body["tools"] == [now, {**price, "cache_control": CACHED}]


@pytest.mark.parametrize(
    ("effort", "limit", "budget"),
    [
        *[(None, None, None), ("none", None, None), ("minimal", None, 1024), ("low", None, 2048)],
        *[("medium", None, 8192), ("low", 3000, 1500), ("low", 1000, None), ("unheard-of", None, None)],
    ],
)
async def test_an_effort_is_a_budget_of_half_the_limit_at_most(
    model: Messages, up: Upstream, effort: str | None, limit: int | None, budget: int | None
) -> None:
    body = await _body(model, up, options=Options(reasoning_effort=effort, max_tokens=limit))
    assert body.get("thinking") == ({"type": "enabled", "budget_tokens": budget} if budget else None)


async def test_the_highest_effort_stays_below_the_limit(model: Messages, up: Upstream) -> None:
    for effort in ("high", "xhigh", "max"):
        body = await _body(model, up, options=Options(reasoning_effort=effort))
        assert 8192 <= body["thinking"]["budget_tokens"] < body["max_tokens"]


async def test_no_thinking_beside_a_forced_tool(model: Messages, up: Upstream) -> None:
    for mode, thinks in (("auto", True), ("none", True), ("required", False), ("tool", False)):
        options = Options(reasoning_effort="low", tool_choice=ToolChoice(mode, "price"))  # type: ignore[arg-type]
        assert ("thinking" in await _body(model, up, tools=[TOOL], options=options)) is thinks


@pytest.mark.parametrize(
    ("thought", "origin", "thinks"),
    [
        (THINKING, "anthropic/claude-sonnet-4-5", True),
        (REDACTED, "anthropic/claude-sonnet-4-5", True),
        (UNSIGNED, "anthropic/claude-sonnet-4-5", False),
        (THINKING, "anthropic/claude-opus-4-5", False),
        (None, "", False),
    ],
)
async def test_no_thinking_in_a_tool_loop_that_began_without_it(
    model: Messages, up: Upstream, thought: dict[str, Any] | None, origin: str, thinks: bool
) -> None:
    parts = (*((Reasoning("", thought),) if thought else ()), CALL)
    said = [user("hi"), Message("assistant", parts, origin), _result("c1", Text("3"))]
    options = Options(reasoning_effort="low")
    assert ("thinking" in await _body(model, up, said, options=options)) is thinks
    later = [*said, assistant("3"), user("and cake?")]
    assert "thinking" in await _body(model, up, later, options=options)


# Messages


async def test_system_messages_are_blocks_of_their_own(model: Messages, up: Upstream) -> None:
    body = await _body(model, up, [system("a"), user("hi"), system(" "), system("b")])
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": CACHED}]
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert "system" not in await _body(model, up, [system(""), user("hi")])


async def test_neighbours_are_one_turn(model: Messages, up: Upstream) -> None:
    said = [user("a"), user("b"), assistant("c"), assistant("d"), user("e")]
    turns = await _turns(model, up, said)
    texts = [[block["text"] for block in content] if isinstance(content, list) else content for _, content in turns]
    assert texts == [["a", "b"], ["c", "d"], "e"] and [role for role, _ in turns] == ["user", "assistant", "user"]


async def test_a_user_speaks_first(model: Messages, up: Upstream) -> None:
    turns = await _turns(model, up, [assistant("hello"), user("hi")])
    assert [role for role, _ in turns] == ["user", "assistant", "user"]


async def test_empty_text_is_left_out_and_its_turn_with_it(model: Messages, up: Upstream) -> None:
    blank = [user(""), assistant(""), assistant("\n\n"), Message("user", (Text(" "),)), Message("assistant", ())]
    assert await _turns(model, up, [*blank, user("hi")]) == [("user", "hi")]
    said = [user("hi"), _said(Text("\n\n"), CALL), _result("c1", Text(" "))]
    assert (await _turns(model, up, said))[1:] == [
        ("assistant", [_use("c1", item="tea")]),
        ("user", [{"type": "tool_result", "tool_use_id": "c1"}]),
    ]


async def test_the_last_words_of_a_turn_do_not_end_in_space(model: Messages, up: Upstream) -> None:
    turns = await _turns(model, up, [user("hi "), _said(Text(" so \n")), user("go on")])
    assert [content for _, content in turns] == ["hi ", " so", "go on"]


async def test_calls_and_results_are_paired(model: Messages, up: Upstream) -> None:
    said = [user("hi"), _said(Text("so"), CALL, replace(CALL, id="c2")), user("wait"), _result("c2", Text("2"))]
    said += [_result("c9", Text("orphan")), user("well?")]
    turns = await _turns(model, up, said)
    lost = [{"type": "text", "text": "No result was recorded for this call."}]
    assert turns[1][1] == [{"type": "text", "text": "so"}, _use("c1", item="tea"), _use("c2", item="tea")]
    assert turns[2:] == [
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "c1", "content": lost, "is_error": True},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "2"}]},
                {"type": "text", "text": "wait"},
                {"type": "text", "text": "well?"},
            ],
        )
    ]


async def test_a_call_at_the_end_gets_a_result_too(model: Messages, up: Upstream) -> None:
    turns = await _turns(model, up, [user("hi"), _said(CALL)])
    assert turns[-1][0] == "user" and turns[-1][1][0]["tool_use_id"] == "c1"


async def test_illegal_ids_and_names_are_made_legal_alike(model: Messages, up: Upstream) -> None:
    call = ToolCall("functions.price:0", "skills.price", "")
    turns = await _turns(model, up, [user("hi"), Message("assistant", (call,)), _result(call.id, Text("3"))])
    use, result = turns[1][1][0], turns[2][1][0]
    assert use["id"] == result["tool_use_id"] != call.id and use["input"] == {}
    assert all(c.isalnum() or c in "_-" for c in use["id"] + use["name"])


async def test_bad_arguments_go_back_as_an_object(model: Messages, up: Upstream) -> None:
    for written in ('{"item": "te', "[1]", "null", "tea"):
        said = [user("hi"), _said(replace(CALL, arguments=written)), _result("c1")]
        assert (await _turns(model, up, said))[1][1] == [_use("c1", INVALID_JSON=written)]


async def test_files_are_sent_as_blocks(model: Messages, up: Upstream) -> None:
    text = base64.b64encode("grün\n".encode()).decode()
    parts = (
        Text("look"),
        Image("image/png", "AAAA", detail="low"),
        Image(url="https://x/y.png"),
        File("application/pdf", "BBBB", "a.pdf"),
        File("text/markdown", text, "a.md"),
        File("text/plain", text),
        Audio("wav", "CCCC"),
    )
    plain = {"type": "text", "media_type": "text/plain", "data": "grün\n"}
    assert (await _turns(model, up, [Message("user", parts)]))[0][1] == [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
        {"type": "document", "source": plain, "title": "a.md"},
        {"type": "document", "source": plain},
    ]


async def test_a_file_that_is_no_base64_is_a_bad_request(model: Messages, up: Upstream) -> None:
    with pytest.raises(BadRequest, match=r"a\.md"):
        await ask(model, [Message("user", (File("text/plain", "AAA", "a.md"),))])
    assert not up.requests


async def test_results_may_hold_pictures(model: Messages, up: Upstream) -> None:
    said = [user("hi"), _said(CALL), _result("c1", Text("one"), Image("image/png", "AAAA"), error=True)]
    result = (await _turns(model, up, said))[2][1][0]
    assert result["is_error"] is True and [block["type"] for block in result["content"]] == ["text", "image"]


async def test_what_no_json_holds_is_mended(model: Messages, up: Upstream) -> None:
    call = replace(CALL, arguments='{"n": 1234567890123456789012, "s": "\\ud83d", "i": 1e999}')
    turns = await _turns(model, up, [user("a\ud83d\ude42\udfff"), _said(call), _result("c1", Text("\udc00x"))])
    assert turns[0][1] == "a🙂�" and turns[1][1][0]["input"]["n"] == 1234567890123456789012
    assert turns[2][1][0]["content"] == [{"type": "text", "text": "�x"}]


# What only its origin may see


@pytest.mark.parametrize("block", [THINKING, SIGNED_ONLY, REDACTED], ids=["thinking", "signature only", "redacted"])
async def test_thinking_goes_back_to_its_origin_byte_for_byte(
    model: Messages, up: Upstream, block: dict[str, Any]
) -> None:
    said = [user("hi"), _said(Reasoning(block.get("thinking", ""), block), Text("so"), CALL), _result("c1")]
    assert (await _turns(model, up, said))[1][1][0] == block
    sent = json.dumps(block, ensure_ascii=False, separators=(",", ":")).encode()
    assert sent in up.requests[-1].body


@pytest.mark.parametrize("origin", ["anthropic/claude-opus-4-5", "databricks/claude-sonnet-4-5", "openai/m"])
async def test_another_models_thinking_and_blocks_are_left_out(model: Messages, up: Upstream, origin: str) -> None:
    cited = Text("so", {"type": "text", "text": "so", "citations": [{"cited_text": "x"}]})
    parts: list[Part] = [Reasoning("hm", THINKING), ProviderBlock(SEARCH), ProviderBlock(FOUND), cited]
    assert (await _turns(model, up, [user("hi"), _said(*parts, origin=origin), user("x")]))[1] == ("assistant", "so")


async def test_thinking_alone_is_left_out_with_its_turn(model: Messages, up: Upstream) -> None:
    for block in (THINKING, REDACTED):
        turns = await _turns(model, up, [user("hi"), _said(Reasoning("hm", block)), user("x")])
        assert [role for role, _ in turns] == ["user"]


async def test_unsigned_thinking_is_left_out(model: Messages, up: Upstream) -> None:
    for opaque in (UNSIGNED, {"type": "thinking", "thinking": "hm"}, None):
        turns = await _turns(model, up, [user("hi"), _said(Reasoning("hm", opaque), Text("so")), user("x")])
        assert turns[1] == ("assistant", "so")


async def test_blocks_of_server_tools_go_back_in_their_order(model: Messages, up: Upstream) -> None:
    cited = {"type": "text", "text": "so", "citations": [{"type": "web_search_result_location", "url": "u"}]}
    parts: list[Part] = [Reasoning("", THINKING), ProviderBlock(SEARCH), ProviderBlock(FOUND), Text("so", cited), CALL]
    turns = await _turns(model, up, [user("hi"), _said(*parts), _result("c1", Text("3"))])
    assert turns[1][1] == [THINKING, SEARCH, FOUND, cited, _use("c1", item="tea")]
    assert [block["type"] for block in turns[2][1]] == ["tool_result"], "nothing for the server's own tool"


async def test_a_pause_goes_on_with_the_message_unchanged(model: Messages, up: Upstream) -> None:
    turns = await _turns(model, up, [user("hi"), _said(Text("so"), ProviderBlock(SEARCH))])
    assert turns == [("user", "hi"), ("assistant", [{"type": "text", "text": "so"}, SEARCH])]


async def test_fields_of_a_call_go_back(model: Messages, up: Upstream) -> None:
    call = replace(CALL, opaque={"caller": {"type": "direct"}})
    turns = await _turns(model, up, [user("hi"), _said(call), _result("c1")])
    assert turns[1][1] == [{**_use("c1", item="tea"), "caller": {"type": "direct"}}]
    turns = await _turns(model, up, [user("hi"), _said(call, origin="x/y"), _result("c1")])
    assert turns[1][1] == [_use("c1", item="tea")]


async def test_a_refusal_goes_back_as_text(model: Messages, up: Upstream) -> None:
    turns = await _turns(model, up, [user("hi"), _said(Refusal("no"), Refusal(" ")), user("why")])
    assert turns[1] == ("assistant", "no")


# The cache


SHAPES: dict[str, list[Message]] = {
    "one": [user("hi")],
    "long": [user("a"), assistant("b"), user("c"), assistant("d"), user("e"), assistant("f"), user("g")],
    "loop": [user("a"), *[_said(CALL), _result("c1", Text("1"))] * 4],
    "loop and words": [user("a"), _said(CALL), _result("c1", Text("1")), user("b"), user("c")],
    "pictures": [
        Message("user", (Text("a"), Image(url="https://x/y"))),
        assistant("b"),
        Message("user", (Image(url="u"),)),
    ],
    "paused": [user("a"), _said(Text("b"), ProviderBlock(SEARCH))],
    "thoughts": [user("a"), _said(Reasoning("", THINKING), CALL), _result("c1"), _said(Reasoning("", REDACTED))],
    "blank": [user(" "), assistant(" "), user("a"), user("")],
    "system only": [system("a")],
}


@pytest.mark.parametrize("tools", [0, 1, 2])
@pytest.mark.parametrize("systems", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES)
async def test_there_are_four_cache_marks_at_most(
    model: Messages, up: Upstream, shape: str, systems: int, tools: int
) -> None:
    said = [*(system(f"s{i}") for i in range(systems)), *SHAPES[shape]]
    body = await _body(model, up, said, tools=[replace(TOOL, name=f"t{i}") for i in range(tools)])
    users = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
    marked = bool(body.get("system")) + bool(tools) + min(len(users), 2)
    assert up.requests[-1].body.count(b'"cache_control"') == marked <= 4
    assert all(content[-1].get("cache_control") == CACHED for content in users[-2:])
    assert not [block for block in body.get("system", [])[:-1] if "cache_control" in block]
    answers = [turn["content"] for turn in body["messages"] if turn["role"] == "assistant"]
    assert not [block for content in answers for block in content if "cache_control" in block]


async def test_the_marks_slide_and_the_bytes_before_them_stay(model: Messages, up: Upstream) -> None:
    """What one request has cached is how the next begins."""
    said = [system("s"), user("a")]
    bodies = []
    for number in range(4):
        bodies.append(_bare(await _body(model, up, said, tools=[TOOL])))
        said += [_said(Reasoning("", THINKING), replace(CALL, id=f"c{number}")), _result(f"c{number}", Text("1"))]
    for before, behind in pairwise(bodies):
        assert behind["messages"][: len(before["messages"])] == before["messages"]
        assert (behind["system"], behind["tools"]) == (before["system"], before["tools"])
    marks = [[bool(t["content"][-1].get("cache_control")) for t in r.json["messages"]] for r in up.requests]
    assert marks[1] == [True, False, True] and marks[3] == [False, False, False, False, True, False, True]


# Who is asked


@pytest.mark.parametrize("path", ["", "/v1"])
async def test_the_base_address_may_end_in_v1(up: Upstream, http: Http, path: str) -> None:
    settings = Settings(anthropic_api_key="k", anthropic_base_url=f"{up.url}{path}")
    await ask(resolve("anthropic/claude-x", settings, http))
    assert up.requests[0].path == "/v1/messages" and up.requests[0].json["model"] == "claude-x"


def test_a_key_is_needed() -> None:
    with pytest.raises(SettingsError, match="ANTHROPIC_API_KEY is not set"):
        anthropic.connect("claude-x", Settings(), Http())


async def test_a_schema_is_held_as_far_as_the_api_can(model: Messages, up: Upstream) -> None:
    inner = {"type": "object", "properties": {"minimum": {"type": "number", "minimum": 1}}}
    schema = {"$schema": "x", "type": "object", "properties": {"a": inner, "b": {"type": "array", "minItems": 2}}}
    body = await _body(model, up, options=Options(response_format=JsonFormat(schema)))
    closed = {**inner, "properties": {"minimum": {"type": "number"}}, "additionalProperties": False}
    held = {"type": "object", "properties": {"a": closed, "b": {"type": "array"}}, "additionalProperties": False}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": held}}
    assert "output_config" not in await _body(model, up, options=Options(response_format=JsonFormat()))


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("claude-3-5-sonnet-latest", "tool"),
        ("claude-sonnet-4-20250514", "tool"),
        ("claude-opus-4-0", "tool"),
        ("claude-sonnet-4-5-20250929", "asked"),
        ("claude-opus-4-1", "asked"),
        ("claude-haiku-5-5", "asked"),
    ],
)
def test_older_models_give_json_by_a_tool(http: Http, name: str, way: str) -> None:
    assert anthropic.connect(name, Settings(anthropic_api_key="k"), http).info.json == way


@pytest.mark.parametrize(
    ("name", "adaptive"),
    [
        ("claude-3-7-sonnet-20250219", False),
        ("claude-sonnet-4-5-20250929", False),
        ("databricks-claude-opus-4-1", False),
        ("claude-opus-4-6", True),
        ("claude-sonnet-5", True),
    ],
)
async def test_newer_models_choose_how_much_to_think(up: Upstream, http: Http, name: str, adaptive: bool) -> None:
    body = await _body(_named(name, up, http), up, options=Options(reasoning_effort="high"))
    assert body["thinking"]["type"] == ("adaptive" if adaptive else "enabled")
    assert body.get("output_config") == ({"effort": "high"} if adaptive else None)
