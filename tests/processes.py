"""The service in a process of its own, as people start it: to be stopped, or killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.servers import free_port
from tests.upstream import Upstream

ROOT = Path(__file__).resolve().parents[1]
OURS, UVICORN = ("server.py",), ("-m", "uvicorn", "server:app")
"""The two ways to start it."""


@contextmanager
def process(
    up: Upstream, store: Path, how: Sequence[str] = OURS, **more: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its address and the process; `more` is environment. What it logs is thrown away."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_API_KEY": "sk-the-right-key",
        "OPENAI_BASE_URL": f"{up.url}/v1",
        "SKILL_AGENT_MODEL": "openai/test-model",
        "SKILL_AGENT_STORE": f"sqlite:///{store}",
        **more,
    }
    command = [sys.executable, *how, "--port", str(port)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while not is_up(url):
                assert running.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield url, running
        finally:
            running.kill()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, verify=False).status_code == 200
    except httpx.TransportError:
        return False
