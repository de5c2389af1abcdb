"""The items of a response as its followers have them: put together from its events, as clients do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = dict[str, Any]


def told(output: Sequence[Json], events: Iterable[Json]) -> list[Json]:
    """`output`, and what these later events add to it. The arguments of calls are left out."""
    items: list[Json] = orjson.loads(orjson.dumps(output))
    for event in events:
        match event:
            case {"type": "response.output_item.added", "item": item}:
                items.append(item)
            case {"type": "response.output_item.done", "output_index": at, "item": item}:
                items[at] = item
            case {"output_index": at}:
                _tell(items[at], event)
    return items


def _tell(item: Json, event: Json) -> None:
    match event["type"]:
        case "response.content_part.added":
            item["content"].append(event["part"])
        case "response.output_text.delta":
            item["content"][-1]["text"] += event["delta"]
            item["content"][-1]["logprobs"] += event["logprobs"]
        case "response.refusal.delta":
            item["content"][-1]["refusal"] += event["delta"]
        case "response.reasoning_summary_part.added":
            item["summary"].append(event["part"])
        case "response.reasoning_summary_text.delta":
            item["summary"][-1]["text"] += event["delta"]
