"""Bodies of requests: JSON from anyone, into a shape, or an answer that says what is wrong and where."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from nesting import DEEPEST, is_deeper

S = TypeVar("S", bound="Shape")
ESCAPE = re.compile(rb"\\u[dD][89abAB]XX\\u[dD][c-fC-F]XX|\\u[dD][89a-fA-F]XX|\\.".replace(b"XX", b"[0-9a-fA-F]{2}"))
"""A JSON escape: a pair of surrogates, half a pair, or any other."""


class ApiError(Exception):
    """An answer in OpenAI's error shape."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.type = type
        self.headers = headers or {}

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


class Shape(BaseModel):
    """Unknown fields are ignored (clients send many), and nothing is taken for another type.

    Validators are built with the first request.
    """

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)


def read(shape: type[S], body: bytes) -> S:
    """Raises `ApiError` 400 with the field that is wrong."""
    return fitted(shape, parsed(body))


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object without the nulls at its top, which mean unset. Raises `ApiError` 400."""
    try:
        found = _loaded(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", "invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_type")
    found = {name: value for name, value in found.items() if value is not None}
    if is_deeper(found):
        raise ApiError(400, f"the body is nested more than {DEEPEST} levels deep", "invalid_json")
    if b"\\u0000" in body:
        _refuse_nul(found)
    return found


def fitted(shape: type[S], found: dict[str, Any]) -> S:
    """Raises `ApiError` 400 with the field that is wrong."""
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        raise _api_error(error, found) from None


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise
        return orjson.loads(ESCAPE.sub(_whole_character, body))


def _whole_character(escape: re.Match[bytes]) -> bytes:
    """JavaScript clients can send half a pair, which no strict parser takes."""
    return rb"\ufffd" if len(escape[0]) == 6 else escape[0]


def _api_error(error: ValidationError, body: Any) -> ApiError:
    """The first problem, with the field's place as the client wrote it."""
    found = error.errors(include_url=False, include_input=False)
    problems = [(_place(e["loc"], body, e["type"]), e["type"], e["msg"]) for e in found]
    # Of a union every member complains; the one that got furthest is meant.
    param, kind, words = max((p for p in problems if p[0].startswith(problems[0][0])), key=lambda p: len(p[0]))
    if kind == "missing":
        return ApiError(400, f"{param}: this field is required", "missing_required_parameter", param)
    if kind.startswith("model_"):
        words = "Input should be an object"
    words = words.removeprefix("Value error, ")
    wrong_type = kind.endswith(("_type", "_parsing")) or kind.startswith("union_tag")
    return ApiError(400, f"{param}: {words}", "invalid_type" if wrong_type else "invalid_value", param or None)


def _place(steps: tuple[int | str, ...], at: Any, kind: str) -> str:
    """As in `messages[0].content`: pydantic also names the types and union members it tried, which are no fields."""
    place = ""
    for number, step in enumerate(steps, 1):
        if isinstance(step, int):
            place += f"[{step}]"
            at = at[step] if isinstance(at, list) and step < len(at) else None
        elif isinstance(at, dict) and (step in at or (kind == "missing" and number == len(steps))):
            place += f".{step}" if place else step
            at = at.get(step)
    return place


def _refuse_nul(at: Any, place: str = "") -> None:
    """No store and few providers take it. Raises `ApiError` where one is."""
    if isinstance(at, dict):
        for name, value in at.items():
            below = f"{place}.{name}" if place else name
            _refuse_nul(name, place)
            _refuse_nul(value, below)
    elif isinstance(at, list):
        for index, value in enumerate(at):
            _refuse_nul(value, f"{place}[{index}]")
    elif isinstance(at, str) and "\0" in at:
        raise ApiError(400, f"{place or 'the body'}: a NUL character is not taken", "invalid_value", place or None)
