"""What fuzzing starts from: small inputs of each kind, and real ones where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests import recordings
from tests.upstream import chat_chunks, claude_events

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "skill-corpus"
LARGEST = 4 * 1024
"""Bytes of a seed; larger ones only slow the fuzzer down."""
CALLS = [("call_1", "price", '{"item": "tea"}'), ("", "weather", "{}")]
USES = [("toolu_1", "price", {"item": "tea"}), ("toolu_2", "weather", {})]
PARTS = [
    {"type": "text", "text": "Hi"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "refusal", "refusal": "No."},
]
CHAT_TOOLS = [
    {"type": "function", "function": {"name": "price", "parameters": {"type": "object", "properties": {}}}},
    {"type": "custom", "custom": {"name": "write", "format": {"type": "text"}}},
]


def _lines(payloads: Iterable[object]) -> bytes:
    return b"\n".join(json.dumps(payload, ensure_ascii=False).encode() for payload in payloads)


def sse() -> Iterator[bytes]:
    for text in (b"data: {}\n\n", b"data: a\r\ndata: b\r\n\r\n: x\n\ndata:c", b"event: e\nid: 1\ndata\n\n", b""):
        yield b"\x02" + text
    yield b"\x06" + "data: Grüße 🙂 \u2028\u0085\n\ndata: [DONE]\n\n".encode()
    yield from (b"\x0b" + case.raw for case in recordings.cases() if case.raw)


def chat() -> Iterator[bytes]:
    yield _lines([*chat_chunks("Two words", "hm", CALLS)]) + b"\n[DONE]"
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]
    yield _lines(
        [{"choices": [{"message": {"content": parts}, "finish_reason": "stop"}], "usage": {"total_tokens": 3}}]
    )
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": {"a": [1]}}, "extra_content": {"google": {}}}
    delta = {"tool_calls": [call], "refusal": "No.", "function_call": {"name": "g", "arguments": ""}}
    logprobs = {"content": [{"token": "a", "logprob": -1.5, "top_logprobs": []}]}
    yield _lines([{"choices": [{"delta": delta, "logprobs": logprobs, "finish_reason": "tool_calls"}]}])
    yield _lines([{"error": {"message": "no", "type": "overloaded_error", "code": 529}}])
    yield from _recorded("chat")


def anthropic() -> Iterator[bytes]:
    yield _lines(claude_events("Two words", "hm", "c2ln", USES))
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    citation = {"type": "citations_delta", "citation": {"cited_text": "a"}}
    events = [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"q":1}'}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": citation},
        {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"explanation": "No."}}},
        {"type": "message_stop"},
    ]
    yield _lines(events)
    yield _lines([{"type": "error", "error": {"type": "overloaded_error", "message": "no"}}])
    yield from _recorded("anthropic")


def _recorded(dialect: recordings.Dialect) -> Iterator[bytes]:
    for case in recordings.cases(dialect):
        yield _lines([case.body] if case.body is not None else case.payloads)


def frontmatter() -> Iterator[bytes]:
    head = b"---\nname: tea\ndescription: How to brew tea.\n"
    yield head + b"---\nBoil water.\n"
    yield head + b"metadata:\n  author: me\n  tags: [a, 'b']\nallowed-tools: Read Write\n---\n"
    yield b"\xef\xbb\xbf---\r\nname: tea\r\ndescription: use: with care\r\nlicense: &a x\r\n...\r\nBody\r\n"
    yield b"---\ndescription: |\n  Two\n  lines\nname: 'it''s'\ncompatibility: >-\n  a\n\n  b\n---\nBody"
    yield b'---\n{name: tea, "description": "\\u263a", ? [a, b] : !!str c}\n---\n'
    files = sorted([*ROOT.glob("skills/*/SKILL.md"), *CORPUS.rglob("SKILL.md")])
    yield from (file.read_bytes() for file in files[:: max(len(files) // 200, 1)])


def errors() -> Iterator[bytes]:
    error = {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded", "param": "messages"}
    yield b"400\t1\t\t\ttrue\n" + json.dumps({"error": error}).encode()
    yield b"429\tWed, 21 Oct 2026 07:28:00 GMT\n" + json.dumps({"error_code": "LIMIT", "message": "no"}).encode()
    yield b"302\t\t\t\t\thttps://login.example/?token=1\n"
    yield b"503\t\t1500\t2\tfalse\nOverloaded"
    yield b'200\n{"error": "no", "error_description": {"details": {"error_code": 4}}}'
    yield from (b"400\n" + json.dumps(case.body).encode() for case in recordings.error_cases())


def bodies() -> Iterator[bytes]:
    called = {"id": "call_1", "type": "function", "function": {"name": "price", "arguments": "{}"}}
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    ]
    options = {"temperature": 0.5, "max_tokens": 9, "stop": ["x"], "n": 2, "stream": True, "logit_bias": {"1": 2}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}}
    yield json.dumps({"messages": history, "tools": CHAT_TOOLS, "response_format": form, **options}).encode()
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c", "name": "price", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "3"}]},
        {"type": "reasoning", "encrypted_content": "eA==", "summary": []},
        {"type": "item_reference", "id": "msg_1"},
    ]
    flat = [{"type": "function", "name": "price"}, {"type": "web_search"}, {"type": "custom", "name": "write"}]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "price"}]}
    text = {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"}
    request = {"model": "m", "input": items, "tools": flat, "tool_choice": choice, "text": text, "instructions": "x"}
    yield json.dumps({**request, "reasoning": {"effort": "low"}, "metadata": {"a": "b"}}).encode()
    yield b'{"messages": [{"role": "user", "content": "\\ud83d\\u0000"}], "seed": 1.0}'


SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "sse": sse,
    "chat": chat,
    "anthropic": anthropic,
    "frontmatter": frontmatter,
    "errors": errors,
    "bodies": bodies,
}


def write(name: str, folder: Path) -> int:
    """One file a seed; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Any] = [seed for seed in SEEDS[name]() if len(seed) <= LARGEST]
    for number, seed in enumerate(found):
        (folder / f"seed-{number:04}").write_bytes(seed)
    return len(found)
