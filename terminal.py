"""How a run looks on a terminal: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from typing import Any, TextIO

from messages import Compacted, Event, Finish, RefusalDelta, SkillActivated, TextDelta, ToolEnd, ToolStart
from providers.base import AuthError, ModelInfo, ProviderError
from settings import SettingsError

OK, FAILED, USAGE, NOT_AUTHORISED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130
SHOWN = 100
"""Characters of a tool's arguments that are shown."""
ASKED = 2_000
"""Characters of them where they are asked about."""


def note(words: str) -> None:
    """A line beside the answer; dim where colour is."""
    plain = not sys.stderr.isatty() or _no_colour()
    print(words if plain else f"\033[2m{words}\033[0m", file=sys.stderr, flush=True)


def complain(error: Exception) -> int:
    """One line that says what went wrong; gives the exit code that says it too."""
    print(f"skill-agent: {_words(error)}", file=sys.stderr, flush=True)
    match error:
        case AuthError():
            return NOT_AUTHORISED
        case ProviderError(status=0, code="upstream_unreachable" | "upstream_timeout" | "upstream_tls_error"):
            return UNREACHABLE
        case SettingsError():
            return USAGE
    return FAILED


def _words(error: Exception) -> str:
    if not isinstance(error, ProviderError):
        return str(error)
    who = f"{error.provider}: " if error.provider else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{who}{error.message}{request}"


def introduce(info: ModelInfo) -> None:
    """Who answers; a person without a key learns how to get a real model."""
    if info.note:
        note(
            f"{info.id} answers, {info.note}. For a real one set DATABRICKS_TOKEN, ANTHROPIC_API_KEY, "
            "OPENAI_API_KEY or AZURE_OPENAI_API_KEY (README, Models)."
        )


async def show(events: AsyncGenerator[Event, None], out: TextIO) -> Finish:
    """Prints the answer as it comes, and what the agent does beside it."""
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta(text) | RefusalDelta(text):
                    out.write(text)
                    out.flush()
                case Finish():
                    _end(event, out)
                    return event
                case _:
                    _activity(event)
    raise AssertionError("`Finish` is always last")


async def allow(tool: str, arguments: str) -> bool:
    """Asks the person at the terminal; where there is none the answer is no. Ctrl-C ends the wait with the run."""
    shown = _whole(arguments)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        note(f"· {tool} {shown} needs your word, and there is no terminal to ask at: not allowed")
        return False
    async with _one_at_a_time():
        print(f"Allow {tool} {shown}? [y/N] ", end="", file=sys.stderr, flush=True)
        return (await _line()).strip().lower() in ("y", "yes")


def _whole(arguments: str) -> str:
    """All that is asked about, or its ends with what is between them said; nothing that moves the cursor."""
    plain = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(arguments.split()))
    if len(plain) <= ASKED:
        return plain
    half = ASKED // 2
    return f"{plain[:half]} … ({len(plain) - ASKED} more characters) … {plain[-half:]}"


@cache
def _one_at_a_time() -> asyncio.Lock:
    return asyncio.Lock()


async def _line() -> str:
    """A line of standard input, without blocking what else goes on."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin.fileno())


def _activity(event: Event) -> None:
    match event:
        case SkillActivated(name):
            note(f"· skill {name}")
        case Compacted(before, after):
            note(f"· the conversation was summarised: {before} tokens became {after}")
        case ToolStart(call) if call.name != "activate_skill":
            note(f"· {call.name} {' '.join(call.arguments.split())[:SHOWN]}")
        case ToolEnd(call, result, seconds) if result.is_error:
            note(f"· {call.name} failed after {seconds:.1f} s: {result.text[:SHOWN]}")


def _end(finish: Finish, out: TextIO) -> None:
    out.write("\n")
    out.flush()
    if finish.reason == "stop" and finish.limit:
        note(f"· the model was asked to answer without more tools: {finish.limit.replace('_', ' ')}")
    if finish.reason == "length":
        cause = f"{finish.limit.replace('_', ' ')} of this run" if finish.limit else "the model's limit on an answer"
        note(f"· the answer is cut off: {cause} was reached")
    elif finish.reason == "content_filter":
        note("· the model declined to answer")
    note(f"· {finish.usage.input} tokens in, {finish.usage.output} out")


def as_json(finish: Finish) -> str:
    """The whole answer as one line."""
    usage = {"input_tokens": finish.usage.input, "output_tokens": finish.usage.output}
    skills = [step.name for step in finish.steps if isinstance(step, SkillActivated)]
    answer: dict[str, Any] = {
        "text": finish.text,
        "finish_reason": finish.reason,
        "model": finish.model,
        "skills": skills,
        "usage": usage,
    }
    return json.dumps(answer, ensure_ascii=False)


def _no_colour() -> bool:
    import os

    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
