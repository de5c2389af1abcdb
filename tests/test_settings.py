"""Settings: every variable, what is refused and how, and that nothing is read before it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from defaults import default_store
from key_forms import ApiKey, Rate
from settings import HERE, Settings, SettingsError

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.path.expanduser("~"))

GOOD: dict[str, tuple[str, str, Any]] = {
    "SKILL_AGENT_MODEL": ("model", "local//models/qwen.gguf", "local//models/qwen.gguf"),
    "SKILL_AGENT_FALLBACKS": ("fallbacks", "openai/a, local/b,openai/a", ("openai/a", "local/b")),
    "SKILL_AGENT_TIMEOUTS": (
        "timeouts",
        "first_byte=90, databricks.whole=1.5",
        (("first_byte", 90.0), ("databricks.whole", 1.5)),
    ),
    "SKILL_AGENT_ALLOWED_MODELS": ("allowed_models", "openai/gpt-*, local/*,", ("openai/gpt-*", "local/*")),
    "SKILL_AGENT_MODEL_ALIASES": (
        "aliases",
        "gpt-*=skill-agent, *=openai/a=b",
        (("gpt-*", "skill-agent"), ("*", "openai/a=b")),
    ),
    "SKILL_AGENT_SKILLS": ("skills", f"~/skills{os.pathsep}/more{os.pathsep}", (HOME / "skills", Path("/more"))),
    "SKILL_AGENT_SKILLS_LOCK": ("skills_lock", "~/skills.lock", HOME / "skills.lock"),
    "SKILL_AGENT_SYSTEM_PROMPT": ("system_prompt", __file__, Path(__file__)),
    "SKILL_AGENT_TOOLS": ("tools", "none", ()),
    "SKILL_AGENT_MAX_TURNS": ("max_turns", "7", 7),
    "SKILL_AGENT_MAX_SECONDS": ("max_seconds", "1.5", 1.5),
    "SKILL_AGENT_MAX_TOKENS": ("max_tokens", "100000", 100000),
    "SKILL_AGENT_MAX_TOOL_CALLS": ("max_tool_calls", "9", 9),
    "SKILL_AGENT_MAX_COST": ("max_cost", "0.5", 0.5),
    "SKILL_AGENT_API_KEYS": ("api_keys", f"laptop:{'A' * 64}", (ApiKey("laptop", "a" * 64),)),
    "SKILL_AGENT_RATE_LIMIT": (
        "rates",
        "60/minute, 9 tokens per 2 hours",
        (Rate(60, 60), Rate(9, 7200, "tokens")),
    ),
    "SKILL_AGENT_MAX_RUNNING": ("max_running", "50", 50),
    "SKILL_AGENT_MAX_BODY": ("max_body", "65536", 65536),
    "SKILL_AGENT_AUTH": ("auth", "none", "none"),
    "SKILL_AGENT_ON_BEHALF_OF_USER": ("on_behalf_of_user", "1", True),
    "SKILL_AGENT_CORS": ("cors", "https://a.example, http://b:3000", ("https://a.example", "http://b:3000")),
    "SKILL_AGENT_SANDBOX": ("sandbox", "required", "required"),
    "SKILL_AGENT_EXECUTE": ("execute", "1", True),
    "SKILL_AGENT_ASK": ("ask", "run_*, mcp__shop__*", ("run_*", "mcp__shop__*")),
    "SKILL_AGENT_MCP": ("mcp", __file__, Path(__file__)),
    "SKILL_AGENT_MODELS": ("models", __file__, Path(__file__)),
    "SKILL_AGENT_STORE": ("store", "postgresql://u:sk-7@db/x", "postgresql://u:sk-7@db/x"),
    "SKILL_AGENT_DRAIN_SECONDS": ("drain_seconds", "2.5", 2.5),
    "SKILL_AGENT_LOG": ("log", "json:debug", "json:debug"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otlp_endpoint", "http://127.0.0.1:4318/", "http://127.0.0.1:4318"),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ("otlp_traces_endpoint", "https://x.example/v1", "https://x.example/v1"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("otlp_headers", "k=sk-8", "k=sk-8"),
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": ("otlp_traces_headers", "k=sk-9", "k=sk-9"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("otlp_protocol", "grpc", "grpc"),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ("otlp_traces_protocol", "grpc", "grpc"),
    "OTEL_TRACES_EXPORTER": ("traces_exporter", "none", "none"),
    "OTEL_SDK_DISABLED": ("otel_disabled", "True", True),
    "OPENAI_API_KEY": ("openai_api_key", "sk-1", "sk-1"),
    "OPENAI_BASE_URL": ("openai_base_url", "http://127.0.0.1:9000/v1/", "http://127.0.0.1:9000/v1"),
    "ANTHROPIC_API_KEY": ("anthropic_api_key", "sk-2", "sk-2"),
    "ANTHROPIC_BASE_URL": ("anthropic_base_url", "https://proxy.example", "https://proxy.example"),
    "AZURE_OPENAI_ENDPOINT": ("azure_endpoint", "https://x.openai.azure.com/", "https://x.openai.azure.com"),
    "AZURE_OPENAI_API_KEY": ("azure_api_key", "sk-3", "sk-3"),
    "AZURE_OPENAI_AD_TOKEN": ("azure_ad_token", "sk-4", "sk-4"),
    "OPENAI_API_VERSION": ("azure_api_version", "2024-10-21", "2024-10-21"),
    "DATABRICKS_HOST": ("databricks_host", "adb-1.azuredatabricks.net/", "https://adb-1.azuredatabricks.net"),
    "DATABRICKS_TOKEN": ("databricks_token", "sk-5", "sk-5"),
    "DATABRICKS_CLIENT_ID": ("databricks_client_id", "client", "client"),
    "DATABRICKS_CLIENT_SECRET": ("databricks_client_secret", "sk-6", "sk-6"),
    "DATABRICKS_CONFIG_PROFILE": ("databricks_profile", "dev", "dev"),
    "DATABRICKS_CONFIG_FILE": ("databricks_config", "~/other.cfg", HOME / "other.cfg"),
    "SKILL_AGENT_DATABRICKS_CLAUDE": ("databricks_claude", "chat", "chat"),
}

BAD: list[tuple[str, str, str]] = [
    ("SKILL_AGENT_FALLBACKS", "openai/a,claude", "provider/model"),
    ("SKILL_AGENT_TIMEOUTS", "first=3", "with a limit of connect, first_byte"),
    ("SKILL_AGENT_TIMEOUTS", "google.connect=3", "provider.limit=seconds"),
    ("SKILL_AGENT_TIMEOUTS", "whole=0", "seconds above 0"),
    ("SKILL_AGENT_MODEL", "gpt-5", "provider/model"),
    ("SKILL_AGENT_MODEL", "openai/", "databricks, anthropic, openai, azure, local"),
    ("SKILL_AGENT_MODEL", "acme/gpt", "provider/model"),
    ("SKILL_AGENT_MODEL_ALIASES", "gpt-4", "glob=model"),
    ("SKILL_AGENT_MODEL_ALIASES", "=x", "glob=model"),
    ("SKILL_AGENT_SKILLS", f"/a{os.pathsep}untrusted,trusted", "./trusted"),
    ("SKILL_AGENT_SKILLS", f"/a{os.pathsep}Untrusted", "./Untrusted"),
    ("SKILL_AGENT_SKILLS", f"/a{os.pathsep}un-trusted", ":trusted or :untrusted"),
    ("SKILL_AGENT_SYSTEM_PROMPT", "/no/such/file.md", "text file"),
    ("SKILL_AGENT_SYSTEM_PROMPT", "/tmp", "text file"),
    ("SKILL_AGENT_SYSTEM_PROMPT", "x" * 5000, "text file"),
    ("SKILL_AGENT_SYSTEM_PROMPT", "~nobody-here/x", "text file"),
    ("SKILL_AGENT_TOOLS", "skills,shell", "shell is not one of skills"),
    ("SKILL_AGENT_MAX_TURNS", "0", "whole number of at least 1"),
    ("SKILL_AGENT_MAX_TURNS", "-3", "whole number"),
    ("SKILL_AGENT_MAX_TURNS", "many\nmore", "whole number"),
    ("SKILL_AGENT_MAX_TOKENS", "1e5", "whole number"),
    ("SKILL_AGENT_MAX_SECONDS", "nan", "seconds above 0"),
    ("SKILL_AGENT_MAX_SECONDS", "inf", "seconds above 0"),
    ("SKILL_AGENT_MAX_SECONDS", "10m", "seconds above 0"),
    ("SKILL_AGENT_MAX_COST", "free", "US dollars above 0"),
    ("SKILL_AGENT_MAX_TOOL_CALLS", "0", "whole number of at least 1"),
    ("SKILL_AGENT_RATE_LIMIT", "60", "as in 60/minute"),
    ("SKILL_AGENT_RATE_LIMIT", "0/minute", "as in 60/minute"),
    ("SKILL_AGENT_RATE_LIMIT", "5/0 minutes", "as in 60/minute"),
    ("SKILL_AGENT_RATE_LIMIT", "5 words/minute", "as in 60/minute"),
    ("SKILL_AGENT_RATE_LIMIT", ",", "as in 60/minute"),
    ("SKILL_AGENT_MAX_RUNNING", "0", "whole number of at least 1"),
    ("SKILL_AGENT_MAX_BODY", "4MB", "whole number of at least 1"),
    ("SKILL_AGENT_AUTH", "open", "auto or none"),
    ("SKILL_AGENT_CORS", "*", "expected origins"),
    ("SKILL_AGENT_CORS", "https://a.example/path", "expected origins"),
    ("SKILL_AGENT_SANDBOX", "on", "required, best or off"),
    ("SKILL_AGENT_EXECUTE", "yes", "1 or 0"),
    ("SKILL_AGENT_MCP", "/no/such.json", "text file"),
    ("SKILL_AGENT_STORE", "/var/lib/store.db", "sqlite:///path"),
    ("SKILL_AGENT_STORE", "postgresql://", "postgresql://user"),
    ("SKILL_AGENT_STORE", "redis://x", "sqlite:///path"),
    ("SKILL_AGENT_DRAIN_SECONDS", "0", "seconds above 0"),
    ("SKILL_AGENT_LOG", "loud", "text, json, text:debug or json:debug"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "http://"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector", "http://"),
    ("OPENAI_BASE_URL", "api.openai.com/v1", "https://"),
    ("OPENAI_BASE_URL", "https://", "https://"),
    ("OPENAI_BASE_URL", "https://[::1/v1", "https://"),
    ("OPENAI_BASE_URL", "https://host:99999/v1", "https://"),
    ("ANTHROPIC_BASE_URL", "https://a b", "https://"),
    ("AZURE_OPENAI_ENDPOINT", "ftp://x", "https://"),
    ("DATABRICKS_HOST", "file:///etc", "https://"),
    ("SKILL_AGENT_DATABRICKS_CLAUDE", "openai", "messages or chat"),
]


@pytest.mark.parametrize("name", GOOD)
def test_each_variable_is_read(name: str) -> None:
    field, value, expected = GOOD[name]
    read = Settings.from_env({name: f" {value}\n"})
    assert getattr(read, field) == expected
    others = [each.name for each in fields(Settings) if each.name != field]
    unset = Settings.from_env({})
    assert [getattr(read, other) for other in others] == [getattr(unset, other) for other in others]


def test_no_field_is_without_a_variable() -> None:
    # Two variables of the platform make `databricks_app`; tests/test_auth.py shows it.
    read = {field for field, _, _ in GOOD.values()} | {"databricks_app"}
    assert read == {field.name for field in fields(Settings)}


def test_blank_is_unset() -> None:
    assert Settings.from_env(dict.fromkeys(GOOD, "  ")) == Settings.from_env({})


def test_the_defaults_are_those_that_are_promised() -> None:
    read = Settings.from_env({})
    assert (read.max_turns, read.max_seconds, read.max_tokens) == (50, 600.0, None)
    assert read.skills == (HERE / "skills",) and read.system_prompt == HERE / "system_prompt.md"
    assert read.databricks_config == HOME / ".databrickscfg"
    bare = {
        field.name: getattr(Settings(), field.name) for field in fields(Settings) if field.name != "databricks_config"
    }
    assert bare == {name: getattr(read, name) for name in bare}


@pytest.mark.parametrize(("name", "value", "accepted"), BAD)
def test_what_cannot_be_right_is_refused_in_one_line(name: str, value: str, accepted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})
    words = str(caught.value)
    assert words.startswith(f"{name} is {value!r}: ") and accepted in words
    assert len(words.splitlines()) == 1 and caught.value.__cause__ is None


ADDRESSES = ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT", "DATABRICKS_HOST"]
ADDRESSES += ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_with_a_password_is_refused_and_not_said_back(name: str) -> None:
    with pytest.raises(SettingsError, match=r"https://host/v1.*without a user and a password") as caught:
        Settings.from_env({name: "https://who:sk-7@host/v1"})
    assert "sk-7" not in str(caught.value)


def test_a_key_in_the_wrong_variable_is_not_said_back() -> None:
    with pytest.raises(SettingsError, match=r"SKILL_AGENT_MODEL is '\[redacted\]'"):
        Settings.from_env({"SKILL_AGENT_MODEL": "sk-ant-api03-0123456789abcdef"})


def test_a_home_that_cannot_be_found_is_no_error() -> None:
    read = Settings.from_env({"SKILL_AGENT_SKILLS": "~nobody-here/skills"})
    assert read.skills == (Path("~nobody-here/skills"),)


def test_secrets_are_never_shown() -> None:
    secret = {name: value for name, (field, value, _) in GOOD.items() if value.startswith("sk-")}
    read = Settings.from_env(secret)
    assert sorted(read.secrets) == sorted(secret.values()) and len(secret) == 6
    assert "sk-" not in repr(read) and "sk-" not in str(read)
    hidden = {field.name for field in fields(Settings) if not field.repr}
    assert hidden == {GOOD[name][0] for name in secret} | {"store", "otlp_headers", "otlp_traces_headers"}


def test_headers_for_a_collector_are_secrets_and_plain_names_in_them_are_not() -> None:
    headers = "authorization=Bearer%20otel-7f3a9c5e,x-team=baking"
    read = Settings.from_env({"OTEL_EXPORTER_OTLP_HEADERS": headers, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "key-9f8e7"})
    assert set(read.secrets) == {"Bearer%20otel-7f3a9c5e", "Bearer otel-7f3a9c5e", "otel-7f3a9c5e", "key-9f8e7"}
    assert "7f3a" not in repr(read) and "9f8e" not in repr(read)


def test_spans_are_sent_where_an_endpoint_is_set_and_nothing_is_switched_off() -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        asked = {name: "http://127.0.0.1:4318"}
        assert Settings.from_env({**asked, "OTEL_SDK_DISABLED": "1"}).traces
        assert not Settings.from_env({**asked, "OTEL_SDK_DISABLED": "true"}).traces
        assert not Settings.from_env({**asked, "OTEL_TRACES_EXPORTER": "none"}).traces
    assert not Settings.from_env({"OTEL_TRACES_EXPORTER": "otlp"}).traces


def test_the_stores_password_is_a_secret() -> None:
    read = Settings.from_env({"SKILL_AGENT_STORE": "postgresql://u:p4ssword@db/x"})
    assert read.secrets == ("p4ssword",) and "p4ssword" not in repr(read)
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({"SKILL_AGENT_STORE": "mysql://u:p4ssword@db/x"})
    assert "p4ssword" not in str(raised.value)


def test_the_servers_store_lies_in_the_users_data_folder(tmp_path: Path) -> None:
    assert default_store({"XDG_DATA_HOME": str(tmp_path)}) == f"sqlite:///{tmp_path}/skill-agent/store.db"
    assert (tmp_path / "skill-agent").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    assert default_store({"XDG_DATA_HOME": str(tmp_path / "file")}) == ""
    assert Settings().secrets == ()


WATCH = """
import os, sys

