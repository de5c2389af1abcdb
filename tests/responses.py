"""The Responses API as its clients see it: every stream is held against the rules, whatever the test is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import orjson

from tests.surface import Service, read_error

Json: TypeAlias = dict[str, Any]
RESPONSES = "/v1/responses"
ENDS = ("response.completed", "response.incomplete", "response.failed")
FUNCTION: Json = {"type": "function", "name": "price", "parameters": {"type": "object", "properties": {}}}
KEYS = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens",
    "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
"""What https://www.openresponses.org requires of a response."""


def create(served: Service, path: str = RESPONSES, **body: Any) -> Json:
    """A whole answer."""
    response = served.post(body, path)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    check_resource(found)
    return found


def refused(served: Service, path: str = RESPONSES, **body: Any) -> tuple[int, Json]:
    response = served.post(body, path)
    return response.status_code, read_error(response)


def streamed(served: Service, path: str = RESPONSES, **body: Any) -> list[Json]:
    response = served.post({**body, "stream": True}, path)
    assert response.status_code == 200, response.text
    return read_events(response, named=path == RESPONSES)


def check_resource(resource: Json) -> None:
    assert resource.keys() >= KEYS and resource["object"] == "response" and resource["id"].startswith("resp_")
    for item in resource["output"]:
        assert item["id"] and item["type"]


def read_events(response: httpx.Response, named: bool = True, first: int = 0) -> list[Json]:
    """The events behind `first`, which follow each other without a gap and end as they should."""
    assert response.headers["content-type"].startswith("text/event-stream")
    events = _parsed(response.content, named)
    assert [event["sequence_number"] for event in events] == list(range(first, first + len(events)))
    assert events[-1]["type"] in ENDS
    check_resource(events[-1]["response"])
    if first == 0:
        assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
        assert events[0]["response"]["output"] == []
        _Reader().read(events)
    return events


def _parsed(body: bytes, named: bool) -> list[Json]:
    *blocks, done, rest = body.decode().split("\n\n")
    assert done == "data: [DONE]" and rest == ""
    events = []
    for block in (block for block in blocks if block != ": keep-alive"):
        name, _, data = block.rpartition("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == (f"event: {event['type']}" if named else "")
        events.append(event)
    return events


@dataclass(slots=True)
class _Reader:
    """Puts the answer together from the deltas, as clients do."""

    items: dict[int, Json] = field(default_factory=dict)
    written: dict[tuple[str, int], str] = field(default_factory=dict)
    done: dict[int, Json] = field(default_factory=dict)

    def read(self, events: list[Json]) -> None:
        for event in events:
            kind = event["type"]
            if kind == "response.output_item.added":
                assert event["output_index"] == len(self.items) and event["item"]["status"] == "in_progress"
                self.items[event["output_index"]] = event["item"]
            elif kind == "response.output_item.done":
                assert event["item"]["status"] in ("completed", "incomplete")
                self.done[event["output_index"]] = event["item"]
            elif "item_id" in event:
                self._inside(kind, event)
        last = events[-1]
        if last["type"] != "response.failed":
            assert [self.done[index] for index in sorted(self.items)] == last["response"]["output"]

    def _inside(self, kind: str, event: Json) -> None:
        index = event["output_index"]
        assert self.items[index]["id"] == event["item_id"] and index not in self.done
        place = (str(event["item_id"]), int(event.get("content_index") or 0))
        if kind.endswith(".delta"):
            self.written[place] = self.written.get(place, "") + event["delta"]
        elif kind.endswith("part.added"):
            assert place not in self.written
        elif kind.endswith(".done") and "part" not in event:
            whole = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
            assert whole == self.written.get(place, "")


def text_of(resource: Json) -> str:
    parts = [part for item in resource["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def without_ids(resource: Json) -> Json:
    """What must not depend on the form of the answer."""
    output = [{k: v for k, v in item.items() if k != "id"} for item in resource["output"]]
    rest = {k: v for k, v in resource.items() if k not in ("id", "created_at", "completed_at", "output")}
    return {**rest, "output": output}
