"""`batch IN.jsonl OUT.jsonl`: an answer for each line of a file.

A line is `{"prompt": "…", "custom_id": "…"}`, or as OpenAI's Batch API has it: `{"custom_id": "…", "body": {"messages":
[…], …}}`. The output has a line for each, in the order in which they were ready, in the form of that API:
`{"custom_id", "response": {"status_code": 200, "body": <a chat completion>}, "error": null}`, or with `error` as
`{"code", "message"}` and no response. What the output answers already is not asked again; what failed is.
Format: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agent.servers import mcp_servers
from messages import Finish, Image, Message, Options, Part, SkillActivated, Step, Text, Usage, user
from providers.base import AuthError, ProviderError
from settings import Settings, SettingsError
from skill_store import SkillError
from terminal import FAILED, OK, USAGE
from terminal.agents import Wanted, agent_for
from terminal.approval import refuse, words_on
from terminal.json_output import line_of
from terminal.notes import CLEAR, is_smart, log_as_notes, note, warn, words_of

if TYPE_CHECKING:
    from agent_loop import Agent
    from mcp_servers import McpServers

AGENT = "skill-agent"
MOST_AT_ONCE = 64
OPTIONS = {"temperature", "top_p", "seed", "reasoning_effort", "presence_penalty", "frequency_penalty"}


class BatchError(Exception):
    """A line that cannot be asked, in words."""


@dataclass(frozen=True, slots=True)
class Line:
    """A question of the file. `model` is "" for the agent's own."""

    id: str
    messages: tuple[Message, ...]
    options: Options
    model: str = ""
    skill: str = ""


@dataclass(slots=True)
class Batch:
    """`waiting` gives the lines that are still to be asked, or words for one that cannot be."""

    waiting: Iterator[Line | tuple[str, str]]
    out: TextIO
    wanted: Wanted
    settings: Settings
    servers: McpServers | None
    total: int
    done: int = 0
    failed: int = 0
    agents: dict[str, Agent] = field(default_factory=dict)

    async def work(self) -> None:
        for line in self.waiting:
            if isinstance(line, tuple):
                self._put(line[0], error={"code": "invalid_request", "message": line[1]})
                continue
            try:
                agent, activate = self._agent(line)
                finish = await _whole(agent, line, activate)
                self._put(line.id, response={"status_code": 200, "body": _completion(line, finish)})
            except AuthError:
                raise
            except (ProviderError, SkillError, SettingsError) as error:
                code = error.code if isinstance(error, ProviderError) else "invalid_request"
                self._put(line.id, error={"code": code, "message": words_of(error)})

    def _agent(self, line: Line) -> tuple[Agent, str]:
        """With the skill that it has to load: a server is told by the model's name."""
        model, activate = line.model, line.skill
        if self.wanted.url and line.skill:
            model, activate = f"{AGENT}:{line.skill}", ""
        if model not in self.agents:
            wanted = replace(self.wanted, model=model) if model else self.wanted
            self.agents[model] = agent_for(wanted, self.settings, self.servers)
        return self.agents[model], activate

    def _put(self, id: str, response: dict[str, Any] | None = None, error: dict[str, str] | None = None) -> None:
        self.out.write(line_of({"custom_id": id, "response": response, "error": error}) + "\n")
        self.out.flush()
        self.done, self.failed = self.done + 1, self.failed + (error is not None)
        if is_smart(sys.stderr):
            print(f"{CLEAR}{self.done} of {self.total}, {self.failed} failed", end="", file=sys.stderr, flush=True)


def run_batch(source: Path, target: Path, wanted: Wanted, at_once: int) -> int:
    """Exit code 0 when every line has an answer, 1 when one failed, 2 where the files cannot be right."""
    log_as_notes()
    if not 1 <= at_once <= MOST_AT_ONCE:
        raise SettingsError("--at-once", f"expected a number from 1 to {MOST_AT_ONCE}", str(at_once))
    settings = Settings.from_env()
    try:
        lines = [*_lines(source)]
        answered = _answered(target)
    except (OSError, BatchError) as error:
        warn(f"skill-agent: {error}")
        return USAGE
    waiting = [line for line in lines if _id(line) not in answered]
    servers = None if wanted.url else mcp_servers(settings)
    with target.open("a", encoding="utf-8") as out:
        batch = Batch(iter(waiting), out, wanted, settings, servers, len(waiting))
        batch.agents[""] = agent_for(wanted, settings, servers)
        begun = time.monotonic()
        try:
            asyncio.run(_work(batch, at_once))
        finally:
            kept = f", {len(answered)} were there" if answered else ""
            seconds = time.monotonic() - begun
            note(f"{batch.done - batch.failed} answered, {batch.failed} failed{kept}, {seconds:.1f} s: {target}")
    return FAILED if batch.failed else OK


