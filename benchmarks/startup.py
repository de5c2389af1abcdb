"""What starting costs: imports, the first healthy answer, memory, packages. Pairs are measured in turn, A B A B.

make bench        or        python benchmarks/startup.py [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.upstream import Upstream, chat_chunks, sse  # noqa: E402

PATIENCE = 90.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds: int = parser.parse_args().rounds
    print("| what | ours | compared with | ratio or figure | limit |\n| --- | --- | --- | --- | --- |")
    _pair(
        "import agent_loop", _imports("agent_loop"), "import httpx, pydantic", _imports("httpx, pydantic"), rounds, 1.3
    )
    ours, bare = [sys.executable, "server.py", "--port"], [sys.executable, "benchmarks/bare_app.py"]
    _pair("start to /health", lambda: _ready(ours), "bare app, same imports", lambda: _ready(bare), rounds, 1.5)
    print(f"| memory after one answer | {_memory():.0f} MB | | | 70 MB |")
    print(f"| packages of requirements.txt | {_packages()} | | | 37 |")


def _pair(what: str, a: Callable[[], float], other: str, b: Callable[[], float], rounds: int, limit: float) -> None:
    a(), b()
    pairs = [(a(), b()) for _ in range(rounds)]
    ratio = statistics.median(x / y for x, y in pairs)
    ours, theirs = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    print(f"| {what} | {ours:.0f} ms | {other}: {theirs:.0f} ms | {ratio:.2f} | {limit} |", flush=True)


def _imports(modules: str) -> Callable[[], float]:
    def run() -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {modules}"], cwd=ROOT, check=True)
        return time.perf_counter() - begun

    return run


def _environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "OPENAI_API_KEY": "sk-bench", "SKILL_AGENT_MODEL": "openai/bench", **more}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(command: Sequence[str]) -> float:
    """Seconds from the process's start to its first healthy answer."""
    port = _free_port()
    begun = time.perf_counter()
    process = _start([*command, str(port)], _environment())
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        return time.perf_counter() - begun
    finally:
        _stop(process)


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(PATIENCE)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.002)
    raise SystemExit(f"{url} never answered")


def _memory() -> float:
    """Resident MB of the server after one streamed answer from an upstream."""
    port = _free_port()
    with Upstream() as upstream:
        upstream.always(sse(chat_chunks(text="A lavender cookie.")))
        environment = _environment(OPENAI_BASE_URL=f"{upstream.url}/v1")
        process = _start([sys.executable, "server.py", "--port", str(port)], environment)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            _ask(f"http://127.0.0.1:{port}/v1/chat/completions")
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0]) / 1024
        finally:
            _stop(process)


def _ask(url: str) -> None:
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": "A cookie with lavender"}]}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert b"lavender" in answer.read()


def _packages() -> int:
    """How many packages a fresh environment gets."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run([*command, "-r", "requirements.txt"], cwd=ROOT, check=True, capture_output=True)
    return len(json.loads(done.stdout)["install"])


if __name__ == "__main__":
    main()
