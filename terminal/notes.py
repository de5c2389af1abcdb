"""Lines beside the answer, on stderr."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
from typing import TextIO

from providers.base import AuthError, ModelInfo, ProviderError
from settings import SettingsError
from terminal import FAILED, NOT_AUTHORISED, UNREACHABLE, USAGE
from terminal.attachments import AttachmentError
from terminal.sessions import SessionError
from terminal.text import harmless

CLEAR = "\r\033[K"
"""To the start of the line, and nothing to its right: what a spinner has left there goes."""
UNREACHED = ("upstream_unreachable", "upstream_timeout", "upstream_tls_error")


def is_smart(stream: TextIO) -> bool:
    """A terminal that moves its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def has_colour(stream: TextIO) -> bool:
    """https://no-color.org"""
    return is_smart(stream) and not os.environ.get("NO_COLOR")


def note(words: str) -> None:
    """A line beside the answer; dim where colour is."""
    _line(words, "2")


def title(name: str, *more: str) -> None:
    """The first line: the name, and what goes with it dim."""
    bold, rest = harmless(name), harmless("".join(f" · {each}" for each in more))
    print(f"\033[1m{bold}\033[0m\033[2m{rest}\033[0m" if has_colour(sys.stderr) else bold + rest, file=sys.stderr)


def space() -> None:
    """An empty line where somebody looks."""
    if is_smart(sys.stderr):
        print(file=sys.stderr)


def warn(words: str) -> None:
    """A line that says what went wrong."""
    _line(words, "31")


def _line(words: str, style: str) -> None:
    words = _wrapped(harmless(words)) if is_smart(sys.stderr) else harmless(words)
    text = f"\033[{style}m{words}\033[0m" if has_colour(sys.stderr) else words
    print(f"{CLEAR}{text}" if is_smart(sys.stderr) else text, file=sys.stderr, flush=True)


def _wrapped(words: str) -> str:
    """Between words, as a terminal would break within them."""
    width = shutil.get_terminal_size().columns - 1
    how = {"subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(
        line if len(line) <= width else textwrap.fill(line, width, **how)  # type: ignore[arg-type]
        for line in words.split("\n")
    )


def complain(error: Exception, who: str = "skill-agent: ") -> int:
    """Says what went wrong; gives the exit code that says it too."""
    warn(f"{who}{words_of(error)}")
    return exit_code(error)


def exit_code(error: Exception) -> int:
    match error:
        case AuthError():
            return NOT_AUTHORISED
        case ProviderError(status=0, code=code) if code in UNREACHED:
            return UNREACHABLE
        case SettingsError() | AttachmentError() | SessionError():
            return USAGE
    return FAILED


def words_of(error: Exception) -> str:
    if not isinstance(error, ProviderError):
        return str(error)
    who = f"{error.provider}: " if error.provider not in ("", "remote") else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{who}{_reason(error)}{request}"


def _reason(error: ProviderError) -> str:
    """A server behind --url has its own words (`providers/remote.py`)."""
    if error.provider == "remote" or error.status:
        return error.message
    if error.message.startswith(("silence for", "no answer within")):
        return error.message
    if error.code in UNREACHED:
        return f"{error.message}: check the network and the address (or ask doctor)"
    return error.message


def introduce(info: ModelInfo) -> None:
    """A person without a key learns how to get a real model."""
    if info.note:
        note(
            f"This is {info.note}. For a real one set ANTHROPIC_API_KEY, OPENAI_API_KEY, AZURE_OPENAI_API_KEY or "
            "DATABRICKS_TOKEN (docs/settings.md)."
        )


class Notes(logging.Handler):
    """The log, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        note(f"· {record.getMessage()}")


def log_as_notes() -> None:
    """Warnings of all, and what our own parts say of themselves."""
    logging.basicConfig(level=logging.WARNING, handlers=[Notes()])
    logging.getLogger("skill_agent").setLevel(logging.INFO)
    logging.getLogger("skill_agent.providers").setLevel(logging.ERROR)  # what it warns of shows as activity
