"""Real provider answers, recorded by others, as test cases with what a reader should get out of them.

What to expect is worked out here from the recorded JSON, as plainly as can be and without the product's
code, which would otherwise be compared with itself. Without the folder there are no cases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tests.servers import Reply, Split
from tests.upstream import json_reply, raw_sse, sse

Dialect: TypeAlias = Literal["chat", "anthropic"]
Json: TypeAlias = dict[str, Any]
Call: TypeAlias = tuple[str, str, Any]
"""Id, name and arguments: parsed, or the text of the model where that is no JSON."""

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "recordings"
FOLDER = Path(os.environ.get("SKILL_AGENT_RECORDINGS") or _BESIDE)
ABSENT = f"no recordings in {FOLDER}"
_FOLDERS: dict[str, Dialect] = {"anthropic": "anthropic", "anthropic-sdk": "anthropic", "chat": "chat"}
_BROKEN = {"duplicate-message-start", "spliced-message-start"}
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """`finish` is in the words of OpenAI; tokens that were not told are 0.

    `refusal` is the text of `refusal` in Chat Completions; in Messages a refusal is only a `finish`.
    """

    text: str
    reasoning: str
    refusal: str
    tool_calls: tuple[Call, ...]
    finish: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Case:
    """One answer: `payloads` of a stream (and its `raw` bytes where they are known), or a whole `body`.

    `messages_index` counts the messages of a file. `expected=None`: broken, must give an error.
    """

    id: str
    dialect: Dialect
    file: Path
    messages_index: int
    expected: Expected | None
    payloads: tuple[Json, ...] = ()
    raw: bytes = b""
    body: Json | None = None

    @property
    def stream(self) -> bool:
        return self.body is None

    def reply(self, split: Split = None) -> Reply:
        """The answer as its provider sends it."""
        if self.body is not None:
            return json_reply(self.body).recut(split)
        if self.raw:
            return raw_sse(self.raw, split)
        chat = self.dialect == "chat"
        return sse(self.payloads, done=chat, events=not chat, split=split)


@dataclass(frozen=True, slots=True)
class ErrorCase:
    """An answer that refuses the request."""

    id: str
    dialect: Dialect
    file: Path
    status: int
    body: Json


def available() -> bool:
    return any((FOLDER / name).is_dir() for name in _FOLDERS)


def cases(dialect: Dialect | None = None) -> list[Case]:
    found = [case for file, told in _files() if not _is_error(file) for case in _read(file, told)]
    return [case for case in found if dialect in (None, case.dialect)]


def error_cases() -> list[ErrorCase]:
    files = [(file, dialect) for file, dialect in _files() if _is_error(file)]
    return [ErrorCase(_id(file), dialect, file, 400, _json(file)) for file, dialect in files]


def _files() -> Iterator[tuple[Path, Dialect]]:
    for folder, dialect in _FOLDERS.items():
        for file in sorted((FOLDER / folder).glob("*")):
            if file.suffix in (".json", ".sse", ".txt"):
                yield file, dialect


def _is_error(file: Path) -> bool:
    return file.parent.name == "chat" and file.name.endswith("-error.json")


def _id(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _json(file: Path) -> Json:
    body = json.loads(file.read_bytes())
    assert isinstance(body, dict), file
    return body


def _read(file: Path, dialect: Dialect) -> Iterator[Case]:
    if file.suffix == ".json":
        body = _json(file)
        expected = _chat_whole(body) if dialect == "chat" else _claude_whole(body)
        yield Case(_id(file), dialect, file, 0, expected, body=body)
        return
    raw = b"" if file.name.endswith(".chunks.txt") else file.read_bytes()
    payloads = _payloads(file.read_bytes(), bare=not raw)
    broken = file.name.split(".")[0] in _BROKEN
    messages = [payloads] if broken or dialect == "chat" else _messages(payloads)
    for index, message in enumerate(messages):
        name = _id(file) + (f"#{index}" if len(messages) > 1 else "")
        told = None if broken else chat_stream(message) if dialect == "chat" else claude_stream(message)
        yield Case(name, dialect, file, index, told, tuple(message), raw)


def _payloads(text: bytes, bare: bool) -> list[Json]:
    """One a line; in an event stream the lines of data (none of these has data of several lines)."""
    lines = [line.strip() for line in text.split(b"\n")]
    if not bare:
        lines = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line not in (b"", b"[DONE]")]


def _messages(events: Iterable[Json]) -> list[list[Json]]:
    """Some files hold a whole conversation: the answers one after the other."""
    messages: list[list[Json]] = []
    for event in events:
        if event["type"] == "message_start":
            messages.append([])
        messages[-1].append(event)
    return messages


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


# Messages


def _claude_whole(message: Json) -> Expected:
    blocks = message["content"]
    usage = {key: value or 0 for key, value in message["usage"].items()}
    return Expected(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        refusal="",
        tool_calls=tuple((b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"),
        finish=_FINISH[message["stop_reason"]],
        prompt_tokens=usage["input_tokens"]
        + usage.get("cache_read_input_tokens", 0)
        + usage.get("cache_creation_input_tokens", 0),
        completion_tokens=usage["output_tokens"],
    )


def claude_stream(events: Iterable[Json]) -> Expected:
    """Put the whole message together again, as its provider would have sent it without streaming."""
    message: Json = {}
    blocks: dict[int, Json] = {}
    written: dict[int, str] = {}
    for event in events:
        if event["type"] == "message_start":
            message = dict(event["message"])
        elif event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta":
            _extend(blocks[event["index"]], written, event)
        elif event["type"] == "message_delta":
            message |= {"stop_reason": event["delta"]["stop_reason"]}
            message |= {"usage": message["usage"] | event["usage"]}
    for index, text in written.items():
        blocks[index]["input"] = _arguments(text) if text else blocks[index]["input"]
    return _claude_whole(message | {"content": [*message["content"], *blocks.values()]})


def _extend(block: Json, written: dict[int, str], event: Json) -> None:
    delta = event["delta"]
    if delta["type"] in ("text_delta", "thinking_delta"):
        key = delta["type"].removesuffix("_delta")
        block[key] += delta[key]
    elif delta["type"] == "input_json_delta":
        written[event["index"]] = written.get(event["index"], "") + delta["partial_json"]


# Chat Completions


def _chat_whole(body: Json) -> Expected:
    choice = body["choices"][0]
    return _chat([choice["message"]], choice["finish_reason"], body.get("usage"))


def chat_stream(chunks: Iterable[Json]) -> Expected:
    messages: list[Json] = []
    finish, usage = "", None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"][:1]:
            messages.append(choice["delta"])
            finish = choice.get("finish_reason") or finish
    return _chat(messages, finish, usage)


def _chat(messages: list[Json], finish: str, usage: Mapping[str, int] | None) -> Expected:
    """A whole message is a stream of one delta."""
    calls: dict[int, list[str]] = {}
    for message in messages:
        for position, delta in enumerate(message.get("tool_calls") or []):
            call = calls.setdefault(delta.get("index", position), ["", "", ""])
            call[0] = call[0] or delta.get("id") or ""
            call[1] = call[1] or delta["function"].get("name") or ""
            call[2] += delta["function"].get("arguments") or ""
    counted = usage or {}
    return Expected(
        text="".join(_said(message.get("content"), "text") for message in messages),
        reasoning="".join(_thought(message) for message in messages),
        refusal="".join(message.get("refusal") or "" for message in messages),
        tool_calls=tuple((id, name, _arguments(text)) for id, name, text in calls.values()),
        finish="tool_calls" if calls and finish == "stop" else finish,
        prompt_tokens=counted.get("prompt_tokens", 0),
        completion_tokens=counted.get("completion_tokens", 0),
    )


def _said(content: object, kind: str) -> str:
    """The text of the parts of one kind; plain content is text, and a part may hold parts (Mistral)."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    parts = [part for part in content if part["type"] == kind] if isinstance(content, list) else []
    return "".join(p[kind] if isinstance(p[kind], str) else _said(p[kind], "text") for p in parts)


def _thought(message: Json) -> str:
    told = message.get("reasoning_content") or message.get("reasoning") or ""
    return f"{told}{_said(message.get('content'), 'thinking')}"
