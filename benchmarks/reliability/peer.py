"""LiteLLM's proxy, for comparison: its documented defaults with as many retries as ours, over the same upstream.

Its environment is made under build/litellm, once. Where a figure scales time limits down, so are its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.reliability import canaries, drain, faults, leaks, recovery, streams
from benchmarks.reliability.client import Client
from benchmarks.reliability.expected import ROWS
from benchmarks.reliability.faults import Table
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.service import PROVIDERS, ROOT, Bench, Server, bare_environment, free_port, spawn
from benchmarks.reliability.trial import Place, Trial

NAME = "LiteLLM"
VENV = ROOT / "build" / "litellm"
REQUIREMENT = "litellm[proxy]>=1.108,<2"
RETRIES = 2
KEY = "sk-bench-9c1f6a2e7b3d5084"
FIGURES = ("R1", "R3", "R4", "R6", "R10")
AT_ONCE = 4
"""Cells of R1: more would have it miss its time limits for want of a processor."""
OURS_ALONE = ("full", "drain")
"""Scenes that it has no setting for, or that are another figure."""


def installed() -> str:
    """Its version; it is installed where it is not."""
    python = VENV / "bin" / "python"
    if not (VENV / "bin" / "litellm").exists():
        print(f"Making {VENV} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    code = "from importlib.metadata import version; print(version('litellm'))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


async def measure(name: str, bench: Bench, ours: Table | None) -> list[Figure]:
    """The figure of that name; `ours` is our table of R1, for the same cells."""
    match name:
        case "R1":
            return [await _faults(bench, ours)]
        case "R3":
            async with streams.bare(bench) as server:
                least = await streams.hold(server, streams.count(bench), "bare")
            async with proxy(bench) as server:
                held = await streams.hold(server, streams.count(bench), f"openai/{streams.KEY}")
            return [streams.figure(held, least, "R3", NAME)]
        case "R4":
            async with proxy(bench) as server:
                return [await leaks.leave(bench, server, leaks.WAYS[:4], NAME)]
        case "R6":
            async with proxy(bench) as server:
                return [drain.figure(await drain.drain(server, "openai/"), of=NAME)]
        case _:
            async with proxy(bench) as server:
                return [recovery.figure(await recovery.recover(bench, server.client, "openai/", "peer"), NAME)]


async def _faults(bench: Bench, ours: Table | None) -> Figure:
    """On the chat surface, without the rows that are about an agent, and without our codes."""
    agents = {row.number for row in ROWS if any(case.agent for case in row.cases)}
    wanted = [each for each in faults.cells(("chat",)) if each[0].number not in agents]
    wanted = [each for each in wanted if each[0].where not in OURS_ALONE]
    async with proxy(bench, scaled=True) as server:
        places = {provider: Place(server) for provider in PROVIDERS}
        places |= {name: Place(server, f"{name}-") for name in faults.networks(bench)}
        table = await faults.run(Trial(bench, places), wanted, at_once=AT_ONCE)
    sound, tried = table.sound()
    words = f"{sound} of {tried} cells of the chat surface: the failure is told, in time, and is no normal end"
    if ours is not None:
        words += f" (ours {ours.sound(iter(table.tried))[0]})"
    failures = [f"{cell}: {each}" for cell, verdict in table.tried.items() for each in verdict.gross]
    return Figure("R1", words, "all", sound == tried, {"sound": sound, "tried": tried}, failures, NAME)


@asynccontextmanager
async def proxy(bench: Bench, scaled: bool = False) -> AsyncIterator[Server]:
    """One worker."""
    bench.started += 1
    config = bench.folder / f"litellm-{bench.started}.json"
    config.write_text(json.dumps(_config(bench, scaled)))
    port = free_port()
    command = [str(VENV / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Prices come with the package; without this it would ask GitHub for them.
    environment = bare_environment() | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    server = spawn(command, environment, Path(config.with_suffix(".log")), Client(port, KEY))
    try:
        await server.healthy("/health/liveliness")
        yield server
    finally:
        await server.stop()


def _config(bench: Bench, scaled: bool) -> dict[str, Any]:
    """JSON is YAML too. Models by prefix, so that each request can name a fault."""
    places = {"": bench.upstream.url, **({f"{n}-": url for n, url in faults.networks(bench).items()} if scaled else {})}
    models = [_model(prefix, provider, url) for prefix, url in places.items() for provider in PROVIDERS]
    limits = {"timeout": 1, "stream_timeout": 1} if scaled else {}
    return {
        "model_list": models,
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"num_retries": RETRIES},
        "router_settings": {"num_retries": RETRIES, **limits},
    }


def _model(prefix: str, provider: str, url: str) -> dict[str, Any]:
    bases = {"openai": f"{url}/v1", "databricks": f"{url}/serving-endpoints"}
    given = {"model": f"{provider}/*", "api_base": bases.get(provider, url), "api_key": canaries.PROVIDER}
    if provider == "azure":
        given["api_version"] = "2024-10-21"
    return {"model_name": f"{prefix}{provider}/*", "litellm_params": given}
