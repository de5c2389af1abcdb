"""Tools that a person has to allow: who is asked, and what counts as a yes.

A run that has somebody to ask asks at once. Over HTTP the run ends with a call of `approve_tool`, which the client
answers like one of its own; the call that waits is kept by the service, so that nothing that a client sends is run.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from messages import Message, ToolCall

Approve: TypeAlias = Callable[[ToolCall], Awaitable[bool]]
TOOL = "approve_tool"
PREFIX = "approve_"
YES = frozenset(("yes", "y", "true", "ok", "okay", "allow", "allowed", "approve", "approved"))
REFUSED = "this call was not allowed; do without it, or ask what is wanted instead"
NOBODY = "this call needs the user's approval, and here is nobody to ask; leave it to the one who gave you the task"


def question(call: ToolCall) -> ToolCall:
    """The call that asks a client; its arguments are the tool's name and arguments."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.arguments
    asked = json.dumps({"tool": call.name, "arguments": arguments}, ensure_ascii=False)
    return ToolCall(PREFIX + call.id, TOOL, asked)


def asked_about(question: ToolCall) -> tuple[str, str]:
    """The tool's name and arguments of a question."""
    try:
        found = json.loads(question.arguments)
        return str(found["tool"]), json.dumps(found["arguments"], ensure_ascii=False)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "a tool of the server", question.arguments


def waiting(messages: Sequence[Message]) -> list[tuple[ToolCall, bool]]:
    """The agent's own calls of the newest turn that wait for a word, with the word: no answer is a no."""
    said = next((at for at in range(len(messages) - 1, -1, -1) if messages[at].role == "assistant"), -1)
    if said < 0:
        return []
    results = {result.call_id: result.text for message in messages[said + 1 :] for result in message.results}
    calls = [call for call in messages[said].calls if call.own and call.id not in results]
    return [(call, is_yes(results.get(PREFIX + call.id, ""))) for call in calls]


def is_yes(text: str) -> bool:
    """A word for yes, `true`, or a JSON object with `approved` true."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if isinstance(found, dict):
        found = found.get("approved")
    return found is True or (isinstance(found, str) and found.strip().strip(".!").lower() in YES)


def asked_ids(messages: Iterable[Message]) -> set[str]:
    """Ids under which the calls of these messages may have been asked for."""
    return {PREFIX + call.id for message in messages for call in message.calls}
