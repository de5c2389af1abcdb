"""All settings, read once from the environment. Nothing is read on import.

A variable that cannot be right raises `SettingsError` with one line: its name, what was read, what is accepted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import setting_forms as forms
from key_forms import ApiKey, Rate, keys, rates
from redaction import Redaction, is_secret
from setting_forms import PROVIDERS, TOOL_GROUPS
from skill_store.trust import Untrusted

__all__ = ["PROVIDERS", "TOOL_GROUPS", "Limits", "Settings", "SettingsError"]
HERE = Path(__file__).resolve().parent
T = TypeVar("T")


class SettingsError(Exception):
    """A setting that cannot be right, in one line."""

    def __init__(self, name: str, accepted: str, read: str | None = None) -> None:
        got = "is not set" if read is None else f"is {read!r}"
        super().__init__(f"{name} {got}: {accepted}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one run. None is no limit. `cost` is in US dollars and counts where the model's prices are known."""

    turns: int = 50
    seconds: float = 600.0
    tokens: int | None = None
    calls: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    model: str = ""
    """SKILL_AGENT_MODEL: `provider/model`. Empty: the first provider with credentials, else the local model."""

    fallbacks: tuple[str, ...] = ()
    """SKILL_AGENT_FALLBACKS: comma-separated `provider/model` that are tried in order when one cannot answer."""

    allowed_models: tuple[str, ...] = ()
    """SKILL_AGENT_ALLOWED_MODELS: comma-separated globs of `provider/model` that a request may name. Empty: the model
    and its fallbacks."""

    timeouts: tuple[tuple[str, float], ...] = ()
    """SKILL_AGENT_TIMEOUTS: comma-separated `limit=seconds` or `provider.limit=seconds` of one model call; the limits
    are `connect`, `first_byte`, `between_bytes` and `whole`, which has the repeats and the waits between them in it."""

    aliases: tuple[tuple[str, str], ...] = ()
    """SKILL_AGENT_MODEL_ALIASES: comma-separated `glob=model`, for clients with a fixed model name."""

    skills: tuple[Path | Untrusted, ...] = (HERE / "skills",)
    """SKILL_AGENT_SKILLS: folders that hold skill folders, separated as in PATH; the first of a name wins. Behind a
    folder may stand `:untrusted` (or `:trusted`)."""

    skills_lock: Path | None = None
    """SKILL_AGENT_SKILLS_LOCK: a lock file for all skills. Unset: `skills.lock` beside each folder, if it is there."""

    system_prompt: Path = HERE / "system_prompt.md"
    """SKILL_AGENT_SYSTEM_PROMPT: a text file."""

    tools: tuple[str, ...] = TOOL_GROUPS
    """SKILL_AGENT_TOOLS: which groups of built-in tools the agent has."""

    max_turns: int = 50
    """SKILL_AGENT_MAX_TURNS: model calls in one run, with all that it delegates."""

    max_seconds: float = 600.0
    """SKILL_AGENT_MAX_SECONDS: how long one run may take."""

    max_tokens: int | None = None
    """SKILL_AGENT_MAX_TOKENS: input and output tokens of one run, all its model calls together."""

    max_tool_calls: int | None = None
    """SKILL_AGENT_MAX_TOOL_CALLS: tools that one run may call."""

    max_cost: float | None = None
    """SKILL_AGENT_MAX_COST: US dollars that one run may cost, where the model's prices are known."""

    api_keys: tuple[ApiKey, ...] = ()
    """SKILL_AGENT_API_KEYS: accepted keys as `name:sha256hex`, comma-separated, or `@path` of a file of them, where a
    line may go on with `models=`, `skills=`, `limit=` and `tokens=` (see `key_forms.keys`)."""

    rates: tuple[Rate, ...] = ()
    """SKILL_AGENT_RATE_LIMIT: what each caller may have models do, comma-separated, as in `60/minute` (requests) and
    `100000 tokens/minute` (input and output). A key's own `limit=` and `tokens=` stand in for them."""

    max_running: int = 1000
    """SKILL_AGENT_MAX_RUNNING: answers and background runs that are made at a time; more wait shortly, then get 503."""

    max_body: int = 4 * 2**20
    """SKILL_AGENT_MAX_BODY: bytes that the body of a request may have; Databricks takes 4 MB."""

    auth: str = "auto"
    """SKILL_AGENT_AUTH: `none` opens the service to all; `auto` without keys serves this machine only."""

    databricks_app: bool = False
    """DATABRICKS_APP_NAME with DATABRICKS_APP_PORT: the service runs behind Databricks' proxy, which asks who calls."""

    on_behalf_of_user: bool = False
    """SKILL_AGENT_ON_BEHALF_OF_USER: `1`: behind Databricks' proxy, models and MCP servers of Databricks are asked with
    the caller's own token."""

    cors: tuple[str, ...] = ()
    """SKILL_AGENT_CORS: comma-separated origins whose pages may call the service, as in https://chat.example.com."""

    sandbox: Literal["required", "best", "off"] = "best"
    """SKILL_AGENT_SANDBOX: the least isolation that skills' scripts may run under."""

    execute: bool = False
    """SKILL_AGENT_EXECUTE: `1` lets the model run commands of its own in the sandbox."""

    ask: tuple[str, ...] = ()
    """SKILL_AGENT_ASK: comma-separated globs of tools that a person has to allow each time."""

    mcp: Path | None = None
    """SKILL_AGENT_MCP: a JSON file with `mcpServers`."""

    models: Path | None = None
    """SKILL_AGENT_MODELS: a JSON file of facts about models (window, output, prices), asked before ours."""

    store: str = field(default="", repr=False)
    """SKILL_AGENT_STORE: `sqlite:///path` or `postgresql://…`. Empty: the server's is a SQLite file of the user's."""

    drain_seconds: float = 10.0
    """SKILL_AGENT_DRAIN_SECONDS: what answers may still take when the service is told to stop."""

    log: str = ""
    """SKILL_AGENT_LOG: `text` or `json`, with `:debug` for more. Empty: text on a terminal, else json."""

    otlp_endpoint: str = ""
    """OTEL_EXPORTER_OTLP_ENDPOINT: where spans are sent to, at `/v1/traces`. Empty, as the next: nothing is traced.
    OpenTelemetry's SDK reads these variables and others itself."""

    otlp_traces_endpoint: str = ""
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: the whole address instead."""

    otlp_headers: str = field(default="", repr=False)
    """OTEL_EXPORTER_OTLP_HEADERS: comma-separated `name=value`, percent-encoded; taken for secrets."""

    otlp_traces_headers: str = field(default="", repr=False)
    """OTEL_EXPORTER_OTLP_TRACES_HEADERS: those of spans instead."""

    otlp_protocol: str = "http/protobuf"
    """OTEL_EXPORTER_OTLP_PROTOCOL: or `grpc`, where its exporter is installed."""

    otlp_traces_protocol: str = ""
    """OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: that of spans instead."""

    traces_exporter: str = "otlp"
    """OTEL_TRACES_EXPORTER: or `none`."""

    otel_disabled: bool = False
    """OTEL_SDK_DISABLED: `true`."""

    openai_api_key: str = field(default="", repr=False)
    """OPENAI_API_KEY"""

    openai_base_url: str = "https://api.openai.com/v1"
    """OPENAI_BASE_URL: with `/v1`; any compatible server."""

    anthropic_api_key: str = field(default="", repr=False)
    """ANTHROPIC_API_KEY"""

    anthropic_base_url: str = "https://api.anthropic.com"
    """ANTHROPIC_BASE_URL: without `/v1`."""

    azure_endpoint: str = ""
    """AZURE_OPENAI_ENDPOINT"""

    azure_api_key: str = field(default="", repr=False)
    """AZURE_OPENAI_API_KEY"""

    azure_ad_token: str = field(default="", repr=False)
    """AZURE_OPENAI_AD_TOKEN: a bearer token, instead of the key."""

    azure_api_version: str = ""
    """OPENAI_API_VERSION: of the deployment API. Empty: the `/openai/v1` API."""

    databricks_host: str = ""
    """DATABRICKS_HOST: with or without `https://`."""

    databricks_token: str = field(default="", repr=False)
    """DATABRICKS_TOKEN"""

    databricks_client_id: str = ""
    """DATABRICKS_CLIENT_ID: of a service principal."""

    databricks_client_secret: str = field(default="", repr=False)
    """DATABRICKS_CLIENT_SECRET"""

    databricks_profile: str = ""
    """DATABRICKS_CONFIG_PROFILE: a section of the configuration file."""

    databricks_config: Path = Path("~/.databrickscfg")
    """DATABRICKS_CONFIG_FILE"""

    databricks_claude: str = "messages"
    """SKILL_AGENT_DATABRICKS_CLAUDE: the API for Claude endpoints, `messages` (Anthropic's) or `chat`."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        read = _Reader(os.environ if env is None else env)
        return cls(
            model=read("SKILL_AGENT_MODEL", forms.model, ""),
            fallbacks=read("SKILL_AGENT_FALLBACKS", forms.models, ()),
            timeouts=read("SKILL_AGENT_TIMEOUTS", forms.timeouts, ()),
            allowed_models=read("SKILL_AGENT_ALLOWED_MODELS", forms.words, ()),
            aliases=read("SKILL_AGENT_MODEL_ALIASES", forms.aliases, ()),
            skills=read("SKILL_AGENT_SKILLS", _folders, (HERE / "skills",)),
            skills_lock=read("SKILL_AGENT_SKILLS_LOCK", forms.path, None),
            system_prompt=read("SKILL_AGENT_SYSTEM_PROMPT", forms.file, HERE / "system_prompt.md"),
            tools=read("SKILL_AGENT_TOOLS", forms.groups, TOOL_GROUPS),
            max_turns=read("SKILL_AGENT_MAX_TURNS", forms.count, 50),
            max_seconds=read("SKILL_AGENT_MAX_SECONDS", forms.seconds, 600.0),
            max_tokens=read("SKILL_AGENT_MAX_TOKENS", forms.count, None),
            max_tool_calls=read("SKILL_AGENT_MAX_TOOL_CALLS", forms.count, None),
            max_cost=read("SKILL_AGENT_MAX_COST", forms.dollars, None),
            api_keys=read("SKILL_AGENT_API_KEYS", keys, (), shown=lambda _: "…"),
            rates=read("SKILL_AGENT_RATE_LIMIT", rates, ()),
            max_running=read("SKILL_AGENT_MAX_RUNNING", forms.count, 1000),
            max_body=read("SKILL_AGENT_MAX_BODY", forms.count, 4 * 2**20),
            auth=read("SKILL_AGENT_AUTH", forms.auth, "auto"),
            databricks_app=bool(read("DATABRICKS_APP_NAME", str, "") and read("DATABRICKS_APP_PORT", str, "")),
            on_behalf_of_user=read("SKILL_AGENT_ON_BEHALF_OF_USER", forms.switch, False),
            cors=read("SKILL_AGENT_CORS", forms.origins, ()),
            sandbox=read("SKILL_AGENT_SANDBOX", forms.sandbox, "best"),
            execute=read("SKILL_AGENT_EXECUTE", forms.switch, False),
            ask=read("SKILL_AGENT_ASK", forms.words, ()),
            mcp=read("SKILL_AGENT_MCP", forms.file, None),
            models=read("SKILL_AGENT_MODELS", forms.file, None),
            store=read("SKILL_AGENT_STORE", forms.store, "", shown=forms.without_password),
            drain_seconds=read("SKILL_AGENT_DRAIN_SECONDS", forms.seconds, 10.0),
            log=read("SKILL_AGENT_LOG", forms.log, ""),
            **_tracing(read),
            openai_api_key=read("OPENAI_API_KEY", str, ""),
            openai_base_url=read(
                "OPENAI_BASE_URL", forms.url, "https://api.openai.com/v1", shown=forms.without_password
            ),
            anthropic_api_key=read("ANTHROPIC_API_KEY", str, ""),
            anthropic_base_url=read(
                "ANTHROPIC_BASE_URL", forms.url, "https://api.anthropic.com", shown=forms.without_password
            ),
            azure_endpoint=read("AZURE_OPENAI_ENDPOINT", forms.url, "", shown=forms.without_password),
            azure_api_key=read("AZURE_OPENAI_API_KEY", str, ""),
            azure_ad_token=read("AZURE_OPENAI_AD_TOKEN", str, ""),
            azure_api_version=read("OPENAI_API_VERSION", str, ""),
            databricks_host=read("DATABRICKS_HOST", forms.host, "", shown=forms.without_password),
            databricks_token=read("DATABRICKS_TOKEN", str, ""),
            databricks_client_id=read("DATABRICKS_CLIENT_ID", str, ""),
            databricks_client_secret=read("DATABRICKS_CLIENT_SECRET", str, ""),
            databricks_profile=read("DATABRICKS_CONFIG_PROFILE", str, ""),
            databricks_config=read("DATABRICKS_CONFIG_FILE", forms.path, forms.path("~/.databrickscfg")),
            databricks_claude=read("SKILL_AGENT_DATABRICKS_CLAUDE", forms.claude_api, "messages"),
        )

    @property
    def limits(self) -> Limits:
        return Limits(self.max_turns, self.max_seconds, self.max_tokens, self.max_tool_calls, self.max_cost)

    @property
    def traces(self) -> bool:
        """Whether spans are to be sent."""
        is_asked = bool(self.otlp_endpoint or self.otlp_traces_endpoint) and self.traces_exporter != "none"
        return is_asked and not self.otel_disabled

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must never be shown."""
        # A header may also be the plain name of a team or a dataset, which logs go on to say.
        headers = (*forms.header_values(self.otlp_headers), *forms.header_values(self.otlp_traces_headers))
        held = (
            self.openai_api_key,
            self.anthropic_api_key,
            self.azure_api_key,
            self.azure_ad_token,
            self.databricks_token,
            self.databricks_client_secret,
            *forms.passwords(self.store),
            *filter(is_secret, headers),
        )
        return tuple(value for value in held if value)


def _folders(value: str) -> tuple[Path | Untrusted, ...]:
    return tuple(path if trusted else Untrusted(path) for path, trusted in forms.skills(value))


def _tracing(read: _Reader) -> dict[str, Any]:
    return {
        "otlp_endpoint": read("OTEL_EXPORTER_OTLP_ENDPOINT", forms.url, "", shown=forms.without_password),
        "otlp_traces_endpoint": read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", forms.url, "", shown=forms.without_password),
        "otlp_headers": read("OTEL_EXPORTER_OTLP_HEADERS", str, ""),
        "otlp_traces_headers": read("OTEL_EXPORTER_OTLP_TRACES_HEADERS", str, ""),
        "otlp_protocol": read("OTEL_EXPORTER_OTLP_PROTOCOL", str, "http/protobuf"),
        "otlp_traces_protocol": read("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", str, ""),
        "traces_exporter": read("OTEL_TRACES_EXPORTER", str, "otlp"),
        "otel_disabled": read("OTEL_SDK_DISABLED", forms.is_true, False),
    }


class _Reader:
    """Reads variables; blank is unset."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def __call__(self, name: str, parse: Callable[[str], T], default: T, shown: Callable[[str], str] = str) -> T:
        value = self._env.get(name, "").strip()
        if not value:
            return default
        try:
            return parse(value)
        except ValueError as error:
            # Whoever has put a key into the wrong variable does not want to see it in a log.
            raise SettingsError(name, str(error), Redaction().whole(shown(value))) from None
