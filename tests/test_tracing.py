"""Traces: what reaches a collector over OTLP/HTTP, what never does, and that a collector which fails costs nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import ROOT, process
from tests.responses import RESPONSES, Json
from tests.servers import Received, Reply, free_port
from tests.surface import CHAT, HI, Service, service, write_skill
from tests.test_admission import raw, stalling, until
from tests.test_background import begin, wait_for
from tests.upstream import Upstream, chat_chunks, json_reply, sse

TRACING = "OpenTelemetry is not installed (requirements-tracing.txt)"
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter", reason=TRACING)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

SERVER, INTERNAL, CLIENT = 2, 1, 3
ERROR = 2
CANARY = "canary-7f3a9c5e1b2d4086"
HEADERS = f"authorization=Bearer%20otel-{CANARY},x-team=baking"
ENVIRONMENT = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_EXPORTER_OTLP_HEADERS": HEADERS}
QUESTION: list[Json] = [{"role": "user", "content": f"question-{CANARY}"}]
STOPPED = (0, -signal.SIGTERM)
"""Exit codes of a process that has ended by itself: uvicorn repeats the signal."""
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    begun: int
    ended: int
    attributes: dict[str, Any] = field(default_factory=dict)
    events: tuple[tuple[str, dict[str, Any]], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


class Collector(Upstream):
    """Takes what exporters send."""

    def __enter__(self) -> Collector:
        super().__enter__()
        return self

    @property
    def spans(self) -> list[Span]:
        return [span for sent in self._sent() for scope in sent.scope_spans for span in map(_read, scope.spans)]

    @property
    def resource(self) -> dict[str, Any]:
        return _values(next(iter(self._sent())).resource.attributes)

    def wait(self, names: dict[str, int]) -> list[Span]:
        """The spans, once there are so many of each name."""
        until(lambda: all(len(self.named(name)) >= count for name, count in names.items()))
        return self.spans

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        (span,) = self.wait({name: 1}) and self.named(name)
        return span

    def _sent(self) -> Iterator[Any]:
        for request in list(self.requests):
            assert request.path == "/v1/traces" and request.headers["content-type"] == "application/x-protobuf"
            yield from ExportTraceServiceRequest.FromString(request.body).resource_spans


def _read(span: Any) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.status.code == ERROR,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _values(span.attributes),
        tuple((event.name, _values(event.attributes)) for event in span.events),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as up:
        up.always(Reply())
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", up.url)
        yield up
        hold_together(up.spans)


def hold_together(spans: list[Span]) -> None:
    """A span whose parent is missing is one whose parent was never ended."""
    ids = {span.id for span in spans}
    outside = PARENT.split("-")[2]
    assert not [span.name for span in spans if span.parent not in ids | {"", outside}]
    assert len(ids) == len(spans) and all(span.begun <= span.ended for span in spans)


@contextmanager
def traced(up: Upstream, collector: Collector, **more: Any) -> Iterator[Service]:
    settings: dict[str, Any] = {"otlp_endpoint": collector.url, "otlp_headers": HEADERS}
    with service(up, **(settings | more)) as served:
        yield served


def acting(request: Received) -> Reply:
    """Two tools at once, then an answer."""
    last = request.json["messages"][-1]
    if last["role"] == "tool" or last["content"].startswith("sub"):
        return sse(chat_chunks(f"answer-{CANARY}", usage=(30, 5), model="test-model-2026"))
    calls = [
        ("call_1", "task", json.dumps({"prompt": f"sub {CANARY}"})),
        ("call_2", f"made_up_{CANARY}", json.dumps({"argument": CANARY})),
    ]
    return sse(chat_chunks(tool_calls=calls, usage=(10, 1)))


def test_a_request_is_one_trace_of_its_run_its_model_calls_and_its_tools(collector: Collector) -> None:
    with Upstream() as up, traced(up, collector) as served:
        up.always(acting)
        answer = served.post({"messages": QUESTION}, headers={"x-request-id": "mine-1"})
        assert CANARY in answer.text
        server = collector.one(f"POST {CHAT}")
    run = collector.one("invoke_agent skill-agent")
    first, second = sorted(collector.named("chat test-model"), key=lambda span: span.begun)
    task, other = collector.one("execute_tool task"), collector.one("execute_tool other")
    assert len(collector.spans) == 6 and len({span.trace for span in collector.spans}) == 1
    assert server.parent == "" and run.parent == server.id
    assert {span.parent for span in (first, second, task, other)} == {run.id}
    kinds = [span.kind for span in (server, run, first, second, task, other)]
    assert kinds == [SERVER, INTERNAL, CLIENT, CLIENT, INTERNAL, INTERNAL]
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": CHAT,
        "http.response.status_code": 200,
        "http.response.header.x-request-id": ["mine-1"],
        "url.path": CHAT,
        "url.scheme": "http",
    }
    model = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "test-model"}
    assert run.attributes == {
        **model,
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "skill-agent",
        "gen_ai.response.finish_reasons": ["stop"],
        # Those of the helper too.
        "gen_ai.usage.input_tokens": 10 + 30 + 30,
        "gen_ai.usage.output_tokens": 1 + 5 + 5,
    }
    assert first.attributes == {
        **model,
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "test-model",
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 1,
    }
    assert second.attributes["gen_ai.response.model"] == "test-model-2026"
    assert 0 < second.attributes["gen_ai.response.time_to_first_chunk"] < 10
    assert task.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "task",
        "gen_ai.tool.call.id": "call_1",
    }
    assert other.attributes["error.type"] == "tool_error" and other.failed
    assert [span.failed for span in (server, run, first, second, task)] == [False] * 5
    assert server.begun <= run.begun <= first.begun <= first.ended <= task.begun
    assert task.ended <= second.begun and second.ended <= run.ended <= server.ended
    assert collector.resource["service.name"] == "skill-agent"
    assert all(request.headers["authorization"] == f"Bearer otel-{CANARY}" for request in collector.requests)
    assert not [request for request in collector.requests if CANARY.encode() in request.body]


def test_a_stream_a_pinned_skill_and_cached_tokens_are_told(collector: Collector, tmp_path: Path) -> None:
    write_skill(tmp_path, "baking")
    usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
    details = {"prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 3}}
    chunks = [*chat_chunks("Hello", usage=None), {**chat_chunks()[0], "choices": [], "usage": usage | details}]
    with Upstream() as up, traced(up, collector, skills=(tmp_path,)) as served:
        up.always(sse(chunks))
        assert served.streamed(model="skill-agent:baking").text == "Hello"
        run = collector.one("invoke_agent skill-agent:baking")
    assert run.events == (("skill_agent.skill_activated", {"skill_agent.skill": "baking"}),)
    chat = collector.one("chat test-model").attributes
    assert chat["gen_ai.usage.input_tokens"] == 50 and chat["gen_ai.usage.cache_read.input_tokens"] == 40
    assert chat["gen_ai.usage.reasoning.output_tokens"] == 3


def test_the_callers_trace_is_gone_on_with_and_so_is_its_word_that_it_is_not_recorded(collector: Collector) -> None:
    with Upstream() as up, traced(up, collector) as served:
        up.always(sse(chat_chunks("Hello")))
        for flags in ("00", "01"):
            headers = {"traceparent": f"{PARENT[:-2]}{flags}", "baggage": f"secret={CANARY}"}
            assert served.post({"messages": HI}, headers=headers).status_code == 200
        server = collector.one(f"POST {CHAT}")
        assert served.post({"messages": HI}, headers={"traceparent": "nonsense"}).status_code == 200
        collector.wait({f"POST {CHAT}": 2})
    _, trace, parent, _ = PARENT.split("-")
    assert (server.trace, server.parent) == (trace, parent)
    assert [span.trace == trace for span in collector.named("chat test-model")] == [True, False]


def test_health_is_not_traced_and_requests_without_a_route_have_their_method_for_a_name(collector: Collector) -> None:
    with Upstream() as up, traced(up, collector) as served:
        for path in ("/health", "/ready", "/v1/healthcheck", "/api/v1/healthcheck", "/metrics"):
            assert served.get(path).status_code == 200
        secret = f"otel-{CANARY}"
        assert served.get(f"/nowhere/{secret}").status_code == 404
        assert served.get("/v1/models/skill-agent").status_code == 200
        assert served.client.request("PROPFIND", f"{served.url}/v1/models").status_code == 405
        collector.wait({"GET": 1, "GET /v1/models/{name:path}": 1, "HTTP /v1/models": 1})
    assert len(collector.spans) == 3
    assert collector.one("GET").attributes["url.path"] == "/nowhere/[redacted]"
    assert collector.one("HTTP /v1/models").attributes["http.request.method"] == "_OTHER"
    assert not [span for span in collector.spans if span.failed], "a 4xx is no error of the server's"


def test_of_a_provider_that_fails_there_is_the_code_and_no_word(collector: Collector) -> None:
    with Upstream() as up, traced(up, collector) as served:
        up.always(json_reply({"error": {"message": f"no {CANARY}", "code": "x"}}, 401))
        assert served.post({"messages": HI}).status_code == 502
        server = collector.one(f"POST {CHAT}")
    run, chat = collector.one("invoke_agent skill-agent"), collector.one("chat test-model")
    assert server.failed and server.attributes["error.type"] == "502"
    for span in (run, chat):
        assert span.failed and span.attributes["error.type"] == "upstream_auth_error"
    assert not [request for request in collector.requests if CANARY.encode() in request.body]


def test_a_model_that_stands_in_is_named(collector: Collector) -> None:
    gone = json_reply({"error": {"message": "no"}}, 404)
    with Upstream() as up, traced(up, collector, fallbacks=("openai/spare",)) as served:
        up.always(lambda request: gone if request.json["model"] == "test-model" else sse(chat_chunks("Hello")))
        assert served.post({"messages": HI}).status_code == 200
        run = collector.one("invoke_agent skill-agent")
    assert collector.one("chat spare").attributes["gen_ai.request.model"] == "spare"
    told = {"skill_agent.model": "openai/spare", "skill_agent.instead_of": "openai/test-model"}
    assert run.events == (("skill_agent.fell_back", told | {"error.type": "model_not_found"}),)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reply", [stalling(), Reply(status=0, stall=True)], ids=["amid words", "before the first"])
def test_a_client_that_leaves_ends_its_spans_with_an_error(collector: Collector, reply: Reply, stream: bool) -> None:
    with Upstream() as up, traced(up, collector) as served:
        up.always(reply)
        client = raw(served, {"messages": HI, "stream": stream})
        assert up.wait_requests(1)
        client.close()
        collector.wait({f"POST {CHAT}": 1, "invoke_agent skill-agent": 1, "chat test-model": 1})
    kinds = {span.name.partition(" ")[0]: span.attributes["error.type"] for span in collector.spans}
    assert kinds == {"POST": "client_left", "invoke_agent": "cancelled", "chat": "cancelled"}
    assert all(span.failed for span in collector.spans)


def test_tools_that_run_when_the_client_leaves_end_too(collector: Collector) -> None:
    def answer(request: Received) -> Reply:
        if request.json["messages"][-1]["content"] == "sub":
            return Reply(status=0, stall=True)
        return sse(chat_chunks(tool_calls=[(f"c{n}", "task", '{"prompt": "sub"}') for n in range(2)]))

    with Upstream() as up, traced(up, collector) as served:
        up.always(answer)
        client = raw(served, {"messages": HI, "stream": True})
        assert up.wait_requests(3)
        client.close()
        collector.wait({f"POST {CHAT}": 1, "invoke_agent skill-agent": 1, "execute_tool task": 2})
    assert len(collector.named("chat test-model")) == 1
    assert {span.attributes["error.type"] for span in collector.named("execute_tool task")} == {"cancelled"}


def test_a_model_call_that_the_end_of_the_runs_time_cuts_is_told(collector: Collector) -> None:
    with Upstream() as up, traced(up, collector, max_seconds=0.5) as served:
        up.always(Reply(status=0, stall=True))
        assert served.whole().finish == "length"
        run = collector.one("invoke_agent skill-agent")
    assert run.attributes["skill_agent.limit"] == "max_seconds" and not run.failed
    assert collector.one("chat test-model").attributes["error.type"] == "max_seconds"


def test_several_answers_to_one_request_are_runs_beside_each_other(collector: Collector) -> None:
    with Upstream() as up, traced(up, collector) as served:
        up.always(acting)
        assert served.post({"messages": QUESTION, "n": 3}).status_code == 200
        server = collector.one(f"POST {CHAT}")
    runs = collector.named("invoke_agent skill-agent")
    assert len(runs) == 3 and {run.parent for run in runs} == {server.id}
    for name, count in {"chat test-model": 2, "execute_tool task": 1, "execute_tool other": 1}.items():
        assert all(sum(span.parent == run.id for span in collector.named(name)) == count for run in runs)


def test_a_run_in_the_background_has_a_trace_of_its_own_with_a_link(collector: Collector, tmp_path: Path) -> None:
    with Upstream() as up, traced(up, collector, store=f"sqlite:///{tmp_path}/store.db") as served:
        up.always(acting)
        wait_for(served, begin(served, input="hi", conversation="conv_1"), "completed")
        run = collector.one("invoke_agent skill-agent")
        server = collector.one(f"POST {RESPONSES}")
    assert run.parent == "" and run.trace != server.trace and run.links == ((server.trace, server.id),)
    inside = [span for span in collector.spans if span.parent == run.id]
    assert len(inside) == 4 and all(span.attributes["gen_ai.conversation.id"] == "conv_1" for span in (run, *inside))


def test_old_turns_that_are_summed_up_are_a_model_call_too(collector: Collector, tmp_path: Path) -> None:
    known = tmp_path / "models.json"
    known.write_text(json.dumps({"models": [{"match": "test-model", "window": 16000}]}))
    messages = [*[{"role": role, "content": "word " * 2000} for role in ("user", "assistant")] * 3, *HI]
    with Upstream() as up, traced(up, collector, models=known) as served:
        up.always(sse(chat_chunks("In short.")))
        assert served.post({"messages": messages}).status_code == 200
        run = collector.one("invoke_agent skill-agent")
    assert len(up.requests) == len(collector.named("chat test-model")) == 2
    assert {span.parent for span in collector.named("chat test-model")} == {run.id}


# Collectors that fail


def test_a_collector_that_is_away_fails_no_answer_and_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    for name, value in {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": address}.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        with Upstream() as up, service(up, otlp_endpoint=address, otlp_headers=HEADERS) as served:
            up.always(sse(chat_chunks("Hello")))
            for _ in range(30):
                assert served.whole().text == "Hello"
                time.sleep(0.02)
            until(lambda: "traces: " in caplog.text)
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("traces: ") for line in lines) == 1
    assert len(lines) <= 2 and CANARY not in caplog.text and "Traceback" not in caplog.text


def test_a_collector_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, Upstream() as up:
        deaf.settimeout(10)
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        for name, value in {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": address}.items():
            monkeypatch.setenv(name, value)
        up.always(sse(chat_chunks("Hello")))
        with service(up, otlp_endpoint=address) as served:
            assert served.whole().text == "Hello"
            with deaf.accept()[0]:
                assert [served.whole().text for _ in range(20)] == ["Hello"] * 20


def environment(url: str, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": HEADERS, **more}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_last_spans_are_sent_when_the_service_stops(tmp_path: Path, number: int) -> None:
    with Collector() as collector, Upstream() as up:
        collector.always(Reply())
        up.always(sse(chat_chunks("Hello")))
        more = environment(collector.url, OTEL_SERVICE_NAME="bakery", OTEL_RESOURCE_ATTRIBUTES="team=dough")
        with process(up, tmp_path / "store.db", SKILL_AGENT_DRAIN_SECONDS="2", **more) as (url, running):
            assert httpx.post(f"{url}{CHAT}", json={"messages": HI}, trust_env=False).status_code == 200
            assert not collector.requests, "they are sent every five seconds"
            running.send_signal(number)
            assert running.wait(timeout=30) in STOPPED
        assert {span.name for span in collector.spans} == {
            f"POST {CHAT}",
            "invoke_agent skill-agent",
            "chat test-model",
        }
        hold_together(collector.spans)
        assert collector.resource["service.name"] == "bakery" and collector.resource["team"] == "dough"


@pytest.mark.parametrize("reply", [Reply(), Reply(status=0, stall=True)], ids=["well", "hanging"])
def test_answers_that_are_cut_at_the_end_are_traced_and_a_collector_that_hangs_does_not_hold_it_up(
    tmp_path: Path, reply: Reply
) -> None:
    with Collector() as collector, Upstream() as up:
        collector.always(reply)
        up.always(stalling())
        more = environment(collector.url, SKILL_AGENT_DRAIN_SECONDS="0.5")
        with process(up, tmp_path / "store.db", **more) as (url, running), httpx.Client(trust_env=False) as client:
            with client.stream("POST", f"{url}{CHAT}", json={"messages": HI, "stream": True}) as answer:
                running.send_signal(signal.SIGTERM)
                assert b"server_shutting_down" in answer.read()
            assert running.wait(timeout=30) in STOPPED, "what hangs for two seconds is ended with another code"
        assert len(collector.requests) == 1
        if reply.whole:
            hold_together(collector.spans)
            assert collector.one("chat test-model").attributes["error.type"] == "cancelled"


# What cannot be, and what costs nothing

WITHOUT = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.grpc"] = None
sys.modules["opentelemetry.sdk"] = None
import server
server.main(["--port", sys.argv[1]])
"""
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "packages": ({}, "OTEL_EXPORTER_OTLP_ENDPOINT is 'http://127.0.0.1:1': traces need OpenTelemetry: "),
    "grpc": ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'grpc': expected "),
    "protocol": ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json': "),
    "exporter": ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin': expected otlp or none"),
    "address": ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is "),
    "sdk": ({"OTEL_PROPAGATORS": "pigeon"}, "OTEL_EXPORTER_OTLP_ENDPOINT is 'http://127.0.0.1:1': OpenTelemetry"),
}


