"""What a listed model is beside its name: under `skill_agent`, which other clients ignore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from model_facts import Prices, facts
from service.models import AGENT, Models
from skill_store import Problem, Skill

Json: TypeAlias = dict[str, Any]
EXAMPLES = 3


def card(models: Models, name: str, skills: Mapping[str, Skill]) -> Json:
    """A skill's description; the window and the prices of the model that answers, where they are known."""
    agent, _, skill = name.partition(":")
    known = facts(models.default if agent == AGENT else name, models.facts_file)
    told: Json = {"description": skills[skill].description} if agent == AGENT and skill in skills else {}
    told |= {"window": known.window} if known.window else {}
    return told | ({"prices": _prices(known.prices)} if known.prices.input is not None else {})


def examples(skill: Skill) -> list[str]:
    """Prompts of its evals that are for the skill. Reads files."""
    return list(islice(dict.fromkeys(_prompts(skill)), EXAMPLES))


def _prompts(skill: Skill) -> Iterator[str]:
    from skill_cases import evals_of

    for found in evals_of(skill):
        if not isinstance(found, Problem) and found.case.prompt and found.case.expect.skill_activated:
            yield found.case.prompt.strip()


def _prices(prices: Prices) -> Json:
    """US dollars for a million tokens."""
    return {
        "input": prices.input,
        "output": prices.output,
        "cache_read": prices.cache_read,
        "cache_write": prices.cache_write,
    }
