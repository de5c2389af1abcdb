"""The commands of the chat: what begins with a slash. A function's first line is its help; what it returns is asked."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from messages import Message, Text
from terminal.attachments import attach, check_weight
from terminal.notes import note, warn
from terminal.screen import dollars
from terminal.sessions import Session, SessionError, kept_sessions, new_session
from terminal.text import listed, one_line, size
from terminal.transcript import as_markdown

if TYPE_CHECKING:
    from terminal.chat import Chat

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
Command: TypeAlias = Callable[["Chat", str, Run], Message | None]


def help_(chat: Chat, rest: str, run: Run) -> None:
    """What can be typed here"""
    width = max(len(name) for name in COMMANDS) + 3
    for name, command in COMMANDS.items():
        note(f"/{name:<{width}}{command.__doc__}")
    note(f"/{'<skill>':<{width}}Load a skill and ask: /market-research tea in Norway")
    note("Alt-Enter, or a backslash at its end, goes on with another line.")


def skills(chat: Chat, rest: str, run: Run) -> None:
    """The skills there are"""
    if not chat.names:
        note("there are no skills; begin one with: python cli.py skills new NAME")
    for name, description in chat.names.items():
        note(f"{name}{': ' if description else ''}{one_line(description, 100)}")


def model(chat: Chat, rest: str, run: Run) -> None:
    """Say which model answers, or take another: /model openai/gpt-5-mini"""
    if rest:
        chat.change(replace(chat.wanted, model=rest))
    note(f"{chat.agent.provider.info.id} answers")
    if not rest and chat.wanted.url:
        note(f"the server has: {listed(run(chat.agent.provider.models()))}")  # type: ignore[attr-defined]


def system(chat: Chat, rest: str, run: Run) -> None:
    """Show the system prompt, or take another: /system FILE or its words"""
    if rest:
        path = Path(os.path.expanduser(rest))
        chat.change(replace(chat.wanted, system=path if len(rest) < 4096 and _is_file(path) else rest))
        note("the system prompt is another from here on")
        return
    prompt = chat.agent.system_prompt
    text = prompt if isinstance(prompt, str) else prompt.read_text("utf-8", "replace")
    note(text.strip() or "there is none" + (" of yours: the server has its own" if chat.wanted.url else ""))


def attach_(chat: Chat, rest: str, run: Run) -> None:
    """Send a picture, PDF or text along with the next question: /attach a.png"""
    for name in _paths(rest):
        attachment = attach(name)
        check_weight([*chat.attached, attachment])
        chat.attached.append(attachment)
    for each in chat.attached:
        note(f"· {each.name} ({each.kind}, {size(each.weight)}) goes along with the next question")
    if not chat.attached:
        note("nothing is attached; /attach FILE")


def edit(chat: Chat, rest: str, run: Run) -> Message | None:
    """Write the question in $EDITOR, beginning with the last one"""
    text = _edited(rest or _words(chat.last))
    return chat.question(text) if text else None


def retry(chat: Chat, rest: str, run: Run) -> Message | None:
    """Ask the last question again; its answer is forgotten"""
    if chat.last is None:
        note("nothing has been asked yet")
        return None
    at = max((n for n, message in enumerate(chat.messages) if message is chat.last), default=len(chat.messages))
    chat.messages = chat.messages[:at]
    return chat.last


def clear(chat: Chat, rest: str, run: Run) -> None:
    """Begin a new conversation; this one is kept"""
    chat.session.close()
    chat.session, chat.messages, chat.last, chat.attached = new_session(), [], None, []
    note("a new conversation")


def save(chat: Chat, rest: str, run: Run) -> None:
    """Write the conversation to a Markdown file: /save notes.md"""
    path = Path(os.path.expanduser(rest or f"{chat.session.name}.md"))
    try:
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(as_markdown(chat.messages))
    except FileExistsError:
        warn(f"{path} is there already: name another file")
    except OSError as error:
        warn(f"{path} cannot be written: {error.strerror}")
    else:
        note(f"written to {path}")


def sessions(chat: Chat, rest: str, run: Run) -> None:
    """The conversations that are kept, or open one: /sessions NAME"""
    if rest:
        opened = Session(rest)
        if not opened.path.exists():
            raise SessionError(f"there is no session {one_line(rest, 60)}")
        messages = opened.read()
        chat.session.close()
        chat.session, chat.messages, chat.last = opened, messages, None
        note(f"{opened.name}: {_told(messages)}")
        return
    for kept in kept_sessions():
        when = time.strftime("%d %b %H:%M", time.localtime(kept.modified))
        here = " (this one)" if kept.name == chat.session.name else ""
        note(f"{kept.name}  {when}  {kept.first}{here}")
    note("open one with /sessions NAME, or python cli.py --session NAME")


def usage(chat: Chat, rest: str, run: Run) -> None:
    """Tokens, cost and time of this conversation since it was opened"""
    spent = f", {dollars(chat.spent)}" if chat.spent is not None else ""
    tokens = f"{chat.usage.input:,} tokens in, {chat.usage.output:,} out"
    note(f"{chat.answers} answers, {tokens}{spent}, {chat.seconds:.0f} s")


def reasoning(chat: Chat, rest: str, run: Run) -> None:
    """What the model thought before its last answer"""
    note(chat.screen.reasoning.strip() or "it said nothing of its thoughts")


def quit_(chat: Chat, rest: str, run: Run) -> None:
    """Leave"""
    chat.leaving = True


COMMANDS: dict[str, Command] = {
    "help": help_,
    "skills": skills,
    "model": model,
    "system": system,
    "attach": attach_,
    "edit": edit,
    "retry": retry,
    "reasoning": reasoning,
    "usage": usage,
    "clear": clear,
    "save": save,
    "sessions": sessions,
    "quit": quit_,
}


def call_of(typed: str, skill_names: Collection[str]) -> tuple[str, str] | None:
    """The command and what stands behind it; None for a question, as a skill's name and a path begin one."""
    word, _, rest = typed.partition(" ")
    if not typed.startswith("/") or "\n" in word or "/" in word[1:] or word[1:] in skill_names:
        return None
    return word[1:], rest.strip()