def started(tmp_path: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SKILL_AGENT_MODEL": "openai/test-model", **more}
    command = [sys.executable, "-c", script, str(free_port())]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_set_up_that_cannot_be_right_stops_the_start_with_one_line(tmp_path: Path, wrong: str) -> None:
    more, words = WRONG[wrong]
    script = WITHOUT if wrong == "packages" else WITHOUT.replace('sys.modules["opentelemetry.sdk"] = None', "")
    done = started(tmp_path, script, OPENAI_API_KEY="sk-1", **environment("http://127.0.0.1:1"), **more)
    assert done.returncode == 2 and done.stderr.startswith(f"skill-agent: {words}"), done.stderr
    assert len(done.stderr.splitlines()) == 1 and CANARY not in done.stderr
    assert wrong != "packages" or "pip install -r requirements-tracing.txt" in done.stderr


ANSWERING = """
import json, sys, threading
BLOCK
import server
from settings import Settings
from tests.surface import HI, service
from providers.scripted import ScriptedProvider
import os, logging
logging.basicConfig(format="%(message)s")
settings = Settings.from_env()
names = [name for name in Settings.__slots__ if name.startswith(("otlp", "otel", "traces", "databricks_app"))]
with service(provider=ScriptedProvider("Hello"), auth="none", **{n: getattr(settings, n) for n in names}) as served:
    assert served.post({"messages": HI}).status_code == 200
print(sum(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
"""


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_HEADERS": HEADERS, "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke signals"},
    ],
    ids=["unset", "disabled", "none", "no endpoint"],
)
def test_nothing_of_opentelemetry_is_imported_where_it_is_not_asked_for(tmp_path: Path, given: dict[str, str]) -> None:
    done = started(tmp_path, ANSWERING.replace("BLOCK", ""), **given)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_on_databricks_which_sets_the_variables_itself_an_app_goes_on_without_traces(tmp_path: Path) -> None:
    app = {"DATABRICKS_APP_NAME": "a", "DATABRICKS_APP_PORT": "8000"}
    given = environment("http://localhost:4314", OTEL_EXPORTER_OTLP_PROTOCOL="grpc", **app)
    done = started(tmp_path, ANSWERING.replace("BLOCK", 'sys.modules["opentelemetry.sdk"] = None'), **given)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "traced" in line]
    assert line.startswith("nothing is traced: OTEL_EXPORTER_OTLP_ENDPOINT is 'http://localhost:4314': ")
