"""Custom tools: their input is text and no JSON. A model is given each as a function with one text.

Format: https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

import json
from typing import Any

from bodies import Shape
from messages import ToolSpec

INPUT = "input"


class Grammar(Shape):
    definition: str
    syntax: str


class InputFormat(Shape):
    """In Chat Completions the grammar stands in a field of its own."""

    type: str
    grammar: Grammar | None = None
    definition: str | None = None
    syntax: str | None = None

    def told(self) -> str:
        if self.type != "grammar":
            return ""
        syntax = self.grammar.syntax if self.grammar else self.syntax
        definition = self.grammar.definition if self.grammar else self.definition
        return f"The input must fit this {syntax or ''} grammar:\n{definition or ''}"


def custom_spec(name: str, description: str | None, format: InputFormat | None) -> ToolSpec:
    told = "\n\n".join(words for words in (description, format.told() if format else "") if words)
    text = {"type": "string", "description": "The whole input, as plain text."}
    parameters: dict[str, Any] = {"type": "object", "properties": {INPUT: text}, "required": [INPUT]}
    return ToolSpec(name, told, {**parameters, "additionalProperties": False})


def as_arguments(input: str) -> str:
    return json.dumps({INPUT: input}, ensure_ascii=False)


def input_of(arguments: str) -> str:
    """The text; what a model wrote beside the form is given as it is."""
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    text = found.get(INPUT) if isinstance(found, dict) else None
    return text if isinstance(text, str) else arguments
