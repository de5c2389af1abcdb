"""Pictures of the terminal: the real command line in tmux, against a scripted model, drawn as SVG and kept as text.

    python docs/pictures/terminal.py [--light]

Needs tmux, and the environment of `make test`. The pictures lie beside this file.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.upstream import Received, Reply, Upstream, chat_chunks, json_reply, sse  # noqa: E402

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 84, 40
PATIENCE = 30.0
ANSWER = """# Lavender shortbread

A *buttery* cookie with **lavender** and lemon zest.

| ingredient | grams | note |
|---|--:|---|
| flour | 200 | plain |
| butter | 150 | cold |
| lavender | 4 | dried, food grade |

1. Rub the butter into the flour.
2. Crush the lavender and add it.
3. Bake at 170 °C:

```python
def bake(minutes: int = 14) -> str:
    return f"{minutes} min"  # golden edges
```

> Let them cool before you eat them."""


def answer(request: Received) -> Reply:
    """What the model says, a word at a time."""
    last = request.json["messages"][-1]
    asked = last["content"] if isinstance(last["content"], str) else last["content"][-1]["text"]
    if last["role"] == "tool":
        return _spoken(chat_chunks(text=ANSWER, usage=(2345, 178)))
    if "cookie" in asked:
        skill = ("call_1", "activate_skill", '{"name": "cookie-flavor-generator"}')
        return _spoken(chat_chunks(reasoning="A skill is made for this. " * 3, tool_calls=[skill], usage=(1204, 31)))
    if "history" in asked:
        return _spoken(chat_chunks(text="Lavender has been grown since the Romans, " + "who bathed in it, " * 40), 0.2)
    return _spoken(chat_chunks(text="A cookie, golden at its edges, with purple specks of lavender.", usage=(3120, 24)))


def _spoken(chunks: Sequence[dict[str, Any]], pause: float = 0.02) -> Reply:
    return sse([piece for chunk in chunks for piece in (chunk, pause)])


class Screen:
    """A tmux of its own, with the command line in it."""

    def __init__(self, home: Path, url: str) -> None:
        self._tmux = ["tmux", "-L", f"pictures-{os.getpid()}"]
        model = {"OPENAI_API_KEY": "sk-scripted", "OPENAI_BASE_URL": f"{url}/v1", "SKILL_AGENT_MODEL": "openai/gpt-4o"}
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "tmux-256color", "LANG": "C.UTF-8", **model}
        given = [f"{name}={value}" for name, value in env.items()]
        command = ["env", "-i", *given, sys.executable, str(ROOT / "cli.py")]
        self._run("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-c", str(home), *command)

    def _run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True).stdout

    def type(self, words: str) -> None:
        self._run("send-keys", "-l", words)
        self._run("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def wait(self, words: str, count: int = 1) -> None:
        until = time.monotonic() + PATIENCE
        while self._run("capture-pane", "-p").count(words) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{words!r} never came:\n{self._run('capture-pane', '-p')}")
            time.sleep(0.1)

    def keep(self, name: str, light: bool) -> None:
        coloured = self._run("capture-pane", "-e", "-p").rstrip("\n")
        plain = self._run("capture-pane", "-p").rstrip("\n")
        (HERE / f"{name}.txt").write_text("\n".join(line.rstrip() for line in plain.split("\n")) + "\n")
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
        console.print(Text.from_ansi(coloured))
        theme = DEFAULT_TERMINAL_THEME if light else DIMMED_MONOKAI
        shade = "-light" if light else ""
        console.save_svg(str(HERE / f"{name}{shade}.svg"), title="python cli.py", theme=theme, unique_id="t")

    def close(self) -> None:
        self._run("kill-server")


@contextmanager
def screen() -> Iterator[Screen]:
    with tempfile.TemporaryDirectory() as home, Upstream() as upstream:
        upstream.always(answer)
        upstream.route("/v1/models", json_reply({"data": []}))
        (Path(home) / "cookie.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(120_000))
        found = Screen(Path(home), upstream.url)
        try:
            yield found
        finally:
            found.close()


def main() -> None:
    light = "--light" in sys.argv
    with screen() as shown:
        shown.wait("\n>")
        shown.keep("terminal-first", light)
        shown.type("Invent a cookie flavour with lavender")
        shown.wait("tokens in")
        time.sleep(0.5)
        shown.keep("terminal-answer", light)
        shown.type("/clear")
        shown.type("Tell me the history of lavender")
        shown.wait("writing")
        time.sleep(2)
        shown.keep("terminal-waiting", light)
        shown.press("C-c")
        shown.wait("stopped")
        shown.type("/attach cookie.png")
        shown.wait("goes along")
        shown.type("What is in this picture?")
        shown.wait("purple specks")
        shown.wait("3,120 tokens")
        shown.type("/usage")
        shown.wait("answers,")
        time.sleep(0.5)
        shown.keep("terminal-stopped", light)


if __name__ == "__main__":
    main()
