"""From the items of a Responses request to the conversation that the model is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import orjson

from agent.approval import asked_ids
from bodies import ApiError, fitted
from messages import Message, Reasoning, Text, user
from response_schemas import Asked, Item, Items, OtherItem, OutputItem, ReferenceItem, SealedItem
from service.packing import unpack
from service.record import Record
from service.response_answer import REASONING
from service.seal import Seal
from service.storage import Storage

Json: TypeAlias = dict[str, Any]
COMPACTION = "compaction"
PARTS: Mapping[str, Json] = {"output_text": {"annotations": [], "logprobs": []}, "input_image": {"detail": "auto"}}
"""What a part is listed with, whether it was sent with it or not."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """`before` was said in earlier responses, `heard` is new. `previous` is the response gone on from, "" for none.

    `named` are the items that were sent as references. `workspace` names where the files of that response are.
    """

    before: Sequence[Message]
    heard: Sequence[Message]
    previous: str = ""
    named: Mapping[str, Json] = field(default_factory=dict)
    workspace: str = ""


class Reader:
    """Reads requests of one owner. Raises `ApiError` 400 where an item refers to what is not there."""

    def __init__(self, storage: Storage, seal: Callable[[], Awaitable[Seal]], owner: str) -> None:
        self._storage = storage
        self._seal = seal
        self._owner = owner

    async def read(self, asked: Asked, conversation: str = "") -> Transcript:
        """A conversation decides what was said before; without one the response that is named does."""
        chain = await self._chain(asked, conversation)
        before = [message for record in chain for message in (*unpack(record.heard), *unpack(record.said))]
        records = await self._referred(asked.items)
        heard = await self._heard(asked.items, records)
        _refuse_dangling(asked.items, [*before, *heard])
        named = {id: _stored_items(record)[id] for id, record in records.items()}
        newest = chain[-1] if chain else None
        return Transcript(before, heard, newest.id if newest else "", named, newest.workspace if newest else "")

    async def _chain(self, asked: Asked, conversation: str) -> list[Record]:
        named = asked.previous_response_id or ""
        if not (named or conversation):
            return []
        store = await self._storage.open()
        if conversation:
            return await store.chain(await store.last_of(conversation, self._owner), self._owner)
        chain = await store.chain(named, self._owner)
        if not chain:
            raise no_previous(named)
        if chain[-1].live:
            raise ApiError(400, "The previous response is not finished yet.", "invalid_value", "previous_response_id")
        return chain

    async def _heard(self, items: Sequence[Item], records: dict[str, Record]) -> list[Message]:
        messages: list[Message] = []
        for index, item in enumerate(items):
            if isinstance(item, ReferenceItem):
                for message in self._whole(item, records, items):
                    _append(messages, message)
            elif isinstance(item, SealedItem):
                for message in await self._unsealed(item, f"input[{index}].encrypted_content"):
                    _append(messages, message)
            elif not isinstance(item, OtherItem):
                _append(messages, item.as_message())
        return messages

    async def _unsealed(self, item: SealedItem, place: str) -> Sequence[Message]:
        """Reasoning that is not ours is left out, as no model here could use it."""
        kind = REASONING if item.type == REASONING else COMPACTION
        data = (await self._seal()).open(kind, item.encrypted_content) if item.encrypted_content else None
        if data is not None:
            return unpack(data)
        if kind == COMPACTION:
            raise ApiError(400, f"{place}: this summary was not made here", "invalid_value", place)
        return ()

    async def _referred(self, items: Sequence[Item]) -> dict[str, Record]:
        """The stored responses of the items that are referred to, by the item's id."""
        wanted = [(index, item.id) for index, item in enumerate(items) if isinstance(item, ReferenceItem)]
        if not wanted:
            return {}
        store = await self._storage.open()
        found: dict[str, Record] = {}
        for index, id in wanted:
            record = await store.get(_response_of(id), self._owner)
            if record is None or id not in _stored_items(record):
                place = f"input[{index}].id"
                raise ApiError(404, f"{place}: Item with id {id!r} not found.", "item_not_found", place)
            found[id] = record
        return found

    def _whole(self, item: ReferenceItem, records: dict[str, Record], items: Sequence[Item]) -> Sequence[Message]:
        """A response that is referred to with all of its items stands for everything that its run said and did."""
        record = records[item.id]
        named = {other.id for other in items if isinstance(other, ReferenceItem) and records[other.id].id == record.id}
        output = _outputs(record)
        if item.id in output and output.keys() <= named:
            return unpack(record.said) if item.id == next(iter(output)) else ()
        told = fitted(Items, {"items": [_stored_items(record)[item.id]]}).items[0]
        return () if isinstance(told, SealedItem | ReferenceItem | OtherItem) else (told.as_message(),)


