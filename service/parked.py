"""Turns that wait for their client: what the agent did beside the calls that the client answers.

A client's history holds its own calls only. When it comes back with their results, the message that it saw is put
back as it really was: with the agent's calls and results, reasoning and signatures.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence

from agent.approval import question
from messages import Finish, Message, Text, ToolCall, assistant
from service.log import NAME
from service.packing import pack, unpack
from service.storage import Storage

log = logging.getLogger(NAME)


class Parked:
    """Kept in the store for an hour; where a turn is gone, the conversation goes on without it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def _settle(self, owner: str, heard: Sequence[Message], made: Message) -> None:
        """A call that has waited for a yes has been made: its turn has the result, so that it is not made again."""
        asked = [(message, words) for message, words in _with_what_was_asked(heard) if message.calls]
        key = _key(owner, asked[-1][1], asked[-1][0].calls) if asked else ""
        found = await self._found([key] if key else [])
        if key in found:
            data, workspace = found[key]
            await self._put(key, pack([*unpack(data), made]), workspace)

    async def keep(self, owner: str, heard: Sequence[Message], finish: Finish, workspace: str = "") -> None:
        if finish.messages[:1] and finish.messages[0].role == "tool":
            await self._settle(owner, heard, finish.messages[0])
        if not finish.calls or (_is_all_seen(finish) and not workspace):
            return
        asked = _with_what_was_asked([*heard, assistant("")])[-1][1]
        await self._put(_key(owner, asked, finish.calls), pack(finish.messages), workspace)

    async def _put(self, key: str, messages: bytes, workspace: str) -> None:
        """A store that fails costs the turn and not the answer."""
        try:
            await (await self._storage.open()).keep_turn(key, messages, workspace)
        except Exception:
            log.warning("a turn that waits for its client could not be stored", exc_info=True)

    async def restore(self, owner: str, messages: Sequence[Message]) -> tuple[list[Message], str]:
        """The history with each message that was cut down for its client whole again, and the newest's workspace."""
        asked = _with_what_was_asked(messages)
        keys = [_key(owner, words, message.calls) if message.calls else "" for message, words in asked]
        found = await self._found([key for key in keys if key])
        whole: list[Message] = []
        workspace = ""
        for key, message in zip(keys, messages, strict=True):
            data, where = found.get(key, (b"[]", ""))
            turn = unpack(data)
            known = _holds(turn, message.calls)
            whole += turn if known else [message]
            workspace = where if known and where else workspace
        return whole, workspace

    async def _found(self, keys: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        if not keys:
            return {}
        try:
            return await (await self._storage.open()).turns(keys)
        except Exception:
            log.warning("turns that waited for their client could not be read", exc_info=True)
            return {}


def _is_all_seen(finish: Finish) -> bool:
    """Whether the client's own history holds everything that happened."""
    (*earlier, last) = finish.messages
    seen = [part for part in last.parts if isinstance(part, Text | ToolCall) and not part.opaque]
    asked = any(call.own for call in last.calls)
    return not (earlier or asked) and len(seen) == len(last.parts) and len(last.calls) == len(finish.calls)


def _with_what_was_asked(messages: Sequence[Message]) -> list[tuple[Message, str]]:
    """Each message with a digest of what its client had said by then: a turn belongs to its conversation, and some
    servers give the same ids to calls in all of them.
    """
    said = hashlib.sha256()
    asked = []
    for message in messages:
        if message.role in ("user", "tool"):
            results = [(result.call_id, result.text) for result in message.results]
            said.update(json.dumps([message.text, results]).encode())
        asked.append((message, said.hexdigest()))
    return asked


def _key(owner: str, asked: str, calls: Sequence[ToolCall]) -> str:
    ids = json.dumps([owner, asked, *sorted(call.id for call in calls)])
    return hashlib.sha256(ids.encode()).hexdigest()


def _holds(turn: Sequence[Message], calls: Sequence[ToolCall]) -> bool:
    """Whether these calls were made in the turn."""
    made = [call for message in turn for call in message.calls]
    known = {call.id: _arguments(call) for call in (*made, *map(question, made))}
    return bool(turn) and all(known.get(call.id) == _arguments(call) for call in calls)


def _arguments(call: ToolCall) -> object:
    """Parsed, as clients write the JSON anew."""
    try:
        return [json.loads(call.arguments or "{}")]
    except (ValueError, RecursionError):
        return call.arguments
