"""Regular expressions over texts, in a process that can be ended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from threading import Event
from typing import TypeAlias

MAX_MATCHES = 1000
"""Lines that a search finds at most."""
SEARCH_SECONDS, SEARCH_MEMORY = 5.0, 2**30
LOOK_EVERY = 0.1
"""Seconds between two looks whether the result is still wanted."""

Place: TypeAlias = tuple[str, int, int]
"""A path, a line from 1, a column from 0."""


class SearchError(Exception):
    """Why nothing can be found so, in one line."""


_SEARCH = """
import itertools, json, re, resource, sys
pattern, texts, most, seconds, memory = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
search = re.compile(pattern).search
found = ((path, number, match.start()) for path, text in texts.items()
         for number, line in enumerate(text.split("\\n"), 1) if (match := search(line)))
print(json.dumps(list(itertools.islice(found, most))))
"""


def matching(pattern: str, texts: Mapping[str, str], seconds: float, unwanted: Event | None = None) -> list[Place]:
    """The lines in which the pattern matches. Raises `SearchError`.

    The other process has limits of its own too, should this one be killed, and sees nothing of the environment.
    """
    job = json.dumps([pattern, texts, MAX_MATCHES, int(seconds) + 1, SEARCH_MEMORY])
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _SEARCH]
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - the pattern is data on its input
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", env={}
    ) as process:
        try:
            found, errors = _told(process, job, time.monotonic() + seconds, unwanted or Event())
        except subprocess.TimeoutExpired:
            raise SearchError(f"the search takes more than {seconds:g} s: simplify it, or narrow the glob") from None
        finally:
            process.kill()
    if process.returncode:
        words = errors.splitlines() or ["it takes too long"]
        raise SearchError(f"the regular expression cannot be used: {words[-1]}")
    return [(path, number, column) for path, number, column in json.loads(found)]


def _told(process: subprocess.Popen[str], job: str, end: float, unwanted: Event) -> tuple[str, str]:
    """What it says, and what it says of errors. Raises `TimeoutExpired`."""
    given: str | None = job
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(given, timeout=max(min(left, LOOK_EVERY), 0))
        except subprocess.TimeoutExpired:
            if left <= 0 or unwanted.is_set():
                raise
        given = None  # what has not been written yet is written by the next call
