"""Keeps a conversation within its model's window: large results move to files, old turns become a summary.

What must not be lost stays word for word: the task, the instructions of active skills, the list of todos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent.context import as_text, cut, ends, size, tokens
from agent.opening import skills_in
from messages import Message, Text, ToolResult, user

FULL = 0.8
"""Of the window: from here on old turns are summarised."""
KEPT = 0.3
"""Of the window, for the newest turns behind a summary."""
TASK = 0.1
"""Of the window, for the task in the user's own words."""
LARGE = 20_000
"""Tokens of a result that is moved to a file, however large the window is."""
SHARE = 16
"""A result of more than this part of the window is moved too."""
STUB = 1_000
"""Tokens of a moved result that stay."""
SUMMARISE = (
    "Summarise the conversation above, so that you can go on from the summary alone: who wants what, what was decided, "
    "done and found, every name, number, path and quotation that may still matter, and what is open. Write the summary "
    "and nothing else."
)


def fits(result: ToolResult, window: int, keep: Callable[[str, str], str]) -> ToolResult:
    """The result, or its ends where it is too large. `keep` stores its text under the call's id and says where."""
    limit = min(LARGE, window // SHARE) if window else LARGE
    needed = tokens(result.text)
    if needed <= limit:
        return result
    where = keep(result.call_id, result.text)
    told = ends(result.text, min(STUB, limit), f"[… {len(result.text)} characters in all; {where}]")
    return replace(result, parts=(Text(told), *(part for part in result.parts if not isinstance(part, Text))))


@dataclass(frozen=True, slots=True)
class Split:
    """`fixed` are the system's words, `old` is summarised, `new` stays behind the summary."""

    fixed: Sequence[Message]
    old: Sequence[Message]
    new: Sequence[Message]


class Compaction:
    """Of one run. `window` in tokens, 0 where it is not known; `task` is what the run is for, in the user's words."""

    def __init__(self, window: int, task: str) -> None:
        self.window = window
        self._task = task
        self._skills: dict[str, str] = {}
        self._pinned: Message | None = None

    def is_due(self, needed: int) -> bool:
        return 0 < self.window * FULL <= needed

    def narrow(self, messages: Sequence[Message]) -> None:
        """These were refused as too long: the window of whoever answers now is smaller than that of the first model."""
        self.window = min(self.window, size(messages))

    def split(self, messages: Sequence[Message]) -> Split:
        """Calls stay with their results: the new part never begins with results. What was said last is never old."""
        first = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
        room = int((self.window or size(messages)) * KEPT)
        at = newest = next((n for n in range(len(messages) - 1, first, -1) if messages[n].role != "tool"), first)
        room -= size(messages[newest:])
        while at > first and room >= (needed := size([messages[at - 1]])):
            room, at = room - needed, at - 1
        while at < newest and messages[at].role == "tool":
            at += 1
        old = [message for message in messages[first:at] if message is not self._pinned]
        return Split(messages[:first], old, messages[at:])

    def question(self, old: Sequence[Message]) -> str:
        """The old turns as text, as much as fits, and what to do with them."""
        text = as_text(old)
        limit = int((self.window or size(old)) * 0.6)
        return f"{text if tokens(text) <= limit else ends(text, limit, '[…]')}\n\n{SUMMARISE}"

    def compacted(self, parts: Split, summary: str, todos: str) -> list[Message]:
        """The conversation with a summary in place of its old turns."""
        self._skills |= skills_in(parts.old)
        task = cut(self._task, int(self.window * TASK)) if self.window else self._task
        kept = [f"The task:\n{task}", *self._skills.values(), *([f"Todos:\n{todos}"] if todos else [])]
        self._pinned = user("\n\n".join(kept))
        return [*parts.fixed, self._pinned, user(f"What has been done so far, in short:\n{summary}"), *parts.new]
