"""Simon Willison's `llm`: models of `extra-openai-models.yaml`, over Chat Completions and over Responses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from tests.clients.packages import package
from tests.clients.script import ASK, BREAKS, COSTS, LIMITED, MODELS, RESULT, TEXT
from tests.surface import Service

package("llm")

Surface = Literal["chat", "responses"]
NAMED = ("anthropic/claude-2-thinks", "skill-agent")
"""Each call starts a process: two models are enough."""
FUNCTION = f"""
def price(item: str) -> str:
    "The price of an item."
    return "{RESULT}"
"""
pytestmark = pytest.mark.parametrize("surface", ["chat", "responses"])


@pytest.fixture
def home(served: Service, surface: Surface, tmp_path: Path) -> Path:
    models = [
        {
            "model_id": f"my-{name}",
            "model_name": name,
            "api_base": f"{served.url}/v1",
            "supports_tools": True,
            "supports_schema": True,
            "responses": surface == "responses",
        }
        for name in (*MODELS, LIMITED, BREAKS, "no-such-model")
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models), "utf-8")
    return tmp_path


def run(home: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LLM_USER_PATH": str(home), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "llm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment, input="")
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize("model", NAMED)
def test_text_comes_whole_and_streamed(home: Path, model: str) -> None:
    assert run(home, "-m", f"my-{model}", "--no-stream", "hi").stdout == f"{TEXT}\n"
    streamed = run(home, "-m", f"my-{model}", "--usage", "-s", "Be kind.", "hi")
    assert streamed.stdout == f"{TEXT}\n" and "Token usage: " in streamed.stderr


@pytest.mark.parametrize("model", NAMED)
def test_tools_are_run_and_the_conversation_goes_on(home: Path, model: str) -> None:
    how = ("-m", f"my-{model}", "--functions", FUNCTION, "--td")
    first = run(home, *how, ASK)
    assert first.stdout.strip() == COSTS and first.stderr.count("Tool call: price({'item': 'tea'})") == 1
    again = run(home, "--continue", *how, "--no-stream", "What do tea and milk cost?")
    assert again.stdout.strip() == f"It costs {RESULT} and {RESULT}."
    assert again.stderr.count("Tool call: price") == 2 and "activate_skill" not in first.stderr + again.stderr


@pytest.mark.parametrize("model", NAMED)
def test_structured_output_fits(home: Path, model: str) -> None:
    found = run(home, "-m", f"my-{model}", "--schema", "item, price float, grams int", "Tell me of tea")
    assert json.loads(found.stdout) == {"item": "tea", "price": 3.5, "grams": 3}


@pytest.mark.parametrize(
    ("model", "how", "words"),
    [
        ("no-such-model", (), "The model 'no-such-model' does not exist"),
        ("skill-agent", ("--schema", '{"type": "nothing"}'), "this is not a JSON schema"),
        (LIMITED, ("--no-stream",), "money is spent"),
        (BREAKS, (), "finish reason"),
    ],
)
def test_errors_are_told(home: Path, model: str, how: tuple[str, ...], words: str) -> None:
    assert words in run(home, "-m", f"my-{model}", *how, "hi", status=1).stderr


def test_an_address_is_enough(served: Service, home: Path, surface: Surface) -> None:
    command = ("openai", "endpoint", f"{served.url}/v1")
    if surface == "chat":
        assert {"skill-agent", *MODELS} <= set(run(home, *command, "--models").stdout.split())
    over = () if surface == "chat" else ("--responses",)
    assert run(home, *command, "-m", "skill-agent", *over, "hi").stdout == f"{TEXT}\n"
