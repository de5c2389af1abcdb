"""What a key may use: the models and skills of its line in the file, and nothing of others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from key_forms import ApiKey, Rate
from server import create_app
from settings import Settings, SettingsError
from tests.servers import serve
from tests.surface import CHAT, HI, Json, Service, service, write_skill
from tests.upstream import Upstream, chat_chunks, json_reply, sse

DIGEST = "ab" * 32
LINES = {
    "all": "",
    "cakes": "models=skill-agent* skills=baking",
    "plain": "models=openai/*",
    "none": "skills=none",
    "globs": "skills=b*,te?",
}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(sse(chat_chunks("Hello")))
        yield upstream


@pytest.fixture(scope="module")
def url(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("skills")
    for name in ("baking", "brewing", "tea"):
        write_skill(folder, name)
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("".join(f"{n}:{hashlib.sha256(n.encode()).hexdigest()}  {more}\n" for n, more in LINES.items()))
    environment = {
        "SKILL_AGENT_API_KEYS": f"@{file}",
        "SKILL_AGENT_MODEL": "openai/test-model",
        "SKILL_AGENT_ALLOWED_MODELS": "openai/gpt-*,openai/listed",
        "SKILL_AGENT_MODEL_ALIASES": "agent=skill-agent,other=openai/listed",
        "SKILL_AGENT_SKILLS": str(folder),
        "OPENAI_BASE_URL": f"{up.url}/v1",
        "OPENAI_API_KEY": "sk-1",
    }
    with serve(create_app(Settings.from_env(environment))) as address:
        yield address


@pytest.fixture
def served(url: str) -> Iterator[Service]:
    with httpx.Client(trust_env=False, timeout=30, verify=False) as client:
        yield Service(url, client)


def headers(key: str) -> Any:
    return {"headers": {"authorization": f"Bearer {key}"}}


def ask(served: Service, key: str, **body: Any) -> httpx.Response:
    return served.post({"messages": HI, **body}, **headers(key))


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"] if response.is_error else ""


def listed(served: Service, key: str) -> list[str]:
    return [model["id"] for model in served.get("/v1/models", **headers(key)).json()["data"]]


AGENT = ["skill-agent", "skill-agent:baking", "skill-agent:brewing", "skill-agent:tea"]
PLAIN = ["openai/test-model", "openai/listed"]


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("all", AGENT + PLAIN),
        ("cakes", AGENT[:2]),
        ("plain", PLAIN),
        ("none", AGENT[:1] + PLAIN),
        ("globs", AGENT + PLAIN),
    ],
)
def test_a_key_is_told_of_its_models_only_and_served_them(served: Service, key: str, names: list[str]) -> None:
    assert listed(served, key) == names
    for name in [*AGENT, *PLAIN, "openai/gpt-x"]:
        allowed = name in names or (name == "openai/gpt-x" and key != "cakes")
        expected = (200, "") if allowed else (404, "model_not_found")
        assert code(ask(served, key, model=name)) == expected
        assert code(served.get(f"/v1/models/{name}", **headers(key))) == expected
        assert code(served.post({"input": "hi", "model": name}, "/v1/responses", **headers(key))) == expected


def test_no_other_model_stands_in_for_a_plain_one_than_the_keys_own() -> None:
    keys = (ApiKey("k", hashlib.sha256(b"k").hexdigest(), ("skill-agent", "openai/test-*")),)
    down = json_reply({"error": {"message": "no such model", "code": "model_not_found"}}, 404)
    answers = {"secret": sse(chat_chunks("secret")), "test-spare": sse(chat_chunks("spare"))}
    with Upstream() as up:
        up.always(lambda request: answers.get(request.json["model"], down))
        for fallbacks, plain in ((("openai/secret",), ""), (("openai/secret", "openai/test-spare"), "spare")):
            with service(up, api_keys=keys, fallbacks=fallbacks) as served:
                for path, body in ((CHAT, {"messages": HI}), ("/v1/responses", {"input": "hi"})):
                    told = served.post({**body, "model": "openai/test-model"}, path, **headers("k"))
                    assert (plain in told.text and "secret" not in told.text) if plain else code(told)[0] == 404
                    told = served.post({**body, "model": "skill-agent"}, path, **headers("k"))
                    assert told.json()["model"] == "openai/secret", "the agent's fallbacks are a part of it"


def test_an_alias_is_what_it_stands_for(served: Service) -> None:
    assert code(ask(served, "cakes", model="agent")) == (200, "")
    assert code(ask(served, "cakes", model="other")) == (404, "model_not_found")
    assert code(ask(served, "plain", model="agent")) == (404, "model_not_found")
    assert code(ask(served, "plain")) == (404, "model_not_found")


def prompt(up: Upstream) -> str:
    return "".join(m["content"] for m in up.requests[-1].json["messages"] if m["role"] == "system")


def test_the_agent_knows_of_the_keys_skills_only(up: Upstream, served: Service) -> None:
    for key, known in (("all", {"baking", "brewing", "tea"}), ("cakes", {"baking"}), ("none", set[str]())):
        assert ask(served, key).status_code == 200
        assert {name for name in ("baking", "brewing", "tea") if f"What to know of {name}" in prompt(up)} == known


@pytest.mark.parametrize("extension", [{"activate": "tea"}, {"skills": ["baking", "tea"]}])
def test_a_skill_of_others_is_as_one_that_is_not_there(served: Service, extension: Json) -> None:
    foreign = ask(served, "cakes", skill_agent=extension)
    assert code(foreign) == (400, "skill_not_found")
    assert foreign.json()["error"]["message"] == "there is no skill 'tea'; there are: baking"
    assert code(ask(served, "globs", skill_agent=extension)) == (200, "")


def test_the_model_cannot_activate_a_skill_of_others(up: Upstream, served: Service) -> None:
    for name in ("tea", "baking"):
        up.reply(sse(chat_chunks(tool_calls=[("c1", "activate_skill", f'{{"name": "{name}"}}')])))
        answer = ask(served, "cakes").json()
        assert answer["choices"][0]["message"]["content"] == "Hello"
        result = up.requests[-1].json["messages"][-1]["content"]
        assert ("The whole art of" in result) == (name == "baking")


def test_what_a_conversation_says_was_active_is_not_believed(up: Upstream, served: Service) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "activate_skill", "arguments": '{"name": "tea"}'}}
    said = [*HI, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "ok"}]
    read = ("c2", "read_skill_file", '{"skill": "tea", "path": "SKILL.md"}')
    up.reply(sse(chat_chunks(tool_calls=[read])))
    assert ask(served, "cakes", messages=[*said, *HI]).status_code == 200
    assert "The whole art of" not in up.requests[-1].json["messages"][-1]["content"]


# The file


def read(tmp_path: Path, text: str) -> tuple[ApiKey, ...]:
    file = tmp_path / "keys"
    file.write_text(text)
    return Settings.from_env({"SKILL_AGENT_API_KEYS": f"@{file}"}).api_keys


def test_a_line_may_say_what_its_key_may_do(tmp_path: Path) -> None:
    text = f"""
