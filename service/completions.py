"""Chat Completions: a request in, an answer or a stream of chunks out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from operator import itemgetter

from starlette.requests import Request
from starlette.responses import Response

from bodies import ApiError, fitted, parsed
from messages import Event, Finish, Message
from response_schemas import ResponseRequest
from schemas import ChatRequest
from service.access import Json, response_of
from service.chat import ChatAnswer
from service.conversations import Conversations
from service.models import Models
from service.streams import EventStream, side_by_side, while_connected
from service.transcript import Reader


class Completions:
    def __init__(
        self,
        models: Models,
        conversations: Conversations,
        reader: Callable[[str], Reader],
        told: Callable[[Exception], ApiError],
    ) -> None:
        self._models = models
        self._conversations = conversations
        self._reader = reader
        self._told = told

    async def create(self, request: Request) -> Response:
        asked = _read(await request.body())
        served = self._models.find(asked.model, request.state.grant)
        owner: str = request.state.caller
        heard = await self._messages(owner, asked)
        how = (asked.skill_agent, asked.as_tools(), asked.as_options())
        begun, _ = await self._conversations.begin(served, owner, heard, *how, count=asked.n)
        runs = side_by_side(begun)
        answer = ChatAnswer(
            served.name,
            activity=bool(asked.skill_agent.activity),
            include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
            legacy=asked.legacy,
            custom=asked.custom_names,
        )
        if asked.stream:
            return EventStream(answer.chunks(runs, self._told), answer.open, self._failed)
        return Json(answer.whole(await while_connected(request.receive, _finishes(runs))))

    async def _messages(self, owner: str, asked: ChatRequest | ResponseRequest) -> Sequence[Message]:
        if isinstance(asked, ChatRequest):
            return asked.as_messages()
        transcript = await self._reader(owner).read(asked)
        return [*asked.orders, *transcript.before, *transcript.heard]

    async def _failed(self, error: Exception) -> Response:
        return response_of(self._told(error))


def _read(body: bytes) -> ChatRequest | ResponseRequest:
    """Cursor sends the body of the Responses API here, and expects chunks of Chat Completions."""
    found = parsed(body)
    if "input" in found and "messages" not in found:
        return fitted(ResponseRequest, found)
    return fitted(ChatRequest, found)


async def _finishes(runs: AsyncGenerator[tuple[int, Event], None]) -> list[Finish]:
    """The ends of the runs, in their order."""
    async with aclosing(runs):
        ends = [(index, event) async for index, event in runs if isinstance(event, Finish)]
    return [finish for _, finish in sorted(ends, key=itemgetter(0))]
