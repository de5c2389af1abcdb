"""The code blocks of the project's documents, and a place to run them in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
ADDRESS = "http://127.0.0.1:8000"
"""What documents call the service; the tests' own stands in for it."""
APP = re.compile(r"https://[\w-]+\.databricksapps\.com")
WORKSPACE = "https://<workspace>"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A line behind `$ `, with those it goes on in, and what is shown as its output; `…` stands for anything."""

    text: str
    output: tuple[str, ...]

    def shows(self, said: str) -> bool:
        """Whether all lines of the output are in what was said, in their order."""
        at = 0
        for line in filter(None, self.output):
            found = re.compile(r".*".join(map(re.escape, line.split("…")))).search(said, at)
            if found is None:
                return False
            at = found.end()
        return True


def blocks(*languages: str) -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text("utf-8")
        for fence in _FENCE.finditer(text):
            if fence[1] in languages:
                found.append(Block(document, text.count("\n", 0, fence.start()) + 1, fence[1], fence[2]))
    return found


def scripts() -> list[Block]:
    """A script that imports nothing goes on from the one before it in its document."""
    found: list[Block] = []
    for block in blocks("python"):
        goes_on = not re.search(r"^(from|import) ", block.text, re.MULTILINE)
        found.append(replace(block, text=f"{found[-1].text}\n{block.text}") if goes_on else block)
    return found


def commands(block: Block) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        last = next(number for number in range(len(lines)) if _is_whole("\n".join(lines[: number + 1])))
        yield Command("\n".join(lines[: last + 1]), tuple(lines[last + 1 :]))


def _is_whole(text: str) -> bool:
    """Whether a shell would run it and not wait for another line."""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith(("\\", "|"))


class Place:
    """A copy of the project, with an environment in which its commands can be run."""

    def __init__(self, folder: Path, workspace: str, environment: Mapping[str, str]) -> None:
        self.folder = folder / "skill-agent"
        self._service = self._app = ""
        self._workspace = workspace
        bin = folder / "bin"
        bin.mkdir()
        self._environment = {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), **environment}
        for name in _tracked():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        for name in ("python", "python3"):
            self.install(name, f'exec {shlex.quote(sys.executable)} "$@"')
        activate = self.folder / ".venv/bin/activate"
        activate.parent.mkdir(parents=True)
        activate.touch()

    def serve(self, service: str, app: str) -> None:
        """Where the service of the place is, and the same behind Databricks' proxy."""
        self._service, self._app = service, app
        self._environment |= {"URL": service, "APP_URL": app}

    def install(self, name: str, script: str) -> None:
        """A command of that name, for the place only."""
        path = self.folder.parent / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def mended(self, text: str) -> str:
        return APP.sub(self._app, text.replace(ADDRESS, self._service)).replace(WORKSPACE, self._workspace)

    def shell(self, commands: Sequence[Command]) -> subprocess.CompletedProcess[str]:
        """stdout and stderr as one. Each command has a question to read."""
        script = "\n".join(f"{{ {command.text}\n}} <<< 'hi'" for command in commands)
        return self._run(["bash", "-eu", "-o", "pipefail", "-c", self.mended(script)])

    def python(self, text: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-W", "error", "-c", self.mended(text)])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )


def _tracked() -> list[str]:
    """What a checkout has; where there is no git, what a copy of one has."""
    done = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if done.returncode:
        found = (path for path in ROOT.rglob("*") if path.is_file())
        names = [path.relative_to(ROOT).as_posix() for path in found]
        return [name for name in names if not name.startswith((".", "build/")) and "__pycache__" not in name]
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
