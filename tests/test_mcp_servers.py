"""MCP servers as tools: real ones of the SDK's make, over their input and output and over HTTP, and bad ones."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from mcp_servers import McpServers
from mcp_servers.config import read_config
from messages import Image, ToolCall, ToolResult
from settings import SettingsError
from tools import Toolbox

pytest.importorskip("mcp", reason="needs the MCP SDK (requirements-mcp.txt)")
pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = str(Path(__file__).with_name("mcp_echo.py"))
LAUNCHER = str(Path(__file__).parents[1] / "mcp_servers" / "launcher.py")
KEY = "an-echo-key-of-the-environment"
PATIENCE = 30.0
user: ContextVar[str] = ContextVar("user", default="nobody")

BARE = """
import json, os, sys
for line in sys.stdin:
    said = json.loads(line)
    method, id = said["method"], said.get("id")
    result = {}
    if method == "initialize":
        info = {"name": "bare", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    elif method == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    elif method == "tools/call" and said["params"]["name"] == "process":
        result = {"content": [{"type": "text", "text": str(os.getpid())}]}
    elif method == "tools/call" and said["params"]["name"] == "die":
        with open("deaths", "a") as file:
            file.write("x")
        os._exit(3)
    elif method in MUTE:
        continue
    if id is not None:
        print("noise that is no JSON", flush=True)
        print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)
"""
"""A server in a few lines, which starts at once and does not answer `MUTE` methods."""


def bare(*mute: str, tools: Sequence[str] = ("mute", "process")) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-c", source(*mute, tools=tools)]}


def source(*mute: str, tools: Sequence[str] = ("mute", "process")) -> str:
    return f"MUTE, TOOLS = {mute!r}, {tools!r}\n{BARE}"


def written(folder: Path, servers: Mapping[str, Any]) -> Path:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}), "utf-8")
    return path


@asynccontextmanager
async def connected(folder: Path, servers: Mapping[str, Any], **how: Any) -> AsyncIterator[McpServers]:
    running = McpServers(written(folder, servers), **{"connect_seconds": PATIENCE, "rest": 0.01, **how})
    try:
        await running.start()
        yield running
    finally:
        await running.aclose()


async def result_of(servers: McpServers, tool: str, **arguments: Any) -> ToolResult:
    return await Toolbox(servers.tools()).run(ToolCall("1", tool, json.dumps(arguments)))


async def said(servers: McpServers, tool: str, **arguments: Any) -> str:
    result = await result_of(servers, tool, **arguments)
    assert not result.is_error, result.text
    return result.text


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


def names(servers: McpServers) -> list[str]:
    return [tool.spec.name for tool in servers.tools()]


def is_alive(process: int) -> bool:
    """A process that has ended and is only waiting to be asked how is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def remote(port: int) -> dict[str, Any]:
    return {"url": f"http://127.0.0.1:{port}/mcp"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(*servers: tuple[int, Sequence[str]]) -> Iterator[None]:
    """Echo servers over HTTP, by port and with further arguments, in processes that are killed in the end."""
    start = [sys.executable, ECHO, "--port"]
    processes = [subprocess.Popen([*start, str(port), *more], stderr=subprocess.DEVNULL) for port, more in servers]
    try:
        for (port, _), process in zip(servers, processes, strict=True):
            deadline = time.monotonic() + PATIENCE
            while not answers(port):
                assert process.poll() is None and time.monotonic() < deadline, "the echo server does not start"
                time.sleep(0.05)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def credentials() -> Mapping[str, str]:
    if user.get() == "gone":
        raise RuntimeError("the login is over")
    return {"authorization": f"Bearer token-of-{user.get()}"}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echo(notes: Path) -> AsyncIterator[McpServers]:
    """The same server three times: `local` over its input and output, `remote` over HTTP, `newest` otherwise too."""
    ports = free_port(), free_port()
    wrote = ("--notes", str(notes))
    servers = {
        "local": {"command": sys.executable, "args": [ECHO, *wrote], "env": {"ECHO_KEY": "${KEY}"}, "ask": ["die"]},
        "remote": {**remote(ports[0]), "headers": {"x-team": "bakery"}, "databricks": True, "ask": True},
        "newest": remote(ports[1]),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "a-secret-of-ours")
        with served((ports[0], wrote), (ports[1], (*wrote, "--newest"))):
            async with connected(notes, servers, env={"KEY": KEY}, authenticate=credentials) as running:
                yield running


both = pytest.mark.parametrize("server", ["local", "remote"])
all_three = pytest.mark.parametrize("server", ["local", "remote", "newest"])


# Tools and what they give back


@both
async def test_tools_are_offered_under_their_servers_name(echo: McpServers, server: str) -> None:
    specs = {tool.spec.name: tool.spec for tool in echo.tools()}
    spec = specs[f"mcp__{server}__echo"]
    assert spec.parameters["properties"]["text"]["type"] == "string" and spec.parameters["required"] == ["text"]
    assert specs[f"mcp__{server}__process"].description == "Which process this is."
    assert len(specs[f"mcp__{server}__structured"].description) == 1000
    long = next(name for name in specs if name.startswith(f"mcp__{server}__a_name_of_too_many_letters"))
    assert len(long) == 64 and await said(echo, long, text="short") == "short"


@all_three
async def test_a_call_is_answered(echo: McpServers, server: str) -> None:
    assert await said(echo, f"mcp__{server}__echo", text="Zoë 🍪 \ud83c\udf6a") == "Zoë 🍪 🍪"
    assert await said(echo, f"mcp__{server}__echo", text="half a \ud83c") == "half a \ufffd"


async def test_arguments_that_no_server_could_read_are_not_sent(echo: McpServers) -> None:
    deep = ToolCall("1", "mcp__local__echo", '{"text": ' + "[" * 500 + "]" * 500 + "}")
    result = await Toolbox(echo.tools()).run(deep)
    assert result.is_error and "nested more than 100 levels deep" in result.text
    assert await said(echo, "mcp__local__echo", text="still there") == "still there"


async def test_two_servers_with_the_same_tools_are_told_apart(echo: McpServers) -> None:
    assert await said(echo, "mcp__local__process") != await said(echo, "mcp__remote__process")


@both
async def test_many_calls_at_once_get_their_own_answers(echo: McpServers, server: str) -> None:
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(said(echo, f"mcp__{server}__echo", text=str(n))) for n in range(30)]
    assert [call.result() for call in calls] == [str(n) for n in range(30)]