def _response_of(item: str) -> str:
    """Ids of items begin with a kind and go on with their response's."""
    return "resp_" + [*item.split("_"), ""][1]


def _outputs(record: Record) -> dict[str, Json]:
    return {item["id"]: item for item in orjson.loads(record.body)["output"]}


def _stored_items(record: Record) -> dict[str, Json]:
    return {**{item["id"]: item for item in orjson.loads(record.items)}, **_outputs(record)}


def _append(messages: list[Message], message: Message) -> None:
    """What one turn of the model said stands in several items, and is one message."""
    last = messages[-1] if messages else None
    if last and last.role == message.role == "tool":
        messages[-1] = replace(last, parts=last.parts + message.parts)
    elif last and last.role == message.role == "assistant" and _is_one_turn(last, message):
        messages[-1] = replace(last, parts=last.parts + message.parts, origin=last.origin or message.origin)
    else:
        messages.append(message)


def _is_one_turn(last: Message, message: Message) -> bool:
    """Calls belong to what stands before them, and so does all before their results; a second text, or reasoning
    behind words, begins anew.
    """
    if last.calls or message.calls:
        return True
    begins = any(isinstance(part, Reasoning) for part in message.parts)
    spoke = any(not isinstance(part, Reasoning) for part in last.parts)
    return not spoke or not (begins or any(isinstance(part, Text) for part in message.parts))


def _refuse_dangling(items: Sequence[Item], messages: Sequence[Message]) -> None:
    made = {call.id for message in messages for call in message.calls} | asked_ids(messages)
    for index, item in enumerate(items):
        if isinstance(item, OutputItem) and item.call_id not in made:
            place = f"input[{index}].call_id"
            words = f"{place}: No tool call found for function call output with call_id {item.call_id!r}."
            raise ApiError(400, words, "invalid_value", place)


def summary(text: str) -> Message:
    return user(f"Summary of the conversation so far:\n\n{text}")


def input_items(given: Any, named: Mapping[str, Json], id: str) -> list[Json]:
    """The input as it was sent, as `input_items` lists it: each item with an id, and whole where it was short."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    whole = [named.get(str(item.get("id")), item) for item in items]
    return [_listed(item, f"{id.removeprefix('resp_')}_i{number}") for number, item in enumerate(whole)]


def _listed(item: Json, number: str) -> Json:
    kind = item.get("type") or "message"
    given = {name: value for name, value in item.items() if value is not None}
    told = {"id": f"{'msg' if kind == 'message' else 'item'}_{number}", **given, "type": kind}
    if kind == "message":
        return {**told, "content": _content(item), "status": "completed"}
    return {**told, "summary": item.get("summary") or []} if kind == REASONING else {**told, "status": "completed"}


def _content(item: Json) -> list[Json]:
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text" if item["role"] == "assistant" else "input_text", "text": content}]
    return [{**PARTS.get(part["type"], {}), **part} for part in content or ()]


def no_previous(id: str) -> ApiError:
    words = f"Previous response with id {id!r} not found."
    return ApiError(400, words, "previous_response_not_found", "previous_response_id")
