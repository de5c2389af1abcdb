"""What the providers say in the tests of clients: an answer that depends on what was asked, in the path's dialect.

"cost" in the user's words asks for the tool `price`, whose result is quoted. "Run" and "Patch" ask for Codex's tools.
A forced tool is called with arguments that fit its schema; a schema, or "JSON", is answered with JSON that fits, and
everything else with `TEXT`. Where the agent's own tools are offered, a skill is activated first: no client may see it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.upstream import Received, Reply, chat_chunks, claude_events, json_reply, sse

TEXT = "Grüße 🙂 there"
ASK = "What does tea cost?"
RESULT = "3 euros"
COSTS = f"It costs {RESULT}."
COMMAND = "echo $((40 + 2)) euros"
PATCH = f"*** Begin Patch\n*** Add File: tea.txt\n+{RESULT}\n*** End Patch\n"
SKILL = "shopkeeper"
OURS: tuple[str, ...] = ("activate_skill", "read_skill_file", "run_skill_script", "find_skill", "write_todos", "task")
OURS += ("ls", "read_file", "write_file", "edit_file", "glob", "grep")
"""The agent's own tools."""
ANSWER = "final_answer"
"""The agent's tool that takes an answer with a schema."""
THINKS = ("I should look ", "that up.")
MODELS = ("openai/gpt-x", "anthropic/claude-x", "anthropic/claude-2-thinks", "skill-agent")
"""Chat Completions, Messages with structured outputs, and without them but with signed thinking; the agent."""
LIMITED, BREAKS = "openai/limited", "openai/breaks"
OBJECT = {"properties": {"item": {"type": "string"}}}
"""What JSON without a schema is like."""
ITEMS = ("tea", "milk", "salt")
_numbers = itertools.count(1)
Json = dict[str, Any]


@dataclass(slots=True)
class Asked:
    """A request of either dialect. `forced` is a tool's name, "any", or "" for none."""

    said: str = ""
    results: list[str] = field(default_factory=list)
    tools: dict[str, Json] = field(default_factory=dict)
    forced: str = ""
    schema: Json | None = None
    loaded: bool = False

    def hear(self, kind: str, text: str) -> None:
        if "<skill_content" in text and kind == "result":
            self.loaded = True
        elif kind == "result":
            self.results.append(text)
        elif kind == "user":
            self.said, self.results = text, []


@dataclass(frozen=True, slots=True)
class Said:
    text: str = ""
    calls: tuple[tuple[str, Json], ...] = ()


def reply(request: Received) -> Reply:
    """The upstream's answer to any request."""
    body = request.json
    if str(body["model"]) == "limited":
        error = {"message": "the month's money is spent", "type": "insufficient_quota", "code": "insufficient_quota"}
        return json_reply({"error": error}, 429)
    if request.path.endswith("/messages"):
        return _claude(body)
    if body["model"] == "breaks":
        return sse(chat_chunks(TEXT, finish="", usage=None))
    said = _said(_of_chat(body))
    return sse(chat_chunks(said.text, tool_calls=[(_id(), name, json.dumps(given)) for name, given in said.calls]))


def told(request: Received) -> list[str]:
    """The conversation that a request brings, a word or two for each part of it; not its system prompt."""
    words: list[str] = []
    for message in request.json["messages"]:
        words += _words(message)
    return words


def _words(message: Json) -> list[str]:
    role = "result" if message["role"] == "tool" else message["role"]
    content = message.get("content")
    blocks = content if isinstance(content, list) else [{"type": "text"}] if content else []
    kinds = {"text": role, "thinking": "thinking", "tool_result": "result"}
    said = [f"call {block['name']}" if block["type"] == "tool_use" else kinds[block["type"]] for block in blocks]
    calls = [f"call {call['function']['name']}" for call in message.get("tool_calls") or ()]
    return [] if role == "system" else [*said, *calls]


def _claude(body: Json) -> Reply:
    said = _said(_of_claude(body))
    thinks = str(body["model"]).endswith("thinks")
    events = claude_events(
        said.text,
        "".join(THINKS) if thinks else "",
        "c2lnbmVk" if thinks else "",
        [(_id(), name, given) for name, given in said.calls],
    )
    return sse(events, events=True, done=False)


def _id() -> str:
    return f"call_{next(_numbers)}"


def _said(asked: Asked) -> Said:
    if OURS[0] in asked.tools and not asked.loaded:
        return Said(calls=((OURS[0], {"name": SKILL}),))
    theirs = [name for name in asked.tools if name not in (*OURS, ANSWER)]
    wanted = [item for item in ITEMS if item in asked.said.lower()] if "cost" in asked.said.lower() else []
    if asked.forced and not asked.results:
        name = asked.forced if asked.forced in asked.tools else next(iter([*theirs, ANSWER]))
        given = {"item": wanted[0]} if wanted and name == "price" else example(asked.tools[name])
        return Said(calls=((name, given),))
    if wanted and "price" in theirs and not asked.results:
        return Said(calls=tuple(("price", {"item": item}) for item in wanted))
    if "exec_command" in theirs and "Run" in asked.said and not asked.results:
        return Said(calls=(("exec_command", {"cmd": COMMAND}),))
    if "apply_patch" in theirs and "Patch" in asked.said and not asked.results:
        return Said(calls=(("apply_patch", {"input": PATCH}),))
    if asked.schema is not None or "JSON" in asked.said:
        return Said(json.dumps(example(asked.schema or OBJECT)))
    if ANSWER in asked.tools:
        return Said(calls=((ANSWER, example(asked.tools[ANSWER])),))
    return Said(f"It costs {' and '.join(asked.results)}." if asked.results else TEXT)


def example(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A value that fits: "tea", 3.5, 3, true."""
    root = root or schema
    if "$ref" in schema:
        return example(_found(root, schema["$ref"]), root)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return example(schema[word][0], root)
    if "enum" in schema or "const" in schema:
        return schema["enum"][0] if "enum" in schema else schema["const"]
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: example(each, root) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [example(schema.get("items", {"type": "string"}), root)]
        case other:
            return {"string": "tea", "number": 3.5, "integer": 3, "boolean": True}.get(other)


def _found(root: Mapping[str, Any], ref: str) -> Any:
    found: Any = root
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
    return found


def _of_chat(body: Json) -> Asked:
    asked = Asked()
    for message in body["messages"]:
        asked.hear({"tool": "result"}.get(message["role"], message["role"]), _text(message.get("content")))
    for tool in body.get("tools") or ():
        asked.tools[tool["function"]["name"]] = tool["function"].get("parameters") or {}
    choice = body.get("tool_choice")
    asked.forced = choice["function"]["name"] if isinstance(choice, dict) else "any" if choice == "required" else ""
    asked.schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    return asked


def _of_claude(body: Json) -> Asked:
    asked = Asked()
    for message in body["messages"]:
        for kind, text in _blocks(message):
            asked.hear(kind, text)
    for tool in body.get("tools") or ():
        asked.tools[tool["name"]] = tool["input_schema"]
    choice = body.get("tool_choice") or {}
    asked.forced = choice["name"] if choice.get("type") == "tool" else "any" if choice.get("type") == "any" else ""
    asked.schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    return asked


def _blocks(message: Json) -> Iterator[tuple[str, str]]:
    content = message["content"]
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if block["type"] == "tool_result":
            yield "result", _text(block.get("content"))
        elif block["type"] == "text":
            yield message["role"], block["text"]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
