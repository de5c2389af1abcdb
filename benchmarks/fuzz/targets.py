"""What must hold for any bytes. A target returns, or raises: an `AssertionError` where a rule is broken, anything else
where a reader let an exception through that its callers do not expect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bodies import ApiError, fitted, parsed
from messages import (
    Done,
    Message,
    ProviderEvent,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    RefusalDelta,
    Text,
    TextDelta,
    ToolCallDelta,
)
from providers import anthropic_answer, openai_answer
from providers.base import ModelInfo, ProviderError
from providers.errors import error_of, parse, readable
from providers.sse import Events
from response_schemas import CompactRequest, MessageItem, OutputItem, ResponseRequest
from schemas import ChatRequest
from service.errors import api_error
from service.packing import pack, unpack
from skill_store.reader import body_of, read_document
from skill_store.rules import head_problems

MODEL = ModelInfo("openai/fuzzed")
CLAUDE = ModelInfo("anthropic/fuzzed")
FILE = Path("SKILL.md")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
STRINGS: Mapping[type, Sequence[str]] = {
    TextDelta: ("text",),
    ReasoningDelta: ("text",),
    RefusalDelta: ("text",),
    ToolCallDelta: ("id", "name", "arguments"),
    Done: ("model", "stop"),
}


# Server-sent events


def sse(data: bytes) -> None:
    """The first byte says how the others are cut; the events do not depend on it."""
    size, stream = (data[0] if data else 0) + 1, data[1:]
    whole = _events([stream])
    assert whole == _events(list(_pieces(stream, size)))
    assert whole == _events([b"", *_pieces(stream[:size], 1), stream[size:], b""])
    assert all(isinstance(event, bytes) for event in whole)
    assert sum(map(len, whole)) <= len(stream)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _events(chunks: Sequence[bytes]) -> list[bytes]:
    found = Events()
    return [*(event for chunk in chunks for event in found.of(chunk)), *found.rest()]


# Answers: one payload a line, as the decoder gets them


def chat(data: bytes) -> None:
    answer = openai_answer.Answer(MODEL, {"call_1"})
    heard: list[ProviderEvent] = []
    try:
        try:
            heard.extend(_fed(answer.heard, data, MODEL))
        except ProviderError as error:
            if not answer.finished:
                raise
            _check_error(error)
        with readable("openai"):
            heard += list(answer.finish())
    except ProviderError as error:
        _check_error(error)
        return
    _check_answer(heard)


def anthropic(data: bytes) -> None:
    answer = anthropic_answer.Answer(CLAUDE)
    try:
        heard = list(_fed(answer.feed, data, CLAUDE, lambda: answer.complete))
    except ProviderError as error:
        _check_error(error)
        return
    if answer.complete:
        _check_answer(heard)
    else:
        assert not any(isinstance(event, Done) for event in heard)


def _fed(
    feed: Callable[[Any], Iterable[ProviderEvent]],
    data: bytes,
    model: ModelInfo,
    over: Callable[[], bool] = lambda: False,
) -> Iterator[ProviderEvent]:
    for line in data.split(b"\n"):
        if line.strip() == b"[DONE]" or over():
            return
        if line.strip():
            with readable(model.id):
                news = list(feed(parse(line, model.id)))
            yield from news


def _check_answer(heard: Sequence[ProviderEvent]) -> None:
    """The rules that agents, stores and clients rely on."""
    assert [isinstance(event, Done) for event in heard].count(True) == 1
    done = heard[-1]
    assert isinstance(done, Done)
    for event in heard:
        for name in STRINGS.get(type(event), ()):
            assert isinstance(getattr(event, name), str), event
    told = [event for event in heard if not isinstance(event, ReasoningDone)]
    orjson.dumps(told)
    orjson.dumps(done.usage)
    _check_calls(done.message, [event for event in heard if isinstance(event, ToolCallDelta)])
    # Blocks can come in turns, so that the order of their deltas is not that of the message.
    assert sorted("".join(e.text for e in heard if isinstance(e, TextDelta))) == sorted(done.message.text)
    assert unpack(pack([done.message])) == [done.message]
    for part in done.message.parts:
        if isinstance(part, Text | Reasoning):
            assert isinstance(part.text, str)


def _check_calls(message: Message, deltas: Sequence[ToolCallDelta]) -> None:
    """The deltas make up the calls of the message, in its order, each with an id of its own."""
    if not deltas:
        return
    written: dict[int, list[str]] = {}
    for delta in deltas:
        written.setdefault(delta.index, [delta.id, delta.name, ""])[2] += delta.arguments
    assert sorted(written) == list(range(len(written)))
    assert len({call.id for call in message.calls}) == len(message.calls), "two calls have one id"
    assert [[call.id, call.name] for call in message.calls] == [written[index][:2] for index in sorted(written)]
    for call in message.calls:
        assert all(isinstance(value, str) for value in (call.id, call.name, call.arguments))


def errors(data: bytes) -> None:
    """An answer that is not 2xx: the first line is its status and its headers' values, the rest its body."""
    head, _, body = data.partition(b"\n")
    values = head.decode("latin-1").split("\t")
    status = int(values[0]) if values[0].isascii() and values[0].isdecimal() and len(values[0]) < 4 else 500
    names = ("retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-should-retry", "location", "x-request-id")
    _check_error(error_of(status, body, dict(zip(names, values[1:], strict=False)), "openai"))


def _check_error(error: ProviderError) -> None:
    """It can be told, and waited for."""
    assert all(isinstance(value, str) for value in (error.message, error.code, error.param))
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    told = api_error(error)
    assert 400 <= told.status < 600
    told.body()


# Skill files


def frontmatter(data: bytes) -> None:
    found = read_document(FILE, data)
    assert _is_plain(found.values)
    assert found.values or any(problem.level == "error" for problem in found.problems)
    assert body_of(data) == found.body.strip()
    last = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 2
    assert 1 <= found.body_line <= last
    assert all(1 <= line <= last for line in found.lines.values())
    for problem in (*found.problems, *head_problems(FILE, found, "skill")):
        assert 0 <= problem.line <= last, problem
        assert not CONTROL.search(str(problem)), problem
    orjson.dumps([found.values, found.body])


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    return isinstance(value, str) or (isinstance(value, list) and all(map(_is_plain, value)))


# Bodies


def bodies(data: bytes) -> None:
    for shape in (ChatRequest, ResponseRequest, CompactRequest):
        try:
            _read(shape, data)
        except ApiError as error:
            _check_refusal(error)


def _check_refusal(error: ApiError) -> None:
    assert 400 <= error.status < 500
    json.loads(error.body())


def _read(shape: type[Any], data: bytes) -> None:
    request = fitted(shape, parsed(data))
    if isinstance(request, ChatRequest):
        messages = request.as_messages()
    else:
        items = [*request.items]
        messages = request.orders + [i.as_message() for i in items if isinstance(i, MessageItem | OutputItem)]
    assert unpack(pack(messages)) == messages
    if not isinstance(request, CompactRequest):
        orjson.dumps([request.as_tools(), request.as_options()])


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "sse": sse,
    "chat": chat,
    "anthropic": anthropic,
    "frontmatter": frontmatter,
    "errors": errors,
    "bodies": bodies,
}
