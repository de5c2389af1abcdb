"""What the service counts of itself, for Prometheus.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. No label is a word of a caller, a model or a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.allowance import ALWAYS, MEANT
from messages import Event, FellBack, ToolEnd, Usage
from providers.base import ProviderError
from service.access import CLIENT_LEFT
from service.sending import Sent
from service.streams import ClientLeft

OWN = ALWAYS.union(*MEANT.values())
MOST = 64
"""Different models, and codes of faults, that are told apart: some are not for us to choose."""
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)


class Metrics:
    """Of one app, from its start. `repeated` gives the model calls made anew, by provider."""

    def __init__(self) -> None:
        self.repeated: Callable[[], Mapping[str, int]] = dict
        self._known: dict[str, set[str]] = {}
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Repeats(self))
        self._requests = Counter(
            "skill_agent_requests", "Requests that were answered", ["method", "route", "status"], registry=registry
        )
        self._running = Gauge("skill_agent_running", "Answers that are being made", registry=registry)
        self._waiting = Gauge("skill_agent_waiting", "Requests that wait for their turn", registry=registry)
        self._seconds = Histogram("skill_agent_answer_seconds", "Of an answer", buckets=SECONDS, registry=registry)
        self._tokens = Counter("skill_agent_tokens", "Tokens of models", ["model", "direction"], registry=registry)
        self._tools = Counter("skill_agent_tool_calls", "Calls of tools", ["tool", "failed"], registry=registry)
        self._faults = Counter(
            "skill_agent_provider_faults", "Answers that a provider failed", ["provider", "code"], registry=registry
        )
        self._fallbacks = Counter(
            "skill_agent_fallbacks", "Answers by another model", ["model", "instead_of"], registry=registry
        )

    def spent(self, usage: Usage, model: str) -> None:
        name = self._bounded("model", model)
        # A provider's own difference of two counts may be less than nothing, which a counter does not take.
        self._tokens.labels(name, "in").inc(max(usage.input, 0))
        self._tokens.labels(name, "out").inc(max(usage.output, 0))

    @contextmanager
    def answer(self) -> Iterator[None]:
        """Around the making of one."""
        begun = monotonic()
        self._running.inc()
        try:
            yield
        except ProviderError as error:
            self._faults.labels(self._bounded("provider", error.provider), self._bounded("code", error.code)).inc()
            raise
        finally:
            self._running.dec()
            self._seconds.observe(monotonic() - begun)

    def note(self, event: Event) -> None:
        match event:
            case ToolEnd(call, result):
                tool = call.name if call.name in OWN else "mcp" if call.name.startswith("mcp__") else "other"
                self._tools.labels(tool, str(result.is_error).lower()).inc()
            case FellBack(model, instead_of):
                self._fallbacks.labels(self._bounded("model", model), self._bounded("model", instead_of)).inc()

    def watch_waiting(self, waiting: Callable[[], int]) -> None:
        self._waiting.set_function(waiting)

    def _bounded(self, label: str, value: str) -> str:
        known = self._known.setdefault(label, set())
        if value not in known and len(known) >= MOST:
            return "other"
        known.add(value)
        return value

    def answered(self, scope: Scope, route: str, status: int) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()

    async def tell(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _Repeats(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        found = CounterMetricFamily("skill_agent_retries", "Model calls that were made anew", labels=["provider"])
        for provider, count in self._metrics.repeated().items():
            found.add_metric([provider], count)
        yield found


class Measured:
    """Pure ASGI middleware: each request by its route's template, "" for what none was found for."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: list[BaseRoute]) -> None:
        self.app = app
        self._metrics = metrics
        self._routes = templates(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = False
        try:
            await self.app(scope, receive, send)
        except (ClientLeft, ClientDisconnect):
            left = True
            raise
        finally:
            if scope["type"] == "http":
                status = CLIENT_LEFT if left else Sent.of(scope).status or 500
                self._metrics.answered(scope, self._routes.get(id(scope.get("endpoint")), ""), status)


def templates(routes: list[BaseRoute]) -> dict[int, str]:
    """Of paths, by the `id` of the endpoint, which may be something that has no hash. The API's two places are one."""
    found = [each for each in routes if isinstance(each, Route)]
    return {id(each.endpoint): each.path.removeprefix("/api") for each in found}
