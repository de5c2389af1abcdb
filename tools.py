"""Tools: a plain typed function becomes one, and a toolbox runs the calls that a model makes.

The model's mistakes (an unknown tool, arguments that do not parse or fit) and a tool's failures become error
results for the model to read; nothing raises but cancellation.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

from messages import File, Image, Text, ToolCall, ToolResult, ToolSpec, clean

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

# pydantic and orjson are imported where they are used: an agent without tools starts without them.

Output: TypeAlias = Any
"""What a tool may return: text, an `Image` or `File`, a list of those, or anything that JSON can hold."""


class ToolError(Exception):
    """A failure whose message is for the model."""


@dataclass(frozen=True, slots=True)
class Tool:
    """`run` takes the checked arguments by name."""

    spec: ToolSpec
    arguments: type[BaseModel]
    run: Callable[..., Output | Awaitable[Output]]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """The tool that a typed function is: its name, docstring and signature say everything.

        The docstring's first paragraph describes the tool; lines `name: text` of an `Args:` section, or
        `Annotated[..., Field(description=...)]`, its parameters.
        """
        name = getattr(function, "__name__", type(function).__name__)
        description, about = _documented(inspect.getdoc(function) or "")
        arguments = _arguments_model(name, function, about)
        schema = _lean(arguments.model_json_schema())
        return cls(ToolSpec(name, description, schema), arguments, function)


def _arguments_model(name: str, function: Callable[..., Any], about: Mapping[str, str]) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model

    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {name}: parameter {parameter.name} cannot be given by name")
        default = ... if parameter.default is parameter.empty else parameter.default
        description = about.get(parameter.name)
        # Under a name of its own, as `json` or `copy` would shadow pydantic's methods.
        field = Field(default, description=description, alias=parameter.name)
        fields[f"p_{parameter.name}"] = (hints.get(parameter.name, Any), field)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _documented(docstring: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what an `Args:` section says of each parameter."""
    summary = docstring.partition("\n\n")[0]
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", f"{docstring}\n", re.MULTILINE)
    about: dict[str, str] = {}
    for line in re.sub(r"\n[ \t]{6,}", " ", section[1]).splitlines() if section else ():
        if found := re.match(r"\s*\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.+)", line):
            about[found[1]] = found[2].strip()
    return " ".join(summary.split()), about


def _lean(schema: Any) -> Any:
    """The schema without titles, which cost tokens and say nothing."""
    if isinstance(schema, list):
        return [_lean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if not (k == "title" and isinstance(v, str))}
    return {k: _named(v) if k in ("properties", "$defs") else _lean(v) for k, v in kept.items()}


def _named(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Schemas by name: a property may well be called `title`."""
    return {name: _lean(schema) for name, schema in schemas.items()}


class Toolbox:
    """The tools of a run, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}

    def __bool__(self) -> bool:
        return bool(self._tools)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    @property
    def specs(self) -> list[ToolSpec]:
        """Sorted, so that the bytes stay the same and a provider's prompt cache stays warm."""
        return [self._tools[name].spec for name in sorted(self._tools)]

    async def run(self, call: ToolCall) -> ToolResult:
        """Exactly one result, whatever happens. Cancelling the caller's task cancels the tool."""
        try:
            return ToolResult(call.id, _parts(await self._output(call)))
        except ToolError as error:
            return failed(call, str(error) or type(error).__name__)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return failed(call, f"{call.name} was cancelled")
        except Exception as error:
            return failed(call, f"{call.name} failed: {type(error).__name__}: {error}")

    async def _output(self, call: ToolCall) -> Output:
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError(f"there is no tool {call.name!r}; there are: {', '.join(sorted(self._tools)) or 'none'}")
        arguments = _checked(tool, call.arguments)
        if inspect.iscoroutinefunction(tool.run):
            return await tool.run(**arguments)
        output = await asyncio.to_thread(tool.run, **arguments)
        return await output if inspect.isawaitable(output) else output


def failed(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call.id, (Text(clean(f"Error: {words}")),), is_error=True)


def _checked(tool: Tool, arguments: str) -> dict[str, Any]:
    """The arguments by name. Raises `ToolError` where they do not parse or fit."""
    from pydantic import ValidationError

    try:
        checked = tool.arguments.model_validate_json(arguments or "{}")
    except ValidationError as error:
        raise ToolError(_words(error)) from error
    return {name.removeprefix("p_"): getattr(checked, name) for name in type(checked).model_fields}


def _words(error: ValidationError) -> str:
    found = (f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors(include_url=False))
    return f"the arguments do not fit: {'; '.join(found)}"


def _parts(output: Output) -> tuple[Text | Image | File, ...]:
    if isinstance(output, Text | Image | File):
        return (output,)
    if isinstance(output, list | tuple) and any(isinstance(item, Text | Image | File) for item in output):
        return tuple(part for item in output for part in _parts(item))
    return (Text(clean(_as_text(output))),)


def _as_text(output: Output) -> str:
    import orjson

    if output is None:
        return "Done."
    if isinstance(output, str):
        return output
    if hasattr(output, "model_dump_json"):
        return str(output.model_dump_json())
    if is_dataclass(output) and not isinstance(output, type):
        output = asdict(output)
    return orjson.dumps(output, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
