"""Whether the model's provider answers, and takes the credentials: one cheap GET, for which nothing is billed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.base import ProviderError
from providers.errors import error_of, parse
from providers.http import Auth, HeaderAuth, Http, bearer
from settings import Settings

ANTHROPIC = "2023-06-01"
"""The version that Anthropic's API asks every call for: https://docs.anthropic.com/en/api/versioning"""


@dataclass(frozen=True, slots=True)
class Place:
    """What is asked, and what one did there to be let in: `source` names the setting, never its value."""

    url: str
    auth: Auth
    source: str
    lists: bool = True
    """Whether the answer is a list of models."""


class AnthropicAuth:
    is_callers = False

    def __init__(self, key: str) -> None:
        self._key = key

    async def headers(self) -> Mapping[str, str]:
        return {"x-api-key": self._key, "anthropic-version": ANTHROPIC}

    def renew(self, sent: Mapping[str, str]) -> bool:
        return False


def place_of(model: str, settings: Settings, http: Http) -> Place | None:
    """None for a model in this process. Raises `SettingsError` where credentials are missing."""
    provider, _, name = model.partition("/")
    match provider:
        case "openai":
            source = "OPENAI_API_KEY" if settings.openai_api_key else "no key"
            return Place(f"{settings.openai_base_url}/models", bearer(settings.openai_api_key or "none"), source)
        case "anthropic":
            url = f"{settings.anthropic_base_url}/v1/models?limit=1000"
            return Place(url, AnthropicAuth(settings.anthropic_api_key), "ANTHROPIC_API_KEY")
        case "azure":
            base = settings.azure_endpoint.removesuffix("/openai/v1").removesuffix("/openai")
            url = f"{base}/openai/v1/models"
            if settings.azure_api_key:
                return Place(url, HeaderAuth("api-key", settings.azure_api_key), "AZURE_OPENAI_API_KEY", False)
            return Place(url, bearer(settings.azure_ad_token), "AZURE_OPENAI_AD_TOKEN", False)
        case "databricks":
            from providers.databricks_auth import credentials

            host, auth = credentials(settings, http)
            return Place(f"{host}/api/2.0/serving-endpoints/{name}", auth, _databricks_source(settings), False)
    return None


def _databricks_source(settings: Settings) -> str:
    if settings.databricks_token:
        return "DATABRICKS_TOKEN"
    if settings.databricks_client_id and settings.databricks_client_secret:
        return "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"
    return f"the profile {settings.databricks_profile or 'DEFAULT'} of {settings.databricks_config}"


async def reach(place: Place, http: Http, model: str) -> tuple[bool, str]:
    """Whether it answers, with words."""
    begun = time.monotonic()
    try:
        status, headers, body = await http.get(place.url, place.auth, "")
    except ProviderError as error:
        return False, f"{error.message}: proxy (HTTPS_PROXY), firewall, address?"
    took = f"{_host(place.url)} answered in {(time.monotonic() - begun) * 1000:.0f} ms"
    if status == 404 and place.lists:
        return True, f"{took} (it lists no models)"
    if status >= 300:
        said = error_of(status, body, headers).message
        return False, f"{took} with HTTP {status}: {said}. {_advice(status, place)}"
    return True, took + _listed(body, model) if place.lists else took


def _advice(status: int, place: Place) -> str:
    if status in (401, 403):
        return f"Is {place.source} right, and allowed to use the model?"
    if status == 404:
        return "Is there a model of this name? (SKILL_AGENT_MODEL)"
    if status < 400:
        return f"Is the address right, and {place.source}?"
    return "Try again later"


def _listed(body: bytes, model: str) -> str:
    """A word about a model that is not in the list: some servers take more names than they tell."""
    name = model.partition("/")[2]
    try:
        found: Any = parse(body, "")
        names = [str(each["id"]) for each in found["data"]]
    except (ProviderError, AttributeError, KeyError, TypeError):
        return ""
    return "" if name in names or not names else f"; {name} is not among its {len(names)} models"


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]
