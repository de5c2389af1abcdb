"""The evals that skills bring along: read strictly, run against an agent, told as a table or as JSON."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_loop import Agent
from messages import Finish, Message, ProviderEvent, Request
from providers.base import AuthError, ProviderError
from providers.scripted import Line, ScriptedProvider
from settings import Settings
from skill_cases import SCRIPTED, evals_of
from skill_evals import run_evals
from skill_store import Problem, SkillStore, activation_text
from tests.agents import Stuck, agent_of, write_skill

EXAMPLES = Path(__file__).resolve().parents[1] / "skills"
YES = '{"reason": "It is.", "answer": "yes"}'
NO = '{"reason": "No salt in it.", "answer": "no"}'


def put(parent: Path, text: str | bytes, file: str = "all.yaml", skill: str = "baking") -> Path:
    """A skill with this file of evals."""
    folder = write_skill(parent, skill, "Bakes cakes. Use when the user asks for a cake.")
    (folder / "evals").mkdir(exist_ok=True)
    (folder / "evals" / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def case(expect: str = "", script: str = "[A lemon cake.]", more: str = "") -> str:
    """A case as YAML, in flow style."""
    return f"- {{name: cake, prompt: Bake, expect: {{{expect}}}, script: {script}{more}}}\n"


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def reason(self) -> str:
        return "; ".join(each["reason"] for each in self.told["cases"])


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the evals of the skills there, by their scripts if no other answers are given."""

    def run(
        *names: str,
        model: str = SCRIPTED,
        answers: Sequence[Line] = (),
        judge: Agent | None = None,
        as_json: bool = True,
    ) -> Outcome:
        store = SkillStore(tmp_path)
        shared = ScriptedProvider(answers)

        def an_agent(script: Sequence[Line]) -> Agent:
            provider = shared if answers else ScriptedProvider(script)
            return Agent(provider=provider, skills=store, system_prompt="", settings=Settings())

        evals = run_evals(store.scan().skills, an_agent, names, model=model, judge=judge, as_json=as_json)
        return Outcome(asyncio.run(evals), *capsys.readouterr())

    return run


# What is expected


@pytest.mark.parametrize(
    ("expect", "fault"),
    [
        ("text: LEMON", ""),
        ("text: [lemon, cake]", ""),
        ("text: [lemon, salt]", "the text lacks 'salt'"),
        ("not_text: [salt]", ""),
        ("not_text: Lemon", "the text has 'Lemon'"),
        (r"text_matches: '(?m)^a \w+ cake\.$'", r"nothing matches"),
        (r"text_matches: ['(?i)^a \w+ cake\.$', 'm']", ""),
        ("skill_activated: false", ""),
        ("skill_activated: true", "the activated skills are: none"),
        ("tools_used: activate_skill", "activate_skill is not used"),
        ("tools_not_used: [activate_skill]", ""),
        ("files_made: ['*.md']", "no file is like *.md"),
        ("max_turns: 1", ""),
        ("json_schema: {type: object}", "the JSON is wrong: it is not JSON"),
    ],
)
def test_the_answer_is_held_against_what_is_expected(tmp_path: Path, run: Run, expect: str, fault: str) -> None:
    put(tmp_path, case(expect))
    outcome = run()
    assert fault in outcome.reason and bool(outcome.reason) == bool(fault)
    assert outcome.code == (1 if fault else 0)
    assert outcome.told["cases"][0]["text"] == ("A lemon cake." if fault else "")


CALLS = "[[I look., {call: activate_skill, arguments: {name: baking}}], A cake.]"


