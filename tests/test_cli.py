"""The command line as a person and a script use it: a process of its own, real pipes, a real terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.base import AuthError
from providers.scripted import ScriptedProvider, call
from server import create_app
from settings import Settings
from tests.servers import serve
from tests.terminals import PATIENCE, ROOT, Terminal, cli, environment
from tests.upstream import Upstream, chat_chunks, json_reply, sse


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(sse(chat_chunks(text="A lavender cookie.")))
        yield upstream


@pytest.fixture
def env(up: Upstream, tmp_path: Path) -> dict[str, str]:
    return environment(up.url, tmp_path)


def test_one_answer_is_alone_on_stdout(env: dict[str, str], up: Upstream) -> None:
    done = cli("-p", "Invent a cookie", env=env)
    assert (done.returncode, done.stdout) == (0, "A lavender cookie.\n")
    assert "tokens in" in done.stderr
    assert up.requests[0].json["messages"][-1] == {"role": "user", "content": "Invent a cookie"}


def test_piped_text_is_the_question(env: dict[str, str], up: Upstream) -> None:
    done = cli(env=env, given="Invent a cookie flavour with lavender\n")
    assert (done.returncode, done.stdout) == (0, "A lavender cookie.\n")
    assert up.requests[0].json["messages"][-1]["content"] == "Invent a cookie flavour with lavender"


def test_piped_text_is_context_beside_a_prompt(env: dict[str, str], up: Upstream) -> None:
    cli("-p", "Summarise", env=env, given="long notes")
    assert up.requests[0].json["messages"][-1]["content"] == "Summarise\n\nlong notes"


def test_no_question_is_said(env: dict[str, str]) -> None:
    done = cli(env=env)
    assert done.returncode == 2
    assert "no question" in done.stderr


def test_json_is_one_object(env: dict[str, str]) -> None:
    done = cli("-p", "hi", "--json", env=env)
    answer = json.loads(done.stdout)
    assert answer["text"] == "A lavender cookie."
    assert answer["finish_reason"] == "stop"
    assert answer["usage"] == {"input_tokens": 10, "output_tokens": 5}


def test_a_skill_is_shown_on_stderr(env: dict[str, str], up: Upstream) -> None:
    wanted = ("call_1", "activate_skill", '{"name": "cookie-flavor-generator"}')
    up.reply(sse(chat_chunks(tool_calls=[wanted])))
    done = cli("-p", "Invent a cookie", env=env)
    assert done.stdout == "A lavender cookie.\n"
    assert "· skill cookie-flavor-generator" in done.stderr
    assert "<skill_content" in up.requests[1].json["messages"][-1]["content"]


def test_a_pinned_skill_is_in_the_prompt(env: dict[str, str], up: Upstream) -> None:
    cli("-p", "hi", "--skill", "market-research", env=env)
    assert '<skill_content name="market-research">' in up.requests[0].json["messages"][0]["content"]
    assert cli("-p", "hi", "--skill", "nope", env=env).stderr.startswith("skill-agent: there is no skill 'nope'")


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout.strip() == ""
    return lines[0]


def test_a_wrong_key_is_one_line_and_exit_code_3(env: dict[str, str], up: Upstream) -> None:
    up.always(json_reply({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, status=401))
    done = cli("-p", "hi", env=env)
    assert done.returncode == 3
    assert one_line(done) == "skill-agent: openai: Incorrect API key provided"


def test_an_unreachable_provider_is_exit_code_4(env: dict[str, str]) -> None:
    done = cli("-p", "hi", env={**env, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert done.returncode == 4
    assert one_line(done).startswith("skill-agent: openai: the host 127.0.0.1:9 cannot be reached (connection refused)")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SKILL_AGENT_MODEL": "anthropic/claude"}, "ANTHROPIC_API_KEY is not set"),
        ({"SKILL_AGENT_MODEL": "mistral/large"}, "SKILL_AGENT_MODEL is 'mistral/large'"),
        ({"SKILL_AGENT_MODEL": "local/nope.gguf"}, "there is no such file"),
        ({"SKILL_AGENT_MODEL": f"local/{ROOT / 'LICENSE'}"}, "this is not a GGUF file"),
        ({"SKILL_AGENT_MAX_TURNS": "many"}, "SKILL_AGENT_MAX_TURNS is 'many'"),
        ({"SKILL_AGENT_MODEL": "azure/mine"}, "AZURE_OPENAI_ENDPOINT is not set"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(env: dict[str, str], change: dict[str, str], words: str) -> None:
    done = cli("-p", "hi", env={**env, **change})
    assert done.returncode == 2
    assert words in one_line(done)


def test_the_server_too_refuses_a_wrong_setting_in_one_line(env: dict[str, str]) -> None:
    for command in (["server.py"], ["cli.py", "serve"]):
        run = [sys.executable, str(ROOT / command[0]), *command[1:]]
        wrong = {**env, "SKILL_AGENT_MODEL": "nobody/nothing"}
        done = subprocess.run(run, env=wrong, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 2
        assert "SKILL_AGENT_MODEL is 'nobody/nothing'" in one_line(done)


def test_skills_are_listed_shown_checked_and_begun(env: dict[str, str], tmp_path: Path) -> None:
    rows = json.loads(cli("skills", "list", "--json", env=env).stdout)
    assert {"cookie-flavor-generator", "market-research", "skill-writer"} <= {row["name"] for row in rows}
    assert all(set(row) == {"name", "description", "path", "problems", "trust"} for row in rows)
    assert "name: skill-writer" in cli("skills", "show", "skill-writer", env=env).stdout
    assert cli("skills", "validate", env=env).returncode == 0
    mine = {**env, "SKILL_AGENT_SKILLS": str(tmp_path)}
    made = cli("skills", "new", "haiku-writer", env=mine)
    assert made.stdout.strip() == str(tmp_path / "haiku-writer" / "SKILL.md")
    assert cli("skills", "validate", str(tmp_path / "haiku-writer"), env=mine).returncode == 0
    assert cli("skills", "new", "Not A Name", env=mine).returncode == 1


def test_a_broken_skill_is_said_with_file_and_line(env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "broken" / "SKILL.md"
    file.parent.mkdir()
    file.write_text("---\nname: other\ndescription: d\n---\nBody\n")
    done = cli("skills", "validate", str(tmp_path), env=env)
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(str(file))}:2: error: ", done.stdout, re.MULTILINE)
    answered = cli("-p", "hi", env={**env, "SKILL_AGENT_SKILLS": str(tmp_path)})
    assert answered.stdout == "A lavender cookie.\n"


def test_models_and_doctor_say_what_there_is(env: dict[str, str]) -> None:
    assert "openai/test" in cli("models", env=env).stdout
    done = cli("doctor", env=env)
    assert done.returncode == 0
    assert "FAIL" not in done.stdout
    failed = cli("doctor", env={**env, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert failed.returncode == 1
    assert re.search(r"FAIL +network", failed.stdout)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/api/v1"])
def test_a_server_answers_with_its_activity(env: dict[str, str], suffix: str) -> None:
    provider = ScriptedProvider([[call("activate_skill", name="skill-writer")], "From afar."])
    with serve(create_app(Settings(), provider)) as url:
        done = cli("-p", "hi", "--url", url + suffix, env=env)
    assert (done.returncode, done.stdout) == (0, "From afar.\n")
    assert "· skill skill-writer" in done.stderr
    assert "small demo model" not in done.stderr


def test_a_server_gets_the_key_and_lists_its_models(env: dict[str, str], up: Upstream) -> None:
    cli("-p", "hi", "--url", up.url, "--api-key", "key-1", env=env)
    cli("-p", "hi", "--url", up.url, env={**env, "SKILL_AGENT_API_KEY": "key-2"})
    assert [request.headers["authorization"] for request in up.requests] == ["Bearer key-1", "Bearer key-2"]
    with serve(create_app(Settings(), ScriptedProvider([]))) as url:
        assert "skill-agent:skill-writer" in cli("models", "--url", url, env=env).stdout.split()


def test_a_servers_failure_is_one_line(env: dict[str, str]) -> None:
    with serve(create_app(Settings(), ScriptedProvider([AuthError("bad key", provider="openai", status=401)]))) as url:
        done = cli("-p", "hi", "--url", url, env=env)
    assert done.returncode == 1
    assert "openai: bad key" in one_line(done)
    assert cli("-p", "hi", "--url", "http://127.0.0.1:9", env=env).returncode == 4


def test_a_key_is_not_sent_in_the_clear(env: dict[str, str]) -> None:
    done = cli("-p", "hi", "--url", "http://example.invalid", "--api-key", "k", env=env)
    assert done.returncode == 2
    assert "https://" in one_line(done)


def test_a_databricks_profile_logs_in(env: dict[str, str], up: Upstream, tmp_path: Path) -> None:
    up.route("/oidc/v1/token", json_reply({"access_token": "oauth-1", "expires_in": 3600}))
    config = f"[robot]\nhost={up.url}\nclient_id=me\nclient_secret=hush\n[pat]\nhost={up.url}\ntoken=dapi123\n"
    (tmp_path / ".databrickscfg").write_text(config)
    done = cli("-p", "hi", "--url", up.url, "--databricks-profile", "robot", env=env)
    assert done.stdout == "A lavender cookie.\n"
    assert up.requests[-1].headers["authorization"] == "Bearer oauth-1"
    refused = cli("-p", "hi", "--url", up.url, "--databricks-profile", "pat", env=env)
    assert "personal access token" in one_line(refused)
    assert "dapi123" not in refused.stderr


# A terminal's child is forked, and the upstream has threads: Python warns of that combination only.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_conversation_remembers_and_ctrl_c_stops_only_the_answer(env: dict[str, str], up: Upstream) -> None:
    stalled = sse(chat_chunks(text="Well")[:2], done=False).but(stall=True)
    up.reply(sse(chat_chunks(text="One.")), sse(chat_chunks(text="Two.")), stalled, sse(chat_chunks(text="Three.")))
    screen = Terminal(env=env)
    for question, answer in (("first", "One."), ("second", "Two.")):
        screen.expect("> ")
        screen.type(f"{question}\n")
        screen.expect(answer)
    screen.expect("> ")
    screen.type("stuck\n")
    screen.expect("Well")
    screen.interrupt()
    screen.expect("stopped")
    screen.expect("> ")
    screen.type("third\n")
    screen.expect("Three.")
    screen.expect("> ")
    screen.type("\x04")
    assert screen.end() == 0
    said = [message["content"] for message in up.requests[-1].json["messages"][1:]]
    assert said == ["first", "One.", "second", "Two.", "third"]
    assert up.abandoned == 1


def test_json_stream_tells_what_happens(env: dict[str, str], up: Upstream) -> None:
    wanted = ("call_1", "activate_skill", '{"name": "cookie-flavor-generator"}')
    up.reply(sse(chat_chunks(reasoning="Hm.", tool_calls=[wanted])), sse(chat_chunks(text="Lavender\x1b[2J.")))
    done = cli("-p", "hi", "--json-stream", env=env)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [each["type"] for each in told]
    assert kinds[0] == "reasoning" and kinds[-1] == "finish" and {"skill_activated", "tool_end", "turn"} <= set(kinds)
    assert "".join(each["text"] for each in told if each["type"] == "text") == told[-1]["text"] == "Lavender\x1b[2J."
    assert "\x1b" not in done.stdout
    up.reply(json_reply({"error": {"message": "Bad key", "code": "invalid_api_key"}}, status=401))
    failed = cli("-p", "hi", "--json-stream", env=env)
    assert failed.returncode == 3
    assert json.loads(failed.stdout) == {"type": "error", "message": "Bad key", "code": "upstream_auth_error"}


def test_files_go_along(env: dict[str, str], up: Upstream, tmp_path: Path) -> None:
    (tmp_path / "pic.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("oat milk\n")
    cli("-p", "What?", "-a", "pic.png", "--attach", "notes.txt", env=env)
    parts = up.requests[0].json["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text", "text"]
    assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert [part["text"] for part in parts[1:]] == ["notes.txt:\n```txt\noat milk\n```", "What?"]
    gone = cli("-p", "What?", "-a", "gone.png", env=env)
    assert gone.returncode == 2
    assert one_line(gone) == "skill-agent: gone.png cannot be read: No such file or directory"


def test_a_session_is_gone_on_with(env: dict[str, str], up: Upstream) -> None:
    assert cli("-p", "x", "-c", env=env).returncode == 2
    cli("-p", "first", "--session", "trip", env=env)
    cli("-p", "second", "-c", env=env)
    said = [message["content"] for message in up.requests[-1].json["messages"] if message["role"] == "user"]
    assert said == ["first", "second"]


def test_a_system_prompt_that_is_not_there_is_named_as_it_was_given(env: dict[str, str]) -> None:
    done = cli("-p", "hi", "--system", "nope.md", env=env)
    assert done.returncode == 2
    assert one_line(done) == "skill-agent: --system is 'nope.md': the file cannot be read: No such file or directory"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_interrupted_answer_is_exit_code_130_and_the_provider_sees_it(env: dict[str, str], up: Upstream) -> None:
    up.always(sse(chat_chunks(text="Well, that")[:3], done=False).but(stall=True))
    for count, words in enumerate((["-p", "hi"], ["-p", "hi", "--json-stream"]), 1):
        screen = Terminal(*words, env=env)
        assert up.wait_requests(count, PATIENCE)
        screen.expect("Well")
        screen.interrupt()
        assert screen.end() == 130
    assert up.wait_closed()


def test_slips_in_settings_are_found(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"clock": {"command": "nope-nope"}}}')
    wrong = {"SKILL_AGENT_SKILL": "x", "SKILL_AGENT_FROBNICATE": "1", "SKILL_AGENT_MCP": str(tmp_path / "mcp.json")}
    done = cli("doctor", env={**env, **wrong})
    assert done.returncode == 1
    assert re.search(
        r"FAIL +settings +SKILL_AGENT_SKILL is not read by anything: is it SKILL_AGENT_SKILLS\?", done.stdout
    )
    assert re.search(r"FAIL +settings +SKILL_AGENT_FROBNICATE is not read by anything; docs/settings.md", done.stdout)
    assert re.search(r"FAIL +mcp +clock gives no tools", done.stdout)
    assert re.search(r"ok +credentials +OPENAI_API_KEY", done.stdout) and re.search(r"ok +network .* ms", done.stdout)
    bad = cli("doctor", env={**env, "SKILL_AGENT_MAX_TURNS": "x"})
    assert bad.returncode == 1 and "SKILL_AGENT_MAX_TURNS is 'x'" in bad.stdout


def test_doctor_says_which_credentials_are_refused(env: dict[str, str], up: Upstream) -> None:
    up.route("/v1/models", json_reply({"error": {"message": "Incorrect API key provided: sk-secret-canary"}}, 401))
    done = cli("doctor", env=env)
    assert done.returncode == 1
    assert re.search(r"FAIL +network .* HTTP 401: .* Is OPENAI_API_KEY right", done.stdout)
    assert "sk-secret-canary" not in done.stdout + done.stderr
    away = cli("doctor", "--url", "http://127.0.0.1:9", env=env)
    assert away.returncode == 1 and re.search(r"FAIL +server +the host 127.0.0.1:9 cannot be reached", away.stdout)
    down = cli("doctor", env={**env, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert re.search(
        r"FAIL +network +the host 127.0.0.1:9 cannot be reached \(connection refused\): proxy", down.stdout
    )


def test_a_shell_completes(env: dict[str, str]) -> None:
    script = cli("completion", "bash", env=env).stdout
    program = f"""{script}
complete_words() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _skill_agent; echo "${{COMPREPLY[*]}}"; }}
complete_words python cli.py ba
complete_words python cli.py --json
complete_words python cli.py skills va
complete_words python cli.py completion z
complete_words ./cli.py doctor --u
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=PATIENCE, env=env)
    assert done.stdout.splitlines() == ["batch", "--json --json-stream", "validate", "zsh", "--url"], done.stderr


def test_the_help_names_what_there_is_and_fits_a_narrow_terminal(env: dict[str, str]) -> None:
    shown = cli("--help", env={**env, "COLUMNS": "80"}).stdout
    every = cli("chat", "--help", env=env).stdout + cli("skills", "--help", env=env).stdout
    named = {*re.findall(r"(?:^  |, )(--[a-z-]+)", every, re.M), *re.findall(r"^    ([a-z]+) ", every, re.M)}
    short = {"--prompt", "--attach", "--continue"}
    assert {"--session", "--json-stream", "validate", "lock"} <= named
    assert all(name in shown for name in named - short) and {"-p", "-a", "-c"} <= set(re.findall(r"-[a-z]\b", shown))
    assert max(map(len, shown.splitlines())) <= 80
