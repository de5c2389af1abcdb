"""Traces for OpenTelemetry: a span of each request, and of the runs that answer it (`service/run_spans.py`).

No content stands in a span: no prompts, answers, arguments or results, and of what fails the code and not the words.
Attributes of requests: https://opentelemetry.io/docs/specs/semconv/http/http-spans/. The SDK reads its own variables:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from messages import Event, clean
from service.access import MOST_PATH, QUIET
from service.log import NAME
from service.metrics import templates
from service.run_spans import RunSpans, spanned
from service.sending import Sent
from service.streams import ClientLeft

if TYPE_CHECKING:
    from service.models import Served

log = logging.getLogger(NAME)
UNTRACED = {*QUIET, "/metrics"}
"""Paths that machines ask for again and again."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
OTHER = "HTTP"
"""Stands in a span's name for a method that is none."""
SERVICE = "skill-agent"
"""The name of the service where OTEL_SERVICE_NAME gives none."""
CLOSING_SECONDS = 1.0
"""What the last spans have to reach the collector."""
RESERVE = 0.5
"""Seconds that are left to the process after them."""
QUIET_SECONDS = 60.0
"""Between two lines of the log about a collector that cannot be reached."""
LONGEST = 200
"""Characters of a name in a span."""

answering: ContextVar[Span | None] = ContextVar("answering", default=None)
"""The span of the request that this task answers. It is handed on from there: generators are run by many tasks."""


class Tracing:
    """`exporter` is asked in a thread of its own. `redact` takes secrets out of what others have named."""

    def __init__(self, exporter: SpanExporter, redact: Callable[[str], str]) -> None:
        _bound_logging()
        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": SERVICE}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._redact = redact

    def told(self, name: str, longest: int = LONGEST) -> str:
        """A name that a client, a model or a provider has given. One that cannot be encoded would cost its batch."""
        return clean(self._redact(name))[:longest]

    def request(self, scope: Scope, method: str) -> Span:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span: Span = self._tracer.start_span(
            method,
            # What the caller says of its own trace goes no further than to this span's place in it.
            context=extract(headers, Context()),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "_OTHER" if method == OTHER else method,
                "url.scheme": scope["scheme"],
                "url.path": self.told(scope["path"], MOST_PATH),
                "http.response.header.x-request-id": [self.told(scope["state"]["request_id"])],
            },
        )
        return span

    def run(self, events: AsyncGenerator[Event, None], served: Served) -> AsyncGenerator[Event, None]:
        """The events of a run, which begins with the first one, traced."""
        spans = RunSpans(self._tracer, self.told, served, answering.get())
        return spanned(events, spans)

    async def aclose(self, left: float) -> None:
        """Sends what is not sent yet, as long as there is time: `left` are the process' last seconds. The SDK would
        wait for half a minute, and a thread of the loop's would hold up the end of the loop.
        """
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop may be gone by then
                loop.call_soon_threadsafe(closed.set)

        Thread(target=close, name="last-spans", daemon=True).start()
        try:
            async with asyncio.timeout(min(CLOSING_SECONDS, left - RESERVE)):
                await closed.wait()
        except TimeoutError:
            log.warning("the last spans could not be sent in time")


class Traced:
    """Pure ASGI middleware: a span around each request, named by its route's template."""

    def __init__(self, app: ASGIApp, tracing: Tracing, routes: list[BaseRoute]) -> None:
        self.app = app
        self._tracing = tracing
        self._routes = templates(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else OTHER
        span, failed = self._tracing.request(scope, method), ""
        token = answering.set(span)
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            failed = "client_left" if isinstance(error, ClientLeft | ClientDisconnect) else type(error).__qualname__
            raise
        finally:
            answering.reset(token)
            if route := self._routes.get(id(scope.get("endpoint"))):
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            _end(span, Sent.of(scope).status, failed)


def _end(span: Span, status: int, failed: str) -> None:
    """`status` is 0 where nothing was sent."""
    if status:
        span.set_attribute("http.response.status_code", status)
    if error := failed or (str(status) if status >= 500 else ""):
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


class _Bounded(logging.Handler):
    """Says what the SDK complains of, once in a while."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._silent_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + QUIET_SECONDS
            log.warning("traces: %s", record.getMessage())


def _bound_logging() -> None:
    """A collector that is away would else be a line every few seconds, some with a traceback."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [_Bounded()], False
