"""Bodies as they come in: not too large, not too slow."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bodies import ApiError
from service.access import response_of

BODY_SECONDS = 30.0
"""In which a body has to be here."""
LINGER_SECONDS = 5.0
"""How long a client whose body is refused may go on sending: cut off while it sends, it would not see why."""
CLOSE = {"connection": "close"}


class Intake:
    """Pure ASGI middleware. A body over `largest` bytes is refused before it is read, one of unknown length when it
    has become too long, one that is not whole after `seconds` then.
    """

    def __init__(self, app: ASGIApp, largest: int, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self._largest = largest
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _declared(scope) > self._largest:
            await self._refuse(scope, receive, send)
            return
        body = _Body(receive, self._largest, self._seconds)
        try:
            await self.app(scope, body.receive, send)
        except _TooLarge:
            await self._refuse(scope, receive, send)
        except _TooSlow:
            words = f"The body was not here after {self._seconds:g} s."
            await response_of(ApiError(408, words, "request_timeout", headers=CLOSE))(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer at once; the connection is closed when the client has sent what it was sending."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                return
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while (await receive()).get("more_body"):
                        pass
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        words = f"The body has more than {self._largest} bytes, which is the most that is taken."
        await response_of(ApiError(413, words, "request_too_large", headers=CLOSE))(scope, receive, sending)


class _TooLarge(Exception):
    """More bytes than are taken."""


class _TooSlow(Exception):
    """The time for the body is over."""


class _Body:
    """Counts what comes, until it is whole."""

    def __init__(self, receive: Receive, left: int, seconds: float) -> None:
        self._receive = receive
        self._left = left
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._whole = False

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise _TooSlow from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooLarge
        self._whole = not message.get("more_body")
        return message


def _declared(scope: Scope) -> int:
    """The parser has seen that it is a number."""
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() and len(length) < 19 else 0
