"""Any order of the agent's calls and the client's, over every dialect: what the provider is told stays valid and true.

A scripted model calls tools of both kinds, turn by turn, and the client comes back in the ways that clients do. The
upstream has a fault for all that the real API refuses, and for a turn that is not told back as the model said it.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from agent.budget import MALFORMED, STOPPED
from history import LOST, legal
from tests.surface import Heard, Json, Service, service, write_skill
from tests.upstream import Received, Reply, Upstream, chat_chunks, claude_events, sse

# Without `explain`, which takes minutes here.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True, phases=PHASES)
NUMBERS = itertools.count(1)
OVER = object()
PIECE = 1500
"""Bytes, in which an answer comes."""
OURS = (
    ("activate_skill", '{"name": "tea"}', "tea"),
    ("read_skill_file", '{"skill": "tea", "path": "time.md"}', "Three minutes."),
    ("activate_skill", '{"name": "soup"}', "Error"),
    ("read_skill_file", '{"skill": "te', "Error"),
    ("invented", "{}", "Error"),
)
"""Calls of the agent's tools, and what their results hold."""
CLASHING = ("activate_skill", "read_skill_file", "client_activate_skill", "final_answer")
NAMES = (*CLASHING, "price", "shop.price", legal("shop.price"), "n" * 64)
"""The client's tools."""
ARGUMENTS = ("{}", '{"item": "tea"}', '{"item": "te')
IDS = (
    "call_{talk}_{turn}_{place}",
    "{talk}.{turn}.{place}." + "x" * 60,
    "functions.EXAMPLE:{place}",
    "call_EXAMPLE",
    "",
)
"""How providers name calls; some begin anew in each turn, and so in each conversation."""


# What happens: drawn by hypothesis.

Strategy: TypeAlias = st.SearchStrategy[Any]


@dataclass(frozen=True)
class Turn:
    """One answer of the model. A call is one of OURS by its place, or `(place of a client's tool, arguments)`."""

    thinking: list[Json]
    text: str
    calls: list[int | tuple[int, str]]


@dataclass(frozen=True)
class Coming:
    """How the client asks, and how it comes back; `missing` counts results, the other places are where one goes in."""

    stream: bool
    content: str
    order: list[int]
    missing: int | None
    doubled: bool
    orphan: int | None
    word: int | None
    forged: str


@dataclass(frozen=True)
class Script:
    tools: list[str]
    effort: str | None
    turns: list[Turn]
    comings: list[Coming]


def often(usual: Strategy, *others: Strategy) -> Strategy:
    """Half the time the first one."""
    return st.sampled_from([usual] * len(others) + [*others]).flatmap(lambda chosen: chosen)


PLACE = st.none() | st.integers(0, 3)
SIGNATURE = st.binary(min_size=1, max_size=24).map(lambda raw: base64.b64encode(raw).decode()) | st.text(min_size=1)
# What the client sends back, and a NUL is not taken from it.
WITHOUT_NUL = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
THINKING = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature}, st.text(), SIGNATURE
) | SIGNATURE.map(lambda data: {"type": "redacted_thinking", "data": data})
OWN_CALL = st.integers(0, len(OURS) - 1)
THEIR_CALL = st.tuples(st.integers(0, 3), st.sampled_from(ARGUMENTS))
CALLS = often(
    st.lists(OWN_CALL | THEIR_CALL, min_size=2, max_size=4),
    st.just([]),
    st.lists(OWN_CALL, min_size=1, max_size=3),
    st.lists(THEIR_CALL, min_size=1, max_size=3),
)
SPEAKING = st.builds(
    Turn,
    thinking=st.lists(THINKING, max_size=2),
    text=st.sampled_from(["", " \n", "Let me see.", ' "Grüße" 🙂\n']) | st.text(WITHOUT_NUL, max_size=9),
    calls=CALLS,
)
SILENT = st.builds(Turn, thinking=st.lists(THINKING, max_size=1), text=st.just(""), calls=st.just([]))
TURNS = often(SPEAKING, SILENT, SPEAKING)
COMINGS = st.builds(
    Coming,
    stream=st.booleans(),
    content=st.sampled_from(["as heard", "null", "absent"]),
    order=st.permutations(range(4)),
    missing=PLACE,
    doubled=st.booleans(),
    orphan=PLACE,
    word=PLACE,
    forged=st.sampled_from(["", "", "without a result", "with one"]),
)
SCRIPTS = st.builds(
    Script,
    tools=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    effort=st.sampled_from([None, "high"]),
    turns=st.lists(TURNS, min_size=1, max_size=5),
    comings=st.lists(COMINGS, min_size=1, max_size=5),
)


