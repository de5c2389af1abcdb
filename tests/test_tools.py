"""A typed function as a tool: its schema, its arguments, its outputs."""

from __future__ import annotations

import asyncio
import functools
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from messages import File, Image, Text, ToolCall, ToolResult, ToolSpec
from tools import Tool, Toolbox, ToolError

LONE = "a\ud800b"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    title: str
    width: int = 1


@dataclass
class Point:
    x: int
    y: Any = 0.5


class Odd:
    def __str__(self) -> str:
        return "an odd thing"


def many(  # type: ignore[no-untyped-def]
    text: str,
    count: int,
    share: float,
    sure: bool,
    names: list[str],
    table: dict[str, int],
    size: Literal["s", "m"],
    maybe: Optional[str],  # noqa: UP045 - people write it
    colour: Colour,
    point: Point,
    box: Box,
    limited: Annotated[int, Field(description="at most nine", le=9)],
    anything,
    late: str | None = None,
    often: int = 3,
    some: list[str] = [],  # noqa: B006
) -> dict[str, Any]:
    """Take a bit
    of everything.

    Only the first paragraph counts.

    Args:
        text: what to say
        count (int): how often,
            over two lines
        limited: no more than nine

    Returns:
        nothing: at all
    """
    return {"point": point, "box": box, "colour": colour, "some": some, "late": late, "limited": limited}


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    found = Tool.of(function).spec.parameters["properties"]
    assert isinstance(found, dict)
    return found


async def outcome(function: Callable[..., Any], **arguments: Any) -> ToolResult:
    tool = Tool.of(function)
    return await Toolbox([tool]).run(ToolCall("1", tool.spec.name, json.dumps(arguments)))


async def outcome_of(output: Any) -> ToolResult:
    """What the model reads of a tool's output."""

    def give() -> Any:
        return output

    result = await outcome(give)
    assert not result.is_error, result.text
    return result


# Schemas


