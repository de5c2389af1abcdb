"""The chat on a terminal as a person has it: keys typed into a pseudo-terminal, and what comes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminals import Terminal, environment
from tests.test_blocks import HOSTILE
from tests.upstream import Upstream, chat_chunks, sse

# A terminal's child is forked, and the upstream has threads: Python warns of that combination only.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
SMART = "xterm-256color"
STALLED = sse(chat_chunks(text="Well, that")[:-2], done=False).but(stall=True)


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def env(up: Upstream, tmp_path: Path) -> dict[str, str]:
    return environment(up.url, tmp_path, "openai/gpt-4o")


def test_a_tour(env: dict[str, str], up: Upstream, tmp_path: Path) -> None:
    """A skill, an answer that is stopped, another try, a picture, and the conversation found again."""
    (tmp_path / "pic.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    skill = ("call_1", "activate_skill", '{"name": "market-research"}')
    up.reply(
        sse(chat_chunks(tool_calls=[skill], reasoning="Which skill? ")),
        sse(chat_chunks(text="# Tea\n\n- *green*\n- **black**\n\n```python\nx = 1\n```\n\nDone.")),
        STALLED,
        sse(chat_chunks(text="Second time.")),
        sse(chat_chunks(text="A picture.")),
    )
    screen = Terminal(env=env, term=SMART)
    screen.expect("skill-agent · openai/gpt-4o · 3 skills")
    screen.prompted()
    screen.type("/market-research tea\r")
    assert "· skill market-research" in screen.expect("Done.")
    screen.expect("tokens in")
    screen.prompted()
    assert "\x1b[1;4mTea" in screen.raw and "```" not in screen.raw and "\x1b[1mblack" in screen.raw
    screen.type("/reasoning\r")
    screen.expect("Which skill?")
    screen.type("again\r")
    screen.expect("Well,")
    screen.interrupt()
    screen.expect("stopped; /retry asks again")
    assert up.wait_closed()
    screen.type("/retry\r")
    screen.expect("Second time.")
    screen.prompted()
    screen.type("/attach pic.png\r")
    screen.expect("pic.png (picture, 8 bytes)")
    screen.type("What is \\\rthis?\r")
    screen.expect("A picture.")
    screen.prompted()
    screen.type("/save talk.md\r/usage\r")
    assert "written to" in screen.expect("3 answers, ")
    screen.type("/quit\r")
    screen.expect("python cli.py -c")
    assert screen.end() == 0
    shown = up.requests[-1].json["messages"][-1]["content"]
    assert [part["type"] for part in shown] == ["image_url", "text"] and shown[1]["text"] == "What is \nthis?"
    assert "## Agent\n\nSecond time." in (tmp_path / "talk.md").read_text()
    _goes_on(env, up)


def _goes_on(env: dict[str, str], up: Upstream) -> None:
    up.reply(sse(chat_chunks(text="You asked twice.")))
    screen = Terminal("-c", env=env, term=SMART)
    screen.expect("Going on with")
    screen.prompted()
    screen.type("How often did I ask?\r")
    screen.expect("You asked twice.")
    screen.prompted()
    screen.type("\x04")
    assert screen.end() == 0
    said = [message["content"] for message in up.requests[-1].json["messages"] if message["role"] == "user"]
    assert said[:2] == ["/market-research tea", "again"] and len(said) == 4


def test_what_was_typed_is_kept_when_the_answer_fails(env: dict[str, str], up: Upstream) -> None:
    cut = sse(chat_chunks(text="I was about to say")[:5], done=False).but(cut="rst")
    up.reply(cut, sse(chat_chunks(text="Now I say it.")))
    screen = Terminal(env=env, term=SMART)
    screen.prompted()
    screen.type("A long question\r")
    screen.expect("I was about")
    screen.expect("openai: the answer broke off (the connection was lost)")
    screen.expect("A long question")
    screen.type("\r")
    screen.expect("Now I say it.")
    screen.prompted()
    screen.interrupt()
    screen.expect("Ctrl-C once more leaves")
    screen.type("\x03")
    assert screen.end() == 130
    assert [request.json["messages"][-1]["content"] for request in up.requests] == ["A long question"] * 2


def test_keys_typed_ahead_are_no_answer_to_a_question_about_a_tool(env: dict[str, str], up: Upstream) -> None:
    wrong = "\x1b[2J" + "x" * 5_000
    write = ("call_1", "write_file", json.dumps({"path": "a.md", "content": wrong}))
    slow = sse([0.5, *chat_chunks(tool_calls=[write])])
    up.reply(
        slow, sse(chat_chunks(text="Refused.")), sse(chat_chunks(tool_calls=[write])), sse(chat_chunks(text="Made."))
    )
    screen = Terminal(env={**env, "SKILL_AGENT_ASK": "write_file"}, term=SMART)
    screen.prompted()
    screen.type("write\r")
    screen.expect("waiting")
    screen.type("y\ry\r")
    asked = screen.expect("[y/N] ")
    assert "\\u001b[2J" in asked and "more characters" in asked
    screen.type("n\r")
    screen.expect("Refused.")
    screen.prompted()
    screen.type("write\r")
    screen.expect("[y/N] ")
    screen.type("y\r")
    screen.expect("Made.")
    screen.expect("made a.md (5.0 kB) in")
    screen.prompted()
    screen.type("\x04")
    assert screen.end() == 0
    results = [m["content"] for r in up.requests for m in r.json["messages"] if m["role"] == "tool"]
    assert "not allowed" in results[0] and "not allowed" not in results[-1]


def test_nothing_hostile_reaches_the_terminal(env: dict[str, str], up: Upstream) -> None:
    """From the model's words, its reasoning, a tool's name and arguments, and an error."""
    evil = HOSTILE.replace("\r", "").replace("\x00", "")
    up.reply(
        sse(chat_chunks(text=evil, reasoning=evil, tool_calls=[("c1", f"no{evil}", f'{{"a": "{evil!r}"}}')])),
        sse(chat_chunks(text=f"- {evil}\n\n| {evil} |\n|--|\n\n```{evil}\n{evil}\n```\n")),
        sse([{"error": {"message": evil, "code": "server_error"}}]).but(status=400),
    )
    for kind in (SMART, "dumb"):
        screen = Terminal("-p", "hi", env=env, term=kind)
        screen.end()
        left = re.sub(r"\x1b\[[0-9;]*[mK]", "", screen.raw)
        assert "owned" in left or kind == "dumb"
        assert all(letter.isprintable() or letter in "\r\n" for letter in left), left


def test_without_its_packages_and_without_colour_it_works_plainly(env: dict[str, str], up: Upstream) -> None:
    up.always(sse(chat_chunks(text="**Yes**.")))
    bare = Terminal(env=env, term=SMART, bare=True)
    grey = Terminal("-p", "hi", env={**env, "NO_COLOR": "1"}, term=SMART)
    dumb = Terminal("-p", "hi", env=env)
    bare.expect("> ")
    bare.type("one \\\ntwo\n")
    bare.expect("**Yes**.")
    bare.expect("> ")
    bare.type("/skills\n")
    bare.expect("skill-writer: ")
    bare.expect("> ")
    bare.type("\x04")
    assert bare.end() == 0
    assert "one \ntwo" in [request.json["messages"][-1]["content"] for request in up.requests]
    grey.expect("Yes.")
    assert grey.end() == 0
    assert not re.search(r"\x1b\[[0-9;]*3\d", grey.raw) and "\x1b[2m" not in grey.raw
    dumb.expect("**Yes**.")
    assert dumb.end() == 0
    assert "\x1b" not in dumb.raw


def test_a_huge_paste_is_folded(env: dict[str, str], up: Upstream) -> None:
    up.always(sse(chat_chunks(text="Read.")))
    screen = Terminal(env={**env, "EDITOR": "sed -i 's/ sum/ add/'"}, term=SMART)
    screen.prompted()
    screen.type("\x1b[200~" + "lorem ipsum\n" * 20_000 + "\x1b[201~")
    screen.expect("[pasted text 1: 240 kB, 20001 lines]")
    screen.type(" sum it up\r")
    screen.expect("Read.")
    screen.prompted()
    screen.type("/edit\r")
    screen.expect("Read.")
    screen.prompted()
    screen.type("\x04")
    assert screen.end() == 0
    content = up.requests[0].json["messages"][-1]["content"]
    assert content.startswith("lorem ipsum\nlorem") and content.endswith("\n sum it up") and len(content) > 240_000
    assert up.requests[-1].json["messages"][-1]["content"] == content.replace("sum it", "add it")