@all_three
async def test_pictures_are_pictures(echo: McpServers, server: str) -> None:
    result = await result_of(echo, f"mcp__{server}__pictures")
    image = result.parts[1]
    assert isinstance(image, Image) and image.media_type == "image/png" and result.text == "before"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "image/svg+xml"}, "of this kind cannot be shown"),
        ({"data": "no base64"}, "it is not base64"),
        ({"data": "AAAA", "times": 2_000_000}, "it is too large"),
    ],
)
async def test_a_picture_that_providers_refuse_is_left_out(
    echo: McpServers, arguments: dict[str, Any], words: str
) -> None:
    result = await result_of(echo, "mcp__remote__pictures", **arguments)
    assert words in result.text and len(result.parts) == 1 and not result.is_error


async def test_the_first_of_very_many_pictures_are_shown(echo: McpServers) -> None:
    result = await result_of(echo, "mcp__local__pictures", count=50)
    assert sum(isinstance(part, Image) for part in result.parts) == 20 and "30 more pictures" in result.text


@both
async def test_a_long_result_keeps_its_ends(echo: McpServers, server: str) -> None:
    whole = await said(echo, f"mcp__{server}__long", characters=100_000)
    cut = await said(echo, f"mcp__{server}__long", characters=3_000_000)
    assert len(whole) == 100_000 and "left out" not in whole
    assert 99_000 < len(cut) <= 100_000 and cut.startswith("aaa") and cut.endswith("zzz") and "left out" in cut


