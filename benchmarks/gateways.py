"""Beside LiteLLM's proxy: start, memory, and processor time of answers that are passed through, over one upstream.

python benchmarks/gateways.py LITELLM [--rounds N]        # LITELLM: its command, from pip install 'litellm[proxy]'

Ours is asked for the plain model, without the agent, which the proxy does not have. Both have one process and one
key, and are measured in turn. Only the servers' own processor time is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.startup import _environment, _free_port, _start, _stop, _wait  # noqa: E402
from tests.upstream import Received, Reply, Upstream, chat_chunks, json_reply, sse  # noqa: E402

KEY = "sk-bench-9c1f6a2e"
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
AT_ONCE = 8
WHOLE, STREAMS, EVENTS = 400, 48, 200
LONG = b"A cookie, at length"
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "A cookie."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    command: Sequence[str]
    health: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds of the clock until the first healthy answer, and of the processor for one answer; MB."""

    start: float
    whole: float
    stream: float
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("litellm")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with Upstream() as upstream, tempfile.TemporaryDirectory() as folder:
        upstream.always(answer)
        config = Path(folder) / "litellm.json"
        model = {"model": "openai/bench", "api_base": f"{upstream.url}/v1", "api_key": "sk-bench"}
        config.write_text(json.dumps({"model_list": [{"model_name": "openai/bench", "litellm_params": model}]}))
        ours = Server("ours", [sys.executable, "server.py", "--port"], "/health")
        proxy = [given.litellm, "--host", "127.0.0.1", "--config", str(config), "--port"]
        servers = [ours, Server("LiteLLM", proxy, "/health/liveliness")]
        found: dict[str, list[Measured]] = {server.name: [] for server in servers}
        for _ in range(given.rounds):
            for server in servers:
                found[server.name].append(measure(server, upstream.url))
    show(found)


def answer(request: Received) -> Reply:
    """As long as the question asks for. Ours asks for a stream also where its client wants a whole answer."""
    if not (request.body and request.json.get("stream")):
        return json_reply(COMPLETION)
    first, *_, end, usage = chat_chunks("lavender")
    choice = {"index": 0, "finish_reason": None}
    # No two alike: LiteLLM ends a stream that says the same a hundred times.
    count = EVENTS if LONG in request.body else 1
    words = [{**first, "choices": [{**choice, "delta": {"content": f"{number} "}}]} for number in range(count)]
    return sse([first, *words, end, usage])


def measure(server: Server, upstream: str) -> Measured:
    port = _free_port()
    # Prices come with LiteLLM's package; without this it would ask GitHub for them.
    more = {"OPENAI_BASE_URL": f"{upstream}/v1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    more |= {"SKILL_AGENT_API_KEYS": f"bench:{sha256(KEY.encode()).hexdigest()}", "LITELLM_MASTER_KEY": KEY}
    begun = time.perf_counter()
    process = _start([*server.command, str(port)], _environment(**more))
    try:
        _wait(f"http://127.0.0.1:{port}{server.health}", process)
        start = (time.perf_counter() - begun) * 1000
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        ask(url, 20, False)
        ask(url, 2, True)
        whole, stream = cost(process.pid, url, WHOLE, False), cost(process.pid, url, STREAMS, True)
        return Measured(start, whole, stream, memory(process.pid))
    finally:
        _stop(process)


def cost(pid: int, url: str, count: int, stream: bool) -> float:
    before = processor(pid)
    ask(url, count, stream)
    return (processor(pid) - before) * 1000 / count


def ask(url: str, count: int, stream: bool) -> None:
    question = LONG.decode() if stream else "A cookie"
    said = {"model": "openai/bench", "stream": stream, "messages": [{"role": "user", "content": question}]}
    request = urllib.request.Request(url, json.dumps(said).encode(), HEADERS)

    def one(_: int) -> int:
        with urllib.request.urlopen(request, timeout=60) as got:
            return bytes(got.read()).count(b'"content"')

    with ThreadPoolExecutor(AT_ONCE) as pool:
        counts = list(pool.map(one, range(count)))
    assert min(counts) >= (EVENTS if stream else 1), counts


def processor(pid: int) -> float:
    """Seconds that the process has had so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def show(found: dict[str, list[Measured]]) -> None:
    (ours, a), (theirs, b) = found.items()
    print(f"| what | {ours} | {theirs} | ratio |\n| --- | --- | --- | --- |")
    for what, unit, field in (
        ("start to a healthy answer", "ms", "start"),
        ("CPU of a whole answer", "ms", "whole"),
        (f"CPU of a stream of {EVENTS} events", "ms", "stream"),
        ("memory afterwards", "MB", "memory"),
    ):
        x, y = (statistics.median(getattr(each, field) for each in group) for group in (a, b))
        print(f"| {what} | {x:,.1f} {unit} | {y:,.1f} {unit} | {x / y:.2f} |")


if __name__ == "__main__":
    main()