@pytest.mark.parametrize(
    ("expect", "fault"),
    [
        ("skill_activated: true, tools_used: [activate_skill], max_turns: 2, text: a cake", ""),
        ("skill_activated: false", "the activated skills are: baking"),
        ("tools_not_used: [activate_skill]", "activate_skill is used"),
        ("max_turns: 1", "it takes 2 turns"),
    ],
)
def test_what_the_agent_does_is_held_against_it_too(tmp_path: Path, run: Run, expect: str, fault: str) -> None:
    put(tmp_path, case(expect, CALLS))
    outcome = run()
    assert outcome.reason == fault
    (told,) = outcome.told["cases"]
    assert (told["skill"], told["file"], told["case"]) == ("baking", "evals/all.yaml", "cake")
    assert (told["turns"], told["tokens"], told["passes"], told["attempts"]) == (2, 4, 0 if fault else 1, 1)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ('{"price": 2.5}', ""),
        ('```json\n{"price": 2.5}\n```', ""),
        ('{"price": "2.5"}', "price:"),
        ("{}", '"price" is a required property'),
    ],
)
def test_an_answer_in_json_is_held_against_its_schema(tmp_path: Path, run: Run, answer: str, fault: str) -> None:
    expect = "json_schema: {type: object, required: [price], properties: {price: {type: number, minimum: 1}}}"
    put(tmp_path, case(expect, json.dumps([answer])))
    outcome = run()
    assert fault in outcome.reason and outcome.code == (1 if fault else 0)


def test_files_that_a_run_makes_are_held_against_globs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, case("files_made: ['*.md', 'out/*']"))

    class Made:
        """A `Finish` with files."""

        files = ("brief.md", SimpleNamespace(path="out/table.csv"))

        def __init__(self, finish: Finish) -> None:
            self._finish = finish

        def __getattr__(self, name: str) -> Any:
            return getattr(self._finish, name)

    class Maker(Agent):
        async def run(self, messages: str | Sequence[Message], **how: Any) -> Any:
            return Made(await super().run(messages, **how))

    maker = Maker(provider=ScriptedProvider(["Done."]), system_prompt="", settings=Settings())
    assert asyncio.run(run_evals(SkillStore(tmp_path).scan().skills, lambda _: maker, model=SCRIPTED)) == 0
    assert "1 passed" in capsys.readouterr().out


def test_a_conversation_may_be_given(tmp_path: Path) -> None:
    talk = "[{role: user, content: Hi}, {role: assistant, content: Hello}, {role: user, content: Bake}]"
    put(tmp_path, f"name: later\nmessages: {talk}\nexpect: {{text: cake}}\n")
    agent, provider = agent_of(["A cake."])
    assert asyncio.run(run_evals(SkillStore(tmp_path).scan().skills, lambda _: agent, model="my/model")) == 0
    assert [(said.role, said.text) for said in provider.requests[0].messages] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Bake"),
    ]


# The judge


@pytest.mark.parametrize(
    ("verdicts", "fault"),
    [
        ([YES], ""),
        ([f"```json\n{YES}\n```"], ""),
        (["Yes, certainly.", YES], ""),
        ([NO], "the judge says no: No salt in it."),
        (["Yes.", "It is good."], "the judge gives no verdict"),
        (['{"answer": "maybe", "reason": ""}'] * 2, "the judge gives no verdict"),
        ([ProviderError("down")], "the judge gives no verdict: down"),
    ],
)
def test_a_judge_says_yes_or_no_and_nothing_else_counts(
    tmp_path: Path, run: Run, verdicts: list[Line], fault: str
) -> None:
    put(tmp_path, case(more=", judge: Is there salt in it?"))
    judge, provider = agent_of(verdicts)
    outcome = run(judge=judge)
    assert fault in outcome.reason and outcome.code == (1 if fault else 0)
    asked = json.loads(provider.requests[0].messages[-1].text.partition("\n\n")[2])
    assert asked == {
        "conversation": [{"role": "user", "text": "Bake"}],
        "answer": "A lemon cake.",
        "question": "Is there salt in it?",
    }


def test_the_agent_judges_without_its_skills_where_no_judge_is_given(tmp_path: Path) -> None:
    put(tmp_path, case(more=", judge: Is it sweet?"))
    store = SkillStore(tmp_path)
    agent, provider = agent_of(["A cake.", YES], skills=store)
    assert asyncio.run(run_evals(store.scan().skills, lambda _: agent, model="my/model")) == 0
    answering, judging = provider.requests
    assert answering.tools and not judging.tools and "Is it sweet?" in judging.messages[-1].text


def test_a_script_goes_on_with_the_verdict(tmp_path: Path, run: Run) -> None:
    put(tmp_path, case(script=json.dumps(["A cake.", NO]), more=", judge: Is it sweet?"))
    outcome = run()
    assert outcome.code == 1 and outcome.told["cases"][0]["turns"] == 2


