"""Bodies of requests: JSON from anyone, into a shape, or an answer that says what is wrong and where."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

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
    try:
        found = _parsed(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", "invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_type")
    # JSON null means unset, everywhere at the top level.
    found = {name: value for name, value in found.items() if value is not None}
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        raise _api_error(error) from None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise
        return orjson.loads(ESCAPE.sub(_whole_character, body))


def _whole_character(escape: re.Match[bytes]) -> bytes:
    """JavaScript clients can send half a pair, which no strict parser takes."""
    return rb"\ufffd" if len(escape[0]) == 6 else escape[0]


def _api_error(error: ValidationError) -> ApiError:
    """The first problem, with the field's place as the client wrote it."""
    problems = [(_place(e["loc"]), e["type"], e["msg"]) for e in error.errors(include_url=False, include_input=False)]
    # Of a union every member complains; the one that got furthest is meant.
    param, kind, words = max((p for p in problems if p[0].startswith(problems[0][0])), key=lambda p: len(p[0]))
    if kind == "missing":
        return ApiError(400, f"{param}: this field is required", "missing_required_parameter", param)
    if kind.startswith("model_"):
        words = "Input should be an object"
    wrong_type = kind.endswith(("_type", "_parsing")) or kind.startswith("union_tag")
    return ApiError(400, f"{param}: {words}", "invalid_type" if wrong_type else "invalid_value", param or None)


def _place(steps: tuple[int | str, ...]) -> str:
    """As in `messages[0].content`, without the names of types and union members that pydantic adds."""
    place = ""
    before: int | str | None = None
    for step in (s for s in steps if isinstance(s, int) or (re.fullmatch(r"[a-z_]+", s) and s not in ("str", "list"))):
        part = isinstance(before, int) and step in ("text", "refusal", "image_url", "file", "input_audio")
        if isinstance(step, int):
            place += f"[{step}]"
        elif not part and before != "tool_choice":
            place += f".{step}" if place else step
        before = step
    return place
