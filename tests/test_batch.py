"""Many questions from a file: each has its line in the output, and none is asked twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.surface import service, write_skill
from tests.terminals import cli, environment
from tests.upstream import Received, Reply, Upstream, chat_chunks, json_reply, sse

Json = dict[str, Any]
MODELS = ("skill-agent:tea", "skill-agent", "skill-agent:pots")


def reply(request: Received) -> Reply:
    """Says the question back; one question is never answered."""
    asked = request.json["messages"][-1]["content"]
    if "bad" in asked:
        return json_reply({"error": {"message": f"cannot \x9b answer {asked}", "code": "invalid_value"}}, 400)
    return sse(chat_chunks(text=f"You asked: {asked}"))


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(reply)
        yield upstream


@pytest.fixture
def env(up: Upstream, tmp_path: Path) -> dict[str, str]:
    return environment(up.url, tmp_path)


def write(path: Path, *lines: object) -> None:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def read(path: Path) -> dict[str, Json]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(set(row) == {"custom_id", "response", "error"} for row in rows)
    found = {row["custom_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def text(row: Json) -> str:
    assert row["error"] is None and row["response"]["status_code"] == 200
    return str(row["response"]["body"]["choices"][0]["message"]["content"])


def test_every_line_has_its_answer_and_failures_are_asked_again(
    env: dict[str, str], up: Upstream, tmp_path: Path
) -> None:
    lines: list[object] = [{"custom_id": f"q{n}", "prompt": f"number {n}"} for n in range(8)]
    body = {
        "model": "skill-agent",
        "temperature": 0.5,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "body"}],
    }
    lines += [{"custom_id": "b", "method": "POST", "url": "/v1/chat/completions", "body": body}, "", "not json"]
    lines += [{"prompt": "bad one", "custom_id": "x"}, {"custom_id": "y", "body": {"messages": [{"role": "tool"}]}}]
    write(tmp_path / "in.jsonl", *lines)
    done = cli("batch", "in.jsonl", "out.jsonl", "--at-once", "3", env=env)
    assert done.returncode == 1 and done.stdout == ""
    assert "9 answered, 3 failed" in done.stderr
    rows = read(tmp_path / "out.jsonl")
    assert [text(rows[f"q{n}"]) for n in range(8)] == [f"You asked: number {n}" for n in range(8)]
    assert text(rows["b"]) == "You asked: body" and rows["b"]["response"]["body"]["usage"]["total_tokens"] == 15
    sent = next(r.json for r in up.requests if r.json["messages"][-1]["content"] == "body")
    assert (sent["temperature"], sent["max_tokens"]) == (0.5, 9)
    assert "cannot" in rows["x"]["error"]["message"] and "cannot be read" in rows["line-11"]["error"]["message"]
    assert "\x9b" not in (tmp_path / "out.jsonl").read_text()

    asked = len(up.requests)
    with (tmp_path / "out.jsonl").open("a") as out:
        out.write('{"custom_id": "q9", "resp')  # as a crash leaves it
    write(
        tmp_path / "in.jsonl", *lines[:9], {"custom_id": "x", "prompt": "better"}, {"custom_id": "q9", "prompt": "late"}
    )
    again = cli("batch", "in.jsonl", "out.jsonl", env=env)
    assert again.returncode == 0 and "2 answered, 0 failed, 9 were there" in again.stderr
    assert len(up.requests) == asked + 2
    assert text(read(tmp_path / "out.jsonl")["x"]) == "You asked: better" and len(read(tmp_path / "out.jsonl")) == 11


def test_nobody_is_there_to_allow_a_tool_and_the_model_is_told(
    env: dict[str, str], up: Upstream, tmp_path: Path
) -> None:
    def wanting(request: Received) -> Reply:
        last = request.json["messages"][-1]
        if last["role"] == "tool":
            return sse(chat_chunks(text=f"Without it: {last['content']}"))
        return sse(chat_chunks(tool_calls=[("c1", "write_file", '{"path": "a.txt", "content": "x"}')]))

    up.always(wanting)
    write(tmp_path / "in.jsonl", {"prompt": "write it"})
    done = cli("batch", "in.jsonl", "here.jsonl", env={**env, "SKILL_AGENT_ASK": "write_file"})
    assert done.returncode == 0 and "not allowed" in text(read(tmp_path / "here.jsonl")["line-1"])
    with service(up, skills=(), ask=("write_file",)) as served:
        done = cli("batch", "in.jsonl", "there.jsonl", "--url", served.url, env=env)
    found = read(tmp_path / "there.jsonl")["line-1"]
    assert done.returncode == 0 and "not allowed" in text(found)
    assert found["response"]["body"]["usage"]["total_tokens"] == 30


def test_a_server_is_asked_for_its_own_skills(env: dict[str, str], up: Upstream, tmp_path: Path) -> None:
    write_skill(tmp_path / "skills", "tea", "Makes tea.")
    message = {"role": "user", "content": "green"}
    lines = [{"custom_id": name, "body": {"model": name, "messages": [message]}} for name in MODELS]
    write(tmp_path / "in.jsonl", *lines)
    with service(up, skills=(tmp_path / "skills",)) as served:
        done = cli("batch", "in.jsonl", "out.jsonl", "--url", served.url, env=env)
    rows = read(tmp_path / "out.jsonl")
    assert done.returncode == 1 and rows["skill-agent:pots"]["error"]["code"] == "model_not_found"
    for name, skills in (("skill-agent:tea", ["tea"]), ("skill-agent", [])):
        assert text(rows[name]) == "You asked: green"
        assert rows[name]["response"]["body"]["skill_agent"]["skills"] == skills


def test_a_wrong_key_ends_all_at_once(env: dict[str, str], up: Upstream, tmp_path: Path) -> None:
    up.always(json_reply({"error": {"message": "no", "code": "invalid_api_key"}}, 401))
    write(tmp_path / "in.jsonl", *({"prompt": str(n)} for n in range(50)))
    done = cli("batch", "in.jsonl", "out.jsonl", env=env)
    assert done.returncode == 3 and len(up.requests) <= 4


def test_files_that_cannot_be_right_are_told(env: dict[str, str], up: Upstream, tmp_path: Path) -> None:
    write(tmp_path / "twice.jsonl", {"custom_id": "a", "prompt": "1"}, {"custom_id": "a", "prompt": "2"})
    write(tmp_path / "in.jsonl", {"prompt": "1"})
    (tmp_path / "notes.md").write_text("# Mine\n")
    for words, told in (
        (("twice.jsonl", "out"), "twice.jsonl:2: 'a' was there before"),
        (("gone.jsonl", "out"), "gone.jsonl"),
        (("in.jsonl", "notes.md"), "something else"),
    ):
        done = cli("batch", *words, env=env)
        assert done.returncode == 2 and told in done.stderr
    assert (tmp_path / "notes.md").read_text() == "# Mine\n" and up.requests == []
