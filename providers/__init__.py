"""The table of providers: from `provider/model` to a model that can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.base import Provider
from settings import PROVIDERS, Settings, SettingsError

if TYPE_CHECKING:
    from providers.http import Http

ACCEPTED = f"expected provider/model with a provider of {', '.join(PROVIDERS)}"


def resolve(model: str, settings: Settings, http: Http) -> Provider:
    """The model behind `provider/model`. Raises `SettingsError` where its credentials are missing."""
    provider, _, name = model.partition("/")
    if not name:
        raise SettingsError("SKILL_AGENT_MODEL", ACCEPTED, model)
    match provider:
        case "databricks":
            from providers import databricks

            return databricks.connect(name, settings, http)
        case "anthropic":
            from providers import anthropic

            return anthropic.connect(name, settings, http)
        case "openai":
            from providers import openai

            return openai.connect(name, settings, http)
        case "azure":
            from providers import azure

            return azure.connect(name, settings, http)
        case "local":
            from providers import local

            return local.connect(name, http)
    raise SettingsError("SKILL_AGENT_MODEL", ACCEPTED, model)


def resolve_all(model: str, settings: Settings, http: Http) -> Provider:
    """The model, with those of SKILL_AGENT_FALLBACKS behind it."""
    others = [name for name in settings.fallbacks if name != model]
    first = resolve(model, settings, http)
    if not others:
        return first
    from providers.fallbacks import Fallbacks

    return Fallbacks([first, *(resolve(name, settings, http) for name in others)])


def default_model(settings: Settings) -> str:
    """SKILL_AGENT_MODEL, else a model of the first provider with credentials, else the embedded one."""
    if settings.model:
        return settings.model
    if settings.databricks_token or settings.databricks_client_secret or settings.databricks_profile:
        return "databricks/databricks-claude-sonnet-4-5"
    if settings.databricks_config.is_file() and _usable_profile(settings):
        return "databricks/databricks-claude-sonnet-4-5"
    if settings.anthropic_api_key:
        return "anthropic/claude-sonnet-4-5"
    if settings.openai_api_key:
        return "openai/gpt-5-mini"
    if settings.azure_endpoint and (settings.azure_api_key or settings.azure_ad_token):
        raise SettingsError("SKILL_AGENT_MODEL", "Azure needs the name of your deployment, as azure/<deployment>")
    return "local/smollm2-135m"


def _usable_profile(settings: Settings) -> bool:
    from providers.databricks_auth import read_profile

    try:
        return bool(read_profile(settings.databricks_config, "").get("host"))
    except SettingsError:
        return False
