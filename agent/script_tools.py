"""The tool that runs a skill's scripts, and the one that runs a model's own commands where that is allowed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.changes import Stamp, changed, stamps
from agent.environments import Environments, needed
from agent.workspace import Workspace, WorkspaceError
from defaults import data_folder
from sandbox import Ran, Sandbox, SandboxError, remove
from settings import Settings
from skill_store import Skill, SkillError
from skill_store.files import few, shown
from tools import Tool, ToolError

INTERPRETERS = {".py": "python3", ".sh": "sh", ".bash": "bash", ".js": "node", ".mjs": "node", ".cjs": "node"}
SHEBANG = re.compile(rb"#! *(?:/usr/bin/env +(?:-S +)?)?(?:\S*/)?([\w.-]+)")
KNOWN = re.compile(r"(python|python3|python3\.\d+|sh|bash|dash|node|perl|ruby)")
"""Interpreters that a script may name in its first line."""
MOST_FILES = 100
"""Files of a script that are taken over."""
RESULTS = "results"
PYTHON = ("-B", "-s", "-X", f"pycache_prefix={os.devnull}")
"""Nothing compiled is written, or read: what lies in a __pycache__ is nobody's source."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What scripts are run with. `execute`: the model may run commands of its own too."""

    sandbox: Sandbox
    environments: Environments
    execute: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Workshop:
        return cls(Sandbox(settings.sandbox), Environments(data_folder() / "environments"), settings.execute)


def script_tools(
    skills: Mapping[str, Skill], active: Collection[str], workspace: Workspace, workshop: Workshop
) -> list[Tool]:
    """`run_skill_script` where a skill has something to run."""
    scripts = _Scripts(skills, active, workspace, workshop)
    return [Tool.of(scripts.run_skill_script, outside=True)] if any(map(has_scripts, skills.values())) else []


def command_tools(workspace: Workspace, workshop: Workshop) -> list[Tool]:
    """`execute`, where a model may run what it has written itself."""
    return [Tool.of(_Scripts({}, (), workspace, workshop).execute, outside=True)] if workshop.execute else []


def has_scripts(skill: Skill) -> bool:
    """Whether anything can be run: by its folder or its ending, beside SKILL.md."""
    if not skill.trusted:
        return False
    try:
        with os.scandir(skill.folder) as entries:
            return any(entry.name == "scripts" or Path(entry.name).suffix in INTERPRETERS for entry in entries)
    except OSError:
        return False


class _Scripts:
    def __init__(
        self, skills: Mapping[str, Skill], active: Collection[str], workspace: Workspace, workshop: Workshop
    ) -> None:
        self._skills = skills
        self._active = active
        self._workspace = workspace
        self._workshop = workshop

    async def run_skill_script(
        self,
        skill: str,
        script: str,
        args: Sequence[str] = (),
        stdin: str = "",
        files: Sequence[str] = (),
    ) -> str:
        """Run a script of an active skill in a folder of its own. Files that it makes come to the workspace.

        Args:
            script: path in the skill's folder
            files: workspace files to copy there
        """
        chosen = self._skill(skill)
        with tempfile.TemporaryDirectory(prefix="skill-", ignore_cleanup_errors=True) as parent:
            folder = Path(parent) / "work"
            folder.mkdir()
            private = Workspace(folder, self._workspace.quota)
            try:
                await asyncio.to_thread(self._copy, files, private)
                command, readable = await asyncio.to_thread(self._command, chosen, script)
                before = stamps(private)
                ran = await self._run([*command, *args], folder, [chosen.folder, *readable], stdin)
                made = await asyncio.to_thread(self._take, private, before)
            finally:
                await asyncio.to_thread(remove, folder)
        return self._told(ran, PurePosixPath(script).name, made)

    async def execute(self, command: str) -> str:
        """Run a shell command in the workspace."""
        self._workspace.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._told(await self._run(["/bin/sh", "-c", command], self._workspace.folder, [], ""), "command", ())

    def _skill(self, name: str) -> Skill:
        if name not in self._skills:
            raise ToolError(f"there is no skill {shown(name)}; there are: {few(self._skills) or 'none'}")
        if name not in self._active:
            raise ToolError(f"activate {name} first: its instructions say how its scripts are used")
        if not self._skills[name].trusted:
            raise ToolError(f"{name} is from an untrusted folder: its scripts are not run")
        return self._skills[name]

    def _copy(self, files: Iterable[str], private: Workspace) -> None:
        for path in files:
            private.write(path, self._workspace.read(path))

    def _command(self, skill: Skill, script: str) -> tuple[list[str], list[Path]]:
        """The interpreter with the script, and what it has to read."""
        try:
            skill.refuse_changed()
            data = skill.read(script)
            interpreter = _interpreter(script, data)
            path = str(skill.folder / script)
            if not interpreter.startswith("python"):
                return [_found(interpreter), path], []
            packages = needed(skill, script)
            python = self._workshop.environments.python(packages)
            return [str(python), *PYTHON, path], self._workshop.environments.readable(packages)
        except SkillError as error:
            raise ToolError(f"{script} cannot be run: {error}") from error

    async def _run(self, command: Sequence[str], folder: Path, readable: Sequence[Path], stdin: str) -> Ran:
        try:
            return await self._workshop.sandbox.run(command, folder=folder, readable=readable, stdin=stdin.encode())
        except SandboxError as error:
            raise ToolError(str(error)) from error

    def _take(self, private: Workspace, before: dict[str, Stamp]) -> tuple[str, ...]:
        """What a script has made or changed; what the workspace cannot hold is said."""
        made: list[str] = []
        for path, stamp in changed(stamps(private), before).items():
            if len(made) >= MOST_FILES:
                return (*made, f"(more than {MOST_FILES} files: the others are left out)")
            try:
                self._workspace.write(path, private.read(path))
                made.append(f"{path} ({stamp[0]:,} bytes)")
            except WorkspaceError as error:
                made.append(f"{path} (left out: {error})")
        return tuple(made)

    def _told(self, ran: Ran, name: str, made: Sequence[str]) -> str:
        """Raises `ToolError` with the same words where the script has failed."""
        lines = [f"exit code {ran.exit_code} after {ran.seconds:.1f} s" + (f": {ran.fault}" if ran.fault else "")]
        for stream, output in (("stdout", ran.stdout), ("stderr", ran.stderr)):
            if output.text.strip():
                lines.append(f"<{stream}>\n{output.text.rstrip()}\n</{stream}>")
            if output.spill:
                lines.append(
                    f"The whole {stream}: {self._spilled(f'{name}-{_digest(output.spill)}.{stream}', output.spill)}"
                )
        lines += [f"made: {', '.join(made)}"] if made else []
        words = "\n".join(lines)
        if ran.exit_code or ran.fault:
            raise ToolError(words)
        return words

    def _spilled(self, name: str, data: bytes) -> str:
        try:
            self._workspace.write(f"{RESULTS}/{name}", data)
        except WorkspaceError as error:
            return f"it could not be kept ({error})"
        return f"{RESULTS}/{name}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def _interpreter(script: str, data: bytes) -> str:
    found = SHEBANG.match(data)
    name = found[1].decode() if found else INTERPRETERS.get(PurePosixPath(script).suffix, "")
    if not KNOWN.fullmatch(name):
        raise SkillError(f"it names no interpreter that is known ({name or 'none'})")
    return name


def _found(interpreter: str) -> str:
    path = shutil.which(interpreter)
    if path is None:
        raise SkillError(f"{interpreter} is not installed")
    return os.path.realpath(path)
