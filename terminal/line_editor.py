"""The line editor, made of prompt_toolkit. Imported only where a person types."""

from __future__ import annotations

import os
import re
from asyncio import Runner
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from terminal.text import harmless, size

FOLDED = 2_000
"""Characters of a paste that still stand in the line; a longer one is shown by its size."""
MOST_PATHS = 200
PASTE = "[pasted text {number}: {size}, {lines} lines]"
_FILES = re.compile(r"^/(?:attach|system|save)\s+(.*)$", re.DOTALL)
_AT = re.compile(r"(?:^|\s)((?:\./|\.\./|~/|/)\S*)$")
STYLE = Style.from_dict({"prompt": "bold", "completion-menu": "noreverse", "bottom-toolbar": "noreverse"})


class LineEditor:
    """Enter asks; Alt-Enter or a backslash at the end of a line begins another; Ctrl-X Ctrl-E opens $EDITOR."""

    reads_keys = True

    def __init__(
        self, mark: str, runner: Runner, words: Callable[[], Sequence[tuple[str, str]]], history: Path | None
    ) -> None:
        self._runner = runner
        self._pastes: dict[str, str] = {}
        self._session: PromptSession[str] = PromptSession(
            mark,
            history=_History(str(history)) if history else InMemoryHistory(),
            completer=_Words(words),
            complete_while_typing=True,
            key_bindings=_keys(self._pastes),
            multiline=True,
            prompt_continuation="  ",
            enable_open_in_editor=True,
            tempfile_suffix=".md",
            reserve_space_for_menu=6,
            style=STYLE,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
            include_default_pygments_style=False,
        )

    def ask(self, before: str = "") -> str | None:
        self._pastes.clear()
        try:
            typed = self._runner.run(self._session.prompt_async(default=self._folded(before)))
        except EOFError:
            return None
        for mark, text in self._pastes.items():
            typed = typed.replace(mark, text)
        return typed

    def _folded(self, text: str) -> str:
        return _fold(text, self._pastes) if len(text) > FOLDED else text


def _fold(text: str, pastes: dict[str, str]) -> str:
    lines = text.count("\n") + 1
    mark = PASTE.format(number=len(pastes) + 1, size=size(len(text.encode("utf-8", "replace"))), lines=lines)
    pastes[mark] = text
    return mark


def _keys(pastes: dict[str, str]) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    @keys.add("c-j")  # Enter that was typed before the editor was there
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        """Takes back what is typed; where nothing is, it is for the chat."""
        if event.current_buffer.text:
            event.current_buffer.reset(append_to_history=True)
        else:
            event.app.exit(exception=KeyboardInterrupt)

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add(Keys.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        text = harmless(event.data.replace("\r\n", "\n").replace("\r", "\n"))
        event.current_buffer.insert_text(_fold(text, pastes) if len(text) > FOLDED else text)

    return keys


class _History(FileHistory):
    """Long ones, which are pasted, are not kept: the file would grow without end."""

    def store_string(self, string: str) -> None:
        if len(string) <= FOLDED:
            super().store_string(string)


class _Words(Completer):
    """Commands and skills at the start of a line; file paths behind the commands that take one, and where a word
    begins like a path."""

    def __init__(self, words: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self._words = words

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        if before.startswith("/") and not re.search(r"\s", before):
            for word, meaning in self._words():
                if word.startswith(before):
                    yield Completion(word, -len(before), display_meta=harmless(meaning))
        else:
            asked = complete_event.completion_requested
            found = _FILES.match(before) or (_AT.search(before) if asked else None)
            yield from _paths(found[1]) if found else ()


def _paths(begun: str) -> Iterable[Completion]:
    """Files below the folder that is typed already, hidden ones only where asked for."""
    folder, _, start = begun.rpartition("/")
    root = Path(os.path.expanduser(f"{folder}/" if folder or begun.startswith("/") else "."))
    try:
        entries = sorted(os.scandir(root), key=lambda entry: (not entry.is_dir(), entry.name))[:MOST_PATHS]
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and entry.name.isprintable() and (start or not entry.name.startswith(".")):
            name = entry.name + ("/" if entry.is_dir() else "")
            yield Completion(name, -len(start), display=name)