def alike(own: int) -> Script:
    """Conversations in which the client sees the same, and the agent has done something else."""
    coming = Coming(False, "as heard", [0, 1, 2, 3], missing=None, doubled=False, orphan=None, word=None, forged="")
    return Script(["price"], None, [Turn([], "", [own, (0, "{}")])], [coming])


# What was said, and what is told of it.


@dataclass
class Called:
    """A call under the provider's name. `wants` is what its result must hold; `tool` is the client's name, or none."""

    id: str
    name: str
    arguments: str
    wants: str
    tool: str = ""


@dataclass
class Said:
    text: str
    thinking: list[Json] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)

    @property
    def reasoning(self) -> str:
        return "".join(block.get("thinking", "") for block in self.thinking)

    @property
    def silent(self) -> bool:
        return not self.calls and not self.text.strip()


Told: TypeAlias = tuple[str, Any, list[tuple[str, Any, str]]]
"""An assistant message: its text, its reasoning, and of each call the name, the arguments and the result."""


def told(text: str, reasoning: Any, calls: list[tuple[str, Any, str]]) -> Told:
    """Blank text may be left out, and so may what is blank behind a text that ends a message."""
    text = text if calls else text.rstrip()
    return text if text.strip() else "", reasoning, calls


def parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return {"INVALID_JSON": arguments}


def differences(expected: Sequence[Told], found: Sequence[Told]) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"{len(found)} assistant messages instead of {len(expected)}: {found}, expected {expected}"
    for (text, reasoning, calls), (text_, reasoning_, calls_) in zip(expected, found, strict=False):
        if (text, reasoning) != (text_, reasoning_):
            yield f"{(text, reasoning)} is told as {(text_, reasoning_)}"
        if [call[:2] for call in calls] != [call[:2] for call in calls_]:
            yield f"{calls} are told as {calls_}"
        yield from (f"{a} has the result {b[2]!r}" for a, b in zip(calls, calls_, strict=False) if a[2] not in b[2])


# The dialects: what each refuses, how a turn is told in it, how its models answer.

NAME = re.compile("[a-zA-Z0-9_-]{1,64}")
CHAT_ID = re.compile(".{1,40}", re.DOTALL)
DATABRICKS = {"model", "messages", "stream", "tools", "tool_choice", "max_tokens", "reasoning_effort"}


