"""Azure OpenAI: the Chat Completions dialect under Azure's addresses and keys.

Addresses: https://learn.microsoft.com/azure/ai-services/openai/reference (deployments with an `api-version`) and
.../api-version-lifecycle (the `/openai/v1` API).
"""

from __future__ import annotations

from urllib.parse import quote

from providers.base import ModelInfo
from providers.http import Auth, HeaderAuth, Http, bearer
from providers.openai import OPENAI, ChatCompletions
from settings import Settings, SettingsError


def connect(deployment: str, settings: Settings, http: Http) -> ChatCompletions:
    if not settings.azure_endpoint:
        raise SettingsError("AZURE_OPENAI_ENDPOINT", "expected the address of your Azure OpenAI resource")
    return ChatCompletions(
        http, _url(deployment, settings), _auth(settings), ModelInfo(f"azure/{deployment}", json="native"), OPENAI
    )


def _url(deployment: str, settings: Settings) -> str:
    base = settings.azure_endpoint.removesuffix("/openai/v1").removesuffix("/openai")
    if not settings.azure_api_version:
        return f"{base}/openai/v1/chat/completions"
    version = quote(settings.azure_api_version)
    return f"{base}/openai/deployments/{quote(deployment, safe='')}/chat/completions?api-version={version}"


def _auth(settings: Settings) -> Auth:
    if settings.azure_api_key:
        return HeaderAuth("api-key", settings.azure_api_key)
    if settings.azure_ad_token:
        return bearer(settings.azure_ad_token)
    raise SettingsError("AZURE_OPENAI_API_KEY", "expected a key (or AZURE_OPENAI_AD_TOKEN with a bearer token)")
