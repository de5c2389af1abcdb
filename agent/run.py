"""The state of one run: the conversation as it grows, what is spent, and how it ends."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from agent.approval import NOBODY, REFUSED, Approve, question
from agent.budget import MALFORMED, STOPPED, Budget, Repeats, warned
from agent.changes import Stamp, changed
from agent.compaction import Compaction, Split, fits
from agent.context import size, tokens
from agent.names import Names, with_calls
from agent.skill_tools import ACTIVATE, READING
from agent.structured import TOOL, Structure
from agent.todos import Todos
from agent.workspace import Workspace, WorkspaceError
from history import legal
from messages import (
    Compacted,
    Done,
    Event,
    FellBack,
    Finish,
    MadeFile,
    Message,
    Options,
    ProviderEvent,
    Reasoning,
    Step,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolEnd,
    ToolResult,
    ToolSpec,
    Turn,
    Usage,
    assistant,
    user,
)
from tools import Toolbox, failed

S = TypeVar("S", bound=Step)
HARMLESS = frozenset((*READING, "ls", "read_file", "glob", "grep"))
CLOSING = "No more tools can be used. Give your final answer now, from what you have found."
Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class Run:
    """Begun with the caller's messages; `finish` tells what was added to them."""

    # fmt: off
    __slots__ = (  # of so many attributes Python would make a dictionary of 2 KB
        "_activated", "_added", "_client_tools", "_counted", "_fresh_turn", "_kept", "_limit",
        "_logprobs", "_malformed", "_model", "_names", "_reason", "_repeats", "_stand_in", "_steps",
        "_text", "_usage", "_visible", "_visible_calls", "active", "answer", "approve", "asked", "before",
        "budget", "calls", "closing", "compaction", "delegated", "ended", "hold", "messages",
        "nudged", "options", "plain", "structure", "todos", "toolbox", "turns", "workspace",
    )
    # fmt: on

    def __init__(
        self,
        messages: Sequence[Message],
        client_tools: Sequence[ToolSpec],
        options: Options,
        budget: Budget,
        structure: Structure | None = None,
        window: int = 0,
        workspace: Workspace | None = None,
    ) -> None:
        self.messages = list(messages)
        self.options = structure.options(options) if structure else options
        self.structure = structure
        self.hold = structure is not None
        self.toolbox = Toolbox(())
        self.turns = 0
        self.nudged = False
        self.ended = False
        self.budget = budget
        self.closing = ""
        self.workspace = workspace or Workspace(Path(os.devnull))
        self.before: Mapping[str, Stamp] = {}
        self.approve: Approve | None = None
        self.plain = self.delegated = False
        self.asked: tuple[ToolCall, ...] = ()
        self._activated: list[str] = []
        self._counted = (0, 0)
        self._repeats = Repeats()
        self._malformed = 0
        self.active: set[str] = set()
        self.todos = Todos()
        self.compaction = Compaction(window, next((m.text for m in reversed(messages) if m.role == "user"), ""))
        self.calls: tuple[ToolCall, ...] = ()
        self._client_tools = client_tools
        self._names = Names()
        self._added: list[Message] = []
        self._usage = Usage()
        self._steps: list[Step] = []
        self._text: list[str] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._kept = 0
        self._fresh_turn = False
        self._visible: dict[int, int] = {}
        self._visible_calls = 0
        self._reason: Reason = "stop"
        self._limit = ""
        self._model = ""
        self._stand_in = ""

    def offer(self, toolbox: Toolbox) -> None:
        """The agent's tools beside the client's."""
        self.toolbox = toolbox
        if self.options.tool_choice.mode == "none" and toolbox:
            # The client's word on its own tools; the agent still needs its.
            self._client_tools = ()
            self.options = replace(self.options, tool_choice=ToolChoice())
        self._names = Names(self._client_tools, taken={*toolbox.names, TOOL})
        self.messages = [self._names.told(message) for message in self.messages]
        choice = self.options.tool_choice
        self.options = replace(self.options, tool_choice=replace(choice, name=self._names.wire(choice.name)))

    @property
    def specs(self) -> list[ToolSpec]:
        theirs = [replace(tool, name=self._names.wire(tool.name)) for tool in self._client_tools]
        answer = self.structure.spec if self.structure else None
        return [*self.toolbox.specs, *theirs, *([answer] if answer else ())]

    def is_clients(self, name: str) -> bool:
        """Whether a call of this name is the client's to answer: an agent without tools has none of its own."""
        if name in self._names:
            return True
        return not self.toolbox and not (self.structure and self.structure.by_tool and name == TOOL)

    @property
    def client_calls(self) -> tuple[ToolCall, ...]:
        """With the names that the client gave them, and the questions that it has to answer."""
        theirs = (self._names.returned(call) for call in self.calls if self.is_clients(call.name))
        return (*theirs, *map(question, self.asked))

    @property
    def own_calls(self) -> tuple[ToolCall, ...]:
        return tuple(call for call in self.calls if not self.is_clients(call.name))

    def shown(self, event: ProviderEvent) -> Iterator[Event]:
        """What the caller sees of a model's events: not the agent's own calls."""
        if isinstance(event, TextDelta) and self.hold:
            return
        if isinstance(event, TextDelta):
            event = replace(event, text=event.text.replace("\0", "\ufffd"))  # as no client could send it back
            if self._fresh_turn and self._text and not self._text[-1].endswith("\n"):
                yield self._say(TextDelta("\n\n"))
            yield self._say(event)
        elif isinstance(event, ToolCallDelta):
            yield from self._shown_call(event)
        elif isinstance(event, FellBack):
            if event.model != self._stand_in:
                self._stand_in = event.model
                yield self.step(event)
        elif not isinstance(event, Done):
            yield event

    def say_whole(self, text: str) -> TextDelta:
        """The text of an answer that was held back until it was whole; it stands for the model's last message."""
        if self.calls:
            self._added[-1] = self.messages[-1] = assistant(text)
            self.calls = ()
        return self._say(TextDelta(text))

    def _say(self, delta: TextDelta) -> TextDelta:
        self._fresh_turn = False
        self._text.append(delta.text)
        self._logprobs += delta.logprobs
        return delta

    def _shown_call(self, delta: ToolCallDelta) -> Iterator[Event]:
        if delta.name and self.is_clients(delta.name):
            self._visible[delta.index] = self._visible_calls
            self._visible_calls += 1
        if delta.index in self._visible:
            name = self._names.given(delta.name)
            yield ToolCallDelta(self._visible[delta.index], delta.id, name, delta.arguments)

    def take(self, done: Done) -> Turn:
        """The model's message becomes part of the conversation."""
        self.answer = done
        self.calls = done.message.calls
        self.turns += 1
        self._usage += done.usage
        self._model = done.model or self._model
        self._fresh_turn = done.stop != "pause"
        self._kept = len(self._text)
        self.add(done.message)
        self._counted = (len(self.messages), done.usage.input + done.usage.output)
        return replace(self.step(Turn(self.turns, done.usage, done.model)), messages=self.added, stop=done.stop)

    def add(self, message: Message) -> None:
        if message.parts:
            self.messages.append(message)
            self._added.append(message)

    def object(self, words: str, refusals: tuple[ToolResult, ...]) -> None:
        """The answer is given back to the model: as its call's result, where it was one."""
        self.add(Message("tool", refusals) if refusals else user(words))

    def nudge(self, words: str) -> None:
        """The empty answer is forgotten: a message that holds only reasoning is refused when it comes back. Without
        `words` the model is asked the same again.
        """
        self.nudged = True
        if self.answer.message.parts:
            self.messages.pop()
            self._added.pop()
        if words:
            self.add(user(words))

    @property
    def said_nothing(self) -> bool:
        """Whether the last answer holds neither a word nor anything else for the caller; reasoning is not."""
        parts = (part for part in self.answer.message.parts if not isinstance(part, Reasoning))
        return all(isinstance(part, Text) and not part.text.strip() for part in parts)

    def answer_calls(self, results: Sequence[ToolResult]) -> None:
        """Also ends a tool choice that these calls have met, as it would force calls for ever."""
        self.add(Message("tool", tuple(results)))
        choice = self.options.tool_choice
        theirs = self.is_clients(choice.name) if choice.mode == "tool" else bool(self._client_tools)
        answering = self.structure is not None and self.structure.by_tool
        if results and choice.mode in ("required", "tool") and not theirs and not answering:
            self.options = replace(self.options, tool_choice=ToolChoice())

    def step(self, step: S) -> S:
        self._steps.append(step)
        return step

    @property
    def has_acted(self) -> bool:
        """Whether a tool has run that does more than read."""
        return any(isinstance(s, ToolEnd) and s.call.name not in HARMLESS for s in self._steps)

    def activate(self, skill: str) -> None:
        self.active.add(skill)
        self._activated.append(skill)

    def newly_active(self) -> list[str]:
        """The skills activated since the last look."""
        new = list(self._activated)
        del self._activated[: len(new)]  # tools in threads may add to it meanwhile
        return new

    @property
    def size(self) -> int:
        """Tokens of the next request: the provider's own count of what it has seen, an estimate of the rest."""
        known, counted = self._counted
        estimate = size(self.messages[:known]) + self._fixed_size
        seen = counted if counted > estimate // 2 else estimate
        return seen + size(self.messages[known:])

    @property
    def _fixed_size(self) -> int:
        return sum(tokens(f"{spec.name} {spec.description} {spec.parameters}") for spec in self.specs)

    def shorten(self, parts: Split, summary: str, before: int) -> Compacted:
        self.messages = self.compaction.compacted(parts, summary, self.todos.text)
        self._counted = (0, 0)
        return self.step(Compacted(before, self.size))

    @property
    def usage(self) -> Usage:
        return self._usage

    def spend(self, usage: Usage) -> None:
        """What others have used for this run: it counts as its own."""
        self._usage += usage

    def ask_client(self) -> list[ToolCall]:
        """Of the agent's calls those to be run now; the others wait for the client's word."""
        if self.approve is None and not self.delegated:
            self.asked = tuple(call for call in self.own_calls if self.toolbox.asks(call.name))
        return [call for call in self.own_calls if call not in self.asked]

    def questions(self) -> Iterator[ToolCallDelta]:
        for call in map(question, self.asked):
            yield ToolCallDelta(self._visible_calls, call.id, call.name, call.arguments)
            self._visible_calls += 1

    async def allowed(self, call: ToolCall) -> str:
        """Why the call may not be made, "" where it may."""
        if not self.toolbox.asks(call.name):
            return ""
        if self.approve is None:
            return NOBODY
        return "" if await self.approve(call) else REFUSED

    async def work(self, call: ToolCall, approved: bool = False) -> tuple[ToolResult, float]:
        """A call's result, and the seconds it took. A call that leads nowhere is answered without running it."""
        if not approved and (refused := await self.allowed(call)):
            return failed(call, refused), 0.0
        begun = time.monotonic()
        times = self._repeats.count(call)
        if times >= STOPPED:
            self.close("repeated_calls")
            return failed(call, f"this same call has been made {times} times; it is not made again"), 0.0
        if not self.budget.take_call():
            self.close("max_tool_calls")
            return failed(call, "no more tools can be called for this answer"), 0.0
        result = await self.toolbox.run(call)
        if call.name != ACTIVATE:
            result = self.toolbox.marked(call, fits(result, self.compaction.window, self.keep_result))
        return warned(result, times), time.monotonic() - begun

    async def refuse(self, call: ToolCall) -> tuple[ToolResult, float]:
        return failed(call, REFUSED), 0.0

    def keep_result(self, call_id: str, text: str) -> str:
        """Where the whole of a result is that is too large for the conversation."""
        if "read_file" not in self.toolbox:
            return "the rest is left out"
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]  # as some servers give ids again
        path = f"results/{legal(call_id)}-{digest}.txt"
        try:
            self.workspace.write(path, text.encode())
        except WorkspaceError as error:
            return f"the rest is left out, as it could not be kept: {error}"
        return f"all of it is in {path}, for read_file and grep"

    def note_malformed(self) -> None:
        """Counts the turns in a row whose calls could not be read, all of them."""
        own = self.own_calls
        bad = bool(own) and all(call.id in self.toolbox.malformed for call in own)
        self._malformed = self._malformed + 1 if bad else 0
        if self._malformed >= MALFORMED:
            self.close("malformed_calls")

    def refuse_calls(self) -> None:
        """A model that goes on calling tools when there are none has said its last."""
        self.answer_calls([failed(call, CLOSING) for call in self.calls])
        self.end("length")

    def close(self, limit: str) -> None:
        """From now on no tool is run: the model is to answer from what it has."""
        self.closing = self.closing or limit

    def ask_for_the_answer(self) -> None:
        """The tools stay in the request, as they stand in the history, but none may be chosen."""
        self.add(user(CLOSING))
        by_tool = self.structure is not None and self.structure.by_tool
        choice = ToolChoice("tool", TOOL) if by_tool else ToolChoice("none")
        self.options = replace(self.options, tool_choice=choice)

    def check_budgets(self) -> None:
        if not self.ended and (limit := self.budget.reached):
            self.end("length", limit=limit)

    def end(self, reason: Reason, limit: str = "") -> None:
        self.ended = True
        self._reason = reason
        self._limit = limit or self.closing

    def cut_short(self) -> None:
        """The time is over; what the model has said of its last answer stays in the conversation."""
        if said := "".join(self._text[self._kept :]).strip():
            self.add(assistant(said))
        self.end("length", limit="max_seconds")

    def _returned(self, call: ToolCall) -> ToolCall:
        return self._names.returned(call) if self.is_clients(call.name) else replace(call, own=True)

    @property
    def added(self) -> tuple[Message, ...]:
        return tuple(with_calls(message, self._returned) for message in self._added)

    def finish(self, files: Mapping[str, Stamp]) -> Finish:
        """`files` are those that are there now; they were `before`."""
        return Finish(
            self._reason,
            "".join(self._text),
            self.added,
            self._usage,
            tuple(self._steps),
            self.client_calls,
            self._limit,
            self._model,
            tuple(self._logprobs),
            tuple(MadeFile(path, size) for path, (size, _) in changed(files, self.before).items()),
        )
