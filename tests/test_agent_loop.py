"""The loop: asking, running tools, budgets, cancellation, and what the caller is given."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from agent_loop import Agent
from history import legal
from messages import (
    File,
    Finish,
    Message,
    Options,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolEnd,
    ToolResult,
    ToolSpec,
    ToolStart,
    Turn,
    Usage,
    assistant,
    system,
    user,
)
from providers.base import BadResponse, ProviderDown, ProviderError, RateLimited
from providers.scripted import Line, Play, call
from settings import Settings
from tests.agents import Stuck, Unfinished, agent_of, ended, finish_of, heard, results_of, spoken
from tools import ToolError

WEATHER = ToolSpec("weather", "The weather of a place.")


def price(item: str) -> str:
    """The price of an item."""
    return f"{item} costs 3 euros"


def broken(words: str = "") -> str:
    raise ValueError(words)


async def slow() -> str:
    await asyncio.Event().wait()
    return "never"


# Answers


async def test_an_answer_is_the_same_whole_and_streamed() -> None:
    script: list[Line] = [["Let me look.", Reasoning("hm"), call("price", item="tea")], "It is 3 euros."]
    agent, _ = agent_of([*script, *script], price)
    whole = await agent.run("what is tea?")
    events = await heard(agent.stream("what is tea?"))
    streamed = finish_of(events)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == whole.text == streamed.text
    assert whole.text == "Let me look.\n\nIt is 3 euros."
    assert [ReasoningDelta("hm")] == [event for event in events if isinstance(event, ReasoningDelta)]
    assert [type(step) for step in whole.steps] == [Turn, ToolStart, ToolEnd, Turn]
    assert [event for event in events if isinstance(event, Turn | ToolStart | ToolEnd)] == list(streamed.steps)
    ids = {"call_2": "call_1"}
    same = [(r.text, ids.get(r.call_id, r.call_id)) for r in results_of(streamed)]
    assert same == [(r.text, r.call_id) for r in results_of(whole)] == [("tea costs 3 euros", "call_1")]
    assert spoken(whole.messages) == spoken(streamed.messages)
    assert (whole.reason, whole.usage, whole.model) == (streamed.reason, streamed.usage, streamed.model)


async def test_usage_is_summed_over_turns_and_the_model_is_named() -> None:
    first, second = Usage(10, 2, cache_read=4, total=12), Usage(20, 3, reasoning=1, total=23)
    agent, _ = agent_of([Play([call("price", item="tea")], usage=first), Play(["3"], usage=second)], price)
    finish = await agent.run("tea?")
    assert finish.usage == Usage(30, 5, cache_read=4, reasoning=1, total=35)
    assert [step.usage for step in finish.steps if isinstance(step, Turn)] == [first, second]
    assert finish.model == "model" and finish.reason == "stop" and not finish.limit


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["One.", "Two."], "One.\n\nTwo."),
        (["One.\n", "Two."], "One.\nTwo."),
        (["", "Two."], "Two."),
    ],
)
async def test_the_text_of_several_turns_is_separated(texts: list[str], whole: str) -> None:
    first: list[str | ToolCall] = [*filter(None, texts[:1]), call("price", item="tea")]
    agent, _ = agent_of([first, texts[1]], price)
    events = await heard(agent.stream("tea?"))
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == whole
    assert finish_of(events).text == whole


async def test_a_paused_answer_goes_on_without_a_separator_and_unchanged() -> None:
    agent, provider = agent_of([Play(["A cookie with "], stop="pause"), "cinnamon."])
    finish = await agent.run("invent")
    assert finish.text == "A cookie with cinnamon."
    assert spoken(provider.requests[1].messages) == [("user", "invent"), ("assistant", "A cookie with ")]


async def test_an_answer_that_pauses_for_ever_ends_with_the_turns() -> None:
    agent, provider = agent_of([Play(["."], stop="pause")] * 9, max_turns=4)
    finish = await agent.run("go")
    assert (finish.reason, finish.limit, provider.calls) == ("length", "max_turns", 4)


@pytest.mark.parametrize("nothing", [[], [Reasoning("hm")], [" \n"]])
async def test_an_empty_turn_after_tools_is_asked_about_once(nothing: list[Reasoning | str]) -> None:
    agent, provider = agent_of([[call("price", item="tea")], Play(nothing), "3 euros"], price)
    finish = await agent.run("tea?")
    assert finish.text.strip() == "3 euros" and finish.reason == "stop"
    last = provider.requests[2].messages[-1]
    assert last.role == "user" and last.text


async def test_a_second_empty_turn_is_an_error() -> None:
    agent, provider = agent_of([[call("price", item="tea")], Play([]), Play([]), "late"], price)
    with pytest.raises(BadResponse, match="answers nothing"):
        await agent.run("tea?")
    assert provider.calls == 3


async def test_a_refusal_after_tools_is_an_answer() -> None:
    agent, provider = agent_of([[call("price", item="tea")], [Refusal("I would rather not.")]], price)
    assert (await agent.run("tea?")).reason == "stop"
    assert provider.calls == 2


async def test_an_empty_first_answer_is_asked_for_again() -> None:
    agent, provider = agent_of([Play([]), "Hello"])
    finish = await agent.run("hm")
    assert (finish.text, finish.reason, finish.messages) == (
        "Hello",
        "stop",
        (Message("assistant", (Text("Hello"),), "scripted/model"),),
    )
    assert spoken(provider.requests[0].messages) == spoken(provider.requests[1].messages) == [("user", "hm")]


@pytest.mark.parametrize("stop", ["length", "content_filter"])
async def test_a_cut_answer_ends_the_run_and_runs_no_tools(stop: str) -> None:
    ran: list[str] = []

    def note(item: str) -> None:
        ran.append(item)

    cut = Play(["Half", call("note", item="x")], stop="length" if stop == "length" else "content_filter")
    agent, provider = agent_of([cut, "no"], note)
    finish = await agent.run("go")
    assert (finish.reason, finish.text, finish.limit, finish.calls) == (stop, "Half", "", ())
    assert not ran and provider.calls == 1


async def test_a_providers_errors_go_up() -> None:
    agent, _ = agent_of([RateLimited("slow down"), Play(["Hel", ProviderDown("gone")]), ["no", call("price")]], price)
    with pytest.raises(RateLimited, match="slow down"):
        await agent.run("hi")
    said: list[object] = []
    with pytest.raises(ProviderDown, match="gone"):
        async for event in agent.stream("hi"):
            said.append(event)
    assert said == [TextDelta("Hel")]
    with pytest.raises(ProviderError, match="no more lines"):
        await agent.run("hi")


async def test_a_stream_that_just_ends_is_an_error() -> None:
    agent = Agent(provider=Unfinished(), settings=Settings(), system_prompt="")
    with pytest.raises(BadResponse):
        await agent.run("hi")


# Tools


async def test_tools_run_side_by_side_and_their_results_stand_in_the_order_asked() -> None:
    together = asyncio.Barrier(3)
    finished = [asyncio.Event() for _ in range(4)]
    finished[3].set()
    order: list[int] = []

    async def meet(place: int) -> str:
        await together.wait()
        await finished[place + 1].wait()  # the last one ends first
        finished[place].set()
        order.append(place)
        return f"met at {place}"

    agent, provider = agent_of([[call("meet", place=place) for place in range(3)], "ok"], meet)
    async with asyncio.timeout(5):
        finish = await agent.run("meet")
    assert order == [2, 1, 0] and len(ended(finish)) == 3
    (message,) = [message for message in provider.requests[1].messages if message.role == "tool"]
    assert [result.text for result in message.results] == ["met at 0", "met at 1", "met at 2"]
    assert [result.call_id for result in message.results] == ["call_1", "call_2", "call_3"]


async def test_every_call_is_answered_once_and_no_failure_harms_the_others() -> None:
    async def cancelled() -> str:
        raise asyncio.CancelledError

    def leaves() -> str:
        raise SystemExit("bye")

    def exhausted() -> str:
        return next(iter(()))

    def told() -> str:
        raise ToolError("the shop is closed")

    asked = [
        call("price", item="tea"),
        call("nothing_like_it"),
        ToolCall("bad", "price", '{"item": "te'),
        ToolCall("list", "price", "[]"),
        call("price", item=["x"]),
        call("price", thing="tea"),
        call("broken", words="boom"),
        call("broken"),
        call("cancelled"),
        call("leaves"),
        call("exhausted"),
        call("told"),
        call("price", item="coffee"),
    ]
    agent, provider = agent_of([asked, "ok"], price, broken, cancelled, leaves, exhausted, told)
    async with asyncio.timeout(5):
        finish = await agent.run("all")
    calls, results = finish.messages[0].calls, results_of(finish)
    assert [result.call_id for result in results] == [call.id for call in calls]
    assert sorted(step.call.id for step in ended(finish)) == sorted(call.id for call in calls)
    good, bad = [results[0], results[-1]], results[1:-1]
    assert [result.text for result in good] == ["tea costs 3 euros", "coffee costs 3 euros"]
    assert not any(result.is_error for result in good) and all(result.is_error for result in bad)
    words = [result.text for result in bad]
    for expected, said in zip(
        (
            "no tool 'nothing_like_it'; there are: broken, cancelled, exhausted, leaves, price, told",
            "Invalid JSON",
            "object",
            "item: Input should be a valid string",
            "thing: Extra inputs are not permitted",
            "broken failed: ValueError: boom",
            "broken failed: ValueError",
            "cancelled was cancelled",
            "leaves failed: SystemExit: bye",
            "exhausted failed: RuntimeError: StopIteration",
            "Error: the shop is closed",
        ),
        words,
        strict=True,
    ):
        assert expected in said
    assert words[6].endswith("ValueError") and finish.text == "ok" and provider.calls == 2


async def test_a_sync_tool_does_not_block_the_loop() -> None:
    free = threading.Event()

    def waits() -> bool:
        return free.wait(5)

    async def frees() -> None:
        free.set()

    agent, _ = agent_of([[call("waits"), call("frees")], "ok"], waits, frees)
    assert [result.text for result in results_of(await agent.run("go"))] == ["true", "Done."]


async def test_calls_count_even_where_the_model_says_that_it_has_stopped() -> None:
    agent, provider = agent_of([Play([call("price", item="tea")], stop="stop"), "3 euros"], price)
    assert (await agent.run("tea?")).text == "3 euros"
    agent, provider = agent_of([Play(["3 euros"], stop="tool_calls"), "again"], price)
    assert (await agent.run("tea?")).text == "3 euros"
    assert provider.calls == 1


@pytest.mark.parametrize("mode", ["required", "tool"])
async def test_a_choice_that_forces_a_tool_forces_it_once(mode: str) -> None:
    choice = ToolChoice("required") if mode == "required" else ToolChoice("tool", "price")
    agent, provider = agent_of([[call("price", item="tea")], "3 euros"], price)
    await agent.run("tea?", options=Options(temperature=0.5, tool_choice=choice))
    first, second = (request.options for request in provider.requests)
    assert first.tool_choice == choice and second == Options(temperature=0.5)


async def test_a_choice_that_forces_the_clients_tool_is_kept() -> None:
    choice = ToolChoice("tool", "weather")
    agent, provider = agent_of([[call("price", item="tea")], [call("weather")]], price)
    await agent.run("tea?", client_tools=[WEATHER], options=Options(tool_choice=choice))
    assert [request.options.tool_choice for request in provider.requests] == [choice, choice]


# Budgets


async def test_the_budget_of_turns_ends_the_run() -> None:
    agent, provider = agent_of([["Hm.", call("price", item="tea")]] * 9, price, max_turns=3)
    finish = await agent.run("go")
    assert (finish.reason, finish.limit, provider.calls) == ("length", "max_turns", 3)
    assert finish.text == "Hm.\n\nHm.\n\nHm." and finish.messages[-1].role == "tool"


async def test_the_budget_of_tokens_ends_the_run() -> None:
    spent = Usage(30, 10, total=40)
    agent, _ = agent_of([Play([call("price", item="tea")], usage=spent)] * 9, price, max_tokens=100)
    finish = await agent.run("go")
    assert (finish.reason, finish.limit, finish.usage.total) == ("length", "max_tokens", 120)
    agent, _ = agent_of([Play(["Done."], usage=Usage(300, 1, total=301))], max_tokens=100)
    finish = await agent.run("go")
    assert (finish.reason, finish.limit) == ("stop", "")


async def test_the_budget_of_seconds_ends_a_model_that_streams() -> None:
    model = Stuck()
    agent = Agent(provider=model, settings=Settings(), system_prompt="", max_seconds=0.05)
    events = await heard(agent.stream("go"))
    finish = finish_of(events)
    assert (finish.reason, finish.limit, finish.text) == ("length", "max_seconds", "Well, I")
    assert spoken(finish.messages) == [("assistant", "Well, I")]
    assert model.closed.is_set()


async def test_the_budget_of_seconds_ends_tools_and_each_call_has_a_result() -> None:
    async def quick() -> str:
        return "3 euros"

    agent, _ = agent_of([["Let me see.", call("quick"), call("slow")]], quick, slow, max_seconds=0.05)
    before = asyncio.all_tasks()
    finish = await agent.run("go")
    assert (finish.reason, finish.limit) == ("length", "max_seconds")
    assert asyncio.all_tasks() == before
    known, stopped = results_of(finish)
    assert known.text == "3 euros" and stopped.is_error and "time" in stopped.text
    assert spoken(finish.messages) == [("assistant", "Let me see."), ("tool", "")]


async def test_the_budget_of_seconds_does_not_wait_for_a_sync_tool() -> None:
    free = threading.Event()

    def blocks() -> bool:
        return free.wait(5)

    agent, _ = agent_of([[call("blocks")]], blocks, max_seconds=0.05)
    begun = time.monotonic()
    finish = await agent.run("go")
    assert finish.limit == "max_seconds" and time.monotonic() - begun < 3
    free.set()


async def test_the_settings_hold_the_budgets_of_an_agent_that_names_none() -> None:
    agent, provider = agent_of([[call("price", item="tea")]] * 9, price, settings=Settings(max_turns=2))
    assert (await agent.run("go")).limit == "max_turns" and provider.calls == 2


# Cancellation


async def test_cancelling_the_task_cancels_the_tools_and_leaves_nothing() -> None:
    started, cancelled = asyncio.Barrier(3), []

    async def stuck(name: str) -> None:
        await started.wait()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(name)

    agent, _ = agent_of([[call("stuck", name="a"), call("stuck", name="b")]], stuck)
    before = asyncio.all_tasks()
    task = asyncio.create_task(agent.run("go"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == ["a", "b"] and asyncio.all_tasks() == before


async def test_cancelling_the_task_closes_the_providers_stream() -> None:
    model = Stuck()
    agent = Agent(provider=model, settings=Settings(), system_prompt="")
    before = asyncio.all_tasks()
    said = asyncio.Event()

    async def listen() -> None:
        async for _ in agent.stream("go"):
            said.set()

    task = asyncio.create_task(listen())
    await said.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.closed.is_set() and asyncio.all_tasks() == before


async def test_closing_the_events_early_closes_the_providers_stream() -> None:
    model = Stuck()
    agent = Agent(provider=model, settings=Settings(), system_prompt="")
    events = agent.stream("go")
    assert await anext(events) == TextDelta("Well, ")
    await events.aclose()
    assert model.closed.is_set()


async def test_closing_the_events_early_cancels_the_tools() -> None:
    ends: list[str] = []
    began = asyncio.Event()

    async def stuck() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("stopped")

    agent, _ = agent_of([[call("price", item="tea"), call("stuck")]], price, stuck)
    before = asyncio.all_tasks()
    events = agent.stream("go")
    async for event in events:
        if isinstance(event, ToolEnd):
            break
    await began.wait()
    await events.aclose()
    assert ends == ["stopped"] and asyncio.all_tasks() == before


# The client's tools


async def test_a_call_of_the_clients_tool_ends_the_run_and_ours_are_run() -> None:
    mixed: list[str | ToolCall] = [
        "Let me see.",
        call("price", item="tea"),
        call("weather", place="Rome"),
        call("weather", place="Oslo"),
    ]
    agent, provider = agent_of([mixed, "no"], price)
    events = await heard(agent.stream("go", client_tools=[WEATHER]))
    finish = finish_of(events)
    assert finish.reason == "tool_calls" and [call.id for call in finish.calls] == ["call_2", "call_3"]
    assert [result.call_id for result in results_of(finish)] == ["call_1"]
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [(delta.index, delta.id, delta.name) for delta in deltas] == [
        (0, "call_2", "weather"),
        (1, "call_3", "weather"),
    ]
    assert provider.calls == 1 and [spec.name for spec in provider.requests[0].tools] == ["price", "weather"]


async def test_the_caller_answers_its_calls_in_a_new_run() -> None:
    agent, provider = agent_of([[call("weather", place="Rome"), call("price", item="tea")], "Sunny."], price)
    said = [user("go")]
    finish = await agent.run(said, client_tools=[WEATHER])
    answer = Message("tool", (ToolResult(finish.calls[0].id, (Text("sun"),)),))
    after = await agent.run([*said, *finish.messages, answer], client_tools=[WEATHER])
    assert after.text == "Sunny." and after.messages == (Message("assistant", (Text("Sunny."),), "scripted/model"),)
    results = [result for message in provider.requests[1].messages for result in message.results]
    assert sorted(result.call_id for result in results) == ["call_1", "call_2"]


async def test_deltas_of_our_calls_never_show() -> None:
    agent, _ = agent_of([[call("price", item="tea"), call("unknown")], "3 euros"], price)
    events = await heard(agent.stream("go", client_tools=[WEATHER]))
    assert not [event for event in events if isinstance(event, ToolCallDelta)]
    assert [result.is_error for result in results_of(finish_of(events))] == [False, True]


async def test_a_clients_tool_of_our_name_is_offered_beside_ours_and_mapped_back() -> None:
    theirs = ToolSpec("price", "Theirs.")
    agent, provider = agent_of([[call("client_price", item="tea"), call("price", item="tea")], "ok"], price)
    events = await heard(agent.stream("go", client_tools=[theirs]))
    finish = finish_of(events)
    assert [spec.name for spec in provider.requests[0].tools] == ["price", "client_price"]
    assert finish.reason == "tool_calls" and [call.name for call in finish.calls] == ["price"]
    assert [event.name for event in events if isinstance(event, ToolCallDelta)] == ["price"]
    assert [result.call_id for result in results_of(finish)] == ["call_2"]
    answer = Message("tool", (ToolResult("call_1", (Text("4"),)),))
    cut_down = Message("assistant", finish.calls)
    await agent.run([user("go"), cut_down, answer], client_tools=[theirs])
    assert [call.name for call in provider.requests[1].messages[1].calls] == ["client_price"]


async def test_an_illegal_name_is_made_legal_for_the_model_and_mapped_back() -> None:
    theirs = ToolSpec("shop.price", "Theirs.")
    provider_name = legal("shop.price")
    agent, provider = agent_of([[call(provider_name, item="tea")]], price)
    finish = await agent.run("go", client_tools=[theirs], options=Options(tool_choice=ToolChoice("tool", "shop.price")))
    assert finish.calls[0].name == "shop.price"
    assert provider.requests[0].options.tool_choice.name == provider_name


async def test_no_tools_for_the_client_leaves_the_agent_its_own() -> None:
    agent, provider = agent_of([[call("price", item="tea")], "3 euros"], price)
    options = Options(tool_choice=ToolChoice("none"))
    assert (await agent.run("go", client_tools=[ToolSpec("theirs")], options=options)).text == "3 euros"
    assert [spec.name for spec in provider.requests[0].tools] == ["price"]


async def test_an_agent_without_tools_passes_calls_to_the_caller() -> None:
    agent, _ = agent_of([[call("anything", x=1)]])
    events = await heard(agent.stream("go"))
    finish = finish_of(events)
    assert finish.reason == "tool_calls" and finish.calls == (ToolCall("call_1", "anything", '{"x": 1}'),)
    assert [event.name for event in events if isinstance(event, ToolCallDelta)] == ["anything"]


async def test_a_failure_behind_a_tool_that_acted_is_not_to_be_repeated() -> None:
    for tool, repeat in (("price", False), ("activate_skill", True)):
        agent, _ = agent_of([[call(tool, item="tea")], RateLimited("slow")], price)
        with pytest.raises(RateLimited) as caught:
            await agent.run("go")
        assert caught.value.retryable is repeat


# Conversations


async def test_a_conversation_goes_on_with_what_each_run_adds() -> None:
    agent, provider = agent_of(
        [[call("price", item="tea")], "3 euros.", "You asked for tea.", [call("price", item="cake")], "3 as well."],
        price,
    )
    talk: list[Message] = []
    for question in ("What is tea?", "What did I ask?", "And cake?"):
        talk.append(user(question))
        finish = await agent.run(talk)
        talk += finish.messages
    with_tool = ["user", "assistant", "tool", "assistant"]
    assert [message.role for message in talk] == [*with_tool, "user", "assistant", *with_tool]
    told = [(message.role, message.text, len(message.calls)) for message in provider.requests[-1].messages]
    assert told == [(message.role, message.text, len(message.calls)) for message in talk[:-1]]
    assert {message.origin for message in talk if message.role == "assistant"} == {"scripted/model"}
    asked = [call.id for message in talk for call in message.calls]
    assert asked == [result.call_id for message in talk for result in message.results] == ["call_1", "call_2"]


async def test_the_callers_messages_are_left_as_they_are() -> None:
    agent, _ = agent_of(["ok"])
    said = [system("Be kind."), user("hi"), assistant("hello"), user("bye")]
    before = list(said)
    await agent.run(said)
    assert said == before


async def test_runs_of_one_agent_side_by_side_do_not_mix() -> None:
    together = asyncio.Barrier(2)

    async def meet() -> None:
        await together.wait()

    agent, _ = agent_of([[call("meet")], [call("meet")], "one", "one"], meet)
    async with asyncio.timeout(5):
        first, second = await asyncio.gather(agent.run("a"), agent.run("b"))
    assert [first.text, second.text] == ["one", "one"]
    assert [len(finish.messages) for finish in (first, second)] == [3, 3]


def test_run_sync_works_again_and_again() -> None:
    async def later(item: str) -> str:
        await asyncio.sleep(0)
        return item

    agent, _ = agent_of([[call("later", item="x")], "one", [call("price", item="tea")], "two"], later, price)
    assert [agent.run_sync("hi").text, agent.run_sync("hi").text] == ["one", "two"]


async def test_run_sync_inside_a_loop_says_what_to_do() -> None:
    agent, provider = agent_of(["hi"])
    with pytest.raises(RuntimeError, match=r"await agent\.run"):
        agent.run_sync("hi")
    assert not provider.requests


async def test_files_of_tools_reach_the_model_with_the_result() -> None:
    def draw() -> list[object]:
        return ["here", File("application/pdf", "JVBERi0=", "a.pdf")]

    agent, provider = agent_of([[call("draw")], "ok"], draw)
    finish: Finish = await agent.run("go")
    parts = (Text("here"), File("application/pdf", "JVBERi0=", "a.pdf"))
    assert provider.requests[1].messages[-1] == Message("tool", (ToolResult("call_1", parts),))
    assert replace(finish, steps=()).messages[1] == provider.requests[1].messages[-1]