@dataclass(frozen=True)
class Chat:
    """`echo`: reasoning goes back with calls. `serial`: one call a message, and roles alternate."""

    model: str
    echo: bool = False
    serial: bool = False

    def offered(self, body: Json) -> list[tuple[str, str]]:
        return [(tool["function"]["name"], tool["function"]["description"]) for tool in body["tools"]]

    def faults(self, body: Json) -> Iterator[str]:
        waiting: list[str] = []
        for message in body["messages"]:
            role, calls = message["role"], message.get("tool_calls", [])
            if role == "tool":
                if message["tool_call_id"] not in waiting:
                    yield f"nothing waits for {message}"
                waiting = [id for id in waiting if id != message["tool_call_id"]]
            elif waiting:
                yield f"no result right behind the calls {waiting}"
            if not isinstance(message.get("content", ""), str) or not (message.get("content") or calls):
                yield f"nothing in {message}"
            waiting = [*waiting, *(call["id"] for call in calls)]
        if waiting:
            yield f"no result at all for {waiting}"
        yield from self._call_faults([c for m in body["messages"] for c in m.get("tool_calls", [])])
        yield from self._serial_faults(body) if self.serial else ()

    def _call_faults(self, calls: Sequence[Json]) -> Iterator[str]:
        ids = [call["id"] for call in calls]
        if len(set(ids)) < len(ids) or not all(map(CHAT_ID.fullmatch, ids)):
            yield f"ids: {ids}"
        for function in (call["function"] for call in calls):
            if not NAME.fullmatch(function["name"]) or not isinstance(json.loads(function["arguments"]), dict):
                yield f"a call: {function}"

    def _serial_faults(self, body: Json) -> Iterator[str]:
        roles = [message["role"] for message in body["messages"]]
        if "system" in roles[1:] or any(a == b for a, b in itertools.pairwise(roles)):
            yield f"roles must alternate: {roles}"
        if any(len(message.get("tool_calls", [])) > 1 for message in body["messages"]):
            yield "parallel calls"
        if unknown := body.keys() - DATABRICKS:
            yield f"unknown fields: {unknown}"

    def found(self, body: Json) -> Iterator[Told]:
        results = {m["tool_call_id"]: m["content"] for m in body["messages"] if m["role"] == "tool"}
        for message in (m for m in body["messages"] if m["role"] == "assistant"):
            calls = [
                (call["function"]["name"], json.loads(call["function"]["arguments"]), results.get(call["id"], ""))
                for call in message.get("tool_calls", [])
                if not call["id"].startswith("forged")
            ]
            if calls or "tool_calls" not in message:
                yield told(message.get("content", ""), message.get("reasoning_content", ""), calls)

    def expected(self, said: Said) -> Iterator[Told]:
        calls = [(call.name, parsed(call.arguments), call.wants) for call in said.calls]
        whole = told(said.text, said.reasoning if self.echo and calls else "", calls)
        if not self.serial or len(calls) < 2:
            yield whole
            return
        for place, call in enumerate(calls):
            yield told("" if place else said.text, "", [call])

    def reply(self, said: Said) -> Reply:
        calls = [(call.id, call.name, call.arguments) for call in said.calls]
        return sse(chat_chunks(said.text, said.reasoning, calls), split=PIECE)


