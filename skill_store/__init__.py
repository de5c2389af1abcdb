"""Skills on disk: find them, load them, and say them to a model.

A skill is a folder with a SKILL.md: YAML frontmatter that tells what the skill is for, then instructions
in Markdown. What other people wrote is loaded leniently, and what is odd about it is kept as problems;
`validate` is strict, for authors. Discovery follows https://agentskills.io/client-implementation.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from skill_store.files import MAX_BYTES, SKILL_FILE, SkillError, plain, read_inside, safe_path, shown, walk
from skill_store.match import match
from skill_store.reader import Problem, body_of, read_document
from skill_store.rules import MAX_DESCRIPTION, MAX_NAME, create, folder_name, head_problems, validate

__all__ = [
    "MAX_BYTES",
    "Catalog",
    "Problem",
    "Skill",
    "SkillError",
    "SkillStore",
    "activation_text",
    "catalog_text",
    "create",
    "entry",
    "match",
    "validate",
]

MAX_DEPTH, MAX_FOLDERS = 4, 2000
"""How far below a parent, and over how many folders, skills are looked for."""
MAX_LISTED = 50
"""Files that an activated skill names to the model."""

_TOOL = re.compile(r"(?:[^\s,()]|\([^()]*\))+")
# Invisible text that can carry instructions: tags, and marks that turn the reading direction.
_UNSEEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\U000e0000-\U000e007f]")
_OUR_TAGS = re.compile(r"<(?=\s*/?\s*skill_(?:content|resources)\b)", re.IGNORECASE)
# File systems stamp times coarsely: an edit so soon after another can carry the same stamp.
_SETTLED_NS = 2_000_000_000

_INTRODUCTION = """\
The following skills provide specialized instructions for specific tasks.
When a task matches a skill's description, call activate_skill with the skill's name before you answer.
When its instructions refer to a file, read it with read_skill_file."""

Signature: TypeAlias = tuple[int, ...]
Report: TypeAlias = Callable[[Problem], None]


@dataclass(frozen=True, slots=True)
class Skill:
    """One loaded skill.

    `folder` is the real folder and `file` its SKILL.md. A `hidden` skill is for the user to call, not for
    the model. `allowed_tools` are what the author asks for, such as "Bash(git log:*)"; they grant nothing.
    """

    name: str
    description: str
    folder: Path
    file: Path
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    allowed_tools: tuple[str, ...] = ()
    hidden: bool = False
    problems: tuple[Problem, ...] = ()

    def body(self) -> str:
        """The instructions as they are on disk now; raises SkillError when they are gone."""
        return body_of(self.read(SKILL_FILE))

    def files(self) -> tuple[str, ...]:
        """Relative POSIX paths of the regular files, sorted, without SKILL.md."""
        return tuple(sorted(path for path, fault in walk(self.folder) if path != SKILL_FILE and not fault))

    def read(self, path: str) -> bytes:
        """One of the skill's own files, at most MAX_BYTES.

        `path` is relative to the folder, with slashes. A link counts as long as it ends inside the folder.
        Raises SkillError, which says what is wrong with the path or which files there are.
        """
        try:
            return read_inside(self.folder, safe_path(path))
        except FileNotFoundError:
            raise SkillError(f"there is no file {shown(path)}; {self._nearest(path)}") from None

    def _nearest(self, path: str) -> str:
        import difflib

        files = self.files()
        if not files:
            return "the skill has no files besides SKILL.md"
        if near := difflib.get_close_matches(path[:200], files, cutoff=0.5):
            return f"did you mean {' or '.join(near)}?"
        more = f" and {len(files) - 20} more" if len(files) > 20 else ""
        return f"the files are {', '.join(files[:20])}{more}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a scan finds: skills by name, sorted, and the problems of all, also of those not loaded."""

    skills: Mapping[str, Skill]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What became of one SKILL.md, and the state of the file then."""

    signature: Signature
    skill: Skill | None
    problems: tuple[Problem, ...]


class SkillStore:
    """The skills in some parent folders; of two with one name, the first parent's wins.

    `scan` is meant for every request: a file whose times, size and inode stay the same is not opened
    again, and a catalog that stays the same is the same object.
    """

    def __init__(self, *parents: Path | str) -> None:
        self.parents = tuple(map(Path, parents))
        self._cache: dict[str, _Loaded] = {}
        self._last = Catalog(MappingProxyType({}), ())

    def scan(self) -> Catalog:
        """The skills as they are on disk now. Never raises for what the folders hold."""
        problems: list[Problem] = []
        cache: dict[str, _Loaded] = {}
        for parent in self.parents:
            for folder, info in _discover(parent, problems.append):
                cache[folder] = self._cached(folder, info)
        self._cache = cache
        catalog = _catalog(cache.values(), problems)
        if catalog != self._last:
            self._last = catalog
        return self._last

    def _cached(self, folder: str, info: os.stat_result) -> _Loaded:
        signature = (info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino, info.st_mode)
        known = self._cache.get(folder)
        settled = abs(time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns)) > _SETTLED_NS
        return known if known and known.signature == signature and settled else _load(folder, signature)


def _discover(parent: Path, report: Report) -> Iterator[tuple[str, os.stat_result]]:
    """Folders of skills with the state of their SKILL.md, nearest first, then by name."""
    queue = deque([(str(parent), 0)])
    entered: set[str] = set()
    for _ in range(MAX_FOLDERS):
        if not queue:
            return
        folder, depth = queue.popleft()
        if info := _skill_file(folder):
            yield folder, info
        elif depth < MAX_DEPTH and (real := os.path.realpath(folder)) not in entered:
            entered.add(real)
            queue.extend((below, depth + 1) for below in _subfolders(folder, report))
    if queue:
        message = f"has more than {MAX_FOLDERS} folders; the rest is not searched"
        report(Problem(parent, 0, message, "warning"))


def _skill_file(folder: str) -> os.stat_result | None:
    """The state of what is named SKILL.md, or of the link itself when it leads nowhere."""
    path = os.path.join(folder, SKILL_FILE)
    for state in (os.stat, os.lstat):
        with suppress(OSError, ValueError):
            return state(path)
    return None


def _subfolders(folder: str, report: Report) -> list[str]:
    """Paths of the folders in a folder, links to folders included; hidden ones are left out."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if plain(entry.name)]
    except OSError as error:
        report(Problem(Path(folder), 0, f"cannot be searched for skills: {error.strerror}", "warning"))
        return []
    for entry in found:
        if entry.name.lower() == SKILL_FILE.lower():
            report(_misnamed(Path(entry.path)))
    return sorted(entry.path for entry in found if _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _misnamed(file: Path) -> Problem:
    return Problem(file, 0, f"is not loaded: the name has to be exactly {SKILL_FILE}", "warning")


def _catalog(loaded: Iterable[_Loaded], problems: list[Problem]) -> Catalog:
    skills: dict[str, Skill] = {}
    for each in loaded:
        problems.extend(each.problems)
        if each.skill is None:
            continue
        first = skills.setdefault(each.skill.name, each.skill)
        if first.folder != each.skill.folder:
            message = f"{first.file} has the name {first.name!r} already, so this one is left out"
            problems.append(Problem(each.skill.file, 0, message, "warning"))
    return Catalog(MappingProxyType(dict(sorted(skills.items()))), tuple(problems))


def _load(folder: str, signature: Signature) -> _Loaded:
    """Read one SKILL.md leniently: what breaks a rule but can be used is a warning."""
    file = Path(folder, SKILL_FILE)
    try:
        # A file system that ignores case finds skill.md too.
        if SKILL_FILE not in os.listdir(folder):
            return _Loaded(signature, None, (_misnamed(file),))
        document = read_document(file, read_inside(Path(os.path.realpath(folder)), SKILL_FILE))
    except FileNotFoundError:
        return _Loaded(signature, None, (Problem(file, 0, "is a broken link", "error"),))
    except (OSError, SkillError) as error:
        message = str(getattr(error, "strerror", "") or error)
        return _Loaded(signature, None, (Problem(file, 0, message, "error"),))
    if not document.values:
        return _Loaded(signature, None, document.problems)
    problems = (*document.problems, *_lenient(head_problems(file, document, folder_name(folder))))
    broken = any(problem.level == "error" for problem in problems)
    return _Loaded(signature, None if broken else _skill(folder, document.values, problems), problems)


def _lenient(faults: Iterable[Problem]) -> Iterator[Problem]:
    """Warnings, but for a missing description: without one nobody knows when to use the skill."""
    for fault in faults:
        if fault.message.startswith("description is missing"):
            yield replace(fault, message=f"not loaded: {fault.message}")
        else:
            yield replace(fault, level="warning")


def _skill(folder: str, values: Mapping[str, Any], problems: tuple[Problem, ...]) -> Skill:
    real = Path(os.path.realpath(folder))
    metadata = values.get("metadata")
    return Skill(
        name=_line(_text(values.get("name", ""))) or folder_name(folder),
        description=_text(values.get("description", "")),
        folder=real,
        file=real / SKILL_FILE,
        license=_text(values.get("license", "")),
        compatibility=_text(values.get("compatibility", "")),
        metadata=MappingProxyType(dict(_flat(metadata)) if isinstance(metadata, Mapping) else {}),
        allowed_tools=tuple(_TOOL.findall(_text(values.get("allowed-tools", "")))),
        hidden=_text(values.get("disable-model-invocation", "")).lower() in {"true", "yes", "on", "1"},
        problems=problems,
    )


def _text(value: Any) -> str:
    """A value of the frontmatter as one string."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value).strip()


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested metadata under dotted keys."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(item)


def catalog_text(skills: Iterable[Skill]) -> str:
    """The part of the system prompt that names the skills; "" when there are none to name.

    The same skills give the same bytes, one line each, so that prompt caches stay warm.
    """
    shown_skills = sorted((skill for skill in skills if not skill.hidden), key=lambda skill: skill.name)
    if not shown_skills:
        return ""
    return "\n".join([_INTRODUCTION, "<available_skills>", *map(entry, shown_skills), "</available_skills>"])


def entry(skill: Skill) -> str:
    """One skill's line in a catalog."""
    name, description = _cut(_line(skill.name), MAX_NAME), _cut(_line(skill.description), MAX_DESCRIPTION)
    return f"- {escape(name, quote=False)}: {escape(description, quote=False)}"


def _line(text: str) -> str:
    return " ".join(_UNSEEN.sub("", text).split())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def activation_text(skill: Skill) -> str:
    """The instructions of a skill for the model, with the list of its files; reads the disk.

    Raises SkillError when the skill is gone. The body cannot end the <skill_content> that wraps it.
    """
    opening = f'<skill_content name="{escape(_line(skill.name))}">'
    body = _OUR_TAGS.sub("&lt;", skill.body())
    # A skill's evals say what a good answer is: they are for its author.
    files = tuple(path for path in skill.files() if not path.startswith("evals/"))
    return "\n".join([opening, body, *_resources(files), "</skill_content>"])


def _resources(files: tuple[str, ...]) -> list[str]:
    if not files:
        return []
    lines = ["", "Relative paths are relative to the skill's folder; read these files with read_skill_file."]
    lines.append("<skill_resources>")
    lines.extend(f"<file>{escape(path, quote=False)}</file>" for path in files[:MAX_LISTED])
    if len(files) > MAX_LISTED:
        lines.append(f"({len(files) - MAX_LISTED} more files are not listed)")
    return [*lines, "</skill_resources>"]