def test_nothing_is_asked_of_the_judge_when_the_answer_is_wrong_already(tmp_path: Path, run: Run) -> None:
    put(tmp_path, case("text: salt", more=", judge: Is it sweet?"))
    judge, provider = agent_of([YES])
    assert run(judge=judge).code == 1 and provider.calls == 0


# Attempts


@pytest.mark.parametrize(
    ("need", "answers", "asked", "passed"),
    [
        ("", ["cake", "bread", "cake"], 3, True),
        ("", ["cake", "cake"], 2, True),
        ("", ["bread", "bread"], 2, False),
        (", pass: majority", ["bread", "cake", "bread"], 3, False),
        (", pass: all", ["cake", "cake", "cake"], 3, True),
        (", pass: all", ["cake", "bread"], 2, False),
        (", pass: any", ["bread", "bread", "cake"], 3, True),
        (", pass: any", [ProviderError("slow down"), "cake"], 2, True),
        (", pass: any", ["bread", "bread", "bread"], 3, False),
    ],
)
def test_attempts_go_on_until_the_case_is_decided(
    tmp_path: Path, run: Run, need: str, answers: list[Line], asked: int, passed: bool
) -> None:
    put(tmp_path, case("text: cake", more=f", attempts: 3{need}"))
    outcome = run(model="my/model", answers=answers)
    (told,) = outcome.told["cases"]
    assert (told["attempts"], told["passes"], told["passed"]) == (asked, answers.count("cake"), passed)
    assert outcome.code == (0 if passed else 1)


def test_each_attempt_plays_its_script_from_the_beginning(tmp_path: Path, run: Run) -> None:
    put(tmp_path, case("skill_activated: true", CALLS, ", attempts: 3, pass: all"))
    assert run().told["cases"][0]["passes"] == 3


# Which cases are run


def test_skills_are_tested_by_name_or_all_in_order(tmp_path: Path, run: Run) -> None:
    for skill in ("baking", "cooking"):
        put(tmp_path, case("text: cake").replace("cake,", f"{skill} b,"), "b.yaml", skill)
        put(tmp_path, case("text: cake").replace("cake,", f"{skill} a,", 1), "a.yml", skill)
    put(tmp_path, "never read: [", "notes.txt")
    write_skill(tmp_path, "untested", "Has no evals.")
    assert [each["case"] for each in run().told["cases"]] == ["baking a", "baking b", "cooking a", "cooking b"]
    assert [each["case"] for each in run("cooking").told["cases"]] == ["cooking a", "cooking b"]


@pytest.mark.parametrize(
    ("more", "model", "is_run"),
    [
        ("", "my/model", True),
        (", models: [my/*]", "my/model", True),
        (", models: my/*, not_models: ['*/model']", "my/model", False),
        (", models: [local/*, your/*]", "my/model", False),
        (", not_models: [local/*]", "my/model", True),
        (", models: [local/*]", SCRIPTED, True),
        (", script: []", SCRIPTED, False),
    ],
)
def test_a_case_is_run_with_the_models_that_it_is_for(
    tmp_path: Path, run: Run, more: str, model: str, is_run: bool
) -> None:
    put(tmp_path, case("text: cake", more=more).replace("script: [A lemon cake.], script", "script"))
    put(tmp_path, case("text: cake"), "other.yaml")
    outcome = run(model=model, answers=["A cake."] * 2)
    assert (outcome.told["passed"], outcome.told["skipped"]) == ((2, 0) if is_run else (1, 1))


def test_nothing_to_test_is_said_and_is_exit_code_2(tmp_path: Path, run: Run) -> None:
    write_skill(tmp_path, "untested", "Has no evals.")
    assert run().code == 2
    put(tmp_path, case("text: cake", more=", models: [local/*]"))
    outcome = run(model="my/model")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "there is nothing to test; 1 cases are for other models than my/model\n"
    assert "there is no skill 'nope'; there are: baking, untested" in run("baking", "nope").err


