"""What the documents tell people to type is typed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from server import create_app
from settings import Settings
from tests.databricks_proxy import proxy
from tests.documents import DOCUMENTS, ROOT, Block, Command, Place, blocks, commands, scripts
from tests.servers import serve
from tests.upstream import Received, Reply, Upstream, chat_chunks, claude_events, json_reply, sse

ELSEWHERE = {
    r"make (chat|test|serve|lint|bench|clients|setup|pictures|reliability|fuzz|lock|audit)\b": "long",
    r"python server\.py|uvicorn ": "it serves until it is stopped; tests/test_server.py starts it",
    r"benchmarks[./]": "measures for minutes",
    r"skills prepare": "installs packages; tests/test_script_tools.py does it",
    r"skills test( \S+ --model anthropic.*|$)|--judge": "asks a real model",
    r"pip install|apt(-get)? install|npm ": "installs packages",
    r"docker ": "needs a daemon",
}
"""Commands that are not run here, and why."""
DATABRICKS = re.compile(r"databricks ([a-z-]+)(?: ([a-z-]+))?(?: ([a-z-]+))?")
SUBCOMMANDS = {
    "auth login",
    "auth token",
    "serving-endpoints list",
    "serving-endpoints query",
    "secrets create-scope",
    "secrets put-secret",
    "bundle validate",
    "bundle deploy",
    "bundle run",
    "bundle deployment",
    "apps create",
    "apps deploy",
    "apps get",
    "apps logs",
    "apps start",
    "apps stop",
    "apps update-permissions",
    "apps run-local",
    "current-user me",
    "sync",
}
"""Of the Databricks CLI 1.0: https://docs.databricks.com/dev-tools/cli/commands"""
STUB = """
case "$1 $2" in
  "auth token") echo '{"access_token": "token-of-ann", "token_type": "Bearer", "expiry": "2099-01-01T00:00:00Z"}';;
  "apps get") echo '{"url": "https://skill-agent.databricksapps.com", "app_status": {}, "compute_status": {}}' |
    sed "s,https://skill-agent.databricksapps.com,$APP_URL,";;
  "current-user me") echo '{"userName": "ann@example.com"}';;
  "serving-endpoints list") echo '[{"name": "databricks-claude-sonnet-4-5", "task": "llm/v1/chat"}]';;
  *) : ;;
esac
"""


def answer(request: Received) -> Reply:
    """A model that writes a report where it is asked for one."""
    if request.path == "/oidc/v1/token":
        return json_reply({"access_token": "token-of-ann", "expires_in": 3600})
    if not request.path.endswith("/messages"):
        return sse(chat_chunks("Lavender and honey."))
    if b"report.md" in request.body and b"tool_result" not in request.body:
        use = ("toolu_1", "write_file", {"path": "report.md", "content": "Lavender."})
        return sse(claude_events(tool_uses=[use]), done=False, events=True)
    return sse(claude_events("Lavender and honey."), done=False, events=True)


class Places:
    """A place for each document, as each begins with a fresh checkout."""

    def __init__(self, parent: Path, upstream: Upstream) -> None:
        self._parent = parent
        self._upstream = upstream
        self._made: dict[str, Place] = {}
        self._open = ExitStack()

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def of(self, block: Block) -> Place:
        if block.document not in self._made:
            self._made[block.document] = self._make(self._parent / Path(block.document).stem)
        return self._made[block.document]

    def _make(self, folder: Path) -> Place:
        folder.mkdir()
        keys = {"ANTHROPIC_API_KEY": "sk-ant-test", "ANTHROPIC_BASE_URL": self._upstream.url}
        names = {"ME": "ann", "KEY": "a-key", "CLIENT_ID": "robot", "CLIENT_SECRET": "a-secret"}
        place = Place(folder, self._upstream.url, keys | names)
        skills = {"SKILL_AGENT_SKILLS": str(place.folder / "skills")}
        settings = Settings.from_env({**keys, **skills, "SKILL_AGENT_MODEL": "anthropic/claude-sonnet-4-5"})
        url = self._open.enter_context(serve(create_app(settings)))
        place.serve(url, self._open.enter_context(serve(proxy(url, {"token-of-ann": "ann"}))))
        place.install("databricks", STUB)
        (folder / ".databrickscfg").write_text(f"[DEFAULT]\nhost = {self._upstream.url}\n")
        (place.folder / "notes.txt").write_text("Lavender goes well with honey.")
        return place


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with Upstream() as up, Places(tmp_path_factory.mktemp("documents"), up) as made:
        up.always(answer)
        yield made


def reason(command: Command) -> str:
    """Why a command is not run here, "" where it is."""
    return next((why for pattern, why in ELSEWHERE.items() if re.search(pattern, command.text)), "")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("document", sorted({block.document for block in blocks("console")}))
def test_commands_work_and_say_what_is_shown(document: str, places: Places) -> None:
    """From the first of a document to its last, those of one block in one shell, as somebody pastes them."""
    for block in blocks("console"):
        wanted = [command for command in commands(block) if block.document == document and not reason(command)]
        if wanted:
            done = places.of(block).shell(wanted)
            assert done.returncode == 0, f"{block}\n\n{done.stdout}"
        for command in wanted:
            assert command.shows(done.stdout), f"{block}: {command.text}\n\n{done.stdout}"


@pytest.mark.parametrize("block", scripts(), ids=str)
def test_scripts_run(block: Block, places: Places) -> None:
    if "databricks_openai" in block.text:
        pytest.skip("needs a workspace")
    done = places.of(block).python(block.text)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", blocks("yaml", "json"), ids=str)
def test_settings_files_can_be_read(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict | list)


def test_commands_of_the_databricks_cli_exist() -> None:
    for block in blocks("console"):
        for command in commands(block):
            for found in DATABRICKS.finditer(re.sub(r"--\S+|\S*\.databricks\S*", "", command.text)):
                names = {found[1], f"{found[1]} {found[2]}"}
                assert names & SUBCOMMANDS, f"{block}: {found[0]}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_what_is_there(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]+)", text):
        assert (ROOT / Path(document).parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    for name in re.findall(r"`((?:tests|benchmarks|docs|service|agent|providers|sandbox|skill_store)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_every_setting_that_is_named_is_one() -> None:
    known = set(re.findall(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", (ROOT / "settings.py").read_text("utf-8")))
    known |= {"SKILL_AGENT_API_KEY", "SKILL_AGENT_MAX", "SKILL_AGENT_URL"}
    for document in DOCUMENTS:
        named = set(re.findall(r"SKILL_AGENT_[A-Z_]*[A-Z]", (ROOT / document).read_text("utf-8")))
        assert named <= known, document
