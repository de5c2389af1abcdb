"""Bodies of requests: JSON from anyone, into a shape, or an answer that says what is wrong and where."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from nesting import DEEPEST

S = TypeVar("S", bound="Shape")
MOST = 100_000
"""Values of a body, whatever they are: 4 MiB can hold a million of them, which take many seconds to be looked at."""
TOLD = 1000
"""Problems that are looked at."""
HALF = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
ESCAPES = re.compile(rb"((?:[^\\]++|%b|(?!%b)\\.)++)|%b" % (PAIR, HALF, HALF), re.DOTALL)
"""All up to the next half of a pair of surrogates, in one piece; or one."""


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
    _refuse_unwieldy(found)
    if b"\\u0000" in body:
        _refuse_nul(found)
    return found


def fitted(shape: type[S], found: dict[str, Any]) -> S:
    """Raises `ApiError` 400 with the field that is wrong."""
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        raise _api_error(error, found) from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """A million lists that all live are looked at by the collector again and again: most of the time is its own."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _loaded(body: bytes) -> Any:
    try:
        with _uncollected():
            return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise
        # JavaScript clients can send half a pair, which no strict parser takes.
        return orjson.loads(ESCAPES.sub(lambda found: found[1] or rb"\ufffd", body))


def _api_error(error: ValidationError, body: Any) -> ApiError:
    """The first problem, with the field's place as the client wrote it."""
    found = error.errors(include_url=False, include_input=False)[:TOLD]
    problems = [(_place(e["loc"], body, e["type"]), e["type"], e["msg"]) for e in found]
    # Of a union every member complains; the one that got furthest is meant.
    param, kind, words = max((p for p in problems if p[0].startswith(problems[0][0])), key=lambda p: _depth(p[0]))
    if kind == "missing":
        return ApiError(400, f"{param}: this field is required", "missing_required_parameter", param)
    if kind.startswith("model_"):
        words = "Input should be an object"
    words = words.removeprefix("Value error, ")
    wrong_type = kind.endswith(("_type", "_parsing")) or kind.startswith("union_tag")
    return ApiError(400, f"{param}: {words}", "invalid_type" if wrong_type else "invalid_value", param or None)


def _depth(place: str) -> int:
    return place.count("[") + place.count(".")


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


def _refuse_unwieldy(found: Any) -> None:
    """Looked at level by level, as what comes deep would end a recursion. Raises `ApiError`."""
    level, values = [found], 0
    for _ in range(DEEPEST):
        values += sum(map(len, level))
        if values > MOST:
            raise ApiError(400, f"the body holds more than {MOST} values", "invalid_json")
        level = [inner for each in level for inner in _below(each) if isinstance(inner, dict | list)]
        if not level:
            return
    raise ApiError(400, f"the body is nested more than {DEEPEST} levels deep", "invalid_json")


def _below(found: Any) -> Iterable[Any]:
    return found.values() if isinstance(found, dict) else found


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