async def test_everything_else_is_text_or_a_note(echo: McpServers) -> None:
    result = await result_of(echo, "mcp__local__everything")
    assert result.text == (
        "# A\n[file:///a.bin, application/x-thing, 3 bytes: left out, as it is not text]"
        "[audio/wav, 3 bytes: left out, as a sound cannot be given to a model here]\n"
        "manual\nfile:///manual.pdf\nHow to"
    )
    assert [type(part).__name__ for part in result.parts] == ["Text", "Image", "Text"]
    assert await said(echo, "mcp__local__structured") == '{"name":"Zoë","price":3}'
    assert await said(echo, "mcp__local__nothing") == "Done."


@both
async def test_a_tools_failure_is_an_error_result(echo: McpServers, server: str) -> None:
    failed = await result_of(echo, f"mcp__{server}__fail")
    wrong = await result_of(echo, f"mcp__{server}__echo", tex="x")
    assert failed.is_error and "fail" in failed.text
    assert wrong.is_error and "text" in wrong.text and "required" in wrong.text


async def test_a_person_is_asked_where_the_file_says_so(echo: McpServers) -> None:
    asks = {tool.spec.name: tool.ask for tool in echo.tools()}
    assert asks["mcp__local__die"] and not asks["mcp__local__echo"]
    assert all(ask for name, ask in asks.items() if name.startswith("mcp__remote__"))


@all_three
async def test_new_tools_are_seen(echo: McpServers, server: str) -> None:
    await said(echo, f"mcp__{server}__grow", name="risen")
    await until(lambda: f"mcp__{server}__risen" in names(echo))
    assert await said(echo, f"mcp__{server}__risen", text="new") == "new"


