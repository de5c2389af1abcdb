"""Processes that the figures start and stop: the fault upstream, the product, and servers to compare it with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reliability import canaries
from benchmarks.reliability.client import Client
from benchmarks.reliability.launcher import ENDED

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180.0
PROVIDERS = ("openai", "anthropic", "azure", "databricks")
SCALED = {"SKILL_AGENT_TIMEOUTS": "connect=0.3,first_byte=1,between_bytes=1,whole=4"}
"""Time limits of model calls in seconds rather than minutes."""
SCRIPTS = {
    "quick": "print('done')",
    "crash": "import sys; print('before'); sys.exit('it broke')",
    "flood": "for _ in range(200_000): print('a line of output')",
    "mark": "import uuid; open(f'ran-{uuid.uuid4().hex}', 'w').write('once')",
    "sleep": "import time; time.sleep(60)",
}


@dataclass(slots=True)
class Server:
    """A process that answers on a port. `log` has all that it wrote."""

    process: subprocess.Popen[bytes]
    client: Client
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def healthy(self, path: str) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError):
                if (await self.client.get(path, timeout=2)).status == 200:
                    return
            await asyncio.sleep(0.05)
        self.kill()
        raise SystemExit(f"a server never answered {path}: {self.log} says why")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float) -> float | None:
        """Seconds until it has exited, None where it has not within so many."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if self.process.poll() is not None:
                return time.monotonic() - begun
            await asyncio.sleep(0.02)
        return None

    def kill(self) -> None:
        """It and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def stop(self) -> None:
        self.signal()
        await self.ended(20)
        self.kill()

    async def stats(self) -> dict[str, int]:
        """What the launcher's route tells."""
        found: dict[str, int] = (await self.client.get("/debug/stats")).json()
        return found


@dataclass(slots=True)
class Upstream:
    server: Server
    ports: dict[str, int]

    @property
    def url(self) -> str:
        return self.at("port")

    def at(self, name: str) -> str:
        """ "port", "closed", "hole", or "tls" where there is a certificate."""
        return f"http{'s' if name == 'tls' else ''}://127.0.0.1:{self.ports[name]}"

    async def control(self, what: str) -> Any:
        """Raises `RuntimeError` where the upstream, which all figures need, does not answer."""
        answer = await self.server.client.get(f"/control/{what}", timeout=PATIENCE)
        if answer.status != 200:
            raise RuntimeError(f"the upstream did not answer {what}")
        return answer.json()

    async def seen(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.control(f"seen/{key}")
        return found

    async def came(self, key: str) -> None:
        """Waits for a request with this key, a while."""
        for _ in range(200):
            if await self.seen(key):
                return
            await asyncio.sleep(0.05)


@dataclass(slots=True)
class Bench:
    """What the figures share: a folder of their own, the upstream, and clients' findings of leaked secrets."""

    folder: Path
    upstream: Upstream
    leaks: list[str]
    quick: bool = False
    verbose: bool = False
    started: int = 0

    @asynccontextmanager
    async def service(
        self, default: str = "openai", scaled: bool = False, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[Server]:
        """The product. `default` is the provider of its agent."""
        server = await self.start(default, scaled, settings)
        try:
            yield server
        finally:
            await server.stop()

    async def start(
        self, default: str = "openai", scaled: bool = False, settings: Mapping[str, str] | None = None
    ) -> Server:
        self.started += 1
        folder = self.folder / str(self.started)
        folder.mkdir()
        return await self.restart(folder, default, scaled, settings)

    async def restart(
        self, folder: Path, default: str = "openai", scaled: bool = False, settings: Mapping[str, str] | None = None
    ) -> Server:
        """In the folder of one that has been started before."""
        module = [sys.executable, "-m", "benchmarks.reliability.launcher", str(folder), "scaled" if scaled else "-"]
        port = free_port()
        environment = self._environment(folder, default) | (SCALED if scaled else {}) | dict(settings or {})
        client = Client(port, canaries.CLIENT, canaries.ALL, self.leaks)
        server = spawn([*module, "--port", str(port)], environment, folder / "log", client)
        await server.healthy("/health")
        return server

    def lifespan_ended(self, server: Server) -> bool:
        return (server.log.parent / ENDED).exists()

    def _environment(self, folder: Path, default: str) -> dict[str, str]:
        return {
            **bare_environment(),
            "XDG_DATA_HOME": str(folder),
            "SKILL_AGENT_MODEL": f"{default}/agent",
            "SKILL_AGENT_ALLOWED_MODELS": ",".join(f"{name}/*" for name in PROVIDERS),
            "SKILL_AGENT_SKILLS": str(self.folder / "skills"),
            "SKILL_AGENT_STORE": f"sqlite:///{folder}/store.db",
            "SKILL_AGENT_API_KEYS": canaries.ACCEPTED,
            "SKILL_AGENT_LOG": "json",
            **providers_at(self.upstream.url),
        }


def providers_at(url: str) -> dict[str, str]:
    """The settings that send every provider's calls there."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": canaries.PROVIDER,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": canaries.PROVIDER,
        "AZURE_OPENAI_ENDPOINT": url,
        "AZURE_OPENAI_API_KEY": canaries.PROVIDER,
        "DATABRICKS_HOST": url,
        "DATABRICKS_TOKEN": canaries.PROVIDER,
    }


def bare_environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path, client: Client) -> Server:
    """In a session of its own, so that it can be ended with all that it starts."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )
    return Server(process, client, log)


@asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[Upstream]:
    command = [sys.executable, "-m", "benchmarks.reliability.upstream", *_certificate(folder)]
    log = folder / "upstream.log"
    server = spawn(command, bare_environment(), log, Client(0))
    try:
        until = time.monotonic() + PATIENCE
        while not log.read_bytes().endswith(b"}\n"):
            if time.monotonic() > until or server.process.poll() is not None:
                raise SystemExit(f"the upstream did not start: {log} says why")
            await asyncio.sleep(0.05)
        ports = json.loads(log.read_text().splitlines()[0])
        server.client.port = ports["port"]
        yield Upstream(server, ports)
    finally:
        server.kill()


def _certificate(folder: Path) -> list[str]:
    """One that nobody has signed, where there is an openssl to make it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-out", cert, "-keyout", key], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return ["--cert", str(cert), "--key", str(key)]


def write_skill(parent: Path) -> None:
    """A skill whose scripts do what scripts do wrong."""
    folder = parent / "faulty" / "scripts"
    folder.mkdir(parents=True)
    for path in (parent.parent, parent, parent / "faulty", folder):
        path.chmod(0o755)
    head = "---\nname: faulty\ndescription: Scripts that fail. Used when the service is tried.\n---\n"
    (parent / "faulty" / "SKILL.md").write_text(f"{head}Run scripts/quick.py.\n")
    for name, code in SCRIPTS.items():
        (folder / f"{name}.py").write_text(code)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
