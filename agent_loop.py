"""The agent: ask the model, run the tools it calls, ask again, until it answers.

from agent_loop import Agent

agent = Agent(model="anthropic/claude-sonnet-4-5", skills="skills", tools=[look_up_price])
print(agent.run_sync("Invent a cookie flavour for December").text)
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
import weakref
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.acting import resume, run_tools
from agent.allowance import refusal
from agent.approval import Approve
from agent.asking import asked
from agent.budget import Budget, OutOfTime
from agent.changes import looked
from agent.kit import own_tools
from agent.opening import active_in, called_for, fitting, with_body, with_catalog, with_rule
from agent.run import Run
from agent.structured import Structure, bare, complaint, refused
from agent.workspace import Workspace
from messages import (
    Done,
    Event,
    FellBack,
    Finish,
    Message,
    Options,
    Request,
    SkillActivated,
    ToolChoice,
    ToolSpec,
    Turn,
    Usage,
    user,
)
from model_facts import facts
from providers import default_model, resolve_all
from providers.base import BadResponse, ContextOverflow, Provider, ProviderError
from redaction import Redaction
from settings import Settings, SettingsError
from skill_store import Skill, SkillStore
from skill_store.trust import Parent, Untrusted
from tools import Tool, Toolbox, failed

if TYPE_CHECKING:
    import httpx

    from agent.script_tools import Workshop

NUDGE = "Please answer now, from what you have found."
CUT_OFF = "the answer was cut off before this call was whole; it was not made"
SUMMARY = 2_000
"""Tokens that a summary of old turns may have."""


class Agent:
    """A model with a system prompt, skills and tools. It keeps no conversation: each run is given its own.

    `model` is `provider/model`, or `provider` a ready one; without either the settings decide. `skills` are
    folders that hold skill folders, those of strangers as `Untrusted(folder)`. `tools` are typed functions, sync or
    async; `more_tools` gives those that come and go, such as MCP servers', for each run. `system_prompt` is text, or
    the path of a file that is read anew for each run. `groups` are the built-in tools beside yours: skills, files,
    todos, task. `transport` is an httpx transport to send requests through.
    Raises `SettingsError` where the model's name or its credentials cannot be right.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        provider: Provider | None = None,
        skills: Parent | Sequence[Parent] | SkillStore = (),
        tools: Sequence[Callable[..., Any] | Tool] = (),
        more_tools: Callable[[], Sequence[Tool]] = tuple,
        system_prompt: str | Path | None = None,
        groups: Collection[str] = ("skills",),
        workshop: Workshop | None = None,
        settings: Settings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        max_turns: int | None = None,
        max_seconds: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.settings = settings or Settings.from_env()
        self.provider = provider or self._resolve(model, transport)
        self.skills = skills if isinstance(skills, SkillStore) else SkillStore(*_parents(skills))
        self.tools = tuple(tool if isinstance(tool, Tool) else Tool.of(tool) for tool in tools)
        self.groups = frozenset(groups)
        self._redact = Redaction(self.settings.secrets)
        self._workshop = workshop
        self._scratched: Path | None = None
        known = facts(self.provider.info.id, self.settings.models)
        self.window = (self.provider.info.window or known.window) if self.provider.info.tools else 0
        self.more_tools = more_tools
        self.system_prompt = self.settings.system_prompt if system_prompt is None else system_prompt
        limits = self.settings.limits
        self.limits = replace(
            limits,
            turns=max_turns or limits.turns,
            seconds=max_seconds or limits.seconds,
            tokens=max_tokens or limits.tokens,
        )

    def _resolve(self, model: str | None, transport: httpx.AsyncBaseTransport | None) -> Provider:
        from providers.http import Http

        http = Http(transport, given=dict(self.settings.timeouts))
        return resolve_all(model or default_model(self.settings), self.settings, http)

    async def aclose(self) -> None:
        """Closes connections (they also close with their event loop) and unloads an embedded model."""
        await self.provider.aclose()

    async def run(self, messages: str | Sequence[Message], **how: Any) -> Finish:
        """The end of `stream`, which takes the same arguments."""
        async with aclosing(self.stream(messages, **how)) as events:
            async for event in events:
                if isinstance(event, Finish):
                    return event
        raise AssertionError("`Finish` is always last")

    def run_sync(self, messages: str | Sequence[Message], **how: Any) -> Finish:
        """`run` for scripts without an event loop."""
        if _in_a_loop():
            raise RuntimeError("run_sync cannot wait inside a running event loop: use `await agent.run(...)` there")
        return asyncio.run(self.run(messages, **how))

    def stream(
        self,
        messages: str | Sequence[Message],
        *,
        skills: Collection[str] | None = None,
        activate: str = "",
        client_tools: Sequence[ToolSpec] = (),
        options: Options | None = None,
        approve: Approve | None = None,
        workspace: Workspace | None = None,
        among: Collection[str] | None = None,
        spend: Callable[[Usage, str], None] = lambda _, __: None,
    ) -> AsyncGenerator[Event, None]:
        """Deltas and steps as they happen, then one `Finish`. Raises `ProviderError`.

        `skills` narrows the skills to those named; where none is, the model answers without tools of ours. `activate`
        loads one before the first turn. `among` are globs: this run knows of no other skills. A turn that calls one of
        `client_tools` ends the run: the caller answers the call and goes on in a new run. `approve` is asked before a
        tool that is marked so; without it such a call ends the run as a call of `approve_tool`. Files lie in
        `workspace`, else in a folder of the agent. `spend` is told what each turn used, also helpers', of its model.
        """

        def begin() -> tuple[Run, dict[str, Skill], str]:
            said = [user(messages)] if isinstance(messages, str) else list(messages)
            asked_for = options or Options()
            budget = Budget(self.limits, lambda usage, model: facts(model, self.settings.models).cost(usage), spend)
            files = workspace or (self._scratch() if self.groups else None)
            run = Run(said, client_tools, asked_for, budget, self._structure(asked_for), self.window, files)
            run.approve, run.plain = approve, skills is not None and not (skills or activate)
            found = self.skills.choice(skills, activate, among)
            return run, found, activate or called_for(said, found)

        return self._drive(begin)

    async def _drive(self, begin: Callable[[], tuple[Run, dict[str, Skill], str]]) -> AsyncGenerator[Event, None]:
        """Ask, act, ask again."""
        run, skills, pinned = begin()
        run.before = await looked(run.workspace)
        self._open(run, skills, pinned)
        for name in run.newly_active():
            yield run.step(SkillActivated(name))
        try:
            async with aclosing(resume(run)) as events:
                async for event in events:
                    yield event
            while not run.ended:
                async with aclosing(self._ask(run)) as events:
                    async for event in events:
                        yield event
                async with aclosing(self._act(run)) as events:
                    async for event in events:
                        yield event
        except OutOfTime:
            run.cut_short()
        except ProviderError as error:
            # What its tools have done would be done twice.
            error.retryable = error.retryable and not run.has_acted
            raise
        finish = run.finish(await looked(run.workspace))
        run.toolbox = Toolbox(())  # which refers to the run: as a circle they would wait to be found as garbage
        yield finish

    def _open(self, run: Run, skills: dict[str, Skill], pinned: str) -> None:
        """A model that calls tools chooses among the skills; for another the one that fits is chosen."""
        info = self.provider.info
        hints = [run.structure.hint] if run.structure and info.json != "native" else []
        prompt = "\n\n".join([self._prompt(), *hints])
        if info.tools:
            run.active |= {*active_in(run.messages), *([pinned] if pinned else ())}
            groups, more = ((), ()) if run.plain else (self.groups, self.more_tools())
            tools = own_tools(groups, run, skills, self.workshop, lambda task: self._delegate(run, skills, task))
            tools = list(map(self._marked, (*tools, *self.tools, *more)))
            run.messages = with_catalog(run.messages, with_rule(prompt, tools, skills), skills, pinned)
            run.offer(Toolbox(tools, partial(_refusal, run, skills), self._redact))
        else:
            skill = skills.get(pinned) or fitting(run.messages, skills)
            run.messages = with_body(run.messages, prompt, skill, info)
            pinned = skill.name if skill else ""
            run.offer(Toolbox(()))
        if pinned:
            run.activate(pinned)
        run.hold = run.structure is not None and (info.json != "native" or bool(run.toolbox))

    async def _delegate(self, parent: Run, skills: dict[str, Skill], prompt: str) -> Finish:
        """A run of its own on the parent's budget: its turns, seconds, tokens and calls are the parent's too."""
        options = replace(parent.options, tool_choice=ToolChoice(), response_format=None, stop=())
        run = Run([user(prompt)], (), options, parent.budget, None, self.window, parent.workspace)
        run.approve, run.delegated = parent.approve, True
        try:
            async with aclosing(self._drive(lambda: (run, skills, ""))) as events:
                async for event in events:
                    if isinstance(event, Finish):
                        return event
        finally:
            parent.spend(run.usage)
        raise AssertionError("`Finish` is always last")

    def _marked(self, tool: Tool) -> Tool:
        """A tool that the settings have a person asked about."""
        return replace(tool, ask=True) if any(fnmatchcase(tool.spec.name, glob) for glob in self.settings.ask) else tool

    @property
    def workshop(self) -> Workshop:
        """What scripts are run with; imported with the first run, as a start can do without."""
        if self._workshop is None:
            from agent.script_tools import Workshop

            self._workshop = Workshop.of(self.settings)
        return self._workshop

    def _scratch(self) -> Workspace:
        """A folder for one run, made when something is written to it and removed with the agent."""
        if self._scratched is None:
            self._scratched = Path(tempfile.gettempdir()) / f"skill-agent-{uuid.uuid4().hex}"
            from sandbox import remove

            weakref.finalize(self, remove, self._scratched)
        return Workspace(self._scratched / uuid.uuid4().hex)

    def _structure(self, options: Options) -> Structure | None:
        wanted = options.response_format
        return Structure(wanted, self.provider.info.json == "tool") if wanted else None

    def _prompt(self) -> str:
        if isinstance(self.system_prompt, str):
            return self.system_prompt
        try:
            return self.system_prompt.read_text("utf-8-sig")
        except (OSError, UnicodeError) as error:
            problem = f"cannot be read ({type(error).__name__})"
            raise SettingsError("SKILL_AGENT_SYSTEM_PROMPT", problem, str(self.system_prompt)) from error

    async def _ask(self, run: Run) -> AsyncGenerator[Event, None]:
        """One model call: its deltas, and the turn that it was. A conversation that is too long is shortened first,
        or when the provider says so. An answer that broke off before the caller heard any of it is asked for again.
        """
        if run.compaction.is_due(run.size):
            async for event in self._shorten(run):
                yield event
        begun = False
        try:
            async with aclosing(self._answer(run)) as events:
                async for event in events:
                    begun = begun or not isinstance(event, FellBack)
                    yield event
        except ProviderError as error:
            if too_long := isinstance(error, ContextOverflow) and not begun:
                run.compaction.narrow(run.messages)
            shortened = [event async for event in self._shorten(run)] if too_long else []
            if begun or not (shortened or (error.begun and error.retryable)):
                raise error.root from None
            for event in shortened:
                yield event
            async with aclosing(self._answer(run)) as events:
                async for event in events:
                    yield event

    async def _answer(self, run: Run) -> AsyncGenerator[Event, None]:
        turn = run.turns
        request = Request(tuple(run.messages), run.specs, run.options, run.budget.deadline)
        async with aclosing(asked(self.provider, request, run.budget)) as events:
            async for event in events:
                if isinstance(event, Done):
                    yield run.take(event)
                else:
                    for shown in run.shown(event):
                        yield shown
        if run.turns == turn:
            raise BadResponse("the answer breaks off", code="upstream_truncated")

    async def _shorten(self, run: Run) -> AsyncGenerator[Event, None]:
        """The old turns become a summary by the model itself; nothing happens where there are none."""
        parts, before = run.compaction.split(run.messages), run.size
        if not parts.old:
            return
        question, options = run.compaction.question(parts.old), Options(max_tokens=SUMMARY)
        request = Request((user(question),), (), options, run.budget.deadline)
        async with aclosing(asked(self.provider, request, run.budget)) as events:
            async for event in events:
                if isinstance(event, Done):
                    run.spend(event.usage)
                    if not event.message.text.strip():
                        raise BadResponse("the model sums up nothing", code="upstream_empty_response")
                    yield run.shorten(parts, event.message.text, before)

    async def _act(self, run: Run) -> AsyncGenerator[Event, None]:
        """What the model's answer asks for: its tools' results, another turn, or the end."""
        stop = run.answer.stop
        given = run.structure.given(run.calls) if run.structure else None
        if stop in ("length", "content_filter"):
            if run.hold:
                yield run.say_whole(run.answer.message.text)
            if run.own_calls:
                run.answer_calls([failed(call, CUT_OFF) for call in run.own_calls])
            run.end(stop)
        elif given is not None:
            for event in self._check(run, given):
                yield event
        elif run.calls and run.closing and not run.client_calls:
            run.refuse_calls()
        elif run.calls:
            async with aclosing(run_tools(run)) as events:
                async for event in events:
                    yield event
            if run.client_calls:
                run.end("stop" if stop == "stop" else "tool_calls")
            elif run.closing:
                run.ask_for_the_answer()
        elif stop != "pause":
            for event in self._conclude(run):
                yield event
        run.check_budgets()

    def _check(self, run: Run, answer: str) -> Iterator[Event]:
        """The answer if it has its form; if not, the model may mend it once."""
        structure = run.structure
        assert structure is not None  # noqa: S101 - only asked where there is one
        fault = structure.fault(answer)
        if not fault:
            yield run.say_whole(answer)
            run.end("stop")
        elif structure.mended:
            raise BadResponse(f"the answer has not the form asked for: {fault}", code="invalid_json", retryable=False)
        else:
            structure.mended = True
            run.object(complaint(fault), refused(run.calls, fault))

    def _conclude(self, run: Run) -> Iterator[Event]:
        """The end; a model that says nothing at all is asked once more, unless it was told where to stop."""
        if run.hold and not run.said_nothing:
            yield from self._check(run, bare(run.answer.message.text))
        elif not run.said_nothing or run.options.stop:
            run.end("stop")
        elif run.nudged:
            raise BadResponse("the model answers nothing", code="upstream_empty_response", retryable=False)
        else:
            run.nudge(NUDGE if run.turns > 1 or run.answer.message.parts else "")


def _refusal(run: Run, skills: Mapping[str, Skill], tool: str) -> str:
    return refusal(tool, [skills[name] for name in run.active if name in skills])


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _parents(skills: Parent | Sequence[Parent]) -> Sequence[Parent]:
    return (skills,) if isinstance(skills, Parent) else skills


__all__ = ["Agent", "Event", "Finish", "Message", "Options", "Tool", "Turn", "Untrusted"]
