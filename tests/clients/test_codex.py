"""The Codex CLI with this service as its model provider."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.clients.packages import NODE_MODULES, needs_node
from tests.clients.script import BREAKS, COMMAND, LIMITED, OURS, RESULT, TEXT, THINKS, told
from tests.surface import Service
from tests.upstream import Upstream

pytestmark = needs_node("@openai/codex")
MODELS = ("anthropic/claude-2-thinks", "openai/gpt-x", "skill-agent")
CONFIG = """
model = "skill-agent"
model_provider = "skill-agent"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
analytics.enabled = false
feedback.enabled = false

[model_providers.skill-agent]
name = "skill-agent"
base_url = "{url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


@dataclass(slots=True)
class Heard:
    items: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    usage: dict[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["type"] == kind]

    @property
    def text(self) -> str:
        return "".join(item["text"] for item in self.of("agent_message"))


class Codex:
    def __init__(self, home: Path, served: Service) -> None:
        (home / "work").mkdir(parents=True)
        (home / "config.toml").write_text(CONFIG.format(url=served.url), "utf-8")
        nowhere = "http://127.0.0.1:9"
        proxies = {"HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": "127.0.0.1"}
        self._home = home
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), **proxies}

    def __call__(self, *arguments: str, status: int = 0) -> Heard:
        command = [str(NODE_MODULES / ".bin" / "codex"), "exec", "--json", "--strict-config", "--skip-git-repo-check"]
        run = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=50,
            env=self._environment,
            cwd=self._home / "work",
            input="",
        )
        assert run.returncode == status, run.stderr + run.stdout
        heard = Heard()
        for event in map(json.loads, run.stdout.splitlines()):
            match event["type"]:
                case "item.completed":
                    heard.items.append(event["item"])
                case "turn.completed":
                    heard.usage = event["usage"]
                case "turn.failed":
                    heard.error = event["error"]["message"]
        return heard


@pytest.fixture
def codex(tmp_path: Path, served: Service) -> Codex:
    return Codex(tmp_path / "codex", served)


@pytest.mark.parametrize("model", MODELS)
def test_it_runs_a_command_and_tells_of_it(up: Upstream, codex: Codex, model: str) -> None:
    heard = codex("-m", model, "Run the command")
    (command,) = heard.of("command_execution")
    assert COMMAND in command["command"] and (command["exit_code"], command["aggregated_output"]) == (0, "42 euros\n")
    assert "42 euros" in heard.text and OURS[0] not in json.dumps(heard.items)
    think = ["thinking"] if model.endswith("thinks") else []
    skill = [f"call {OURS[0]}", "result"] if model == "skill-agent" else []
    turns = ["user", *skill, *think, "call exec_command", "result"]
    assert told(up.requests[-1])[-len(turns) :] == turns
    assert [item["text"] for item in heard.of("reasoning")] == ["".join(THINKS)] * 2 * len(think)


def test_it_patches_files_where_it_knows_the_model(codex: Codex, tmp_path: Path) -> None:
    """The name of a model of OpenAI's, which is an alias here, brings a tool whose input is plain text."""
    heard = codex("-m", "gpt-5.5", "Patch tea.txt")
    assert (tmp_path / "codex" / "work" / "tea.txt").read_text("utf-8") == f"{RESULT}\n"
    assert [change["kind"] for item in heard.of("file_change") for change in item["changes"]] == ["add"]


def test_a_session_goes_on(up: Upstream, codex: Codex) -> None:
    assert codex("Run the command").usage["output_tokens"] == 15
    again = codex("resume", "--last", "hi")
    assert again.text == TEXT
    assert told(up.requests[-1]).count("call exec_command") == 1


def test_a_session_is_summarised_where_it_grows_long(codex: Codex) -> None:
    assert codex("hi").text == TEXT
    assert codex("-c", "model_auto_compact_token_limit=12", "resume", "--last", "hi").text == TEXT


def test_structured_output_fits(codex: Codex, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    properties = {"item": {"type": "string"}, "price": {"type": "number"}}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    file.write_text(json.dumps(schema), "utf-8")
    assert json.loads(codex("--output-schema", str(file), "Tell me of tea").text) == {"item": "tea", "price": 3.5}
    file.write_text('{"type": "nothing"}', "utf-8")
    assert "this is not a JSON schema" in codex("--output-schema", str(file), "hi", status=1).error


@pytest.mark.parametrize(
    ("model", "words"),
    [("no-such-model", "does not exist here"), (LIMITED, "Quota exceeded"), (BREAKS, "finish reason")],
)
def test_errors_are_told(codex: Codex, model: str, words: str) -> None:
    assert words in codex("-m", model, "hi", status=1).error
