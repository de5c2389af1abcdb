"""The same task in ours and in LangChain's deepagents, each with its defaults, over one scripted provider on loopback.

python benchmarks/deepagents.py [--venv build/deepagents] [--lookups 12] [--parallel 1] [--rounds 5]

The task: load a skill, read one of its reference files, look twelve things up, answer. The provider says the same to
both and calls the tools that each offers for the purpose (deepagents loads a skill with `read_file`). Both read this
project's `skills` from disk, and both have one tool of the user's. Each is run as it is by one who wants the answer:
ours streams from the provider, deepagents does not. Its environment is made under --venv, once.

Bytes sent are those of the request bodies. Tokens are those of the prompt's pieces (tools, system, messages) as
compact JSON with the vocabulary o200k_base: no provider's own count, but the same one for both. What a prompt cache
would hit is reckoned from those pieces by the rules of its documentation; no provider's cache was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
if TYPE_CHECKING:
    from tests.servers import Received, Reply

PAGE = os.sysconf("SC_PAGE_SIZE")
LIBRARIES = ("ours", "deepagents")
MODELS = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-5-mini"}
SKILL, REFERENCE = "market-research", "references/sizing-methods.md"
QUESTION = "Size the market for oat milk in Austria, district by district."
ANSWER = "Austria drinks about 31 million litres of oat milk a year."
COUNTS = ("cache breakpoints of a request, at most 4", "percent of the request before that it would hit")
DEPTH = 20
"""Blocks before a breakpoint among which Anthropic's cache looks for an earlier one's end:
https://platform.claude.com/docs/en/build-with-claude/prompt-caching"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "deepagents", help="made if it is not there")
    parser.add_argument("--lookups", type=int, default=12, help="calls after the skill's two")
    parser.add_argument("--parallel", type=int, default=1, help="how many of them in one turn")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each library, in turn")
    parser.add_argument("--worker", nargs=3, metavar=("LIBRARY", "DIALECT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        library, dialect, url = options.worker
        print(json.dumps(_worker(library, dialect, url)))
    else:
        sys.path.insert(0, str(ROOT))
        python = _environment(options.venv.resolve())
        task = Task(options.lookups, options.parallel)
        print(f"deepagents {_version(python)}; Python {sys.version.split()[0]}; {task}\n")
        for dialect in MODELS:
            _compare(python, dialect, task, options.rounds)


def _environment(venv: Path) -> Path:
    """The environment's Python; an environment that is older than its requirements is brought up to date."""
    wanted = Path(__file__).with_name("requirements-deepagents.txt")
    python, ready = venv / "bin" / "python", venv / ".ready"
    if not ready.exists() or ready.stat().st_mtime < wanted.stat().st_mtime:
        print(f"Making {venv} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        ready.touch()
    return python


def _version(python: Path) -> str:
    command = [str(python), "-c", "from importlib.metadata import version; print(version('deepagents'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# What runs in a process of its own


def look_up(district: int) -> str:
    """Look up what is known of a district.

    Args:
        district: its number
    """
    line = f"District {district}: households, shops, cafés, litres a week, price a litre in euros, year on year. "
    return (line * 30)[:2048]


def _worker(library: str, dialect: str, url: str) -> dict[str, float]:
    """What importing, a first run and a second one cost, by the name of the table's row."""
    begun, cpu = time.perf_counter(), [time.process_time()]
    clock: list[float] = []

    def imported() -> None:
        clock.append(time.perf_counter() - begun)
        cpu.append(time.process_time())

    run = (_ours if library == "ours" else _theirs)(dialect, url, imported)
    asyncio.run(_twice(run, cpu))
    return {
        "import, ms": clock[0] * 1000,
        "CPU of the imports, ms": (cpu[1] - cpu[0]) * 1000,
        "CPU of a process up to its first answer, ms": cpu[2] * 1000,
        "CPU of one more run, ms": (cpu[3] - cpu[2]) * 1000,
        "memory after two runs, MB": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20,
    }


async def _twice(run: Callable[[], Awaitable[str]], cpu: list[float]) -> None:
    for _ in range(2):
        said = await run()
        assert said == ANSWER, said
        cpu.append(time.process_time())


def _ours(dialect: str, url: str, imported: Callable[[], None]) -> Callable[[], Awaitable[str]]:
    sys.path.insert(0, str(ROOT))
    from agent_loop import Agent

    imported()
    from settings import Settings

    settings = Settings(anthropic_api_key="k", anthropic_base_url=url, openai_api_key="k", openai_base_url=f"{url}/v1")
    model, skills = f"{dialect}/{MODELS[dialect]}", ROOT / "skills"
    agent = Agent(model, skills=skills, tools=[look_up], groups=settings.tools, settings=settings)

    async def run() -> str:
        return (await agent.run(QUESTION)).text.rpartition("\n")[2]

    return run


def _theirs(dialect: str, url: str, imported: Callable[[], None]) -> Callable[[], Awaitable[str]]:
    model: Any
    if dialect == "anthropic":
        from langchain_anthropic import ChatAnthropic as Model  # type: ignore[import-not-found]
    else:
        from langchain_openai import ChatOpenAI as Model  # type: ignore[import-not-found]
    from deepagents import create_deep_agent  # type: ignore[import-not-found]
    from deepagents.backends import FilesystemBackend  # type: ignore[import-not-found]

    imported()
    base = {"anthropic": url, "openai": f"{url}/v1"}[dialect]
    chat = {} if dialect == "anthropic" else {"use_responses_api": False}
    model = Model(model=MODELS[dialect], base_url=base, api_key="k", **chat)
    files = FilesystemBackend(root_dir=ROOT, virtual_mode=True)
    agent = create_deep_agent(model=model, tools=[look_up], skills=["/skills/"], backend=files)

    async def run() -> str:
        state = await agent.ainvoke({"messages": [{"role": "user", "content": QUESTION}]})
        return str(state["messages"][-1].text)

    return run


# The provider

Call: TypeAlias = tuple[str, str, dict[str, Any]]
"""Its id, the tool's name, the arguments."""


@dataclass(frozen=True, slots=True)
class Task:
    lookups: int
    parallel: int

    def __str__(self) -> str:
        return f"{self.lookups} look-ups, {self.parallel} in a turn"

    def answer(self, request: Received) -> Reply:
        """Where the script is, is seen from the request: it has one assistant message for each turn so far."""
        body = request.json
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        offered = {(tool.get("function") or tool)["name"] for tool in body["tools"]}
        named = [_skill_call(turn, offered)] if turn < 2 else self._lookups(turn - 2)
        calls = [(f"call_{turn}_{number}", *call) for number, call in enumerate(named)]
        return (_chat if "chat/completions" in request.path else _claude)(calls, bool(body.get("stream")))

    def _lookups(self, turn: int) -> list[tuple[str, dict[str, Any]]]:
        numbers = range(1, self.lookups + 1)[turn * self.parallel :][: self.parallel]
        return [("look_up", {"district": number}) for number in numbers]


def _skill_call(turn: int, offered: set[str]) -> tuple[str, dict[str, Any]]:
    if "activate_skill" in offered:
        reading = "read_skill_file", {"skill": SKILL, "path": REFERENCE}
        return reading if turn else ("activate_skill", {"name": SKILL})
    path = f"/skills/{SKILL}/{REFERENCE if turn else 'SKILL.md'}"
    return "read_file", {"file_path": path} if turn else {"file_path": path, "limit": 1000}


def _claude(calls: list[Call], stream: bool) -> Reply:
    from tests.upstream import claude_events, json_reply, sse

    if stream:
        return sse(claude_events("" if calls else ANSWER, tool_uses=calls), done=False, events=True)
    uses = [{"type": "tool_use", "id": id, "name": name, "input": given} for id, name, given in calls]
    content = uses or [{"type": "text", "text": ANSWER}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": content}
    ended = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    return json_reply({**message, **ended, "usage": {"input_tokens": 10, "output_tokens": 5}})


def _chat(calls: list[Call], stream: bool) -> Reply:
    from tests.upstream import chat_chunks, json_reply, sse

    written = [(id, name, json.dumps(given)) for id, name, given in calls]
    if stream:
        return sse(chat_chunks("" if calls else ANSWER, tool_calls=written))
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in written]
    said = {"role": "assistant", "content": None if made else ANSWER, **({"tool_calls": made} if made else {})}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if made else "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "test-model"}
    return json_reply({**head, "choices": [choice], "usage": usage})


# What was sent


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the prompt in the order in which caches see it: tools, system, messages. `ends`: a breakpoint."""

    text: str
    ends: bool = False

    @property
    def size(self) -> int:
        return len(self.text.encode())


@dataclass(slots=True)
class Sent:
    """One run's requests. `hits`: bytes of each that a prompt cache would have from the one before."""

    bodies: list[bytes]
    blocks: list[list[Block]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = [list(_blocks(json.loads(body))) for body in self.bodies]
        self.hits = [0, *map(_hit, self.blocks, self.blocks[1:])]

    @property
    def prompts(self) -> list[int]:
        return [sum(block.size for block in blocks) for blocks in self.blocks]

    @property
    def breakpoints(self) -> list[int]:
        return [sum(block.ends for block in blocks) for blocks in self.blocks]


def _blocks(body: dict[str, Any]) -> Iterator[Block]:
    found = [*(_block(tool) for tool in body.get("tools") or ()), *_content("system", body.get("system") or ())]
    for message in body["messages"]:
        found += _content(message["role"], message.get("content") or ())
        found += [_block(call) for call in message.get("tool_calls") or ()]
    if "cache_control" in body:  # Anthropic sets the breakpoint on the last block that can have one
        found[-1] = Block(found[-1].text, True)
    yield from found


def _content(role: str, content: str | Sequence[dict[str, Any]]) -> list[Block]:
    texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [_block({"role": role, **each}) for each in texts]


def _block(value: dict[str, Any]) -> Block:
    kept = {key: each for key, each in value.items() if key != "cache_control"}
    return Block(json.dumps(kept, ensure_ascii=False, separators=(",", ":")), "cache_control" in value)


def _hit(before: list[Block], after: list[Block]) -> int:
    """Bytes up to the last entry that was written and is looked for; where none are marked, all that is equal."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0].text == pair[1].text, zip(before, after, strict=False)))
    ends = [index for index, block in enumerate(after) if block.ends]
    written = [index for index, block in enumerate(before[:same]) if block.ends]
    found = [index for index in written if any(0 <= end - index < DEPTH for end in ends)]
    length = max(found, default=-1) + 1 if ends else same
    return sum(block.size for block in after[:length])


def _measured(python: Path, library: str, dialect: str, task: Task) -> tuple[Sent, dict[str, float]]:
    from tests.upstream import Upstream

    with Upstream() as upstream:
        upstream.always(task.answer)
        # -P: this file has the other library's name, and must not stand in its way.
        runner = [str(python) if library == "deepagents" else sys.executable, "-P", __file__]
        command = [*runner, "--worker", library, dialect, upstream.url]
        quiet = {"LANGSMITH_TRACING": "false", "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet, cwd=ROOT)
        bodies = [request.body for request in upstream.requests]
    sent = Sent(bodies[: len(bodies) // 2])
    _check(sent, task.lookups)
    return sent, json.loads(done.stdout.splitlines()[-1])


def _check(sent: Sent, lookups: int) -> None:
    """That the task was done: the ends of all that was to be read stand in the last request."""
    last = "".join(block.text for block in sent.blocks[-1])
    ends = [(ROOT / "skills" / SKILL / file).read_text("utf-8").split()[-4:] for file in ("SKILL.md", REFERENCE)]
    expected = [*map(" ".join, ends), *(f"District {number + 1}: " for number in range(lookups))]
    assert not [words for words in expected if words not in last.replace("\\n", " ")]


def _tokens(python: Path, texts: list[str]) -> list[int]:
    code = "import bpe_openai, json, sys; encode = bpe_openai.get_encoding('o200k_base').encode;"
    code += "print(json.dumps([len(encode(text)) for text in json.load(sys.stdin)]))"
    command = [str(python), "-P", "-c", code]
    done = subprocess.run(command, input=json.dumps(texts), check=True, capture_output=True, text=True)
    return list(map(int, json.loads(done.stdout)))


# The tables


def _compare(python: Path, dialect: str, task: Task, rounds: int) -> None:
    sent: dict[str, Sent] = {}
    costs: dict[str, list[dict[str, float]]] = {library: [] for library in LIBRARIES}
    for library in (*LIBRARIES, *LIBRARIES * rounds):  # the first of each only warms the disk
        sent[library], cost = _measured(python, library, dialect, task)
        costs[library].append(cost)
    ours, theirs = (sent[library] for library in LIBRARIES)
    for each in (ours, theirs):
        each.tokens = _tokens(python, ["".join(block.text for block in blocks) for blocks in each.blocks])
    middle = {
        library: {name: statistics.median(run[name] for run in runs[1:]) for name in runs[0]}
        for library, runs in costs.items()
    }
    print(f"### {dialect}/{MODELS[dialect]}\n\n| what | ours | deepagents | ratio |\n| --- | --- | --- | --- |")
    for name, a, b in (*_rows(ours, theirs, dialect), *_costs(middle)):
        print(f"| {name} | {a:,} | {b:,} | {'' if name in COUNTS else f'{a / b:.2f}'} |")
    print(f"\n{_turns(ours, theirs, dialect)}\n", flush=True)


def _rows(ours: Sent, theirs: Sent, dialect: str) -> Iterator[tuple[str, float, float]]:
    def row(name: str, value: Callable[[Sent], float]) -> tuple[str, float, float]:
        return name, value(ours), value(theirs)

    yield row("provider calls", lambda sent: len(sent.bodies))
    yield row("bytes sent in all", lambda sent: sum(map(len, sent.bodies)))
    yield row("tokens sent in all", lambda sent: sum(sent.tokens))
    yield row("bytes of the tools' schemas", lambda sent: _size(sent, "tools"))
    yield row("tools", lambda sent: len(json.loads(sent.bodies[0])["tools"]))
    yield row("bytes of the system prompt", lambda sent: _size(sent, "system"))
    yield row("tokens of the first request", lambda sent: sent.tokens[0])
    yield row("tokens of the last request", lambda sent: sent.tokens[-1])
    if dialect == "anthropic":
        yield row(COUNTS[0], lambda sent: max(sent.breakpoints))
    yield row("bytes that a cache would hit", lambda sent: sum(sent.hits))
    yield row("bytes that it would not", lambda sent: sum(sent.prompts) - sum(sent.hits))
    yield row(COUNTS[1], lambda sent: round(100 * sum(sent.hits) / sum(sent.prompts[:-1]), 1))


def _size(sent: Sent, what: str) -> int:
    tools = len(json.loads(sent.bodies[0])["tools"])
    if what == "tools":
        return sum(block.size for block in sent.blocks[0][:tools])
    pieces = [json.loads(block.text) for block in sent.blocks[0][tools:]]
    return sum(len(piece["text"].encode()) for piece in pieces if piece["role"] == "system")


def _costs(middle: dict[str, dict[str, float]]) -> Iterator[tuple[str, float, float]]:
    for name in middle["ours"]:
        yield name, round(middle["ours"][name]), round(middle["deepagents"][name])


def _turns(ours: Sent, theirs: Sent, dialect: str) -> str:
    """One row a provider call; for each library bytes, tokens, breakpoints and bytes that a cache would hit."""
    marks = " breakpoints |" if dialect == "anthropic" else ""
    head = "".join(f" {name}: bytes | tokens |{marks} cache hit |" for name in LIBRARIES)
    lines = [f"| call |{head}", "| --- |" + " --- |" * (head.count("|"))]
    for number in range(max(len(ours.bodies), len(theirs.bodies))):
        cells = "".join(_cells(sent, number, bool(marks)) for sent in (ours, theirs))
        lines.append(f"| {number + 1} |{cells}")
    return "\n".join(lines)


def _cells(sent: Sent, number: int, marks: bool) -> str:
    if number >= len(sent.bodies):
        return " |" * (3 + marks)
    breakpoints = f" {sent.breakpoints[number]} |" if marks else ""
    return f" {len(sent.bodies[number]):,} | {sent.tokens[number]:,} |{breakpoints} {sent.hits[number]:,} |"


if __name__ == "__main__":
    main()