async def _whole(agent: Agent, line: Line, activate: str) -> Finish:
    """Nobody is there to ask: the model is told that a tool which needs a person's word is not allowed."""
    said: list[Message] = []
    steps: list[Step] = []
    spent = Usage()
    while True:
        asked = (*line.messages, *said)
        async with aclosing(agent.stream(asked, activate=activate, options=line.options, approve=refuse)) as events:
            async for event in events:
                if isinstance(event, SkillActivated):
                    steps.append(event)
                elif isinstance(event, Finish):
                    finish = event
        said, spent = [*said, *finish.messages], spent + finish.usage
        words = await words_on(finish, refuse)
        if words is None:
            return replace(finish, steps=tuple(steps), usage=spent)
        said.append(words)


async def _work(batch: Batch, at_once: int) -> None:
    """The first that is not authorised ends all, as the others would not be either."""
    try:
        if batch.servers:
            await batch.servers.start()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(batch.work())
    except* AuthError as refused:
        raise refused.exceptions[0] from None
    finally:
        if batch.servers:
            await batch.servers.aclose()
        for agent in batch.agents.values():
            await agent.aclose()


def _id(line: Line | tuple[str, str]) -> str:
    return line[0] if isinstance(line, tuple) else line.id


def _lines(source: Path) -> Iterator[Line | tuple[str, str]]:
    seen: set[str] = set()
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            line = _line(text, number)
            if _id(line) in seen:
                raise BatchError(f"{source}:{number}: {_id(line)!r} was there before: a custom_id stands for one line")
            seen.add(_id(line))
            yield line


def _line(text: str, number: int) -> Line | tuple[str, str]:
    name = f"line-{number}"
    try:
        given = json.loads(text)
        if not isinstance(given, dict):
            return name, "expected a JSON object"
        name = str(given.get("custom_id") or name)
        if isinstance(prompt := given.get("prompt"), str) and prompt.strip():
            return Line(name, (user(prompt),), Options())
        if not isinstance(body := given.get("body"), dict):
            return name, "expected a prompt, or a body with messages"
        return _of_body(name, body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return name, f"cannot be read: {error}"


def _of_body(name: str, body: Mapping[str, Any]) -> Line:
    messages = tuple(_message(each) for each in body["messages"])
    model = str(body.get("model") or "")
    agent, _, skill = model.partition(":")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    options = Options(max_tokens=limit, **{key: body[key] for key in OPTIONS & body.keys()})
    if agent == AGENT:
        return Line(name, messages, options, skill=skill)
    return Line(name, messages, options, model)


def _message(given: Mapping[str, Any]) -> Message:
    role, content = given["role"], given["content"]
    if role == "developer":
        role = "system"
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"messages of the role {role!r} are not taken here")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return Message(role, tuple(_part(part) for part in parts))


def _part(given: Mapping[str, Any]) -> Part:
    if given["type"] == "text":
        return Text(str(given["text"]))
    if given["type"] != "image_url":
        raise ValueError(f"parts of the type {given['type']!r} are not taken here")
    url = str(given["image_url"]["url"])
    head, _, data = url.partition(";base64,")
    return Image(head.removeprefix("data:"), data) if url.startswith("data:") else Image(url=url)


def _answered(target: Path) -> set[str]:
    """Who has an answer in the output; lines without one, or cut off by a crash, are taken out of it."""
    if not target.exists():
        return set()
    found: dict[str, str] = {}
    lines = target.read_text("utf-8", "replace").splitlines(keepends=True)
    for line in lines:
        try:
            told = json.loads(line)
            if told["error"] is None and told["response"]:
                found[str(told["custom_id"])] = line
        except (ValueError, TypeError, KeyError):
            if line.strip() and line.endswith("\n"):
                raise BatchError(f"{target} holds something else than answers of a batch; name another file") from None
    if list(found.values()) != lines:
        fresh = target.with_name(f"{target.name}.new")
        fresh.write_text("".join(found.values()), "utf-8")
        os.replace(fresh, target)
    return set(found)


def _completion(line: Line, finish: Finish) -> dict[str, Any]:
    """Format: https://platform.openai.com/docs/api-reference/chat/object"""
    usage = finish.usage
    skills = [step.name for step in finish.steps if isinstance(step, SkillActivated)]
    message = {"role": "assistant", "content": finish.text, "refusal": None}
    return {
        "object": "chat.completion",
        "model": finish.model or line.model or AGENT,
        "choices": [{"index": 0, "message": message, "finish_reason": finish.reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.total or usage.input + usage.output,
        },
        "skill_agent": {"skills": skills, "limit": finish.limit or None},
    }
