"""What a client has understood of an answer, in any of the four forms: two surfaces, streamed or whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.reliability.client import Answer

SURFACES = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
MODES = ("stream", "whole")
ENDED = ("stop", "length", "content_filter", "tool_calls")
"""How an answer of Chat Completions ends normally."""


@dataclass(frozen=True, slots=True)
class Heard:
    """`finish`: how the answer ended normally, "" where it did not; the words are those of Chat Completions.

    `code` is that of the error, "?" where it has none. `closed`: the answer came to its end as its protocol has it.
    """

    status: int
    text: str = ""
    finish: str = ""
    code: str = ""
    closed: bool = True

    @property
    def told(self) -> bool:
        """Whether the client knows that something failed."""
        return self.status >= 400 or bool(self.code)


def body_for(surface: str, stream: bool, model: str, words: str = "hi", **more: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": words}]} if surface == "chat" else {"input": words}
    return {"model": model, **said, "stream": stream, **more}


def hear(answer: Answer, surface: str) -> Heard:
    """Raises nothing: what cannot be read is an answer that was not closed."""
    if answer.status == 0:
        return Heard(0, closed=False)
    if answer.status != 200:
        return Heard(answer.status, code=_code_of(answer.json()), closed=answer.whole)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        frames, done = _frames(answer.body)
        heard = _chat_stream(frames) if surface == "chat" else _response_stream(frames)
        end = answer.whole and (done or bool(surface == "responses" and (heard.finish or heard.code)))
        return Heard(200, heard.text, heard.finish, heard.code, end)
    whole = answer.json()
    if not isinstance(whole, dict):
        return Heard(200, closed=False)
    return _chat_whole(whole) if surface == "chat" else _response(whole)


def _code_of(body: Any) -> str:
    """The code of an error in OpenAI's shape."""
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or "?") if isinstance(error, dict) else "?"


def _frames(body: bytes) -> tuple[list[dict[str, Any]], bool]:
    """The JSON of each event, and whether the last of all was `[DONE]`."""
    data = [line[5:].strip() for line in body.split(b"\n") if line.startswith(b"data:")]
    found = []
    for text in data:
        try:
            frame = json.loads(text)
        except ValueError:
            continue
        if isinstance(frame, dict):
            found.append(frame)
    return found, bool(data) and data[-1] == b"[DONE]"


def _chat_stream(frames: list[dict[str, Any]]) -> Heard:
    text, finish, code = "", "", ""
    for frame in frames:
        code = code or (_code_of(frame) if "error" in frame else "")
        for choice in frame.get("choices") or ():
            text += (choice.get("delta") or {}).get("content") or ""
            finish = choice.get("finish_reason") or finish
    return Heard(200, text, finish, code)


def _chat_whole(body: dict[str, Any]) -> Heard:
    if "error" in body:
        return Heard(200, code=_code_of(body))
    choice = (body.get("choices") or [{}])[0]
    return Heard(200, (choice.get("message") or {}).get("content") or "", choice.get("finish_reason") or "")


def _response_stream(frames: list[dict[str, Any]]) -> Heard:
    text = "".join(str(f.get("delta", "")) for f in frames if f.get("type") == "response.output_text.delta")
    for frame in reversed(frames):
        if frame.get("type") in ("response.completed", "response.incomplete", "response.failed"):
            heard = _response(frame.get("response") or {})
            return Heard(200, heard.text or text, heard.finish, heard.code)
    failed = next((frame for frame in frames if frame.get("type") == "error" or "error" in frame), None)
    return Heard(200, text, code=str(failed.get("code") or _code_of(failed)) if failed else "")


def _response(body: dict[str, Any]) -> Heard:
    parts = [part for item in body.get("output") or () for part in item.get("content") or ()]
    text = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    match body.get("status"):
        case "completed":
            return Heard(200, text, "stop")
        case "incomplete":
            reason = (body.get("incomplete_details") or {}).get("reason")
            return Heard(200, text, "content_filter" if reason == "content_filter" else "length")
        case "failed":
            return Heard(200, text, code=_code_of(body))
    return Heard(200, text, closed=False)
