"""A conversation is made fit for any provider, the same way each time."""

from __future__ import annotations

import json
import random
import re

import pytest

from history import LOST, legal, merged, own, repair, unique, valid_json
from messages import Message, ProviderBlock, Reasoning, Text, ToolCall, ToolResult, assistant, clean, system, user


def _call(*ids: str, arguments: str = "{}", origin: str = "") -> Message:
    return Message("assistant", tuple(ToolCall(id, "price", arguments) for id in ids), origin)


def _result(*ids: str) -> Message:
    return Message("tool", tuple(ToolResult(id, (Text(f"of {id}"),)) for id in ids))


def _told(messages: list[Message]) -> list[str]:
    """Each message in a word: a call's ids, a result's texts, or the role."""
    words = []
    for message in messages:
        calls, results = [c.id for c in message.calls], [f"{r.call_id}={r.text}" for r in message.results]
        words.append(",".join(calls or results) or message.role)
    return words


def _valid(messages: list[Message]) -> bool:
    """Every call has its result in the next message, in order; every result its call; ids are unique."""
    ids = [call.id for message in messages for call in message.calls]
    for at, message in enumerate(messages):
        behind = messages[at + 1].results if at + 1 < len(messages) else ()
        before = messages[at - 1].calls if at else ()
        if message.calls and [c.id for c in message.calls] != [r.call_id for r in behind]:
            return False
        if message.results and [r.call_id for r in message.results] != [c.id for c in before]:
            return False
        if not all(isinstance(json.loads(call.arguments), dict) for call in message.calls):
            return False
    return len(ids) == len(set(ids)) and all(ids)


CASES: dict[str, tuple[list[Message], list[str]]] = {
    "nothing": ([], []),
    "no calls": ([system("s"), user("a"), assistant("b")], ["system", "user", "assistant"]),
    "paired": ([user("a"), _call("x"), _result("x"), assistant("b")], ["user", "x", "x=of x", "assistant"]),
    "in another order": ([_call("x", "y"), _result("y", "x")], ["x,y", "x=of x,y=of y"]),
    "in two messages": ([_call("x", "y"), _result("y"), _result("x")], ["x,y", "x=of x,y=of y"]),
    "missing at the end": ([_call("x")], ["x", f"x={LOST}"]),
    "one missing": ([_call("x", "y"), _result("y"), user("a")], ["x,y", f"x={LOST},y=of y", "user"]),
    "missing before a user": ([_call("x"), user("a")], ["x", f"x={LOST}", "user"]),
    "missing before an answer": ([_call("x"), assistant("b"), _result("x")], ["x", f"x={LOST}", "assistant"]),
    "a word between": ([_call("x"), user("a"), _result("x")], ["x", "x=of x", "user"]),
    "orphans": ([_result("x"), user("a"), _result("y")], ["user"]),
    "orphan beside": ([_call("x"), _result("x", "z")], ["x", "x=of x"]),
    "result twice": ([_call("x"), _result("x"), _result("x")], ["x", "x=of x"]),
    "same id in two rounds": (
        [_call("x"), _result("x"), _call("x"), _result("x")],
        ["x", "x=of x", "x_2", "x_2=of x"],
    ),
    "same id in one message": ([_call("x", "x"), _result("x", "x")], ["x,x_2", "x=of x,x_2=of x"]),
    "an id that is made is taken": (
        [_call("x", "x"), _result("x", "x"), _call("x_2"), _result("x_2")],
        ["x,x_2", "x=of x,x_2=of x", "x_2_2", "x_2_2=of x_2"],
    ),
    "empty ids": ([_call("", ""), _result("", "")], ["call,call_2", "call=of ,call_2=of "]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_call_gets_one_result_behind_it(case: str) -> None:
    messages, told = CASES[case]
    before = list(messages)
    repaired = repair(messages)
    assert _told(repaired) == told and _valid(repaired)
    assert repair(messages) == repaired == repair(repaired) and messages == before


def test_any_history_is_made_valid_and_the_same_each_time() -> None:
    chance = random.Random(7)
    ids = ["", "x", "x_2", "y", "a:0", "call"]
    kinds = [
        lambda: user("a"),
        lambda: assistant("b"),
        lambda: system("s"),
        lambda: _call(*chance.choices(ids, k=3), arguments=chance.choice(["{}", "{", "[]", "", '{"a":1}'])),
        lambda: _result(*chance.choices(ids, k=3)),
    ]
    for _ in range(500):
        messages = [chance.choice(kinds)() for _ in range(8)]
        repaired = repair(messages)
        assert _valid(repaired) and repair(repaired) == repaired == repair(messages)
        assert [m for m in repaired if m.role == "user"] == [m for m in messages if m.role == "user"]


def test_what_stands_beside_a_call_stays() -> None:
    reasoning, text = Reasoning("hm", {"a": 1}), Text("so", {"b": 2})
    call = ToolCall("x", "price", "", {"caller": 1})
    message = Message("assistant", (reasoning, text, call), "p/m")
    repaired = repair([message, Message("tool", (ToolResult("x", (), True),))])
    assert repaired[0] == Message("assistant", (reasoning, text, ToolCall("x", "price", "{}", {"caller": 1})), "p/m")
    assert repaired[1].results == (ToolResult("x", (), True),)


@pytest.mark.parametrize("arguments", ["{}", '{"a": 1}', ' {"a": [1, {"b": null}]}\n'])
def test_arguments_that_are_an_object_stay_as_written(arguments: str) -> None:
    assert valid_json(arguments) == arguments


@pytest.mark.parametrize(
    "arguments", ["{", '{"a": "b', "null", "[1]", '"a"', "5", "tea", "{'a': 1}", '{"a":1}{"b":2}', "[" * 9999, "\ud83d"]
)
def test_other_arguments_are_kept_inside_an_object(arguments: str) -> None:
    made = valid_json(arguments)
    assert json.loads(made) == {"INVALID_JSON": arguments} and valid_json(made) == made and made.isascii()


def test_no_arguments_are_an_empty_object() -> None:
    assert valid_json("") == "{}"
    assert json.loads(valid_json('{"n": ' + "9" * 5000 + "}"))["INVALID_JSON"]


def test_unique_ids_are_noted() -> None:
    seen: set[str] = set()
    assert [unique(id, seen) for id in ("a", "a", "a", "", "", "a_2")] == ["a", "a_2", "a_3", "call", "call_2", "a_2_2"]
    assert seen == {"a", "a_2", "a_3", "call", "call_2", "a_2_2"}


@pytest.mark.parametrize("limit", [40, 64])
@pytest.mark.parametrize("name", ["", "a.b", "a:0", "ü", "\ud83d", "a b\n", "x" * 65, "ü" * 999, "a\n"])
def test_names_are_made_legal(name: str, limit: int) -> None:
    made = legal(name, limit)
    assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{limit}}}", made) and legal(name, limit) == made == legal(made, limit)


