"""What a typed function says of itself as a tool: its name, its description, its parameters.

An agent's own tools are made anew for each of its runs, from functions of the same code: what that code says is kept.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from messages import ToolSpec

if TYPE_CHECKING:
    from pydantic import BaseModel

# pydantic is imported where it is used: an agent without tools starts without it.

MOST_KEPT = 256
Described: TypeAlias = "tuple[ToolSpec, type[BaseModel]]"
_kept: dict[Hashable, Described] = {}


def described(function: Callable[..., Any]) -> Described:
    """The tool's spec, and what checks its arguments. Raises `TypeError` for parameters without a name."""
    key = _code_of(function)
    try:
        if key is not None and key in _kept:
            return _kept[key]
    except TypeError:  # a default or an annotation that cannot be hashed
        key = None
    made = _described(function)
    if key is not None:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        _kept[key] = made
    return made


def _code_of(function: Callable[..., Any]) -> Hashable:
    """All that the description is made from, None where that cannot be told. What is equal may still differ, as 1, 1.0
    and True do: so it is also written out.
    """
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType) or {"__wrapped__", "__signature__"} & vars(plain).keys():
        return None
    defaults = (plain.__defaults__, tuple((plain.__kwdefaults__ or {}).items()))
    hints = tuple(plain.__annotations__.items())
    places = (plain.__name__, plain.__doc__, id(plain.__globals__), plain is function)
    return (plain.__code__, *places, defaults, repr(defaults), hints)


def _described(function: Callable[..., Any]) -> Described:
    name = getattr(function, "__name__", type(function).__name__)
    description, about = _documented(inspect.getdoc(function) or "")
    arguments = _arguments_model(name, inspect.signature(function, eval_str=True), about)
    return ToolSpec(name, description, _lean(arguments.model_json_schema())), arguments


def _arguments_model(name: str, signature: inspect.Signature, about: Mapping[str, str]) -> type[BaseModel]:
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {name}: parameter {parameter.name} cannot be given by name")
        # Under a name of its own, as `json` or `copy` would shadow pydantic's methods.
        fields[f"p_{parameter.name}"] = _field(parameter, about)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _field(parameter: inspect.Parameter, about: Mapping[str, str]) -> tuple[Any, Any]:
    """The parameter's type, and what else is known of it. A `Field` may stand as its default."""
    from pydantic import Field
    from pydantic.fields import FieldInfo

    hint: Any = Any if parameter.annotation is parameter.empty else parameter.annotation
    known: dict[str, Any] = {"alias": parameter.name}
    if parameter.name in about:
        known["description"] = about[parameter.name]
    if isinstance(parameter.default, FieldInfo):
        hint = Annotated[hint, parameter.default]
    elif parameter.default is not parameter.empty:
        known["default"] = parameter.default
    return hint, Field(**known)


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
    return {key: _lean_part(key, value) for key, value in schema.items() if key != "title"}


def _lean_part(key: str, value: Any) -> Any:
    """What a keyword holds: schemas by name (a property may well be called `title`), plain values, or a schema."""
    if key in ("properties", "$defs"):
        return {name: _lean(schema) for name, schema in value.items()}
    return value if key in ("default", "examples", "const", "enum") else _lean(value)