@all_three
async def test_cancelling_the_caller_cancels_the_call_at_the_server(echo: McpServers, server: str, notes: Path) -> None:
    call = asyncio.create_task(result_of(echo, f"mcp__{server}__wait", name=server))
    await until((notes / f"{server}.waits").exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until((notes / f"{server}.cancelled").exists)
    assert await said(echo, f"mcp__{server}__echo", text="still there") == "still there"


# What servers get of us


async def test_a_process_gets_its_own_variables_and_none_of_our_secrets(echo: McpServers) -> None:
    env = json.loads(await said(echo, "mcp__local__environment"))
    assert env["ECHO_KEY"] == "[redacted]" and env["PATH"] == os.environ["PATH"]
    allowed = {"ECHO_KEY", "PATH", "HOME", "LANG", "TMPDIR", "LOGNAME", "SHELL", "TERM", "USER", "LC_CTYPE"}
    assert set(env) <= allowed


async def test_our_credentials_are_those_of_who_calls(echo: McpServers) -> None:
    user.set("alice")
    sent = json.loads(await said(echo, "mcp__remote__headers"))
    assert sent["backwards"][::-1] == "Bearer token-of-alice" and sent["authorization"] == "Bearer [redacted]"
    assert sent["x-team"] == "bakery"
    user.set("bob")
    assert json.loads(await said(echo, "mcp__remote__headers"))["backwards"][::-1] == "Bearer token-of-bob"


async def test_credentials_that_fail_are_an_error_result_and_the_session_lives(echo: McpServers) -> None:
    user.set("gone")
    result = await result_of(echo, "mcp__remote__process")
    assert result.is_error and "there are no credentials for it: the login is over" in result.text
    user.set("alice")
    assert await said(echo, "mcp__remote__process")


# Servers that end


async def test_a_server_that_dies_in_a_call_is_begun_anew_and_the_call_is_not(tmp_path: Path) -> None:
    async with connected(tmp_path, {"bare": {**bare(tools=["die", "process"]), "cwd": str(tmp_path)}}) as servers:
        result = await result_of(servers, "mcp__bare__die")
        assert result.is_error
        assert result.text == (
            "Error: the MCP server bare was lost during this call, which may have been made or not; "
            "it is connected again"
        )
        assert (tmp_path / "deaths").read_text() == "x"
        assert await said(servers, "mcp__bare__process")


async def test_a_server_that_is_killed_between_calls_is_used_again(tmp_path: Path) -> None:
    async with connected(tmp_path, {"bare": bare()}) as servers:
        processes = []
        for _ in range(5):
            processes.append(int(await said(servers, "mcp__bare__process")))
            os.kill(processes[-1], signal.SIGKILL)
            await until(lambda: not is_alive(processes[-1]))
            await asyncio.sleep(0.1)  # that the loop sees it: a call before would not know whether it is taken
        assert len(set(processes)) == 5


async def test_a_server_that_knows_the_session_no_more_gets_a_new_one_and_the_call(echo: McpServers) -> None:
    sent = json.loads(await said(echo, "mcp__remote__headers"))
    async with httpx.AsyncClient(verify=False) as client:
        ended = await client.delete(
            f"http://{sent['host']}/mcp",
            headers={name: sent[name] for name in ("mcp-session-id", "mcp-protocol-version", "authorization")},
        )
    assert ended.status_code == 200
    again = json.loads(await said(echo, "mcp__remote__headers"))
    assert again["mcp-session-id"] != sent["mcp-session-id"]


async def test_calls_to_a_server_that_goes_say_what_they_may_have_done_and_it_is_found_back(tmp_path: Path) -> None:
    port = free_port()
    wrote = ("--notes", str(tmp_path))
    with served((port, wrote)):
        servers = McpServers(written(tmp_path, {"remote": remote(port)}), connect_seconds=PATIENCE)
        await servers.start()
        offered = Toolbox(servers.tools())
        waiting = asyncio.create_task(result_of(servers, "mcp__remote__wait", name="other"))
        await until((tmp_path / "other.waits").exists)
        died = await offered.run(ToolCall("1", "mcp__remote__die", "{}"))
        for result in (died, await waiting):
            assert result.is_error and "which may have been made or not" in result.text
    try:
        down = await offered.run(ToolCall("1", "mcp__remote__process", "{}"))
        assert down.is_error and "cannot be reached; nothing was done" in down.text
        assert not servers.tools() and (tmp_path / "deaths").read_text() == "x"
        with served((port, wrote)):
            assert not (await offered.run(ToolCall("1", "mcp__remote__process", "{}"))).is_error
            assert "mcp__remote__process" in names(servers)
    finally:
        await servers.aclose()


# Servers that do not answer, or do not start


async def test_a_call_has_its_time_and_a_server_that_still_answers_is_kept(tmp_path: Path) -> None:
    async with connected(tmp_path, {"bare": {**bare("tools/call"), "timeout": 1}}) as servers:
        process = await said(servers, "mcp__bare__process")
        result = await result_of(servers, "mcp__bare__mute")
        assert result.text == (
            "Error: the MCP server bare does not answer within 1 seconds; the call may have had its effect"
        )
        assert await said(servers, "mcp__bare__process") == process


async def test_a_server_that_is_silent_from_then_on_is_begun_anew(tmp_path: Path) -> None:
    async with connected(tmp_path, {"bare": {**bare("tools/call", "ping"), "timeout": 1}}) as servers:
        process = await said(servers, "mcp__bare__process")
        assert (await result_of(servers, "mcp__bare__mute")).is_error
        await until(lambda: not is_alive(int(process)))
        assert await said(servers, "mcp__bare__process") != process


async def test_servers_that_cannot_be_had_are_told_once_and_the_others_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = {
        "good": {**bare(), "ask": ["process", "bake"]},
        "missing": {"command": "no-such-command"},
        "ending": {"command": sys.executable, "args": ["-c", "raise SystemExit('no')"]},
        "elsewhere": {"command": sys.executable, "cwd": str(tmp_path / "nowhere")},
        "refusing": {"url": f"http://127.0.0.1:{free_port()}/mcp?key=a-key-in-the-address"},
        "unset": {**bare(), "env": {"KEY": "${NO_SUCH_VARIABLE}"}},
        "foreign": {"url": "https://example.com/mcp", "databricks": True},
        "off": {"command": "no-such-command", "disabled": True},
    }
    caplog.set_level(logging.INFO, "skill_agent.mcp")
    async with connected(tmp_path, servers) as running:
        assert names(running) == ["mcp__good__mute", "mcp__good__process"]
        await asyncio.sleep(0.5)  # that some are tried again
    told = sorted(record.getMessage() for record in caplog.records if record.name == "skill_agent.mcp")
    assert told == [
        f"MCP server elsewhere: there is no folder '{tmp_path}/nowhere'",
        "MCP server ending: it ends at once (its own words are in the log at debug)",
        "MCP server foreign: it asks for Databricks credentials, and there are none",
        "MCP server good: ask names tools that are not there: bake",
        "MCP server good: connected",
        "MCP server missing: there is no command 'no-such-command'",
        "MCP server refusing: ConnectError: All connection attempts failed",
        "MCP server unset: env.KEY: ${NO_SUCH_VARIABLE} is not set",
    ]


async def test_a_server_that_never_answers_does_not_hold_the_start_up(tmp_path: Path) -> None:
    silent = {"command": sys.executable, "args": ["-c", "import time; time.sleep(1000)"]}
    async with connected(tmp_path, {"good": bare(), "silent": silent}, connect_seconds=1) as servers:
        await until(lambda: names(servers) == ["mcp__good__mute", "mcp__good__process"])


async def test_a_server_that_comes_late_is_found(tmp_path: Path) -> None:
    late = tmp_path / "late.py"
    async with connected(tmp_path, {"late": {"command": sys.executable, "args": [str(late)]}}) as servers:
        assert not servers.tools()
        late.write_text(source())
        await until(servers.tools)
        assert await said(servers, "mcp__late__process")


async def test_a_servers_words_are_logged_at_debug_without_its_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "skill_agent.mcp")
    talking = "import os, sys; print('key', os.environ['KEY'], 'x' * 5000, file=sys.stderr); " + "print('y' * 10**6)"
    server = {"command": sys.executable, "args": ["-c", talking], "env": {"KEY": KEY}}
    async with connected(tmp_path, {"talking": server}):
        pass
    lines = [record.getMessage() for record in caplog.records if " key " in record.getMessage()]
    assert lines and all(KEY not in record.getMessage() for record in caplog.records)
    assert all(len(line) < 1100 for line in lines)