def test_legal_names_stay_and_others_do_not_meet() -> None:
    assert [legal(name) for name in ("a", "a-b_C9", "x" * 64)] == ["a", "a-b_C9", "x" * 64]
    alike = ["a.b", "a:b", "a b", "ab.", "x" * 65, "x" * 66, "ü", "ö", ""]
    assert len({legal(name) for name in alike}) == len(alike)


def test_what_another_model_thought_is_dropped() -> None:
    parts = (
        Reasoning("hm", {"a": 1}),
        ProviderBlock({"b": 2}),
        Text("so", {"c": 3}),
        ToolCall("x", "f", "{}", {"d": 4}),
    )
    message = Message("assistant", parts, "p/m")
    assert own(message, "p/m") == message
    for origin in ("p/other", "q/m", ""):
        assert own(message, origin).parts == (Text("so"), ToolCall("x", "f", "{}"))
    assert own(user("a"), "p/m") == user("a")


def test_neighbours_are_merged() -> None:
    said = [user("a"), user("b"), assistant("c"), user("d")]
    assert [message.text for message in merged(said)] == ["ab", "c", "d"] and len(said) == 4


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("Grüße 🙂", "Grüße 🙂"),
        ("\ud83d\ude42", "🙂"),
        ("a\ud83d", "a�"),
        ("\ude42a", "�a"),
        ("\ude42\ud83d", "��"),
        ("\ud83d\ud83d\ude42", "�🙂"),
        ("a\x00b", "a\x00b"),
    ],
)
def test_lone_surrogates_are_replaced_and_pairs_joined(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned == clean(cleaned) and clean(text).encode()
