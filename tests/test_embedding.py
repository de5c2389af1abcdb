"""The agent in somebody's script: the promise of CONTRACT.md, section 5."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from agent.run import Run
from agent_loop import Agent
from messages import Finish, Request
from providers.scripted import ScriptedProvider
from settings import Settings
from tests.agents import write_skill

ROOT = Path(__file__).resolve().parents[1]
CALL = {"index": 0, "id": "1", "function": {"name": "look_up_price", "arguments": '{"item": "cinnamon"}'}}

SCRIPT = '''
import asyncio

from agent_loop import Agent
from messages import Finish, TextDelta, user
from providers.scripted import ScriptedProvider, call


def look_up_price(item: str, currency: str = "EUR") -> float:
    """The price of an item."""
    return {"cinnamon": 3.5}[item]


provider = ScriptedProvider([
    [call("activate_skill", name="cookies")],
    [call("look_up_price", item="cinnamon")],
    "Cinnamon stars.",
    "Cocoa.",
])
agent = Agent(provider=provider, skills="skills", tools=[look_up_price])
result = agent.run_sync("Invent a cookie flavour for December")
print(result.text, result.usage.total, len(result.steps))
print([part.text for message in result.messages for part in message.results][1])


async def main() -> None:
    async for event in agent.stream([user("Another one?"), *result.messages, user("And another?")]):
        if isinstance(event, TextDelta):
            print(event.text)
    assert isinstance(event, Finish) and event.reason == "stop"
    await agent.aclose()


asyncio.run(main())
'''


def test_a_script_elsewhere_embeds_the_agent_without_a_warning(tmp_path: Path) -> None:
    write_skill(tmp_path / "skills", "cookies", "Invent cookie flavors.")
    (tmp_path / "script.py").write_text(SCRIPT, "utf-8")
    command = [sys.executable, "-W", "error", "-X", "dev", "script.py"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    # On a busy machine asyncio's debug mode says of anything that it took long.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, said) == (0, [])
    assert done.stdout.splitlines() == ["Cinnamon stars. 6 8", "3.5", "Cocoa."]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py", "skills"]


async def pieces(body: str) -> AsyncIterator[bytes]:
    yield body.encode()


@pytest.mark.parametrize(
    "streamed",
    [
        True,
        False,
    ],
)
def test_a_transport_stands_for_the_network_and_run_sync_works_again(streamed: bool) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["authorization"])
        turn = {"content": "Cinnamon stars."} if len(asked) % 2 == 0 else {"tool_calls": [CALL]}
        chunk = {"choices": [{"index": 0, "delta": turn, "finish_reason": "stop"}]}
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        head = {"content-type": "text/event-stream"}
        return httpx.Response(200, content=pieces(body) if streamed else body, headers=head)

    def look_up_price(item: str) -> float:
        """The price of an item."""
        return len(item) / 2

    agent = Agent(
        "openai/gpt-5-mini",
        tools=[look_up_price],
        settings=Settings(openai_api_key="sk-1"),
        transport=httpx.MockTransport(answer),
    )
    for _ in range(2):
        result = agent.run_sync("Invent a cookie flavour")
        assert result.text == "Cinnamon stars." and result.messages[1].results[0].text == "4.0"
    assert asked == ["Bearer sk-1"] * 4


def test_a_stream_that_is_made_outside_of_a_loop_begins_with_its_first_event() -> None:
    provider = ScriptedProvider(["Cinnamon stars."])
    events = Agent(provider=provider, settings=Settings()).stream("Invent a cookie flavour")

    async def last() -> object:
        return [event async for event in events][-1]

    finish = asyncio.run(last())
    assert isinstance(finish, Finish) and finish.text == "Cinnamon stars."


async def test_what_a_run_has_made_is_freed_with_its_end() -> None:
    """No circle of references is left to be found as garbage, which a busy service would look for all the time."""

    def answer(request: httpx.Request) -> httpx.Response:
        chunk = {"choices": [{"index": 0, "delta": {"content": "Cinnamon stars."}, "finish_reason": "stop"}]}
        return httpx.Response(200, json=chunk)

    transport = httpx.MockTransport(answer)
    agent = Agent("openai/m", groups=("skills", "files"), settings=Settings(openai_api_key="sk-1"), transport=transport)

    def alive() -> list[object]:
        return [each for each in gc.get_objects() if isinstance(each, Run | Request)]

    gc.collect()
    others = alive()
    gc.disable()
    try:
        for _ in range(3):
            assert (await agent.run("Invent a cookie flavour")).text == "Cinnamon stars."
        left = len(alive()) - len(others)
    finally:
        gc.enable()
    assert left == 0


def test_a_script_without_an_answer_says_what_is_missing(tmp_path: Path) -> None:
    """A model whose key is not set is told when the agent is made, not in the middle of an answer."""
    script = 'from agent_loop import Agent\nAgent(model="anthropic/claude-sonnet-4-5")\n'
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("settings.SettingsError: ANTHROPIC_API_KEY is not set")
