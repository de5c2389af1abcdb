"""What has been sent of an answer."""

from __future__ import annotations

from starlette.types import Message, Send


class Sending:
    """An ASGI `send` that remembers the `status` it has sent, 0 before it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
