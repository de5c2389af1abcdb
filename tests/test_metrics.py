"""What the service counts of itself: true, in Prometheus' format, and without a word of those who ask."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.surface import CHAT, HI, Service, service
from tests.test_admission import raw, stalling, until
from tests.upstream import Received, Reply, Upstream, chat_chunks, json_reply, sse

BUSY = json_reply({"error": {"message": "busy", "code": "x"}}, 503, {"retry-after-ms": "1"})


def counted(served: Service) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values, in the order of the labels' names."""
    answer = served.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_answers_tokens_tools_retries_fallbacks_and_faults_are_counted() -> None:
    def answer(request: Received) -> Reply:
        last = request.json["messages"][-1]
        if request.json["model"] == "gone":
            return json_reply({"error": {"message": "no"}}, 404)
        if last["role"] == "tool" or last["content"] == "sub":
            return sse(chat_chunks("done", usage=(30, 5)))
        calls = [("c1", "task", '{"prompt": "sub"}'), ("c2", "made_up_by_the_model", "{}")]
        return sse(chat_chunks(tool_calls=calls, usage=(10, 1)))

    with Upstream() as up:
        up.reply(BUSY)
        up.always(answer)
        with service(up, fallbacks=("openai/spare",), allowed_models=("openai/gone",)) as served:
            assert served.post({"messages": HI}).status_code == 200
            assert served.post({"messages": HI, "model": "openai/gone"}).status_code == 404
            assert served.post({"messages": HI}, "/nowhere/secret-path").status_code == 404
            assert served.get("/v1/models/skill-agent").status_code == 200
            found = counted(served)
    for sample, value in {
        ("requests_total", "POST", "/v1/chat/completions", "200"): 1,
        ("requests_total", "POST", "/v1/chat/completions", "404"): 1,
        ("requests_total", "GET", "/v1/models/{name:path}", "200"): 1,
        ("requests_total", "POST", "", "404"): 1,
        ("tokens_total", "in", "openai/test-model"): 10 + 30 + 30,
        ("tokens_total", "out", "openai/test-model"): 1 + 5 + 5,
        ("tool_calls_total", "false", "task"): 1,
        ("tool_calls_total", "true", "other"): 1,
        ("retries_total", "openai"): 1,
        ("provider_faults_total", "model_not_found", "openai"): 1,
        ("answer_seconds_count",): 2,
        ("running",): 0,
        ("waiting",): 0,
    }.items():
        assert found[f"skill_agent_{sample[0]}", *sample[1:]] == value, sample
    assert not [sample for sample in found if "secret" in str(sample) or "made_up" in str(sample)]
    assert found["process_resident_memory_bytes",] > 10_000_000


def test_a_model_that_stands_in_is_counted() -> None:
    with Upstream() as up, service(up, fallbacks=("openai/spare",)) as served:
        gone = json_reply({"error": {"message": "no"}}, 404)
        up.always(lambda request: gone if request.json["model"] == "test-model" else sse(chat_chunks("Hello")))
        assert served.post({"messages": HI}).status_code == 200
        found = counted(served)
        assert found["skill_agent_fallbacks_total", "openai/test-model", "openai/spare"] == 1
        assert found["skill_agent_tokens_total", "in", "openai/spare"] > 0


def test_what_runs_and_what_waits_is_told_and_who_leaves_is_counted() -> None:
    with Upstream() as up, service(up, max_running=1) as served:
        up.always(stalling())
        first = raw(served, {"messages": HI, "stream": True})
        assert up.wait_requests(1)
        second = raw(served, {"messages": HI})
        until(lambda: counted(served)["skill_agent_waiting",] == 1)
        assert counted(served)["skill_agent_running",] == 1
        for each in (second, first):
            each.close()
        until(lambda: counted(served).get(("skill_agent_requests_total", "POST", CHAT, "499"), 0) == 2)
        assert counted(served)["skill_agent_running",] == counted(served)["skill_agent_waiting",] == 0


def test_different_names_are_bounded() -> None:
    with Upstream() as up, service(up, allowed_models=("openai/*",)) as served:
        up.always(sse(chat_chunks("Hello")))
        answers: list[Any] = [served.post({"messages": HI, "model": f"openai/m{n}"}) for n in range(70)]
        assert {answer.status_code for answer in answers} == {200}
        found = counted(served)
    assert sum(sample[0] == "skill_agent_tokens_total" and sample[1] == "in" for sample in found) == 65
    assert found["skill_agent_tokens_total", "in", "other"] == 6 * found["skill_agent_tokens_total", "in", "openai/m0"]