# The end


async def test_closing_ends_the_processes_and_what_they_have_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    stubborn = f"trap '' TERM; sleep 1000 & echo $! > {child}; exec {sys.executable} {tmp_path}/bare.py"
    (tmp_path / "bare.py").write_text(source())
    server = {"command": "sh", "args": ["-c", stubborn]}
    servers = McpServers(written(tmp_path, {"stubborn": server}), connect_seconds=PATIENCE)
    await servers.start()
    processes = [int(await said(servers, "mcp__stubborn__process")), int(child.read_text())]
    assert all(map(is_alive, processes))
    await servers.aclose()
    await until(lambda: not any(map(is_alive, processes)))
    assert not servers.tools()


async def test_a_killed_service_takes_its_servers_along(tmp_path: Path) -> None:
    server = (
        f"sleep 1000 & echo $! >> {tmp_path}/all; echo $$ >> {tmp_path}/all; trap '' TERM; while :; do sleep 1; done"
    )
    command = [sys.executable, "-I", "-S", LAUNCHER]
    code = f"import os, subprocess as s; s.run([*{command!r}, str(os.getpid()), 'sh', '-c', {server!r}])"
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", code, start_new_session=True)
    await until(lambda: (tmp_path / "all").exists() and len((tmp_path / "all").read_text().split()) == 2)
    processes = [int(word) for word in (tmp_path / "all").read_text().split()]
    assert all(map(is_alive, processes))
    service.kill()
    await service.wait()
    await until(lambda: not any(map(is_alive, processes)))