root, module = sys.argv[1:]
sys.path.insert(0, root)
places = tuple(os.path.abspath(place) for place in sys.path)
seen = []


def ours(frame):
    # Up to the import statement: what other packages read while they are imported is theirs.
    while frame and "importlib" not in frame.f_code.co_filename:
        file = frame.f_code.co_filename
        if file.startswith(root + os.sep) and "site-packages" not in file:
            return True
        frame = frame.f_back
    return False


def hook(event, args):
    if event not in ("open", "os.listdir", "os.scandir", "glob.glob") or not isinstance(args[0], (str, bytes)):
        return
    path = os.path.abspath(os.fsdecode(args[0]))
    # The environment may lie inside of the project.
    inside = (path == root or path.startswith(root + os.sep)) and "site-packages" not in path
    good = path.endswith((".py", ".pyc")) or event == "os.listdir" if inside else path.startswith(places)
    if not good or ours(sys._getframe(1)):
        seen.append(f"{event} {path}")


class Watched(type(os.environ)):
    def __getitem__(self, key):
        if ours(sys._getframe(1)):
            seen.append(f"environment {key}")
        return super().__getitem__(key)

    def __iter__(self):
        if ours(sys._getframe(1)):
            seen.append("environment")
        return super().__iter__()


os.environ.__class__ = Watched
sys.addaudithook(hook)
__import__(module)
count = len(seen)
from settings import Settings
Settings.from_env()
assert len(seen) > count, "the watch sees nothing"
print("\\n".join(seen[:count]))
"""


@pytest.mark.parametrize("module", ["settings", "agent_loop", "server", "cli", "skill_store", "providers.scripted"])
def test_importing_reads_neither_the_environment_nor_the_disk(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-B", "-c", WATCH, str(ROOT), module]
    done = subprocess.run(command, env={}, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