# Files that are wrong


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1: error: the file is empty"),
        ("hello", "1: error: Input should be a valid dictionary"),
        ("- prompt: Bake\n  expect: {text: a}\n", "1: error: 0: name is missing"),
        ("name: a\nprompt: Bake\n", "1: error: nothing is expected"),
        ("name: a\nexpect: {text: a}\n", "1: error: give a prompt, or else messages"),
        ("name: a\nprompt: b\nmessages: [{role: user, content: c}]\njudge: d\n", "1: error: give a prompt, or else"),
        ("name: a\nmessages: [{role: assistant, content: c}]\njudge: d\n", "1: error: the last of the messages"),
        ("name: a\nprompt: b\nexpect:\n  texts: [a]\n", "4: error: expect.texts: Extra inputs"),
        (
            "name: a\nprompt: b\nexpect:\n  text: [a,\n    7]\n",
            "5: error: expect.text.1: Input should be a valid string",
        ),
        (
            "name: a\nprompt: b\nexpect:\n  max_turns: three\n",
            "4: error: expect.max_turns: Input should be a valid int",
        ),
        ("name: a\nprompt: b\nexpect: {skill_activated: yes}\n", "3: error: expect.skill_activated: Input should be"),
        ("name: a\nprompt: b\nexpect: {text_matches: '('}\n", "3: error: expect.text_matches: this is no regular"),
        ("name: a\nprompt: b\nexpect: {text_matches: '(?=a)'}\n", "look-around"),
        (r"{name: a, prompt: b, expect: {text_matches: '(\p{L}{99}){99}'}}", "too large"),
        ("name: a\nprompt: b\nexpect: {json_schema: {type: 7}}\n", "3: error: expect.json_schema: this is not a JSON"),
        ("name: a\nprompt: b\njudge: c\nattempts: 21\n", "4: error: attempts: Input should be less than"),
        ("name: a\nprompt: b\njudge: c\npass: most\n", "4: error: pass: Input should be 'majority'"),
        ("name: a\nprompt: b\njudge: c\nscript:\n- a\n- {arguments: {}}\n", "6: error: script.1: call is missing"),
        ("name: a\nprompt: b\njudge: c\nscript: 7\n", "4: error: script: Input should be"),
        ("name: a\nprompt: b\nname: c\n", "3: error: 'name' is there twice"),
        ("? [a]\n: b\n", "1: error: "),
        ("name: a\nprompt: [b\n", "2: error: the YAML cannot be read"),
        ("name: a\n---\nname: b\n", "the YAML cannot be read: but found another document"),
        ("name: &a b\nprompt: *a\n", "1: error: anchors and aliases (& and *) are not allowed in the file"),
        ("name: !!python/object:os.system a\n", "1: error: the tag"),
        ("a: " + "[" * 30 + "]" * 30, "1: error: the file nests deeper than 20 levels"),
        ("a: " + "[" * 3000, "1: error: the "),
        ("name: " + "a" * 66_000, "1: error: the file is longer than 64 KiB"),
        ("- " + "{}, " * 5000, "error: "),
        (b"name: \xff\n", "0: error: 'utf-8' codec"),
        (b"name: a\x07\n", "1: error: the YAML cannot be read: unacceptable character"),
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_a_wrong_file_is_told_with_its_line_and_nothing_is_run(
    tmp_path: Path, run: Run, text: str | bytes, words: str
) -> None:
    put(tmp_path, case("text: cake"), "good.yaml")
    folder = put(tmp_path, text, "wrong.yaml")
    outcome = run()
    assert (outcome.code, outcome.out) == (2, "")
    assert all(line.startswith(f"{folder}/evals/wrong.yaml:") for line in outcome.err.splitlines())
    assert words in outcome.err


def test_every_mistake_of_every_file_is_told(tmp_path: Path, run: Run) -> None:
    put(tmp_path, "- name: a\n- prompt: b\n  judge: c\n  tries: 2\n")
    put(tmp_path, "7", skill="cooking")
    assert [line.partition(" error: ")[2] for line in run().err.splitlines()] == [
        "0: give a prompt, or else messages",
        "1: name is missing",
        "1.tries: Extra inputs are not permitted",
        "Input should be a valid dictionary or instance of Case",
    ]