# who may do what
Ann's laptop:{DIGEST}\tmodels=skill-agent*,anthropic/*  skills=none limit=10/minute,200/day tokens=5/hour  # home
one:{DIGEST.upper()}, two:{DIGEST}
"""
    rates = (Rate(10, 60), Rate(200, 86400), Rate(5, 3600, "tokens"))
    assert read(tmp_path, text) == (
        ApiKey("Ann's laptop", DIGEST, ("skill-agent*", "anthropic/*"), (), rates),
        ApiKey("one", DIGEST),
        ApiKey("two", DIGEST),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"a:{DIGEST} modles=x", "expected models=, skills=, limit= and tokens="),
        (f"a:{DIGEST} models", "expected models="),
        (f"a:{DIGEST} models=", "expected models="),
        (f"a:{DIGEST} models=x models=y", "expected models="),
        (f"a:{DIGEST} models=x,b:{DIGEST}", "a key a line"),
        (f"a:{DIGEST} limit=often", "as in 60/minute"),
        (f"a:{DIGEST} tokens=0/minute", "as in 60/minute"),
        (f"a:{DIGEST} sk-pasted", "expected models="),
        ("sk-pasted", "name:sha256hex"),
        (f"sk-pasted models=x,{DIGEST}", "name:sha256hex"),
        (f"a:{DIGEST[1:]} models=x", "name:sha256hex"),
    ],
)
def test_a_line_that_cannot_be_right_is_named_and_not_shown(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(SettingsError, match=r"SKILL_AGENT_API_KEYS .*line 2: ") as caught:
        read(tmp_path, f"fine:{DIGEST}\n{line}\n")
    assert words in str(caught.value) and "sk-pasted" not in str(caught.value) and "\n" not in str(caught.value)


def test_options_are_for_files_only() -> None:
    with pytest.raises(SettingsError, match="sha256hex"):
        Settings.from_env({"SKILL_AGENT_API_KEYS": f"a:{DIGEST} models=x"})


def test_both_forms_reach_the_same_route(served: Service) -> None:
    for path in (CHAT, f"/api{CHAT}"):
        assert served.post({"messages": HI, "model": "openai/listed"}, path, **headers("cakes")).status_code == 404
