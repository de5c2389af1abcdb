"""A conversation at the terminal: what was said, what goes along with the next question, and how it is asked."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agent.workspace import Workspace
from messages import Finish, Message, Part, Text, Usage
from providers.base import ProviderError
from settings import SettingsError
from skill_store import SkillError
from terminal import INTERRUPTED, OK
from terminal.agents import Wanted, agent_for, cost_of
from terminal.approval import silent_keys, words_on
from terminal.attachments import REQUEST, ROOM, Attachment, AttachmentError, check_weight
from terminal.commands import COMMANDS, call_of, run_command
from terminal.notes import complain, note, space, warn
from terminal.prompt import Prompt, prompt_for
from terminal.screen import Screen, screen_for
from terminal.sessions import Session, SessionError, is_writable
from terminal.text import one_line, size

if TYPE_CHECKING:
    from agent_loop import Agent
    from mcp_servers import McpServers

LONGEST = REQUEST - ROOM
"""Bytes that a person may type or paste at once."""
TWICE = 3.0
"""Seconds within which a second Ctrl-C leaves."""


@dataclass(slots=True)
class Chat:
    """`kept` is what was typed and got no answer; it stands in the next line again. `names` are the skills' names
    with their descriptions."""

    wanted: Wanted
    agent: Agent
    screen: Screen
    session: Session
    servers: McpServers | None = None
    messages: list[Message] = field(default_factory=list)
    attached: list[Attachment] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    last: Message | None = None
    """The newest question."""
    kept: str = ""
    usage: Usage = field(default_factory=Usage)
    spent: float | None = None
    answers: int = 0
    seconds: float = 0.0
    stopped: bool = False
    """Whether the newest answer was."""
    leaving: bool = False

    def question(self, typed: str) -> Message:
        """With what was attached to it. Raises `AttachmentError` where it is too much."""
        if (length := len(typed.encode("utf-8", "replace"))) > LONGEST:
            raise AttachmentError(f"what you typed is {size(length)}, and {size(LONGEST)} fit into a request")
        check_weight(self.attached)
        parts: tuple[Part, ...] = (*(each.part for each in self.attached), Text(typed))
        return Message("user", parts)

    async def ask(self, question: Message) -> Finish:
        """The answer, which is then part of the conversation."""
        asked = [*self.messages, question]
        begun = time.monotonic()
        pinned = "" if self.wanted.url else self.wanted.skill
        finish = await answered(self.agent, asked, self.screen, self.session.files, pinned)
        self.messages = [*asked, *finish.messages]
        self.usage += finish.usage
        self.answers, self.seconds = self.answers + 1, self.seconds + time.monotonic() - begun
        if self.screen.spent is not None:
            self.spent = (self.spent or 0.0) + self.screen.spent
        return finish

    def keep(self) -> None:
        """A session that cannot be kept is no reason to end the conversation."""
        try:
            self.session.keep(self.messages)
        except SessionError as error:
            warn(f"· {error}")

    def change(self, wanted: Wanted) -> None:
        """Another model or prompt from here on. Raises `SettingsError`, and nothing is changed then."""
        agent = agent_for(wanted, self.agent.settings, self.servers)
        self.agent, self.wanted = agent, wanted
        self.screen = screen_of(agent, apart=True)

    def words(self) -> Sequence[tuple[str, str]]:
        """What a line may begin with."""
        commands = [(f"/{name}", (command.__doc__ or "").partition("\n")[0]) for name, command in COMMANDS.items()]
        return [*commands, *((f"/{name}", one_line(text, 60)) for name, text in self.names.items())]


def screen_of(agent: Agent, out: TextIO | None = None, apart: bool = False) -> Screen:
    """An embedded model reads for long before it says its first word."""
    first = "reading" if agent.provider.info.id.startswith("local/") else "waiting"
    return screen_for(out or sys.stdout, cost_of(agent), first, apart)


def workspace_in(files: Path) -> Workspace | None:
    """None, which is a folder that goes with the agent, where nothing can be kept."""
    return Workspace(files) if is_writable(files) else None


async def answered(agent: Agent, asked: Sequence[Message], screen: Screen, files: Path, pinned: str = "") -> Finish:
    """The whole answer. A server's questions about its tools are put to the person here, and it goes on. What the
    agent makes lies in the folder `files`, which is made with the first of them.
    """
    said: list[Message] = []
    workspace = workspace_in(files)
    spent = Usage()
    while True:
        how: dict[str, Any] = {
            "activate": pinned,
            "workspace": workspace,
            "approve": lambda call: screen.allow(call.name, call.arguments),
        }
        finish = await screen.show(agent.stream([*asked, *said], **how))
        said += finish.messages
        spent += finish.usage
        for made in finish.files:
            note(f"· made {made.path} ({size(made.size)})" + (f" in {files}" if workspace else ""))
        words = await words_on(finish, screen.allow)
        if words is None:
            return replace(finish, messages=tuple(said), usage=spent)
        said.append(words)


def converse(chat: Chat, runner: asyncio.Runner) -> int:
    """Question and answer until the end of input. Ctrl-C stops an answer; twice, or at an empty line, it leaves."""
    prompt = prompt_for(runner, chat.words)
    with silent_keys(prompt.reads_keys):
        return _converse(chat, runner, prompt)


def _converse(chat: Chat, runner: asyncio.Runner, prompt: Prompt) -> int:
    interrupted = -TWICE
    while not chat.leaving:
        try:
            typed = prompt.ask(chat.kept)
        except KeyboardInterrupt:
            chat.kept = ""
            if time.monotonic() - interrupted < TWICE:
                return INTERRUPTED
            interrupted = time.monotonic()
            note("Ctrl-C once more leaves, as does Ctrl-D.")
            continue
        if typed is None:
            break
        chat.kept = ""
        if typed.strip() and _take(chat, typed.strip(), runner, prompt) == INTERRUPTED:
            interrupted = time.monotonic()
    return OK


def _take(chat: Chat, typed: str, runner: asyncio.Runner, prompt: Prompt) -> int:
    """A line: a command or a question."""
    try:
        if call := call_of(typed, chat.names):
            question = run_command(chat, *call, runner.run)
        else:
            question = chat.question(typed)
    except (AttachmentError, SessionError, SettingsError, ProviderError, SkillError) as error:
        chat.kept = "" if typed.startswith("/") else typed
        return complain(error, who="")
    except KeyboardInterrupt:
        return INTERRUPTED
    return _ask(chat, question, runner) if question else OK


def _ask(chat: Chat, question: Message, runner: asyncio.Runner) -> int:
    """What gets no answer is kept: in the line, and for /retry."""
    chat.last = question
    words = question.parts[-1].text if question.parts and isinstance(question.parts[-1], Text) else ""
    try:
        runner.run(chat.ask(question))
    except KeyboardInterrupt:
        chat.stopped = True
        note("· stopped; /retry asks again")
        return INTERRUPTED
    except (ProviderError, SkillError, SettingsError) as error:
        chat.kept = words
        return complain(error, who="")
    chat.attached, chat.stopped = [], False
    chat.keep()
    space()
    return OK