@dataclass(frozen=True)
class Claude:
    model: str

    def offered(self, body: Json) -> list[tuple[str, str]]:
        return [(tool["name"], tool["description"]) for tool in body["tools"]]

    def faults(self, body: Json) -> Iterator[str]:
        messages = body["messages"]
        for message, behind in zip(messages, [*messages[1:], {"role": "", "content": []}], strict=True):
            yield from self._said_faults(message) if message["role"] == "assistant" else self._user_faults(message)
            called = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
            answered = [block["tool_use_id"] for block in behind["content"] if block["type"] == "tool_result"]
            if sorted(called) != sorted(answered) or (called and behind["role"] != "user"):
                yield f"calls {called}, and right behind results {answered}"
        blocks = [block for message in messages for block in message["content"]]
        ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(ids)) < len(ids) or not all(map(NAME.fullmatch, ids)):
            yield f"ids: {ids}"
        if messages[0]["role"] != "user" or messages[-1]["role"] != "user":
            yield "a user speaks first and last"
        if str(body).count("'cache_control'") > 4:
            yield "more than four marks of the cache"
        if "thinking" in body and self._unthinking(messages):
            yield "thinking begins inside a tool loop"

    def _said_faults(self, message: Json) -> Iterator[str]:
        kinds = [block["type"] for block in message["content"]]
        order = ["thinking" if "thinking" in kind else kind for kind in kinds]
        if order != sorted(order, key=["thinking", "text", "tool_use"].index):
            yield f"blocks in another order: {kinds}"
        if not order or order[-1] == "thinking":
            yield f"the final block cannot be thinking: {kinds}"
        for block in message["content"]:
            if not (block.get("text", "x").strip() and block.get("signature", "x")):
                yield f"an empty block: {block}"
            if block["type"] == "tool_use" and not (NAME.fullmatch(block["name"]) and isinstance(block["input"], dict)):
                yield f"a call: {block}"

    def _user_faults(self, message: Json) -> Iterator[str]:
        kinds = [block["type"] for block in message["content"]]
        if not kinds or set(kinds) - {"text", "tool_result"} or kinds != sorted(kinds, reverse=True):
            yield f"results stand first: {kinds}"
        if not all(block.get("text", "x").strip() for block in message["content"]):
            yield f"an empty block: {message}"

    def _unthinking(self, messages: Sequence[Json]) -> bool:
        asked = (m["role"] == "user" and any(b["type"] == "text" for b in m["content"]) for m in reversed(messages))
        loop = messages[len(messages) - next(place for place, is_asked in enumerate(asked) if is_asked) :]
        kinds = [block["type"] for message in loop for block in message["content"]]
        return "tool_use" in kinds and not any("thinking" in kind for kind in kinds)

    def found(self, body: Json) -> Iterator[Told]:
        blocks = [block for message in body["messages"] for block in message["content"]]
        results = {b["tool_use_id"]: json.dumps(b.get("content")) for b in blocks if b["type"] == "tool_result"}
        for message in (m for m in body["messages"] if m["role"] == "assistant"):
            uses = [block for block in message["content"] if block["type"] == "tool_use"]
            calls = [
                (use["name"], use["input"], results.get(use["id"], ""))
                for use in uses
                if not use["id"].startswith("forged")
            ]
            thinking = [block for block in message["content"] if "thinking" in block["type"]]
            if calls or not uses:
                yield told("".join(block.get("text", "") for block in message["content"]), thinking, calls)

    def expected(self, said: Said) -> Iterator[Told]:
        yield told(said.text, said.thinking, [(call.name, parsed(call.arguments), call.wants) for call in said.calls])

    def reply(self, said: Said) -> Reply:
        begin, ping, *_, end, stop = claude_events(stop="tool_use" if said.calls else "end_turn")
        blocks: list[tuple[Json, list[Json]]] = [_thought(block) for block in said.thinking]
        if said.text:
            blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": said.text}]))
        for call in said.calls:
            use = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            blocks.append((use, [{"type": "input_json_delta", "partial_json": call.arguments}]))
        events = [event for place, block in enumerate(blocks) for event in _block_events(place, *block)]
        return sse([begin, ping, *events, end, stop], events=True, done=False, split=PIECE)


def _thought(block: Json) -> tuple[Json, list[Json]]:
    """A block as it begins, and its deltas; a redacted one comes whole."""
    if block["type"] != "thinking":
        return block, []
    return {"type": "thinking", "thinking": "", "signature": ""}, [
        {"type": "thinking_delta", "thinking": block["thinking"]},
        {"type": "signature_delta", "signature": block["signature"]},
    ]


