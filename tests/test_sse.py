"""The reader of server-sent events, through a real connection, however the bytes are cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from providers.base import BadResponse, ModelInfo
from providers.http import Http, bearer
from providers.openai import ChatCompletions
from tests.asking import Heard, ask
from tests.upstream import Split, Upstream, chat_chunks, json_reply, raw_sse, sse

WORDS = "Grüße 🙂 a\u2028b\u0085c\u000bd\x1ce"
"""With what `str.splitlines` takes for the end of a line."""
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def model(up: Upstream) -> AsyncIterator[ChatCompletions]:
    model = ChatCompletions(Http(backoff=0.01), f"{up.url}/v1/chat/completions", bearer("k"), ModelInfo("openai/m"))
    yield model
    await model.aclose()


def _said(text: str) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)


@pytest.mark.parametrize("split", [None, 1, 2, 7, 64, "utf8"])
@pytest.mark.parametrize("crlf", [False, True])
async def test_an_answer_is_the_same_however_it_is_cut(
    up: Upstream, model: ChatCompletions, split: Split, crlf: bool
) -> None:
    up.reply(sse(chat_chunks(WORDS, "hm …"), split=split, crlf=crlf, comments="keep-alive"))
    heard = await ask(model)
    assert (heard.text, heard.reasoning, heard.done.usage.total) == (WORDS, "hm …", 15)


@pytest.mark.parametrize(
    "frame",
    [
        "data:{}\n\n",
        "data: {}\n\n",
        "event: message\nid: 1\nretry: 5\ndata: {}\n\n",
        "data: {}\nevent: message\n\n",
        "\n\n\ndata: {}\n\n\n\n",
        ": comment\ndata: {}\n: comment\n\n",
        ":\n\nunknown: field\nnocolon\ndata: {}\n\n",
        "event: ping\n\ndata: {}\n\n",
        "data\n\ndata: {}\n\n",
    ],
)
@pytest.mark.parametrize("split", [None, 1])
async def test_every_form_of_a_frame_is_read(up: Upstream, model: ChatCompletions, frame: str, split: Split) -> None:
    said = _said("hi")
    up.reply(raw_sse(frame.replace("{}", said).encode() + END, split))
    assert (await ask(model)).text == "hi"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("split", [None, 1])
async def test_data_of_several_lines_is_one_event(
    up: Upstream, model: ChatCompletions, newline: str, split: Split
) -> None:
    pretty = json.dumps({"choices": [{"delta": {"content": "hi"}}]}, indent=2)
    lines = newline.join(f"data: {line}" for line in pretty.split("\n"))
    up.reply(raw_sse((lines + newline * 2).encode() + END, split))
    assert (await ask(model)).text == "hi"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("split", [None, 1])
async def test_the_last_event_needs_no_blank_line(
    up: Upstream, model: ChatCompletions, end: bytes, split: Split
) -> None:
    last = b'data: {"choices":[{"delta":{"content":"!"},"finish_reason":"stop"}]}'
    up.reply(raw_sse(f"data: {_said('hi')}\n\n".encode() + last + end, split))
    assert (await ask(model)).text == "hi!"


async def test_what_comes_after_done_is_not_read(up: Upstream, model: ChatCompletions) -> None:
    up.reply(raw_sse(END + b"data: {bad\n\n"))
    assert (await ask(model)).text == ""


@pytest.mark.parametrize("lone", ["\ud83d", "a\ude42 b"])
async def test_half_an_emoji_does_no_harm(up: Upstream, model: ChatCompletions, lone: str) -> None:
    payload = {"choices": [{"delta": {"content": lone}}]}
    up.reply(raw_sse(b"data: " + json.dumps(payload).encode() + b"\n\n" + END))
    text = (await ask(model)).text
    assert text == lone.replace("\ud83d", "�").replace("\ude42", "�")


@pytest.mark.parametrize(
    "flood",
    [[b"data: " + b"x" * (2 << 20)], [b"data: " + b"x" * 65_000 + b"\n"] * 17, [b"x" * 65_536] * 17],
    ids=["one line", "many lines", "no field"],
)
async def test_an_event_without_end_is_refused_once(up: Upstream, model: ChatCompletions, flood: list[bytes]) -> None:
    up.always(raw_sse(b"").but(chunks=flood, stall=True))
    heard = Heard()
    with pytest.raises(BadResponse) as caught:
        await ask(model, heard=heard)
    assert caught.value.code == "upstream_response_too_large" and len(up.requests) == 1


async def test_a_large_event_is_read(up: Upstream, model: ChatCompletions) -> None:
    text = "wörd " * 150_000
    up.reply(sse(chat_chunks(text, finish="")[:1]), sse([_said(text), END]))
    up.reply(sse([_said(text), END], done=False))
    assert (await ask(model)).text == text


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/problem+json"])
async def test_a_whole_answer_is_taken_for_a_stream(up: Upstream, model: ChatCompletions, kind: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"item": "tea"}'}}
    message = {"role": "assistant", "content": WORDS, "reasoning_content": "hm", "tool_calls": [call]}
    body = {"model": "m-1", "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    up.reply(
        json_reply({**body, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, headers={"content-type": kind})
    )
    heard = await ask(model)
    assert (heard.text, heard.reasoning, heard.calls) == (WORDS, "hm", [("c1", "price", '{"item": "tea"}')])
    assert (heard.done.stop, heard.done.usage.total, heard.done.model) == ("tool_calls", 7, "m-1")


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "", "Text/Event-Stream;charset=UTF-8"])
async def test_the_type_of_a_stream_is_not_trusted(up: Upstream, model: ChatCompletions, kind: str) -> None:
    up.reply(sse(chat_chunks("hi"), headers={"content-type": kind}))
    assert (await ask(model)).text == "hi"
