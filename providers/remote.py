"""Another skill-agent behind its URL: the dialect of Chat Completions, with the agent's activity asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from messages import (
    FellBack,
    ProviderEvent,
    Request,
    SkillActivated,
    Step,
    Text,
    ToolCall,
    ToolEnd,
    ToolResult,
    ToolStart,
)
from providers.base import ModelInfo
from providers.http import Auth, Http
from providers.openai import ChatCompletions, Quirks
from providers.openai_answer import Answer
from settings import SettingsError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def base_url(url: str) -> str:
    """The address of the API below which routes lie: with `/v1`, whether it was given or not."""
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise SettingsError("--url", "expected an address that begins with https:// (or http://)", url)
    return url if url.endswith("/v1") else f"{url}/api/v1"


def refuse_in_the_clear(url: str) -> None:
    if url.startswith("http://") and urlsplit(url).hostname not in LOOPBACK:
        raise SettingsError("--url", "expected https:// (a key is not sent in the clear)", url)


class RemoteAgent(ChatCompletions):
    """`model` and `skill` as the server names them; "" for its default and none."""

    def __init__(self, http: Http, url: str, auth: Auth, model: str = "", skill: str = "") -> None:
        info = ModelInfo(f"remote/{model or 'skill-agent'}")
        super().__init__(http, f"{base_url(url)}/chat/completions", auth, info, Quirks(echo_reasoning=False))
        self._skill = skill

    def body(self, request: Request) -> dict[str, Any]:
        extension = {"activity": True, **({"activate": self._skill} if self._skill else {})}
        return {**super().body(request), "skill_agent": extension}

    def answer(self, taken: set[str]) -> Answer:
        return _Answer(self.info, taken)


class _Answer(Answer):
    def feed(self, payload: Any) -> Iterator[ProviderEvent]:
        if isinstance(payload, dict) and (step := _step(payload.get("skill_agent") or {})):
            yield step
        yield from super().feed(payload)


def _step(shown: Mapping[str, Any]) -> Step | None:
    call = ToolCall(shown.get("id", ""), shown.get("name", ""), shown.get("arguments", "{}"))
    match shown.get("type"):
        case "skill_activated":
            return SkillActivated(shown["name"])
        case "tool_start":
            return ToolStart(call)
        case "tool_end":
            result = ToolResult(call.id, (Text(shown.get("result", "")),), bool(shown.get("is_error")))
            return ToolEnd(call, result, float(shown.get("seconds", 0)))
        case "fell_back":
            return FellBack(shown["model"], shown["instead_of"], shown.get("reason") or "")
    return None
