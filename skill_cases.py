"""Evals: what an agent has to do with a skill, in YAML files that the skill brings along in evals/.

A file holds one case or a list of cases: a name, a prompt or messages, and what is expected (expect, judge, or both).

- name: the ingredient is the main idea
  prompt: Invent a cookie flavour with lavender    # or messages: [{role: user, content: …}, …]
  expect:
    skill_activated: true          # false for a near miss, which has to leave the skill alone
    tools_used: [read_skill_file]  # also tools_not_used
    text: [lavender]               # in any case of letters; also not_text
    text_matches: ['(?m)^- Allergens: \\w']    # as `pattern` of a JSON schema, without look-around
    files_made: ['*.md']
    max_turns: 4
    json_schema: {type: object}
  judge: Does the answer name every allergen?    # a model says yes or no, once the rest is right
  attempts: 3                      # most of them have to pass, or with `pass: all` or `pass: any` so many
  models: [anthropic/*]            # those that it is for; also not_models
  script:                          # a line a model call, for --model scripted: a text, a tool call, or a list of them
    - {call: activate_skill, arguments: {name: cookie-flavor-generator}}
    - "**Lavender Dusk** …"

Skills are strangers' work: the YAML is inspected as frontmatter is, and the time of an expression is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from agent.structured import Structure
from messages import JsonFormat, Message, Text, ToolCall, user
from skill_store import Problem, Skill, SkillError
from skill_store.reader import Unusable, tree

if TYPE_CHECKING:
    from providers.scripted import Line

Steps: TypeAlias = tuple[int | str, ...]
"""From a file's top to a value: keys, and places in lists."""
SCRIPTED = "scripted"
"""The model that plays each case's own script."""
MAX_EXPRESSION = 1 << 18
"""Bytes of a compiled expression; the time of a search grows with it."""

_FILE = re.compile(r"evals/[^/]+\.ya?ml")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(\.\d{1,15})?")
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def expression(pattern: str) -> Any:
    """What tells whether a text has a match, in a time that grows only as the text does. Raises ValueError."""
    import jsonschema_rs

    try:
        limits = jsonschema_rs.RegexOptions(size_limit=MAX_EXPRESSION)
        return jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=limits)
    except jsonschema_rs.ValidationError:
        raise ValueError("this is no regular expression, or has look-around, or is too large") from None


def _searchable(pattern: str) -> str:
    expression(pattern)
    return pattern


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    Structure(JsonFormat(schema), by_tool=False)
    return schema


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Word: TypeAlias = Annotated[str, Field(min_length=1)]
Words: TypeAlias = Annotated[list[Word], BeforeValidator(_listed)]
Expression: TypeAlias = Annotated[str, AfterValidator(_searchable)]


class Said(_Strict):
    role: Literal["system", "user", "assistant"]
    content: Word


class Called(_Strict):
    call: Word
    arguments: dict[str, Any] = {}


class Expected(_Strict):
    text: Words = []
    not_text: Words = []
    text_matches: Annotated[list[Expression], BeforeValidator(_listed)] = []
    skill_activated: bool | None = None
    tools_used: Words = []
    tools_not_used: Words = []
    files_made: Words = []
    max_turns: Annotated[int, Field(ge=1)] | None = None
    json_schema: Annotated[dict[str, Any], AfterValidator(_schema)] | None = None


class Case(_Strict):
    """One case of a file; `need` is its `pass`."""

    name: Word
    prompt: str = ""
    messages: list[Said] = []
    expect: Expected = Expected()
    judge: str = ""
    attempts: int = Field(1, ge=1, le=20)
    need: Literal["majority", "all", "any"] = Field("majority", alias="pass")
    models: Words = []
    not_models: Words = []
    script: Annotated[list[Annotated[list[Word | Called], BeforeValidator(_listed)]], BeforeValidator(_listed)] = []

    @property
    def conversation(self) -> list[Message]:
        return [Message(said.role, (Text(said.content),)) for said in self.messages] or [user(self.prompt)]

    @property
    def lines(self) -> list[Line]:
        """The script, for a provider that plays it."""
        return [
            [p if isinstance(p, str) else ToolCall("", p.call, json.dumps(p.arguments)) for p in line]
            for line in self.script
        ]

    @property
    def passes_needed(self) -> int:
        return {"majority": self.attempts // 2 + 1, "all": self.attempts, "any": 1}[self.need]

    def is_for(self, model: str) -> bool:
        if model.partition("/")[0] == SCRIPTED:
            return bool(self.script)
        wanted = not self.models or any(fnmatchcase(model, glob) for glob in self.models)
        return wanted and not any(fnmatchcase(model, glob) for glob in self.not_models)


def _whole(case: Case) -> Case:
    if bool(case.prompt.strip()) == bool(case.messages):
        raise ValueError("give a prompt, or else messages")
    if case.messages and case.messages[-1].role != "user":
        raise ValueError("the last of the messages has to be the user's")
    if not case.expect.model_fields_set and not case.judge:
        raise ValueError("nothing is expected: give expect or judge")
    return case


class Eval(NamedTuple):
    """A case of a skill's file; `file` is relative to the skill's folder."""

    skill: str
    file: str
    case: Case


def evals_of(skill: Skill) -> Iterator[Eval | Problem]:
    """The cases of a skill in the order of its files, and what is wrong with them."""
    for path in filter(_FILE.fullmatch, skill.files()):
        file, lines = skill.folder / path, dict[Steps, int]()
        try:
            value = _value(tree(skill.read(path).decode("utf-8-sig"), "the file"), lines)
            cases = TypeAdapter(list[Annotated[Case, AfterValidator(_whole)]]).validate_python(_listed(value))
            yield from (Eval(skill.name, path, case) for case in cases)
        except Unusable as error:
            yield Problem(file, error.line + 1, str(error), "error")
        except ValidationError as invalid:
            start = 0 if isinstance(value, list) else 1
            for fault in invalid.errors(include_url=False):
                line, words = _told(fault["loc"][start:], fault["type"], fault["msg"], lines)
                yield Problem(file, line + 1, words, "error")
        except (SkillError, UnicodeDecodeError) as error:
            yield Problem(file, 0, str(error), "error")


def _value(node: Any, lines: dict[Steps, int], at: Steps = ()) -> Any:
    """Strings, but for what JSON writes alike: `no` stays a word. `lines` takes the line of everything, from 0."""
    lines.setdefault(at, node.start_mark.line)
    if node.id == "sequence":
        return [_value(item, lines, (*at, number)) for number, item in enumerate(node.value)]
    if node.id == "scalar":
        return node.value if node.style else _plain(node.value)
    values: dict[str, Any] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.value in values:
            raise Unusable(key.start_mark.line, f"{str(key.value)[:64]!r} is there twice, or is no key")
        lines[*at, key.value] = key.start_mark.line
        values[key.value] = _value(value, lines, (*at, key.value))
    return values


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    number = _NUMBER.fullmatch(text)
    return (float if number[1] else int)(text) if number else text


def _told(steps: Steps, kind: str, said: str, lines: Mapping[Steps, int]) -> tuple[int, str]:
    """Line and words of an error; the last steps may be pydantic's own, which the file does not have."""
    at = next(steps[:count] for count in range(len(steps), -1, -1) if steps[:count] in lines)
    words = f"{steps[-1]} is missing" if kind == "missing" else said.removeprefix("Value error, ")
    return lines[at], f"{'.'.join(map(str, at))}: {words}" if at else words
