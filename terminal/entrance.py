"""How a chat begins: from the options to one answer, or to a conversation."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from agent.servers import mcp_servers
from messages import Finish, Message, Part, Text
from providers.base import ProviderError
from settings import Settings
from skill_store import SkillError
from terminal import INTERRUPTED, OK, USAGE
from terminal.agents import Wanted, agent_for
from terminal.approval import refuse
from terminal.attachments import attach, check_weight
from terminal.chat import Chat, answered, converse, screen_of, workspace_in
from terminal.json_output import JsonLines, as_json
from terminal.notes import introduce, log_as_notes, note, title
from terminal.sessions import Session, SessionError, last_session, loose_files, new_session
from terminal.text import one_line

if TYPE_CHECKING:
    from agent_loop import Agent
    from mcp_servers import McpServers

TITLE = "skill-agent"


def chat(options: argparse.Namespace, wanted: Wanted) -> int:
    """One answer where there is a question, else a conversation."""
    log_as_notes()
    piped = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    settings = Settings.from_env()
    servers = None if wanted.url else mcp_servers(settings)
    agent = agent_for(wanted, settings, servers)
    attached = [attach(path) for path in options.attach]
    check_weight(attached)
    session = _session(options)
    messages = session.read() if session else []
    if session and session.lost:
        note(f"· {session.lost} lines of the session {session.name} cannot be read and are left out")
    question = "\n\n".join(part for part in (options.prompt, piped) if part)
    if question:
        introduce(agent.provider.info)
        parts: tuple[Part, ...] = (*(each.part for each in attached), Text(question))
        asked = [*messages, Message("user", parts)]
        return asyncio.run(_answer_once(agent, asked, options, servers, session))
    if not sys.stdin.isatty():
        note("there is no question: give one with -p, or pipe it in")
        return USAGE
    chat = Chat(wanted, agent, screen_of(agent, apart=True), session or new_session(), servers, messages, attached)
    return _talk(chat)


def _session(options: argparse.Namespace) -> Session | None:
    if options.session:
        return Session(options.session)
    if not options.go_on:
        return None
    if (session := last_session()) is None:
        raise SessionError("there is no conversation to go on with")
    return session


def _talk(chat: Chat) -> int:
    with asyncio.Runner() as runner:
        runner.run(_start(chat.servers))
        chat.names = _skill_names(chat, runner)
        _greet(chat)
        try:
            code = converse(chat, runner)
            _farewell(chat)
            if chat.stopped and chat.agent.provider.info.id.startswith("local/"):
                _leave_at_once(code)
            return code
        finally:
            runner.run(_close(chat.agent, chat.servers))


def _leave_at_once(code: int) -> NoReturn:
    """llama.cpp reads a prompt to its end before it can be unloaded, which may take a minute."""
    sys.stdout.flush()
    os._exit(code)


def _skill_names(chat: Chat, runner: asyncio.Runner) -> dict[str, str]:
    """Names and descriptions; a server tells the names only, and one that does not answer tells none."""
    if not chat.wanted.url:
        return {name: skill.description for name, skill in chat.agent.skills.scan().skills.items()}
    try:
        names: Sequence[str] = runner.run(chat.agent.provider.models())  # type: ignore[attr-defined]
    except ProviderError as error:
        note(f"· {error.message}")
        return {}
    return {name.partition(":")[2]: "" for name in names if name.startswith("skill-agent:")}


def _greet(chat: Chat) -> None:
    """Who answers, with what, and how to go on."""
    info, count = chat.agent.provider.info, len(chat.names)
    skills = f"{count} skill{'s' if count != 1 else ''}" if count else "no skills"
    title(TITLE, one_line(chat.wanted.url or info.id, 60), skills)
    introduce(info)
    if chat.messages:
        questions = [message for message in chat.messages if message.role == "user"]
        last = one_line(questions[-1].text, 50) if questions else ""
        note(f"Going on with {chat.session.name} ({len(questions)} questions); the last: {last}")
    for each in chat.attached:
        note(f"· {each.name} goes along with the first question")
    example = f"/{next(iter(chat.names))} " if chat.names else ""
    hints = {"/help": "what else can be typed", **({example: "asks with that skill"} if example else {})}
    hints["Ctrl-C"] = "stops an answer; Ctrl-D leaves"
    width = max(map(len, hints)) + 2
    for key, meaning in hints.items():
        note(f"  {key:<{width}}{meaning}")


def _farewell(chat: Chat) -> None:
    if chat.answers:
        note(f"Go on with: python cli.py -c, or --session {chat.session.name}")


async def _start(servers: McpServers | None) -> None:
    if servers:
        note("· the MCP servers are being started …")
        await servers.start()


async def _close(agent: Agent, servers: McpServers | None) -> None:
    if servers:
        await servers.aclose()
    await agent.aclose()


async def _answer_once(
    agent: Agent,
    asked: Sequence[Message],
    options: argparse.Namespace,
    servers: McpServers | None,
    session: Session | None,
) -> int:
    """Ctrl-C cancels the run, and with it the model call."""
    pinned = "" if options.url else str(options.skill)  # a server is told of the skill in the request
    try:
        await _start(servers)
        files = session.files if session else loose_files()
        finish = await _printed(agent, asked, options, files, pinned)
        if session:
            session.keep([*asked, *finish.messages])
    except asyncio.CancelledError:
        if agent.provider.info.id.startswith("local/"):
            _leave_at_once(INTERRUPTED)
        raise
    finally:
        await _close(agent, servers)
    return OK


async def _printed(
    agent: Agent, asked: Sequence[Message], options: argparse.Namespace, files: Path, pinned: str
) -> Finish:
    if options.json_stream:
        return await _streamed(agent, asked, files, pinned)
    if options.json:
        screen = screen_of(agent, open(os.devnull, "w"))  # noqa: SIM115, ASYNC230 - closed with the process
        finish = await answered(agent, asked, screen, files, pinned)
        print(as_json(finish))
        return finish
    return await answered(agent, asked, screen_of(agent), files, pinned)


async def _streamed(agent: Agent, asked: Sequence[Message], files: Path, pinned: str) -> Finish:
    """Nobody is there to ask: tools that need a person's word are refused."""
    lines = JsonLines(sys.stdout)

    try:
        async with aclosing(
            agent.stream(asked, activate=pinned, approve=refuse, workspace=workspace_in(files))
        ) as events:
            async for event in events:
                lines.take(event)
                if isinstance(event, Finish):
                    return event
    except (ProviderError, SkillError) as error:
        lines.fail(error)
        raise
    raise AssertionError("`Finish` is always last")