def test_the_schema_says_what_the_signature_says() -> None:
    spec = Tool.of(many).spec
    assert spec.name == "many" and spec.description == "Take a bit of everything."
    assert {name: spec.parameters["properties"][name] for name in ("text", "count", "share", "sure", "names")} == {
        "text": {"type": "string", "description": "what to say"},
        "count": {"type": "integer", "description": "how often, over two lines"},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
    }
    rest = spec.parameters["properties"]
    assert rest["table"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert rest["size"] == {"type": "string", "enum": ["s", "m"]}
    assert rest["maybe"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert rest["limited"] == {"type": "integer", "maximum": 9, "description": "no more than nine"}
    assert rest["anything"] == {}
    assert rest["late"]["default"] is None and rest["often"] == {"type": "integer", "default": 3}
    assert rest["some"] == {"type": "array", "items": {"type": "string"}, "default": []}
    assert spec.parameters["required"] == list(rest)[:-3] and spec.parameters["additionalProperties"] is False


def test_enums_dataclasses_and_models_are_described() -> None:
    parameters = Tool.of(many).spec.parameters
    assert parameters["$defs"]["Colour"] == {"enum": ["red", "blue"], "type": "string"}
    assert parameters["$defs"]["Point"]["properties"] == {
        "x": {"type": "integer"},
        "y": {"default": 0.5},
    }
    assert parameters["$defs"]["Point"]["required"] == ["x"]
    assert parameters["$defs"]["Box"]["properties"]["width"] == {"type": "integer", "default": 1}
    assert parameters["properties"]["point"] == {"$ref": "#/$defs/Point"}


async def test_arguments_arrive_as_their_types() -> None:
    seen: dict[str, Any] = {}

    def see(colour: Colour, point: Point, box: Box, late: str | None = None, some: list[str] = []) -> None:  # noqa: B006
        seen.update(colour=colour, point=point, box=box, late=late, some=some)

    assert not (await outcome(see, colour="blue", point={"x": 1}, box={"title": "t"})).is_error
    assert seen == {"colour": Colour.BLUE, "point": Point(1), "box": Box(title="t"), "late": None, "some": []}


def test_what_a_field_says_of_a_parameter_is_kept() -> None:
    def order(
        item: Annotated[str, Field(description="what to buy", min_length=1)],
        count: int = Field(2, description="how many", ge=1),
        place: str = Field(description="where to"),
        note: Annotated[str, Field(description="for the shop")] = "",
    ) -> None:
        """Order something."""

    assert properties(order) == {
        "item": {"type": "string", "minLength": 1, "description": "what to buy"},
        "count": {"type": "integer", "minimum": 1, "default": 2, "description": "how many"},
        "place": {"type": "string", "description": "where to"},
        "note": {"type": "string", "default": "", "description": "for the shop"},
    }
    assert Tool.of(order).spec.parameters["required"] == ["item", "place"]


async def test_a_default_that_stands_in_a_field_is_used() -> None:
    def order(count: int = Field(2)) -> int:
        return count

    assert (await outcome(order)).text == "2"


async def test_parameters_may_be_named_like_what_pydantic_has() -> None:
    def odd(
        json: str, copy: str, schema: str, model_config: str, model_fields: str, self: str, _x: str, dict: str
    ) -> str:
        return json + copy + schema + model_config + model_fields + self + _x + dict

    names = ["json", "copy", "schema", "model_config", "model_fields", "self", "_x", "dict"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(properties(odd)) == names
        assert (await outcome(odd, **dict.fromkeys(names, "x"))).text == "xxxxxxxx"


def test_titles_are_left_out_but_a_property_called_title_stays() -> None:
    def keep(title: str, box: Box, given: dict[str, str] = {"title": "T", "a": "b"}) -> None:  # noqa: B006
        """Keep it."""

    parameters = Tool.of(keep).spec.parameters
    assert parameters["properties"]["title"] == {"type": "string"}
    assert parameters["$defs"]["Box"]["properties"]["title"] == {"type": "string"}
    assert parameters["properties"]["given"]["default"] == {"title": "T", "a": "b"}
    assert json.dumps(parameters).count('"title"') == 5, parameters  # the three, and in two lists of the required


def test_parameters_that_cannot_be_given_by_name_are_refused() -> None:
    def rest(*args: str) -> None: ...
    def options(**kwargs: str) -> None: ...
    def place(x: str, /) -> None: ...

    for function, name in ((rest, "args"), (options, "kwargs"), (place, "x")):
        with pytest.raises(TypeError, match=f"{function.__name__}.*{name} cannot be given by name"):
            Tool.of(function)


def test_specs_are_sorted_and_the_same_bytes_each_time() -> None:
    def zebra(b: int, a: Colour) -> None:
        """Last."""

    def apple() -> None:
        """First."""

    boxes = [Toolbox([Tool.of(tool) for tool in order]) for order in ((zebra, apple, many), (many, apple, zebra))]
    first, second = (json.dumps([asdict(spec) for spec in box.specs]) for box in boxes)
    assert first == second and [spec.name for spec in boxes[0].specs] == ["apple", "many", "zebra"]
    assert boxes[0].specs[0] == ToolSpec(
        "apple", "First.", {"type": "object", "properties": {}, "additionalProperties": False}
    )


async def test_methods_partials_callables_and_wrapped_functions_are_tools() -> None:
    class Shop:
        """A shop."""

        def price(self, item: str) -> str:
            """The price."""
            return f"{item}: 3"

        async def __call__(self, item: str) -> str:
            return f"{item}: 4"

    @functools.wraps(many)
    def wrapper(*args: Any, **kwargs: Any) -> str:
        return str(kwargs["often"])

    assert (await outcome(Shop().price, item="tea")).text == "tea: 3"
    assert (await outcome(Shop(), item="tea")).text == "tea: 4"
    assert (await outcome(functools.partial(Shop().price, item="tea"))).text == "tea: 3"
    assert properties(wrapper) == properties(many)


# Outputs


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, "Done."),
        ("", ""),
        ("tea", "tea"),
        (3, "3"),
        (True, "true"),
        ({"a": [1, None], "é": 2}, '{"a":[1,null],"é":2}'),
        ([], "[]"),
        (["a", {"b": 1}], '["a",{"b":1}]'),
        (Point(1), '{"x":1,"y":0.5}'),
        (Box(title="t"), '{"title":"t","width":1}'),
        ([Box(title="t")], '[{"title":"t","width":1}]'),
        ({"point": Point(1), "colour": Colour.RED}, '{"point":{"x":1,"y":0.5},"colour":"red"}'),
        ({1: date(2025, 12, 1)}, '{"1":"2025-12-01"}'),
        ({(1, 2): {"a"}}, '{"1,2":["a"]}'),
        (2**80, str(2**80)),
        (Odd(), '"an odd thing"'),
        ({"odd": [Odd()]}, '{"odd":["an odd thing"]}'),
        (object, "\"<class 'object'>\""),
    ],
)
async def test_any_output_is_said_to_the_model(output: Any, text: str) -> None:
    assert (await outcome_of(output)).text == text


