"""How a run opens: the prompt, the skills that the model may use, and what a small model is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.context import tokens
from agent.opening import active_in, fitting
from messages import Message, SkillActivated, Text, ToolCall, ToolResult, assistant, system, user
from providers.base import ModelInfo
from providers.scripted import call
from settings import Settings, SettingsError
from skill_store import SkillError, SkillStore
from tests.agents import agent_of, results_of, spoken, system_text, write_skill

SMALL = ModelInfo("scripted/small", tools=False, window=4096)
HIDDEN = "disable-model-invocation: true\n"


@pytest.fixture
def skills(tmp_path: Path) -> Path:
    parent = tmp_path / "skills"
    write_skill(parent, "pdf-forms", "Fill and merge PDF forms.", "Use the form filler.")
    write_skill(parent, "cookie-flavors", "Invent flavors of cookies.", "Butter comes first.")
    write_skill(parent, "secret-sauce", "Cook the secret sauce.", "Stir for an hour.", HIDDEN)
    return parent


def price(item: str) -> str:
    """The price of an item."""
    return f"{item} costs 3 euros"


# With tools


async def test_the_catalog_names_the_skills_and_the_model_loads_them(skills: Path) -> None:
    agent, provider = agent_of([[call("activate_skill", name="pdf-forms")], "ok"], skills=skills, system_prompt="Be.")
    finish = await agent.run("fill it")
    prompt = system_text(provider.requests[0])
    assert prompt.startswith("Be.\n\n") and "- pdf-forms: Fill and merge PDF forms." in prompt
    assert "secret" not in prompt and "Use the form filler." not in prompt
    assert "Use the form filler." in results_of(finish)[0].text
    assert [step.name for step in finish.steps if isinstance(step, SkillActivated)] == ["pdf-forms"]
    assert [spec.name for spec in provider.requests[0].tools] == ["activate_skill", "read_skill_file"]


async def test_without_skills_there_is_no_tool_and_no_catalog(tmp_path: Path) -> None:
    agent, provider = agent_of(["ok"], skills=tmp_path)
    await agent.run("hi")
    assert not provider.requests[0].tools and spoken(provider.requests[0].messages) == [("user", "hi")]


async def test_edits_show_on_the_next_run(skills: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.md"
    prompt.write_text("Be kind: ü.", "utf-8")
    load = [call("activate_skill", name="pdf-forms")]
    agent, provider = agent_of([load, "ok", load, "ok"], skills=str(skills), system_prompt=prompt)
    before = await agent.run("hi")
    prompt.write_text("Be brief.", "utf-8-sig")
    write_skill(skills, "pdf-forms", "Fill in any form.", "Use a pen.")
    write_skill(skills, "new-one", "Do new things.")
    after = await agent.run("hi")
    old, new = system_text(provider.requests[0]), system_text(provider.requests[2])
    assert old.startswith("Be kind: ü.\n") and new.startswith("Be brief.\n")
    assert "Fill in any form." in new and "new-one" in new and "new-one" not in old
    assert "Use the form filler." in results_of(before)[0].text and "Use a pen." in results_of(after)[0].text


async def test_a_prompt_that_cannot_be_read_is_an_error_in_one_line(tmp_path: Path) -> None:
    agent, _ = agent_of(["ok"], system_prompt=tmp_path / "none.md")
    with pytest.raises(SettingsError, match=r"^SKILL_AGENT_SYSTEM_PROMPT is '.*none.md': cannot be read .*$"):
        await agent.run("hi")


async def test_the_opening_is_the_same_bytes_on_every_run(skills: Path) -> None:
    requests = []
    for parent in (skills, SkillStore(skills)):
        agent, provider = agent_of(["a", "b"], price, skills=parent, system_prompt="Be.")
        await agent.run("one", activate="secret-sauce")
        await agent.run([user("one"), assistant("a"), user("two")], activate="secret-sauce")
        requests += provider.requests
    assert len({(request.messages[0], repr(request.tools)) for request in requests}) == 1


async def test_skills_are_narrowed_to_those_named(skills: Path) -> None:
    agent, provider = agent_of([[call("activate_skill", name="pdf-forms")], "ok", "ok"], skills=skills)
    finish = await agent.run("hi", skills=["cookie-flavors"])
    assert "cookie-flavors" in system_text(provider.requests[0])
    assert "pdf-forms" not in system_text(provider.requests[0])
    assert results_of(finish)[0].is_error
    await agent.run("hi", skills=[])
    assert not provider.requests[-1].tools and not system_text(provider.requests[-1])


@pytest.mark.parametrize("name", ["pdf-forms", "secret-sauce"])
async def test_a_pinned_skill_is_loaded_before_the_first_turn(skills: Path, name: str) -> None:
    agent, provider = agent_of([[call("activate_skill", name="pdf-forms")], "ok"], skills=skills, system_prompt="Be.")
    finish = await agent.run("hi", activate=name)
    body = {"pdf-forms": "Use the form filler.", "secret-sauce": "Stir for an hour."}[name]
    prompt = system_text(provider.requests[0])
    assert prompt.count(body) == 1 and f'<skill_content name="{name}">' in prompt
    assert finish.steps[0] == SkillActivated(name)
    assert ("already loaded" in results_of(finish)[0].text) == (name == "pdf-forms")


async def test_a_pinned_skill_stays_when_the_others_are_narrowed_away(skills: Path) -> None:
    agent, provider = agent_of(["ok"], skills=skills)
    await agent.run("hi", skills=["cookie-flavors"], activate="pdf-forms")
    assert {"cookie-flavors", "pdf-forms"} == {
        name for name in agent.skills.scan().skills if name in system_text(provider.requests[0])
    }


async def test_unknown_skills_are_an_error_that_names_those_there_are(skills: Path) -> None:
    agent, provider = agent_of(["ok"], skills=skills)
    for how in ({"skills": ["pdf-forms", "nope"]}, {"activate": "nope"}):
        with pytest.raises(SkillError, match="there is no skill 'nope'; there are: cookie-flavors, pdf-forms"):
            await agent.run("hi", **how)
    bare, _ = agent_of(["ok"])
    with pytest.raises(SkillError, match="there are: none"):
        await bare.run("hi", activate="nope")
    assert not provider.requests


async def test_a_skill_is_put_into_the_conversation_once(skills: Path) -> None:
    load = [call("activate_skill", name="pdf-forms")]
    agent, provider = agent_of([[*load, *load], load, "ok", load, "ok"], skills=skills)
    first = await agent.run("fill")
    second = await agent.run([user("fill"), *first.messages, user("again")])
    texts = [result.text for message in provider.requests[-1].messages for result in message.results]
    assert sum("Use the form filler." in text for text in texts) == 1 and len(texts) == 4
    assert [step.name for step in first.steps if isinstance(step, SkillActivated)] == ["pdf-forms"]
    assert not [step for step in second.steps if isinstance(step, SkillActivated)]


async def test_a_skill_with_an_odd_name_is_known_again(tmp_path: Path) -> None:
    folder = write_skill(tmp_path, "odd", "Does odd things.")
    (folder / "SKILL.md").write_text("---\nname: R&D <2>\ndescription: Does odd things.\n---\nBe odd.\n")
    load = [call("activate_skill", name="R&D <2>")]
    agent, _ = agent_of([load, "ok", load, "ok"], skills=tmp_path)
    first = await agent.run("go")
    second = await agent.run([user("go"), *first.messages, user("again")])
    assert active_in(first.messages) == ["R&D <2>"]
    assert "already loaded" in results_of(second)[0].text


async def test_the_callers_system_messages_are_merged_into_one_behind_ours(skills: Path) -> None:
    agent, provider = agent_of(["ok"], skills=skills, system_prompt="Be.")
    await agent.run([system("First."), system("Second."), user("hi"), system("Later."), user("go")])
    roles = [message.role for message in provider.requests[0].messages]
    assert roles == ["system", "user", "system", "user"]
    prompt = provider.requests[0].messages[0].text
    assert prompt.startswith("Be.\n\n") and prompt.endswith("</available_skills>\n\nFirst.\n\nSecond.")


def test_only_results_of_loading_count_as_loaded() -> None:
    mark = '<skill_content name="pdf">'
    result = Message("tool", (ToolResult("1", (Text(mark),)),))
    loading, reading = (Message("assistant", (ToolCall("1", name),)) for name in ("activate_skill", "read_file"))
    assert active_in([user(mark), system(mark), result]) == [] and active_in([loading, result]) == ["pdf"]
    assert active_in([reading, result]) == [] and active_in([loading, result, reading, result]) == ["pdf"]


# Without tools


async def test_a_model_without_tools_is_given_the_skill_that_fits(skills: Path) -> None:
    agent, provider = agent_of(["ok", "ok"], price, skills=skills, system_prompt="Be.", info=SMALL)
    finish = await agent.run("Invent a cookie flavor for December")
    (request,) = provider.requests
    assert not request.tools and system_text(request) == "Be.\n\nButter comes first."
    assert finish.steps[0] == SkillActivated("cookie-flavors")
    await agent.run("hello")
    assert system_text(provider.requests[1]) == "Be."


async def test_a_follow_up_keeps_the_skill(skills: Path) -> None:
    agent, provider = agent_of(["ok", "ok"], skills=skills, info=SMALL)
    talk = [user("Invent a cookie flavor"), assistant("Cinnamon."), user("and another one?")]
    await agent.run(talk)
    assert system_text(provider.requests[0]) == "Butter comes first."
    await agent.run([*talk, assistant("Cocoa."), user("now merge two PDF forms")])
    assert system_text(provider.requests[1]) == "Use the form filler."


async def test_a_pinned_skill_is_given_to_a_model_without_tools(skills: Path) -> None:
    agent, provider = agent_of(["ok"], skills=skills, info=SMALL)
    await agent.run("Invent a cookie flavor", activate="secret-sauce")
    assert system_text(provider.requests[0]) == "Stir for an hour."


def test_a_hidden_skill_is_never_chosen(skills: Path) -> None:
    assert fitting([user("Cook the secret sauce")], SkillStore(skills).scan().skills) is None


@pytest.mark.parametrize("window", [512, 4096, 0])
async def test_a_long_skill_and_a_long_talk_fit_into_the_window(skills: Path, window: int) -> None:
    write_skill(skills, "cookie-flavors", "Invent flavors of cookies.", "Butter comes first.\n" * 2000)
    info = ModelInfo("scripted/small", tools=False, window=window)
    agent, provider = agent_of(["ok"], skills=skills, info=info)
    talk = [message for n in range(400) for message in (user(f"cookie flavor {n}"), assistant(f"Cinnamon {n}."))]
    await agent.run([*talk, user("And cookie flavor 400?")])
    sent = provider.requests[0].messages
    assert sent[0].text.startswith("Butter comes first.\n") and sent[-1].text == "And cookie flavor 400?"
    assert list(sent[1:]) == [*talk, user("And cookie flavor 400?")][-(len(sent) - 1) :]
    if window:
        assert sum(tokens(message.text) for message in sent) < window < tokens("Butter comes first.\n" * 2000)
    else:
        assert len(sent) == len(talk) + 2


async def test_what_the_caller_says_as_system_outlives_a_long_talk(skills: Path) -> None:
    agent, provider = agent_of(["ok"], skills=skills, info=SMALL)
    talk = [message for n in range(2000) for message in (user(f"question {n}"), assistant("yes"))]
    await agent.run([system("Speak German."), *talk, user("now")])
    assert "Speak German." in system_text(provider.requests[0])
    assert len(provider.requests[0].messages) < 2000


async def test_the_settings_prompt_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "system.md"
    file.write_text("From the settings.")
    agent, provider = agent_of(["ok"], system_prompt=None, settings=Settings(system_prompt=file))
    await agent.run("hi")
    assert system_text(provider.requests[0]) == "From the settings."
