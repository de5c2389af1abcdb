"""What has been sent of an answer."""

from __future__ import annotations

from starlette.types import Message, Scope, Send


class Sent:
    """The `status` of what has been sent of an answer, 0 before it has begun."""

    __slots__ = ("status",)

    def __init__(self) -> None:
        self.status = 0

    @staticmethod
    def of(scope: Scope) -> Sent:
        """The request's, which `Sending` keeps. One is enough: each `send` around another one costs a call for every
        chunk of a stream.
        """
        found: Sent = scope["state"]["sent"]
        return found


class Sending:
    """An ASGI `send` that notes what is `sent`, and adds `headers` to it."""

    __slots__ = ("_headers", "_send", "sent")

    def __init__(self, scope: Scope, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.sent = scope.setdefault("state", {})["sent"] = Sent()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.sent.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)