def test_a_file_that_leads_elsewhere_is_not_read(tmp_path: Path, run: Run) -> None:
    (tmp_path / "outside.yaml").write_text(case("text: cake"))
    folder = put(tmp_path / "skills", "", "gone.yaml")
    (folder / "evals" / "gone.yaml").unlink()
    (folder / "evals" / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    assert list(evals_of(SkillStore(tmp_path / "skills").scan().skills["baking"])) == []


def test_the_model_is_not_shown_the_evals(tmp_path: Path) -> None:
    folder = put(tmp_path, case("text: cake"))
    (folder / "notes.md").write_text("Bake slowly.")
    told = activation_text(SkillStore(tmp_path).scan().skills["baking"])
    assert "notes.md" in told and "evals" not in told


def test_words_of_a_file_cannot_steer_the_terminal(tmp_path: Path, run: Run) -> None:
    put(tmp_path, '{name: "\\e[31mred", prompt: b, expect: {text: a}, script: ["\\e[2Jno"]}')
    outcome = run(as_json=False)
    assert outcome.code == 1 and "\x1b" not in outcome.out and "[31mred" in outcome.out
    put(tmp_path, '{"\\e[31mred": 1}', "wrong.yaml")
    assert "\x1b" not in run().err


def test_an_expression_takes_no_more_time_than_its_text_is_long(tmp_path: Path, run: Run) -> None:
    put(tmp_path, case("text_matches: '(a+)+$'", json.dumps(["a" * 30_000 + "b"])))
    done = threading.Event()

    def work() -> None:
        assert run().code == 1
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20), "it hangs, or it failed with the error above"


# What is printed, and how it ends


def test_a_table_tells_every_case_and_why_one_fails(tmp_path: Path, run: Run) -> None:
    put(
        tmp_path,
        case("text: cake") + case("text: [salt, pepper]", '["A sweet\\n\\ncake."]').replace("cake,", "salty,", 1),
    )
    outcome = run(as_json=False)
    assert (outcome.code, outcome.err) == (1, "")
    heads, good, bad, why, said, summary = outcome.out.splitlines()
    assert heads.split() == ["skill", "case", "passes", "seconds", "turns", "tokens"]
    assert good.split()[:4] == ["ok", "baking", "cake", "1/1"] and good.split()[-2:] == ["1", "2"]
    assert bad.split()[:4] == ["FAIL", "baking", "salty", "0/1"]
    assert (why.strip(), said.strip()) == ("the text lacks 'salt'; the text lacks 'pepper'", "A sweet cake.")
    assert summary == "scripted: 1 passed, 1 failed"


def test_a_case_that_cannot_be_asked_fails_and_the_others_are_run(tmp_path: Path, run: Run) -> None:
    put(tmp_path, case("text: cake") * 2)
    outcome = run(model="my/model", answers=[ProviderError("too busy"), "cake"])
    assert outcome.code == 1 and outcome.reason == "ProviderError: too busy; "
    assert [each["passed"] for each in outcome.told["cases"]] == [False, True]
    assert outcome.told["cases"][0]["error"] == "ProviderError('too busy')"


def test_what_keeps_every_case_from_being_asked_is_raised(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, case("text: cake") * 2)
    with pytest.raises(AuthError, match="wrong key"):
        run(model="my/model", answers=[AuthError("wrong key")] * 2)
    assert json.loads(capsys.readouterr().out)["failed"] == 2


class Begun(Stuck):
    """Tells when it has been asked."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        self.begun.set()
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


async def test_an_interruption_tells_what_was_run_and_ends_the_run_that_is_going(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, case("text: cake") * 3)
    stuck = Begun()
    good, _ = agent_of(["A cake."])
    agents = iter([good, Agent(provider=stuck, system_prompt="", settings=Settings())])
    running = asyncio.create_task(
        run_evals(SkillStore(tmp_path).scan().skills, lambda _: next(agents), model="my/model")
    )
    await stuck.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stuck.closed.is_set()
    assert capsys.readouterr().out.endswith("my/model: 1 passed, 0 failed, 2 stopped\n")


# The example skills


def test_the_evals_of_the_example_skills_pass_by_their_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    store = SkillStore(EXAMPLES)
    skills = store.scan().skills

    def an_agent(script: Sequence[Line]) -> Agent:
        return Agent(provider=ScriptedProvider(script), skills=store, settings=Settings())

    assert asyncio.run(run_evals(skills, an_agent, model=SCRIPTED, as_json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["skill"] for each in told["cases"]} == {"cookie-flavor-generator", "market-research", "skill-writer"}
    local = [each for skill in skills.values() for each in evals_of(skill) if not isinstance(each, Problem)]
    assert {each.skill for each in local if each.case.is_for("local/smollm2-135m")} == set(skills)
