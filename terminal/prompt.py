"""Where a person types: a line editor with history and completion where prompt_toolkit is, else a plain line."""

from __future__ import annotations

import importlib.util
import os
import sys
from asyncio import Runner
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from defaults import data_folder
from terminal.approval import echoing
from terminal.notes import is_smart

MARK = "> "


class Prompt(Protocol):
    """`reads_keys`: it takes the terminal's keys one by one, and sets it up for that itself."""

    reads_keys: bool

    def ask(self, before: str = "") -> str | None:
        """What is typed, `before` standing there already; None at the end of input. Raises `KeyboardInterrupt`."""
        ...


def prompt_for(runner: Runner, words: Callable[[], Sequence[tuple[str, str]]]) -> Prompt:
    """`words` gives what a line may begin with, each with its meaning."""
    smart = is_smart(sys.stdin) and is_smart(sys.stderr)
    if smart and importlib.util.find_spec("prompt_toolkit"):
        from terminal.line_editor import LineEditor

        return LineEditor(MARK, runner, words, history_file())
    return PlainPrompt()


def history_file() -> Path | None:
    """What was typed before, for its owner's eyes only; None where it cannot be kept."""
    path = data_folder() / "history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError:
        return None
    return path


class PlainPrompt:
    """A line as the terminal gives it; a backslash at its end goes on with the next."""

    reads_keys = False

    def __init__(self) -> None:
        if is_smart(sys.stdin):
            with suppress(ImportError):
                import readline  # noqa: F401 - `input` then edits lines

    def ask(self, before: str = "") -> str | None:
        lines: list[str] = []
        while True:
            try:
                with echoing(flush=False):
                    line = input("… " if lines else MARK)
            except EOFError:
                print(file=sys.stderr)
                return "\n".join(lines) if lines else None
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])
