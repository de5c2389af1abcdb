"""What a listed model is beside its name, for pages that show it."""

from __future__ import annotations

from pathlib import Path

from providers.base import ModelInfo
from providers.scripted import ScriptedProvider
from tests.surface import service, write_skill

CASES = """- {name: one, prompt: Make a pot, expect: {skill_activated: true}}
- {name: two, prompt: Make a pot, expect: {skill_activated: true}}
- {name: near miss, prompt: Make a boat, expect: {skill_activated: false}}
"""


def test_a_skill_has_its_description_and_prompts_that_are_for_it(tmp_path: Path) -> None:
    write_skill(tmp_path, "pottery", "Makes pots.")
    write_skill(tmp_path, "broken", "Has no good evals.")
    for name, cases in (("pottery", CASES), ("broken", "- {name: [")):
        (tmp_path / name / "evals").mkdir()
        (tmp_path / name / "evals/cases.yaml").write_text(cases, "utf-8")
    with service(provider=ScriptedProvider([]), skills=(tmp_path,)) as served:
        answer = served.get("/v1/models").json()
        assert answer["skill_agent"] == {"max_body": 4 * 2**20}
        listed = {model["id"]: model["skill_agent"] for model in answer["data"]}
        assert listed["skill-agent:pottery"] == {"description": "Makes pots."} and listed["skill-agent"] == {}
        card = served.get("/v1/models/skill-agent:pottery").json()["skill_agent"]
        assert card == {"description": "Makes pots.", "examples": ["Make a pot"]}
        assert "examples" not in served.get("/v1/models/skill-agent:broken").json()["skill_agent"]


def test_a_model_that_is_known_has_its_window_and_prices() -> None:
    with service(provider=ScriptedProvider([], ModelInfo("anthropic/claude-sonnet-4-5"))) as served:
        for name in ("skill-agent", "anthropic/claude-sonnet-4-5"):
            card = served.get(f"/v1/models/{name}").json()["skill_agent"]
            assert card["window"] >= 200_000
            assert 0 < card["prices"]["cache_read"] < card["prices"]["input"] < card["prices"]["output"]
