"""The Responses API: answers that can be kept, gone on from, and followed while they are made."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from agent.compaction import SUMMARISE
from agent.context import as_text
from agent.structured import SchemaError, Structure
from bodies import ApiError, fitted, parsed, read
from messages import Event, Finish, JsonFormat, Message
from response_schemas import CompactRequest, ResponseRequest
from service.access import Json, response_of
from service.background import Background, Pace
from service.conversations import Conversations
from service.drain import Drain, Stopping
from service.models import Models, Served
from service.packing import pack
from service.record import Checkpoint, Record
from service.response_answer import ResponseAnswer, error_event, response_usage
from service.resumption import Resumption
from service.seal import Seal
from service.storage import Storage
from service.streams import EventStream, while_connected
from service.transcript import COMPACTION, Reader, Transcript, input_items, summary

ENCRYPTED = "reasoning.encrypted_content"
DONE = b"data: [DONE]\n\n"
PAGE, LONGEST_PAGE = 20, 100


@dataclass(frozen=True, slots=True)
class Job:
    """A request that is ready to be run, by the model of that name."""

    asked: ResponseRequest
    model: str
    record: Record
    answer: ResponseAnswer
    events: AsyncGenerator[Event, None]


class Responses:
    def __init__(
        self,
        models: Models,
        storage: Storage,
        conversations: Conversations,
        told: Callable[[Exception], ApiError],
        drain: Drain,
        pace: Pace | None = None,
    ) -> None:
        self.models = models
        self.told = told
        self.background = Background(storage, told, drain, pace)
        self._storage = storage
        self._conversations = conversations
        self._drain = drain
        self._made_seal: Seal | None = None

    async def aclose(self) -> None:
        await self.background.aclose()

    def reader(self, owner: str) -> Reader:
        return Reader(self._storage, self._seal, owner)

    async def _seal(self) -> Seal:
        if self._made_seal is None:
            self._made_seal = Seal(await (await self._storage.open()).key())
        return self._made_seal

    # The endpoints

    async def create(self, request: Request) -> Response:
        return await self._create(request, named=True)

    async def create_for_databricks(self, request: Request) -> Response:
        """As MLflow's agents have it: events without names, and nothing is kept unless it is asked for."""
        return await self._create(request, named=False)

    async def no_websocket(self, request: Request) -> Response:
        """Some clients try one first: they fall back at once where they are told so."""
        if request.headers.get("upgrade", "").lower() != "websocket":
            raise HTTPException(405, headers={"allow": "POST"})
        raise ApiError(426, "There is no WebSocket here: send a POST.", "upgrade_required")

    async def retrieve(self, request: Request) -> Response:
        record = await self._found(request)
        if request.query_params.get("stream", "").lower() not in ("true", "1"):
            return Json(record.body)
        if not record.background:
            raise ApiError(400, "stream: only a response in the background can be followed", "invalid_value", "stream")
        return self._following(record, _number(request, "starting_after", -1), named=True)

    async def delete(self, request: Request) -> Response:
        record = await self._found(request)
        if record.live:
            await self.background.cancel(record)
        await (await self._storage.open()).delete(record.id, record.owner)
        return Json({"id": record.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        record = await self._found(request)
        if not record.background:
            raise ApiError(400, "Only a response in the background can be cancelled.", "invalid_value")
        ended = await self.background.cancel(record)
        return Json((ended or record).body)

    async def input_items(self, request: Request) -> Response:
        record = await self._found(request)
        items = orjson.loads(record.items)
        if request.query_params.get("order", "desc") != "asc":
            items.reverse()
        ids = [item["id"] for item in items]
        if (after := request.query_params.get("after")) and after in ids:
            items = items[ids.index(after) + 1 :]
        limit = min(_number(request, "limit", PAGE) or PAGE, LONGEST_PAGE)
        page = items[:limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": "", "last_id": ""}
        return Json({"object": "list", "data": page, **ends, "has_more": len(items) > len(page)})

    async def compact(self, request: Request) -> Response:
        """A conversation as one item that only this service can read: a summary by the model."""
        asked = read(CompactRequest, await request.body())
        served = self.models.find(asked.model, request.state.grant)
        transcript = await self.reader(request.state.caller).read(asked)
        said = as_text([*transcript.before, *transcript.heard])
        finish = await while_connected(request.receive, served.sum_up(f"{said}\n\n{SUMMARISE}"))
        if not finish.text.strip():
            raise ApiError(502, "the model sums up nothing", "upstream_empty_response", type="api_error")
        sealed = (await self._seal()).close(COMPACTION, pack([summary(finish.text)]))
        id = uuid.uuid4().hex
        item = {"id": f"cmp_{id}", "type": COMPACTION, "encrypted_content": sealed}
        told = {"id": f"resp_{id}", "object": "response.compaction", "created_at": int(time.time())}
        return Json({**told, "output": [item], "usage": response_usage(finish.usage)})

    # How an answer is made

    async def _create(self, request: Request, named: bool) -> Response:
        given = parsed(await request.body())
        asked = fitted(ResponseRequest, given)
        stored = asked.store if asked.store is not None else named or bool(asked.background)
        if asked.background and not stored:
            raise ApiError(400, "background: a response in the background has to be stored", "invalid_value", "store")
        job = await self._job(asked, given.get("input"), request, stored)
        if asked.background:
            checkpoint = _checkpoint(job.record, given, job.model)
            request.state.turn.lend(await self.background.start(job.record, checkpoint, job.answer, job.events))
            return self._following(job.record, -1, named) if asked.stream else Json(job.record.body)
        if asked.stream:
            return EventStream(
                _framed(self._told(job), named), lambda: _frames(job.answer.begin(), named), self._failed
            )
        return Json(await while_connected(request.receive, self._whole(job)))

    async def _job(self, asked: ResponseRequest, given: Any, request: Request, stored: bool) -> Job:
        owner: str = request.state.caller
        served = self.models.find(asked.model, request.state.grant)
        conversation = asked.conversation.id if asked.conversation else ""
        transcript = await self.reader(owner).read(asked, conversation)
        _check_schema(asked.as_options().response_format)
        id = f"resp_{uuid.uuid4().hex}"
        answer = await self.answer(asked, served.name, id, transcript.previous, stored)
        heard = [*asked.orders, *transcript.before, *transcript.heard]
        events, workspace = await self.run(asked, served, owner, heard, transcript.workspace)
        items = input_items(given, transcript.named, id)
        record = _record(answer, items, owner, transcript, conversation)
        return Job(asked, served.name, replace(record, workspace=workspace), answer, events)

    async def answer(
        self, asked: ResponseRequest, model: str, id: str, previous: str, stored: bool = True
    ) -> ResponseAnswer:
        """What its run's events are to be fed to."""
        sealing = not stored or ENCRYPTED in (asked.include or ())
        seal = await self._seal() if sealing else None
        return ResponseAnswer(asked, model, id, previous=previous, stored=stored, seal=seal)

    async def run(
        self,
        asked: ResponseRequest,
        served: Served,
        owner: str,
        heard: Sequence[Message],
        workspace: str,
        resumption: Resumption | None = None,
    ) -> tuple[AsyncGenerator[Event, None], str]:
        """Begins the run of a request, or goes on with it; its events, and the name of its workspace."""
        how = (asked.skill_agent, asked.as_tools(), asked.as_options())
        if asked.conversation:
            served = replace(served, conversation=asked.conversation.id)
        begin = self._conversations.begin
        runs, place = await begin(served, owner, heard, *how, known=workspace, resumption=resumption)
        return runs[0], place.id if place else ""

    async def _told(self, job: Job) -> AsyncGenerator[dict[str, Any], None]:
        """The answer's events. What fails before the first one is raised, after it told in band."""
        try:
            async with aclosing(job.events):
                async for event in job.events:
                    told = list(job.answer.feed(event))
                    if isinstance(event, Finish):
                        await self._keep(job, event)
                    for each in told:
                        yield each
        except Exception as error:
            if not job.answer.begun:
                raise
            for each in job.answer.fail(self.told(error)):
                yield each

    async def _whole(self, job: Job) -> dict[str, Any]:
        async with aclosing(job.events):
            async for event in job.events:
                for _ in job.answer.feed(event):
                    pass
                if isinstance(event, Finish):
                    await self._keep(job, event)
        return job.answer.resource

    async def _keep(self, job: Job, finish: Finish) -> None:
        """Before its client is told of the end: it may go on from there at once."""
        resource = job.answer.resource
        if not resource["store"]:
            return
        body, said = orjson.dumps(resource), pack(finish.messages)
        store = await self._storage.open()
        await store.put(replace(job.record, status=resource["status"], body=body, said=said))

    def _following(self, record: Record, after: int, named: bool) -> Response:
        return EventStream(_framed(self._followed(record, after), named), bytes, self._failed)

    async def _followed(self, record: Record, after: int) -> AsyncGenerator[dict[str, Any], None]:
        """The events until the response has ended, or the service stops: then it goes on elsewhere, and the number of
        the last word is that of the event before it, so that its client misses none.
        """
        try:
            async with aclosing(self._drain.uncut(self.background.follow(record, after))) as events:
                async for data in events:
                    event: dict[str, Any] = orjson.loads(data)
                    after = event["sequence_number"]
                    yield event
        except Stopping:
            error = Stopping(f"the service is stopping; follow this response again, starting after {after}")
            yield {**error_event(error), "sequence_number": after}

    async def _failed(self, error: Exception) -> Response:
        return response_of(self.told(error))

    async def _found(self, request: Request) -> Record:
        id: str = request.path_params["id"]
        record = await self.background.current(id, request.state.caller)
        if record is None:
            raise ApiError(404, f"Response with id {id!r} not found.", "response_not_found", "response_id")
        return record


def _record(
    answer: ResponseAnswer, items: list[dict[str, Any]], owner: str, transcript: Transcript, conversation: str
) -> Record:
    background = answer.resource["background"]
    status = "queued" if background else "in_progress"
    now = time.time()
    return Record(
        id=answer.id,
        owner=owner,
        created=now,
        status=status,
        body=orjson.dumps({**answer.resource, "status": status}),
        items=orjson.dumps(items),
        heard=pack(transcript.heard),
        previous=transcript.previous,
        conversation=conversation,
        background=background,
        beat=now,
    )


def _checkpoint(record: Record, given: dict[str, Any], model: str) -> Checkpoint:
    request = {name: value for name, value in given.items() if name != "input"}
    return Checkpoint(record.id, record.owner, record.created, model, orjson.dumps(request))


def _check_schema(wanted: JsonFormat | None) -> None:
    try:
        if wanted is not None:
            Structure(wanted, by_tool=False)
    except SchemaError as error:
        raise ApiError(400, str(error), "invalid_value", "text.format.schema") from None


async def _framed(events: AsyncGenerator[dict[str, Any], None], named: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            yield _frame(event, named)
    yield DONE


def _frames(events: Iterable[dict[str, Any]], named: bool) -> bytes:
    return b"".join(_frame(event, named) for event in events)


def _frame(event: dict[str, Any], named: bool) -> bytes:
    """A server-sent event."""
    name = b"event: " + event["type"].encode() + b"\n" if named else b""
    return name + b"data: " + orjson.dumps(event) + b"\n\n"


def _number(request: Request, name: str, default: int) -> int:
    """A number of the query; nothing and less than 0 is unset."""
    given = request.query_params.get(name, "")
    if not given:
        return default
    if not re.fullmatch(r"-?\d{1,9}", given):
        raise ApiError(400, f"{name}: expected a whole number", "invalid_type", name)
    return int(given) if int(given) >= 0 else default