def _block_events(place: int, block: Json, deltas: Sequence[Json]) -> Iterator[Json]:
    yield {"type": "content_block_start", "index": place, "content_block": block}
    yield from ({"type": "content_block_delta", "index": place, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": place}


DIALECTS = (
    Chat("openai/m", echo=True),
    Chat("azure/deployed"),
    Chat("databricks/databricks-llama", serial=True),
    Claude("databricks/databricks-claude-sonnet-4-5"),
    Claude("anthropic/claude-sonnet-4-5"),
)


# The two sides of a conversation.


class Talk:
    """The model's side: it says its turns, and looks at what it is told. `faults` is empty as long as all is well."""

    def __init__(self, number: int, script: Script, dialect: Chat | Claude, ids: str) -> None:
        self.number = number
        self.script = script
        self.faults: list[str] = []
        self.kept: list[Said] = []
        self.run: list[Said] = []
        self.turns = 0
        self._dialect = dialect
        self._ids = ids if isinstance(dialect, Chat) else "toolu_{talk}_{turn}_{place}"

    @property
    def over(self) -> bool:
        return self.turns > len(self.script.turns)

    @property
    def has_more_than_seen(self) -> bool:
        """Whether more has happened in this run than the client's own history holds."""
        (*earlier, last) = self.run
        if earlier and not (earlier[0].text or earlier[0].calls or self._thought(earlier[0])):
            earlier.pop(0)  # where there was nothing at all the model has just been asked again
        return bool(earlier or self._thought(last) or any(not call.tool for call in last.calls))

    def _thought(self, said: Said) -> object:
        return said.reasoning if isinstance(self._dialect, Chat) else said.thinking

    def answer(self, body: Json) -> Reply:
        dialect, remembered = self._dialect, [said for said in (*self.kept, *self.run) if not said.silent]
        expected = [message for said in remembered for message in dialect.expected(said)]
        self.faults += [*dialect.faults(body), *differences(expected, list(dialect.found(body)))]
        names = [name for name, _ in dialect.offered(body)]
        if len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
            self.faults.append(f"tools: {names}")
        said = self._next({description: name for name, description in dialect.offered(body)})
        self.run.append(said)
        return dialect.reply(said)

    def _next(self, offered: dict[str, str]) -> Said:
        self.turns += 1
        if self.over:
            return Said("The end.")
        turn = self.script.turns[self.turns - 1]
        calls = [self._called(place, call, offered) for place, call in enumerate(turn.calls)]
        said = Said(turn.text, turn.thinking, calls)
        return Said("Well.", turn.thinking) if self._leads_nowhere(said) else said

    def _leads_nowhere(self, said: Said) -> bool:
        """Whether the agent would end the run: silence, calls that fail, or the same call, too many times."""
        run = [*self.run, said]
        own = [[call for call in turn.calls if not call.tool] for turn in run]
        same = Counter((call.name, call.arguments) for calls in own for call in calls)
        failing = [calls for calls in own if calls and all(call.wants == "Error" for call in calls)]
        silent = [turn for turn in run if turn.silent]
        return len(silent) > 1 or len(failing) >= MALFORMED or max(same.values(), default=0) >= STOPPED

    def _called(self, place: int, call: int | tuple[int, str], offered: dict[str, str]) -> Called:
        id = self._ids.format(talk=self.number, turn=self.turns, place=place)
        if isinstance(call, int):
            return Called(id, *OURS[call])
        tool = self.script.tools[call[0] % len(self.script.tools)]
        return Called(id, offered[f"The client's {tool}."], call[1], "(not answered yet)", tool)


def converse(server: Service, talk: Talk) -> Iterator[None]:
    """The client's side, an exchange a step, until the model has said all."""
    tools = [{"name": name, "description": f"The client's {name}."} for name in talk.script.tools]
    asked: Json = {"tools": [{"type": "function", "function": tool} for tool in tools]}
    asked |= {"skill_agent": {"activity": True}, "reasoning_effort": talk.script.effort}
    history: list[Json] = [{"role": "user", "content": f"talk {talk.number}."}]
    for coming in itertools.cycle(talk.script.comings):
        heard = (server.streamed if coming.stream else server.whole)(messages=history, **asked)
        assert not talk.faults, "\n".join(talk.faults)
        check_heard(heard, talk)
        yield
        if talk.over:
            return
        history += comes_back(heard, coming, talk)


def check_heard(heard: Heard, talk: Talk) -> None:
    """The client sees its own calls, and the agent runs its own and no others."""
    assert heard.error is None
    theirs = [(call.tool, call.arguments) for call in talk.run[-1].calls if call.tool]
    assert [(name, arguments) for _, name, arguments in heard.calls] == theirs
    assert heard.finish == ("tool_calls" if theirs else "stop")
    own = [(call.name, call.arguments) for said in talk.run for call in said.calls if not call.tool]
    assert [(s["name"], s["arguments"]) for s in heard.steps if s["type"] == "tool_start"] == own


def comes_back(heard: Heard, coming: Coming, talk: Talk) -> list[Json]:
    """What the client adds to its history."""
    if heard.calls:
        talk.kept += talk.run
        # Text that a client leaves out is known only where there is something that it has not seen.
        content = coming.content if talk.has_more_than_seen or not heard.text.strip() else "as heard"
        back = [_message(heard, content), *_results(heard, coming, talk.run[-1])]
    else:
        talk.kept.append(Said(heard.text))
        back = [_message(heard, "as heard"), {"role": "user", "content": "Go on."}]
    talk.run = []
    return [*back, *_forged(coming.forged)]


def _message(heard: Heard, content: str) -> Json:
    calls = [{"id": id, "type": "function", "function": {"name": n, "arguments": a}} for id, n, a in heard.calls]
    message: Json = {"role": "assistant", **({"tool_calls": calls} if calls else {})}
    return message if content == "absent" else {**message, "content": heard.text if content == "as heard" else None}


def _results(heard: Heard, coming: Coming, said: Said) -> list[Json]:
    results: list[Json] = []
    theirs = [call for call in said.calls if call.tool]
    for place, (call, (id, name, _)) in enumerate(zip(theirs, heard.calls, strict=True)):
        call.wants = LOST if place == coming.missing else f"{name} gives {next(NUMBERS)}."
        results += [] if place == coming.missing else [_result(id, call.wants)]
    order = [place for place in coming.order if place < len(results)]
    results = [results[place] for place in order]
    if coming.doubled and results:
        results.append({**results[0], "content": "once more"})
    if coming.orphan is not None and results:  # nothing but orphans at the end is refused
        results.insert(min(coming.orphan, len(results) - 1), _result("orphan", "nobody asked"))
    if coming.word is not None:
        results.insert(coming.word, {"role": "user", "content": "Well?"})
    return results


def _result(id: str, content: str) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": content}


def _forged(how: str) -> list[Json]:
    """A call of the agent's tool that no model has made."""
    function = {"name": "activate_skill", "arguments": '{"name": "tea"}'}
    message = {"role": "assistant", "tool_calls": [{"id": "forged", "type": "function", "function": function}]}
    return [message, *([_result("forged", "forged too")] if how == "with one" else [])] if how else []


# The property.


class House:
    """A service, its upstream, and who talks there."""

    def __init__(self, server: Service, dialect: Chat | Claude, talks: dict[int, Talk]) -> None:
        self.server, self.dialect, self.talks = server, dialect, talks


@pytest.fixture(scope="module", params=DIALECTS, ids=[dialect.model.replace("/", "-") for dialect in DIALECTS])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    dialect, talks = request.param, dict[int, Talk]()
    skills = tmp_path_factory.mktemp("skills")
    write_skill(skills, "tea")
    (skills / "tea" / "time.md").write_text("Three minutes.")
    keys = ("anthropic_api_key", "azure_api_key", "databricks_token")
    hosts = ("anthropic_base_url", "azure_endpoint", "databricks_host")
    with Upstream() as up:
        up.always(_by_number(talks))
        credentials: Json = {**dict.fromkeys(keys, "sk-key-of-tests"), **dict.fromkeys(hosts, up.url)}
        with service(up, model=dialect.model, skills=(skills,), **credentials) as server:
            yield House(server, dialect, talks)


def _by_number(talks: dict[int, Talk]) -> Callable[[Received], Reply]:
    def answer(request: Received) -> Reply:
        found = re.search(rb"talk (\d+)\.", request.body)
        assert found is not None
        return talks[int(found[1])].answer(request.json)

    return answer


@pytest.mark.timeout(300)  # for the search of the smallest example where there is one
@EXAMPLES
@example(ids="functions.EXAMPLE:{place}", scripts=[alike(0), alike(1)])
@given(ids=st.sampled_from(IDS), scripts=st.lists(SCRIPTS, min_size=1, max_size=2))
def test_every_call_has_one_result_and_every_turn_comes_back_as_it_was_said(
    house: House, ids: str, scripts: list[Script]
) -> None:
    """Two conversations go on by turns."""
    ids = ids.replace("EXAMPLE", str(next(NUMBERS)))
    talks = [Talk(next(NUMBERS), script, house.dialect, ids) for script in scripts]
    house.talks.update({talk.number: talk for talk in talks})
    going = [converse(house.server, talk) for talk in talks]
    while going:
        going = [one for one in going if next(one, OVER) is not OVER]
    assert all(talk.over and not talk.faults for talk in talks)
