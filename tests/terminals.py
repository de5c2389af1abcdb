"""A terminal for tests: a process of the command line on a pseudo-terminal, and what a person would see of it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from fcntl import ioctl
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 50.0
BARE = f"""
import runpy, sys
sys.modules.update(rich=None, prompt_toolkit=None)
sys.argv[0] = {str(ROOT / "cli.py")!r}
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>78]|\x1b\][^\x07]*\x07")


def cli(*words: str, env: Mapping[str, str], given: str | bytes = "") -> subprocess.CompletedProcess[str]:
    """The command line with pipes for all three streams."""
    data = given.encode() if isinstance(given, str) else given
    command = [sys.executable, str(ROOT / "cli.py"), *words]
    done = subprocess.run(command, env=env, input=data, capture_output=True, timeout=PATIENCE, cwd=env["HOME"])
    out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, out, err)


def environment(upstream: str, home: Path, model: str = "openai/test") -> dict[str, str]:
    """Nothing but a model behind the upstream at that address."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OPENAI_API_KEY": "sk-secret-canary",
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "SKILL_AGENT_MODEL": model,
        "PYTHONWARNINGS": "error",
    }


class Terminal:
    """The command line on a pseudo-terminal; `raw` is all that it has sent, `seen` what came since the last look."""

    def __init__(self, *words: str, env: Mapping[str, str], term: str = "dumb", bare: bool = False) -> None:
        """`bare`: without the packages of requirements-cli.txt."""
        program = ["-c", BARE] if bare else [str(ROOT / "cli.py")]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what it starts in the background ignore Ctrl-C
            os.chdir(env["HOME"])
            os.execve(sys.executable, [sys.executable, *program, *words], {**env, "TERM": term})
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        self.raw = self.seen = ""

    def type(self, keys: str) -> None:
        data = keys.encode()
        while data:
            data = data[os.write(self.fd, data[:1024]) :]
            self._read(0.0)

    def expect(self, words: str) -> str:
        """What came up to and with `words`, colours and movements of the cursor left out."""
        until = time.monotonic() + PATIENCE
        while words not in self.seen:
            assert time.monotonic() < until, f"{words!r} never came; there is {self.seen!r}"
            self._read(0.1)
        before, _, self.seen = self.seen.partition(words)
        return before + words

    def prompted(self) -> None:
        """Waits until the line editor asks: meanwhile it has the terminal mark what is pasted."""
        until = time.monotonic() + PATIENCE
        while self.raw.rfind("\x1b[?2004h") <= self.raw.rfind("\x1b[?2004l"):
            assert time.monotonic() < until, f"no prompt came; there is {self.seen!r}"
            self._read(0.1)

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGINT)

    def _read(self, seconds: float) -> None:
        if select.select([self.fd], [], [], seconds)[0]:
            new = os.read(self.fd, 65536).decode("utf-8", "replace")
            self.raw += new
            self.seen = ESCAPES.sub("", self.seen + new)
            if "\x1b[6n" in new:  # where is the cursor?
                os.write(self.fd, b"\x1b[1;1R")

    def end(self) -> int:
        """Waits for the process; its exit code."""
        until = time.monotonic() + PATIENCE
        try:
            while True:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    return os.waitstatus_to_exitcode(status)
                assert time.monotonic() < until, f"it does not end; there is {self.seen!r}"
                try:
                    self._read(0.05)
                except OSError:  # the other end is closed
                    time.sleep(0.02)
        finally:
            os.close(self.fd)