# The file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1 column 2: this is not JSON"),
        ("[]", "mcpServers: expected an object of servers by name"),
        ('{"servers": {}}', "mcpServers: expected an object"),
        ('{"mcpServers": {"a": []}}', "mcpServers.a: expected an object"),
        ('{"mcpServers": {"a": {}}}', "mcpServers.a: expected a command or a url, and not both"),
        ('{"mcpServers": {"a": {"command": "x", "url": "http://x"}}}', "mcpServers.a: expected a command or a url"),
        ('{"mcpServers": {"a": {"command": "x", "args": ["y", 1]}}}', "mcpServers.a.args.1: Input should be a valid"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"K": null}}}}', "mcpServers.a.env.K: Input should be"),
        ('{"mcpServers": {"a": {"url": "http://x", "type": "sse"}}}', "mcpServers.a.type: the sse transport"),
        ('{"mcpServers": {"a": {"url": "http://x", "type": "ws"}}}', "mcpServers.a.type: Input should be 'stdio'"),
        ('{"mcpServers": {"a": {"url": "http://x", "type": "stdio"}}}', "mcpServers.a: type stdio goes with a command"),
        ('{"mcpServers": {"a": {"command": "x", "timeout": 0}}}', "mcpServers.a.timeout: Input should be greater"),
        ('{"mcpServers": {"a": {"command": "x", "ask": "yes"}}}', "mcpServers.a.ask"),
    ],
)
async def test_a_file_that_cannot_be_right_is_told_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"^SKILL_AGENT_MCP is ") as raised:
        McpServers(path)
    assert words in str(raised.value) and str(path) in str(raised.value) and "\n" not in str(raised.value)


async def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the file cannot be read \(FileNotFoundError\)"):
        McpServers(tmp_path / "mcp.json")


async def test_variables_are_put_in_and_secrets_do_not_show(tmp_path: Path) -> None:
    server = {
        "url": "${SCHEME:-https}://${HOST}/mcp",
        "headers": {"authorization": "Bearer ${TOKEN}"},
        "type": "streamable-http",
        "alwaysAllow": [],
    }
    env = {"HOST": "example.com", "TOKEN": "a-long-secret"}
    (config,) = read_config(written(tmp_path, {"a": server}), env)
    assert config.url == "https://example.com/mcp" and config.headers == {"authorization": "Bearer a-long-secret"}
    assert "a-long-secret" not in repr(config) and config.hide("no: a-long-secret") == "no: …"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("example.com", "url: expected an address"),
        ("ftp://example.com", "url: expected an address"),
        ("http://${HOST}", "url: ${HOST} is not set"),
    ],
)
async def test_an_address_that_cannot_be_is_the_fault_of_its_server(tmp_path: Path, url: str, fault: str) -> None:
    (config,) = read_config(written(tmp_path, {"a": {"url": url}}), {})
    assert config.fault.startswith(fault)


async def test_databricks_credentials_go_over_tls_or_to_this_machine(tmp_path: Path) -> None:
    addresses = {
        "plain": "http://x.example.com/mcp",
        "host": "${HOST}/api/2.0/mcp/genie/1",
        "here": "http://127.0.0.1/",
    }
    servers = {name: {"url": url, "databricks": True} for name, url in addresses.items()}
    plain, host, here = read_config(written(tmp_path, servers), {"HOST": "x.cloud.databricks.com"})
    assert "not sent in the clear" in plain.fault and not here.fault
    assert host.url == "https://x.cloud.databricks.com/api/2.0/mcp/genie/1"


async def test_names_that_meet_are_kept_apart(tmp_path: Path) -> None:
    servers = {"a": bare(tools=["process__b", "process"]), "a__process": bare(tools=["b"])}
    async with connected(tmp_path, servers) as running:
        assert names(running)[:2] == ["mcp__a__process__b", "mcp__a__process"]
        assert len(set(names(running))) == 3
