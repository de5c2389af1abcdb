"""Files over HTTP: a conversation finds its own again, what is made is its owner's, what is sent arrives."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from key_forms import ApiKey
from providers.scripted import Line, ScriptedProvider, call
from tests.responses import RESPONSES, create, streamed
from tests.surface import HI, PRICE, Json, Service, read_error, service
from tools import Tool

WRITE, READ = call("write_file", path="notes/a.md", content="Tea."), call("read_file", path="notes/a.md")
ACTIVE: Json = {"skill_agent": {"activity": True}}


def serving(script: Sequence[Line], **settings: Any) -> Any:
    return service(provider=ScriptedProvider(script), tools=("files",), **settings)


def said(answer: Json) -> Json:
    message: Json = answer["choices"][0]["message"]
    return {"role": "assistant", "content": message["content"]}


def results(answer: Json) -> list[str]:
    return [step["result"] for step in answer["skill_agent"]["steps"] if step["type"] == "tool_end"]


def test_a_file_that_is_made_is_listed_and_fetched() -> None:
    with serving([[WRITE], "Done."] * 2) as served:
        answer = served.post({"messages": HI, **ACTIVE}).json()
        (file,) = answer["skill_agent"]["files"]
        assert (file["path"], file["bytes"]) == ("notes/a.md", 4)
        content = served.get(f"/v1/files/{file['id']}/content")
        assert content.content == b"Tea." and content.headers["content-disposition"].startswith("attachment")
        assert content.headers["x-content-type-options"] == "nosniff"
        told = served.get(f"/v1/files/{file['id']}").json()
        assert (told["object"], told["filename"], told["bytes"]) == ("file", "notes/a.md", 4) and told["created_at"]
        streamed = served.post({"messages": HI, "stream": True, **ACTIVE}).text
        assert '"files":[{"id":"file_' in streamed
        assert read_error(served.get("/v1/files/file_no/content"))["code"] == "file_not_found"
        assert "files" not in str(served.post({"messages": HI}).json().keys())


def test_a_conversation_finds_its_files_again_and_another_does_not() -> None:
    script: list[Line] = [[WRITE], "Written, it is.", [READ], "Tea.", [READ], "Nothing.", [READ], "Nothing."]
    with serving(script) as served:
        first = served.post({"messages": HI}).json()
        history = [*HI, said(first), {"role": "user", "content": "Read it."}]
        again = served.post({"messages": history, **ACTIVE}).json()
        assert results(again) == ["1\tTea."] or "Tea." in results(again)[0]
        for other in ([{"role": "user", "content": "Read it."}], [*HI, {"role": "assistant", "content": "No."}, *HI]):
            answer = served.post({"messages": other, **ACTIVE}).json()
            assert "Tea." not in results(answer)[0]


def test_two_conversations_that_went_alike_do_not_share_files() -> None:
    """Behind one key there can be many people."""
    with serving([[WRITE], "Written.", [WRITE], "Written.", [READ], "Nothing."]) as served:
        first, _ = (served.post({"messages": HI}).json() for _ in range(2))
        answer = served.post({"messages": [*HI, said(first), *HI], **ACTIVE}).json()
        assert "Tea." not in results(answer)[0]


def test_a_history_that_is_written_a_little_otherwise_is_known() -> None:
    with serving([[WRITE], "Written,\n\nit is.", [READ], "Tea."]) as served:
        served.post({"messages": HI})
        history = [*HI, {"role": "assistant", "content": [{"type": "text", "text": "Written, it is. "}]}, *HI]
        assert "Tea." in results(served.post({"messages": history, **ACTIVE}).json())[0]


def test_another_process_finds_the_files_too(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    with serving([[WRITE], "Written."], store=store) as served:
        first = served.post({"messages": HI}).json()
    with serving([[READ], "Tea."], store=store) as served:
        answer = served.post({"messages": [*HI, said(first), *HI], **ACTIVE}).json()
        assert "Tea." in results(answer)[0]


def test_files_are_there_when_the_client_has_answered_a_call() -> None:
    with serving([[WRITE, call("price", "p")], [READ], "Tea."]) as served:
        message = served.post({"messages": HI, "tools": [PRICE]}).json()["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": "p", "content": "3"}
        answer = served.post({"messages": [*HI, message, result], "tools": [PRICE], **ACTIVE}).json()
        assert "Tea." in results(answer)[0]


def test_responses_go_on_with_their_files() -> None:
    with serving([[WRITE], "Written.", [READ], "Tea."]) as served:
        first = create(served, input="go", skill_agent={"activity": True})
        assert [file["path"] for file in first["skill_agent"]["files"]] == ["notes/a.md"]
        events = streamed(served, input="read", previous_response_id=first["id"], skill_agent={"activity": True})
        ends = [e["skill_agent"]["result"] for e in events if e.get("skill_agent", {}).get("type") == "tool_end"]
        assert "Tea." in ends[0]


def test_a_file_is_its_owners() -> None:
    keys = tuple(ApiKey(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("ann", "ben"))
    with serving([[WRITE], "Written.", [READ], "Nothing."], api_keys=keys) as served:
        ann, ben = ({"headers": {"x-api-key": name}} for name in ("ann", "ben"))
        first = served.post({"messages": HI, **ACTIVE}, **ann).json()
        path = f"/v1/files/{first['skill_agent']['files'][0]['id']}/content"
        assert served.get(path, **ann).content == b"Tea." and served.get(path, **ben).status_code == 404
        answer = served.post({"messages": [*HI, said(first), *HI], **ACTIVE}, **ben).json()
        assert "Tea." not in results(answer)[0]


@pytest.mark.parametrize(
    ("name", "path"),
    [("plan.pdf", "uploads/plan.pdf"), ("../../etc/x.pdf", "uploads/x.pdf"), ("", "uploads/file-1.pdf")],
)
def test_a_file_that_is_sent_lies_in_the_workspace(name: str, path: str) -> None:
    data = base64.b64encode(b"%PDF-1.4 tea").decode()
    part = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}", "filename": name}}
    model = ScriptedProvider([[call("ls", path="uploads")], "Seen."])
    with service(provider=model, tools=("files",)) as served:
        content = [{"type": "text", "text": "See"}, part]
        answer = served.post({"messages": [{"role": "user", "content": content}], **ACTIVE}).json()
    assert path.rpartition("/")[2] in results(answer)[0]
    assert path in "".join(message.text for message in model.requests[0].messages)


def test_nothing_is_made_where_nothing_is_written(tmp_path: Path) -> None:
    with serving(["Hi."], store=f"sqlite:///{tmp_path}/store.db") as served:
        served.post({"messages": HI})
    assert not (tmp_path / "workspaces").exists()


def test_files_of_a_service_without_a_store_go_with_it() -> None:
    with serving([[WRITE], "Written."]) as served:
        served.post({"messages": HI})
        folder: Path = served_folder(served)
        assert folder.is_dir()
    assert not folder.exists()


def served_folder(served: Service) -> Path:
    """The newest folder of a service in the system's place for temporary files."""
    import tempfile

    folders = Path(tempfile.gettempdir()).glob("skill-agent-*")
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def test_what_a_tool_says_at_length_is_in_a_file() -> None:
    def long() -> str:
        return "begin " + "x" * 200_000 + " end"

    from agent_loop import Agent
    from settings import Settings

    model = ScriptedProvider([[call("long", "c1")], [call("grep", pattern="begin")], "Done."])
    agent = Agent(provider=model, tools=[Tool.of(long)], groups=("files",), settings=Settings())
    finish = agent.run_sync("go")
    first, second = (result.text for message in finish.messages for result in message.results)
    (path,) = [file.path for file in finish.files]
    assert path.startswith("results/c1-") and path in first and path in second and len(first) < 5_000


def test_responses_list_nothing_that_was_not_asked_for() -> None:
    with serving([[WRITE], "Written."]) as served:
        assert "skill_agent" not in served.post({"input": "go"}, RESPONSES).json()


def test_files_that_are_sent_do_not_take_each_others_place() -> None:
    def part(text: bytes, name: str) -> Json:
        data = f"data:text/plain;base64,{base64.b64encode(text).decode()}"
        return {"type": "file", "file": {"file_data": data, "filename": name}}

    model = ScriptedProvider([[call("grep", pattern="tea")], "Seen."])
    first = {"role": "user", "content": [part(b"tea one", "a.txt"), part(b"tea two", "a.txt")]}
    last = {"role": "user", "content": [part(b"tea three", "b.txt "), {"type": "text", "text": "See"}]}
    with service(provider=model, tools=("files",)) as served:
        (found,) = results(served.post({"messages": [first, last], **ACTIVE}).json())
    assert all(f"tea {number}" in found for number in ("one", "two", "three"))
