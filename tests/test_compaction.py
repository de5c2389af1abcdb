"""Conversations that outgrow the model's window: what is kept, what becomes a summary, and that the runs go on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agent.context import size
from agent_loop import Agent
from history import repair
from messages import (
    Compacted,
    Done,
    Finish,
    Message,
    ProviderEvent,
    Request,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
    assistant,
    user,
)
from providers.base import ContextOverflow, ModelInfo
from providers.scripted import Line, Play, ScriptedProvider, call
from settings import Settings
from tests.surface import write_skill

WINDOW = 32_000
PAGE = "One line of a long page that says nothing new.\n" * 1_090
"""50 KB."""


def read_page(number: int) -> str:
    """A page of the archive."""
    return f"Page {number}\n{PAGE}"


class Reading:
    """A model that plays its parts, one a turn, and sums up when it is asked to; it notes what it is asked."""

    def __init__(self, parts: list[Text | ToolCall], window: int = WINDOW, counts: bool = False) -> None:
        self.info = ModelInfo("scripted/reader", window=window)
        self.counts = counts
        self.asked: list[Request] = []
        self.summaries = self.largest = 0
        self._parts = iter(parts)

    async def aclose(self) -> None:
        return None

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        needed = size(request.messages)
        self.largest = max(self.largest, needed)
        check_valid(request)
        self.asked.append(request)
        part = next(self._parts) if request.tools else self._summary()
        if isinstance(part, Text):
            yield TextDelta(part.text)
        message = Message("assistant", (part,), self.info.id)
        usage = Usage(needed, 10, total=needed + 10) if self.counts else Usage()
        yield Done(message, "tool_calls" if message.calls else "stop", usage, "reader")

    def _summary(self) -> Text:
        self.summaries += 1
        return Text("Many pages are read.")


def pages(count: int) -> list[ToolCall]:
    return [call("read_page", f"page{number}", number=number) for number in range(count)]


def check_valid(request: Request) -> None:
    """Every call has its one result behind it, and no result stands alone."""
    messages = list(request.messages)
    assert [m for m in repair(messages) if m.parts] == messages
    assert messages[-1].role in ("user", "tool")


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "estimated"])
async def test_a_long_task_stays_within_its_window_and_keeps_its_skill(tmp_path: Path, counts: bool) -> None:
    write_skill(tmp_path, "archive", body="Always name the shelf: XYZZY.")
    parts: list[Text | ToolCall] = [call("activate_skill", "skill", name="archive"), *pages(300), Text("All is read.")]
    model = Reading(parts, counts=counts)
    settings = Settings(max_turns=500)
    agent = Agent(provider=model, skills=tmp_path, tools=[read_page], settings=settings, system_prompt="Be brief.")
    finish = await agent.run("Read all 300 pages and count the shelves.")
    assert finish.text == "All is read." and len(finish.steps) > 900
    assert "XYZZY" in str(model.asked[-1].messages)
    assert model.largest <= WINDOW * 0.8 and 5 < model.summaries < 100
    assert sum(isinstance(step, Compacted) for step in finish.steps) == model.summaries


async def test_skill_task_and_todos_stand_word_for_word_behind_a_summary(tmp_path: Path) -> None:
    write_skill(tmp_path, "archive", body="Always name the shelf: XYZZY.")
    todos = call("write_todos", "todos", todos=["[x] begin", "[ ] count"])
    parts: list[Text | ToolCall] = [call("activate_skill", "skill", name="archive"), todos, *pages(40), Text("Done.")]
    model = Reading(parts, window=16_000)
    agent = Agent(provider=model, skills=tmp_path, tools=[read_page], groups=("skills", "todos"), settings=Settings())
    finish = await agent.run("Count the shelves.")
    assert finish.text == "Done." and model.summaries > 1
    whole = "\n".join(message.text for message in model.asked[-1].messages)
    for kept in ("XYZZY", "Count the shelves.", "[ ] count", "Many pages are read."):
        assert whole.count(kept) == 1


async def test_a_large_result_is_cut_to_its_ends() -> None:
    model = ScriptedProvider([[call("read_page", number=7)], "Read."], ModelInfo("scripted/m", window=WINDOW))
    finish = await Agent(provider=model, tools=[read_page], settings=Settings()).run("Read page 7.")
    (result,) = finish.messages[1].results
    assert result.text.startswith("Page 7\n") and "51237 characters in all" in result.text
    assert len(result.text) < 5_000


async def test_an_overflow_that_only_the_provider_sees_is_met_by_a_summary_once() -> None:
    talk = [message for n in range(9) for message in (user(f"Question {n}?"), assistant(f"Answer {n}."))]
    model = ScriptedProvider([ContextOverflow("too long"), "They talked.", "Yes."])
    finish = await Agent(provider=model, settings=Settings()).run([*talk, user("And now?")])
    assert finish.text == "Yes." and finish.usage.total == 4
    assert "They talked." in "".join(message.text for message in model.requests[-1].messages)
    assert model.requests[-1].messages[-1].text == "And now?"
    model = ScriptedProvider([ContextOverflow("too long"), "They talked.", ContextOverflow("still too long")])
    with pytest.raises(ContextOverflow, match="still too long"):
        await Agent(provider=model, settings=Settings()).run([*talk, user("And now?")])


async def test_one_message_that_is_too_long_is_an_honest_error() -> None:
    model = ScriptedProvider([ContextOverflow("too long")])
    with pytest.raises(ContextOverflow):
        await Agent(provider=model, system_prompt="", settings=Settings()).run("x" * 1000)
    assert model.calls == 1


async def test_calls_stay_with_their_results() -> None:
    calls: list[Line] = [["Next.", call("read_page", number=n), call("read_page", number=-n)] for n in range(1, 12)]
    model = ScriptedProvider([*calls, "S", "S", "S", "S", "S", "S"], ModelInfo("scripted/m", window=12_000))
    finish = await Agent(provider=model, tools=[read_page], settings=Settings()).run("Read.")
    assert isinstance(finish, Finish) and any(isinstance(step, Compacted) for step in finish.steps)
    for request in model.requests:
        check_valid(request)


async def test_a_play_with_its_own_count_is_believed() -> None:
    counted = Play(["Fine."], usage=Usage(27_000, 10, total=27_010))
    model = ScriptedProvider(
        [Play([call("nothing")], usage=counted.usage), "Short.", counted], ModelInfo("s/m", window=WINDOW)
    )
    talk = [user("x " * 20_000), assistant("y"), user("go")]
    finish = await Agent(provider=model, tools=[read_page], settings=Settings()).run(talk)
    assert [type(step).__name__ for step in finish.steps].count("Compacted") == 1


def test_results_alone_are_no_beginning() -> None:
    from agent.compaction import Compaction

    results = Message("tool", (ToolResult("a", (Text("x" * 2_000),)),))
    talk = [user("q"), Message("assistant", (ToolCall("a", "t"),)), results, assistant("z"), user("next")]
    parts = Compaction(2_300, "q").split(talk)
    assert parts.new and parts.new[0].role != "tool" and [*parts.old, *parts.new] == talk
