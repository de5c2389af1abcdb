"""What has been sent of an answer."""

from __future__ import annotations

from starlette.types import Message, Scope, Send


class Sending:
    """An ASGI `send` that remembers the `status` it has sent, 0 before it has begun, and adds `headers` to it.

    One is around all that answers a request, which finds it by `of`: each `send` around another one costs a call for
    every chunk of a stream.
    """

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, scope: Scope, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        scope.setdefault("state", {})["sending"] = self

    @staticmethod
    def of(scope: Scope) -> Sending:
        found: Sending = scope["state"]["sending"]
        return found

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)
