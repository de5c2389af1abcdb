"""Databricks model serving: Claude through Anthropic's dialect, everything else through Chat Completions.

Addresses: https://docs.databricks.com/machine-learning/model-serving/query-chat-models
"""

from __future__ import annotations

from dataclasses import replace

from providers import databricks_auth
from providers.anthropic import Messages
from providers.base import ModelInfo, Provider
from providers.http import Http
from providers.openai import ChatCompletions, Quirks
from settings import Settings

# An unknown field is refused with 400, so only these are sent.
_FIELDS = frozenset(
    (
        "model",
        "messages",
        "stream",
        "stop",
        "temperature",
        "top_p",
        "max_tokens",
        "n",
        "response_format",
        "tools",
        "tool_choice",
        "reasoning_effort",
    )
)

# Usage comes on every chunk unasked. Parallel calls in a history are refused by most models that are not Claude.
CLAUDE = Quirks(fields=_FIELDS, usage_option=False, echo_reasoning=False, strict_tools=False)
OTHER = replace(CLAUDE, serial_calls=True, merge_system=True)
GPT = replace(OTHER, strict_tools=True)


def connect(endpoint: str, settings: Settings, http: Http) -> Provider:
    host, auth = databricks_auth.credentials(settings, http)
    name = endpoint.lower()
    info = ModelInfo(f"databricks/{endpoint}", json="tool" if "claude" in name else "asked")
    if "claude" in name and settings.databricks_claude == "messages":
        return Messages(http, f"{host}/serving-endpoints/anthropic/v1/messages", auth, info)
    quirks = CLAUDE if "claude" in name else GPT if "gpt-" in name and "oss" not in name else OTHER
    return ChatCompletions(http, f"{host}/serving-endpoints/chat/completions", auth, info, quirks)
