"""Requests that nobody should send, as strategies of hypothesis: bodies with odd values, histories out of order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz.mutation import another, written
from benchmarks.fuzz.seeds import bodies

Json = dict[str, Any]
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
PIECES = ("resp_1", "a", "..", "%2e%2e", "%00", "é", "a%2Fb", "x" * 300, "file_1", "skill-agent")
IDS = st.sampled_from(["a", "b", "", "call_1", "a_2", "\ud800", "x" * 200])
WORDS = st.one_of(st.sampled_from(["hi", "", " ", "{}", "🙂", "\u2028"]), st.text(max_size=8))
NAMES = st.sampled_from(["price", "activate_skill", "read_skill_file", "no_such", "", "a b", "ü"])
ARGUMENTS = st.sampled_from(["{}", "", "[1]", "nope", '{"name": "tea"}', "[" * 2000, '{"a":' * 150 + "1" + "}" * 150])
NOISE = (b"\xff", b"\0", b"NaN", b"1e999", b"\\ud800", b"[" * 3000, b"")
GIVEN: tuple[Json, ...] = tuple(json.loads(body) for body in bodies())


@dataclass(frozen=True, slots=True)
class Sent:
    """`headers` and `query` beside the body, which may be no JSON."""

    path: str
    body: bytes = b""
    method: str = "POST"
    headers: tuple[tuple[str, bytes], ...] = ()
    query: str = ""


@st.composite
def changed(draw: st.DrawFn) -> Sent:
    """A good body with up to four changes, sometimes to the wrong place."""
    chance = draw(st.randoms(use_true_random=False))
    body: Any = draw(st.sampled_from(GIVEN))
    for _ in range(draw(st.integers(0, 4))):
        body = another(body, chance)
    right = RESPONSES if isinstance(body, dict) and "input" in body else CHAT
    paths = [right, right, right, CHAT, RESPONSES, f"{RESPONSES}/compact", "/responses", "/invocations"]
    return Sent(draw(st.sampled_from(paths)), _encoded(body, chance, draw(st.integers(0, 9)) == 0))


def _encoded(body: Any, chance: Random, garbled: bool) -> bytes:
    try:
        data = written(body, chance)
    except RecursionError:
        data = b"[" * 5000
    if garbled and data:
        at = chance.randrange(len(data))
        data = (
            data[:at] + chance.choice([b"\xff", b"\0", b"NaN", b"1e999", b"\\ud800", b"[" * 3000, b""]) + data[at + 1 :]
        )
    return data


@st.composite
def _call(draw: st.DrawFn) -> Json:
    return {"id": draw(IDS), "type": "function", "function": {"name": draw(NAMES), "arguments": draw(ARGUMENTS)}}


_MESSAGES = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "developer"]), "content": WORDS}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "tool_calls": st.lists(_call(), max_size=3), "content": st.none() | WORDS}
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": IDS, "content": WORDS}),
    st.fixed_dictionaries({"role": st.just("function"), "name": NAMES, "content": WORDS}),
)
_ITEMS = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": WORDS}),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "call_id": IDS, "name": NAMES, "arguments": ARGUMENTS, "id": IDS}
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": IDS, "output": WORDS}),
    st.fixed_dictionaries({"type": st.just("custom_tool_call"), "call_id": IDS, "name": NAMES, "input": WORDS}),
    st.fixed_dictionaries({"type": st.just("reasoning"), "encrypted_content": WORDS}),
    st.fixed_dictionaries({"type": st.just("compaction"), "encrypted_content": st.sampled_from(["eA==", "", "ü"])}),
    st.fixed_dictionaries({"type": st.just("item_reference"), "id": IDS}),
    st.fixed_dictionaries({"type": NAMES}),
)
TOOLS = st.lists(NAMES, max_size=2).map(lambda names: [{"type": "function", "function": {"name": n}} for n in names])
FLAT_TOOLS = st.lists(NAMES, max_size=2).map(lambda names: [{"type": "function", "name": n} for n in names])


@st.composite
def histories(draw: st.DrawFn) -> Sent:
    """Calls and results in any order, with ids that are told twice, missing or nobody's."""
    chance = draw(st.randoms(use_true_random=False))
    stream = {"stream": draw(st.booleans())}
    if draw(st.booleans()):
        body = {"messages": draw(st.lists(_MESSAGES, min_size=1, max_size=6)), "tools": draw(TOOLS), **stream}
        return Sent(CHAT, written(body, chance))
    body = {"input": draw(st.lists(_ITEMS, max_size=6)), "tools": draw(FLAT_TOOLS), **stream}
    options = {
        "previous_response_id": IDS,
        "conversation": IDS,
        "store": st.booleans(),
        "background": st.booleans(),
        "max_tool_calls": st.integers(-1, 3),
        "max_output_tokens": st.sampled_from([0, 1, 2**63, 10**30, 1.0, -5]),
        "truncation": st.sampled_from(["auto", "disabled", "x"]),
    }
    body |= draw(st.fixed_dictionaries({}, optional=options))
    return Sent(RESPONSES, written(body, chance))


_HEADER_NAMES = st.sampled_from(
    (
        *("content-type", "accept", "accept-encoding", "range", "if-none-match", "origin", "authorization"),
        *("x-api-key", "x-request-id", "x-forwarded-user", "x-forwarded-for", "traceparent", "openai-organization"),
    )
)
_HEADER_VALUES = st.one_of(
    st.sampled_from([b"", b"application/json; charset=utf-16", b"Bearer", b"bytes=9-1", b"gzip", b"https://a b"]),
    st.binary(max_size=12).map(lambda value: bytes(c if 32 <= c < 127 or c > 159 else 120 for c in value).strip()),
)
_QUERY_VALUES = st.one_of(
    st.sampled_from(["-1", "0", "1", "101", "9" * 30, "1e3", "true", "asc", "", "%00", "%ff", "%ud8"]),
    st.text("abc%&=;+/?é", max_size=6),
)
_QUERY_NAMES = st.sampled_from(["stream", "starting_after", "limit", "order", "after", "before", "include", "x", ""])


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Other paths, methods, headers and queries."""
    piece = draw(
        st.sampled_from(["resp_1", "a", "..", "%2e%2e", "%00", "é", "a%2Fb", "x" * 300, "file_1", "skill-agent"])
    )
    paths = ["/v1/models", f"/v1/models/{piece}", f"/v1/responses/{piece}", f"/v1/responses/{piece}/input_items"]
    paths += [f"/v1/responses/{piece}/cancel", f"/v1/files/{piece}", f"/v1/files/{piece}/content", f"/{piece}"]
    paths += [CHAT, RESPONSES, "/openapi.json", "/agent/info", "/health", "/v1/completions", f"/responses/{piece}"]
    pairs = draw(st.lists(st.tuples(_QUERY_NAMES, _QUERY_VALUES), max_size=3))
    return Sent(
        draw(st.sampled_from(paths)),
        draw(st.sampled_from([b"", b"{}", b'{"messages": [{"role": "user", "content": "hi"}]}', b'{"input": "hi"}'])),
        draw(st.sampled_from(["GET", "GET", "POST", "DELETE", "PUT", "OPTIONS", "PATCH"])),
        tuple(draw(st.lists(st.tuples(_HEADER_NAMES, _HEADER_VALUES), max_size=3))),
        "&".join(f"{name}={value}" for name, value in pairs),
    )
