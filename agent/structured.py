"""Answers that have to be JSON: asked for, held until they are whole, checked, and mended once by the model.

JSON schema: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from messages import JsonFormat, Options, Text, ToolCall, ToolChoice, ToolResult, ToolSpec

FENCE = re.compile(r"\s*```[a-zA-Z]*\n(.*?)\n?```\s*", re.DOTALL)
TOOL = "final_answer"
HINT = "Answer with one JSON object and nothing else."
SHOWN = 5
"""Problems that are told to the model."""


class SchemaError(ValueError):
    """What was given as a schema is none."""


class Structure:
    """The form that a run's answer must have. `by_tool`: the model gives it as arguments of a tool.

    Raises `SchemaError`.
    """

    def __init__(self, wanted: JsonFormat, by_tool: bool) -> None:
        self.wanted = wanted
        self.by_tool = by_tool and wanted.schema is not None
        self.mended = False
        self._validator = _validator(wanted.schema) if wanted.schema is not None else None

    @property
    def hint(self) -> str:
        """What is said where no field of the request says it."""
        return HINT if self.wanted.schema is None else ""

    @property
    def spec(self) -> ToolSpec | None:
        """The tool that takes the answer; its parameters must be an object, so another schema is wrapped in one."""
        if not self.by_tool:
            return None
        return ToolSpec(TOOL, "Give the final answer, when everything that it needs is known.", self._parameters())

    def _parameters(self) -> Mapping[str, Any]:
        schema = self.wanted.schema or {}
        return (
            schema if self._is_object else {"type": "object", "properties": {"answer": schema}, "required": ["answer"]}
        )

    @property
    def _is_object(self) -> bool:
        return (self.wanted.schema or {}).get("type") == "object"

    def options(self, options: Options) -> Options:
        """What the model call is asked: the answer's form itself, or any of the tools, the answer's among them."""
        if not self.by_tool:
            return options
        choice = ToolChoice("required") if options.tool_choice.mode == "auto" else options.tool_choice
        return replace(options, response_format=None, tool_choice=choice)

    def given(self, calls: tuple[ToolCall, ...]) -> str | None:
        """The answer, if one of the calls is it."""
        call = next((call for call in calls if call.name == TOOL), None) if self.by_tool else None
        if call is None or self._is_object:
            return call.arguments if call else None
        try:
            return json.dumps(json.loads(call.arguments)["answer"], ensure_ascii=False)
        except (ValueError, KeyError, TypeError, RecursionError):
            return call.arguments

    def fault(self, text: str) -> str:
        """What is wrong with an answer, for the model to mend; "" where nothing is."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"it is not JSON ({error})"
        if self._validator is None:
            return "" if isinstance(found, dict) else "it is not a JSON object"
        problems = [_told(error) for error in self._validator.iter_errors(found)]
        return "; ".join(problems[:SHOWN])


def bare(text: str) -> str:
    """The JSON inside of a Markdown fence, which many models cannot help."""
    found = FENCE.fullmatch(text)
    return found[1] if found else text.strip()


def complaint(fault: str) -> str:
    return f"The answer does not have the form that was asked for: {fault}. Give the whole answer again, mended."


def refused(calls: tuple[ToolCall, ...], fault: str) -> tuple[ToolResult, ...]:
    return tuple(ToolResult(call.id, (Text(complaint(fault)),), is_error=True) for call in calls)


def _validator(schema: Mapping[str, Any]) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(dict(schema), retriever=_nothing_is_fetched)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise SchemaError(f"this is not a JSON schema: {str(error).splitlines()[0]}") from None


def _nothing_is_fetched(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri}")


def _told(error: Any) -> str:
    place = ".".join(str(step) for step in error.instance_path)
    return f"{place}: {error.message}" if place else str(error.message)