def run_command(chat: Chat, name: str, rest: str, run: Run) -> Message | None:
    if command := COMMANDS.get(name):
        return command(chat, rest, run)
    near = [known for known in (*COMMANDS, *chat.names) if known.startswith(name[:3])]
    warn(f"there is no /{one_line(name, 40)}" + (f"; is it /{near[0]}?" if near else "; /help says what there is"))
    return None


def _told(messages: list[Message]) -> str:
    questions = sum(message.role == "user" for message in messages)
    return f"{questions} question{'s' if questions != 1 else ''} so far"


def _words(message: Message | None) -> str:
    """What was typed, without what was attached to it."""
    last = message.parts[-1] if message and message.parts else None
    return last.text if isinstance(last, Text) else ""


def _paths(rest: str) -> list[str]:
    """One path with spaces as well as several in quotes."""
    if not rest or os.path.exists(os.path.expanduser(rest)):
        return [rest] if rest else []
    try:
        return shlex.split(rest)
    except ValueError:
        return [rest]


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def _edited(text: str) -> str:
    """The text as the person's editor leaves it, "" where it was not changed to anything."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w", suffix=".md", prefix="question-", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            done = subprocess.run([*shlex.split(editor), file.name], check=False)  # noqa: S603 - the person's own
        except (OSError, ValueError) as error:
            warn(f"{editor} cannot be run ({error}); set EDITOR")
            return ""
        if done.returncode:
            warn(f"{editor} failed; nothing is asked")
            return ""
        return Path(file.name).read_text("utf-8", "replace").strip()