async def test_an_output_that_refers_to_itself_is_an_error_result() -> None:
    def circle() -> list[Any]:
        found: list[Any] = []
        found.append(found)
        return found

    result = await outcome(circle)
    assert result.is_error and "circle failed" in result.text


@pytest.mark.parametrize("output", [LONE, Text(LONE), {"a": LONE}, {LONE: 1}, [LONE], Point(1, LONE), [Text(LONE)]])
async def test_lone_surrogates_are_cleaned(output: Any) -> None:
    text = (await outcome_of(output)).text
    assert "a\ufffdb" in text and text.encode()


async def test_surrogate_pairs_become_the_character_that_they_are() -> None:
    assert (await outcome_of({"a": "\ud83c\udf6a"})).text == '{"a":"🍪"}'


async def test_surrogates_in_errors_are_cleaned() -> None:
    def fails() -> None:
        raise ToolError(LONE)

    def breaks() -> None:
        raise ValueError(LONE)

    for function in (fails, breaks):
        result = await outcome(function)
        assert result.is_error and "\ufffd" in result.text and result.text.encode()


async def test_images_and_files_stay_what_they_are() -> None:
    image, file = Image("image/png", "aGk="), File("application/pdf", "aGk=", "a.pdf")
    outputs: list[tuple[Any, tuple[Text | Image | File, ...]]] = [
        (image, (image,)),
        (file, (file,)),
        (Text("t"), (Text("t"),)),
        ([image, file], (image, file)),
        (["look:", image, {"w": 1}], (Text("look:"), image, Text('{"w":1}'))),
        ((image, "a"), (image, Text("a"))),
    ]
    for output, parts in outputs:
        assert (await outcome_of(output)).parts == parts


# The model's mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "count: Field required"),
        ("{}", "count: Field required"),
        ('{"count": 1', "Invalid JSON"),
        ("null", "arguments: "),
        ('{"count": "many"}', "count: Input should be a valid integer"),
        ('{"count": 1, "more": 2}', "more: Extra inputs are not permitted"),
        ('{"count": 1, "p_count": 2}', "p_count: Extra inputs are not permitted"),
        ("[" * 5000, "Invalid JSON"),
        ('{"count": "\ud800"}', ""),
    ],
)
async def test_arguments_that_do_not_fit_are_told(arguments: str, words: str) -> None:
    def take(count: int) -> int:
        return count

    result = await Toolbox([Tool.of(take)]).run(ToolCall("7", "take", arguments))
    assert result.is_error and result.call_id == "7" and words in result.text
    assert "\n" not in result.text and "pydantic" not in result.text.lower()


async def test_cancelling_the_task_of_a_call_is_no_result() -> None:
    began = asyncio.Event()

    async def stuck() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Toolbox([Tool.of(stuck)]).run(ToolCall("1", "stuck")))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_toolbox_without_tools_says_so() -> None:
    box = Toolbox([])
    assert not box and "there are: none" in (await box.run(ToolCall("1", "x"))).text
    assert "many" in Toolbox([Tool.of(many)])


async def test_a_tool_that_checks_its_own_arguments_is_given_the_object() -> None:
    def noted(**given: object) -> str:
        return str(given)

    box = Toolbox([Tool(ToolSpec("noted"), None, noted)])
    assert (await box.run(ToolCall("1", "noted", '{"a-b": [1]}'))).text == "{'a-b': [1]}"
    for bad in ("[1]", "{", "[" * 100_000):
        assert (await box.run(ToolCall("1", "noted", bad))).is_error
