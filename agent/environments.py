"""Python packages that skills' scripts need: told by the skill, installed beforehand, never during a request.

A script says so in its head (https://peps.python.org/pep-0723), else its skill in a requirements.txt.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from skill_store import Skill, SkillError

HEAD = re.compile(r"(?m)^# /// script$\s(?P<content>(?:^#(?:| .*)$\s)+)^# ///$")
REQUIREMENTS = "requirements.txt"
READY = "ready"
"""Stands in a folder when all is installed."""


def needed(skill: Skill, script: str) -> tuple[str, ...]:
    """The packages that a script asks for, sorted."""
    if not script.endswith(".py"):
        return ()
    head = HEAD.search(skill.read(script).decode("utf-8", "replace"))
    if head is not None:
        return _in_head(head["content"], script)
    if REQUIREMENTS in skill.files():
        lines = (
            line.partition("#")[0].strip() for line in skill.read(REQUIREMENTS).decode("utf-8", "replace").split("\n")
        )
        return tuple(sorted({line for line in lines if line}))
    return ()


def _in_head(content: str, script: str) -> tuple[str, ...]:
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in content.splitlines(keepends=True))
    try:
        found = tomllib.loads(text).get("dependencies", [])
    except tomllib.TOMLDecodeError as error:
        raise SkillError(f"the head of {script} is not TOML: {error}") from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise SkillError(f"the head of {script} has dependencies that are no list of strings")
    return tuple(sorted(set(found)))


class Environments:
    """One below `folder` for each set of packages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def python(self, packages: Sequence[str]) -> Path:
        """The interpreter that has the packages. Raises `SkillError` where they have not been installed."""
        if not packages:
            return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        found = self._of(packages) / "bin" / "python"
        if not (self._of(packages) / READY).exists():
            names = ", ".join(packages)
            raise SkillError(f"it needs {names}, which have to be installed first: python cli.py skills prepare")
        return found

    def readable(self, packages: Sequence[str]) -> list[Path]:
        """What a sandbox has to let the script read."""
        return [self._of(packages)] if packages else []

    def prepare(self, packages: Sequence[str]) -> Path:
        """Installs them, unless they are there. Raises `SkillError` with pip's last words."""
        if options := [package for package in packages if package.startswith("-")]:
            raise SkillError(f"{options[0]} is an option of pip and no package")
        folder = self._of(packages)
        if (folder / READY).exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        base, pip = str(self.python(())), [str(folder / "bin" / "python"), "-m", "pip", "--quiet"]
        for command in (
            [base, "-m", "venv", "--clear", str(folder)],
            [*pip, "install", "--disable-pip-version-check", "--", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)  # noqa: S603
            if done.returncode:
                words = done.stderr.strip().splitlines() or ["no reason given"]
                raise SkillError(f"{', '.join(packages)} cannot be installed: {words[-1]}")
        (folder / READY).touch()
        return folder

    def _of(self, packages: Sequence[str]) -> Path:
        key = "\n".join([sys.version, *packages])
        return self._folder / hashlib.sha256(key.encode()).hexdigest()[:16]


def wanted(skills: Sequence[Skill]) -> Iterator[tuple[Skill, str, tuple[str, ...]]]:
    """The scripts of some skills that need packages. Those of strangers install nothing here."""
    for skill in filter(lambda skill: skill.trusted, skills):
        for path in skill.files():
            if path.endswith(".py") and (packages := needed(skill, path)):
                yield skill, path, packages
