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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from skill_store.files import MAX_BYTES, SKILL_FILE, SkillError, few, plain, read_inside, shown
from skill_store.lock import Lock, digest, lock_beside, write_lock
from skill_store.locks import Locks
from skill_store.match import match
from skill_store.reader import Problem, read_document
from skill_store.rules import create, folder_name, head_problems, validate
from skill_store.skill import Skill
from skill_store.texts import activation_text, as_row, catalog_text, entry, instructions, one_line
from skill_store.trust import Parent, Untrusted, is_below, is_trusted, roots_of

__all__ = [
    "MAX_BYTES",
    "Catalog",
    "Problem",
    "Skill",
    "SkillError",
    "SkillStore",
    "Untrusted",
    "activation_text",
    "as_row",
    "catalog_text",
    "create",
    "entry",
    "instructions",
    "match",
    "scan_once",
    "validate",
]

MAX_DEPTH, MAX_FOLDERS = 4, 2000
"""How far below a parent, and over how many folders, skills are looked for."""
_TOOL = re.compile(r"(?:[^\s,()]|\([^()]*\))+")
# File systems stamp times coarsely: an edit so soon after another can carry the same stamp.
_SETTLED_NS = 2_000_000_000

Signature: TypeAlias = tuple[int, ...]
Report: TypeAlias = Callable[[Problem], None]


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
    digest: str = ""


_once: ContextVar[dict[SkillStore, Catalog] | None] = ContextVar("scanned", default=None)


def scan_once() -> None:
    """From now on, in this task and what it begins, a store is searched when it is first asked and not again."""
    _once.set({})


class SkillStore:
    """The skills in some parent folders; of two with one name, the first parent's wins, and a trusted one in any case.

    `lock` is a lock file for all of them; without it each parent may have one beside it (`skill_store/lock.py`).
    `scan` is meant for every request: a file whose times, size and inode stay the same is not opened
    again, and a catalog that stays the same is the same object.
    """

    def __init__(self, *parents: Parent, lock: Path | None = None) -> None:
        self.parents = parents
        self._locks = Locks(lock)
        self._wary = any(isinstance(parent, Untrusted) for parent in parents)
        self._roots: list[tuple[str, bool]] = []
        self._cache: dict[str, _Loaded] = {}
        self._last = Catalog(MappingProxyType({}), ())

    def scan(self, thorough: bool = False) -> Catalog:
        """The skills as they are on disk now. Never raises for what the folders hold.

        Of a locked skill the SKILL.md is compared here, and any other file before it is used; `thorough` compares all
        of all, which takes as long as they are large.
        """
        seen = _once.get()
        if seen is not None and self in seen and not thorough:
            return seen[self]
        catalog = self._scanned(thorough)
        if thorough:
            return catalog
        if catalog != self._last:
            self._last = catalog
        if seen is not None:
            seen[self] = self._last
        return self._last

    def _scanned(self, thorough: bool) -> Catalog:
        problems: list[Problem] = []
        cache: dict[str, _Loaded] = {}
        found: list[_Loaded] = []
        self._roots = roots_of(self.parents) if self._wary else []
        for parent in self.parents:
            lock = self._locks.of(parent)
            inside: dict[str, _Loaded] = {}
            for folder, info in _discover(parent, problems.append):
                if folder not in cache:
                    cache[folder] = self._cached(folder, info)
                    inside[folder] = self._admitted(cache[folder], parent, lock, thorough)
            found += sorted(inside.values(), key=_has_other_name)
        self._cache = cache
        return _catalog(sorted(found, key=_is_strange), problems)

    def choice(
        self, names: Collection[str] | None, activate: str = "", among: Collection[str] | None = None
    ) -> dict[str, Skill]:
        """The skills as they are on disk now, by name; of those that globs of `among` match, those of `names`. Raises
        `SkillError` where one that is named is not there.
        """
        found: Mapping[str, Skill] = self.scan().skills
        if among is not None:
            found = {name: skill for name, skill in found.items() if any(fnmatchcase(name, glob) for glob in among)}
        for name in (*(names or ()), *([activate] if activate else ())):
            if name not in found:
                raise SkillError(f"there is no skill {shown(name)}; there are: {few(found) or 'none'}")
        return {name: skill for name, skill in found.items() if names is None or name in names or name == activate}

    def _cached(self, folder: str, info: os.stat_result) -> _Loaded:
        signature = (info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino, info.st_mode)
        known = self._cache.get(folder)
        settled = abs(time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns)) > _SETTLED_NS
        return known if known and known.signature == signature and settled else _load(folder, signature)

    def write_locks(self) -> dict[Path, int]:
        """Locks all skills as they are now, also those that are not as in their lock; how many are in which file.

        Raises SkillError.
        """
        found: dict[Path, set[str]] = {}
        for parent in self.parents:
            folders = (os.path.realpath(folder) for folder, _ in _discover(parent, lambda _: None))
            found.setdefault(self._locks.path or lock_beside(parent), set()).update(folders)
        return {path: write_lock(path, folders) for path, folders in found.items()}

    def _admitted(self, loaded: _Loaded, parent: Parent, lock: Lock | None, thorough: bool) -> _Loaded:
        """As far as its folder is trusted, and its lock lets it pass."""
        skill = loaded.skill
        if skill is None:
            return loaded
        if self._wary and not is_trusted(str(skill.folder), parent, self._roots):
            skill = replace(skill, trusted=False)
        if lock is None:
            return loaded if skill is loaded.skill else replace(loaded, skill=skill)
        try:
            return replace(loaded, skill=self._locks.admitted(skill, lock, loaded.digest, thorough))
        except SkillError as error:
            refusal = Problem(skill.file, 0, f"not loaded: {error}", "error")
            return replace(loaded, skill=None, problems=(*loaded.problems, refusal))


def _has_other_name(loaded: _Loaded) -> bool:
    """Than its folder: such a one takes no name from a skill beside it whose own it is."""
    return loaded.skill is not None and loaded.skill.name != loaded.skill.folder.name


def _is_strange(loaded: _Loaded) -> bool:
    return loaded.skill is not None and not loaded.skill.trusted


def _discover(parent: Parent, report: Report) -> Iterator[tuple[str, os.stat_result]]:
    """Folders of skills with the state of their SKILL.md, nearest first, then by name. Strangers' links do not lead out
    of their folder.
    """
    queue = deque([(os.fspath(parent), 0)])
    fence = os.path.realpath(parent) if isinstance(parent, Untrusted) else ""
    entered: set[str] = set()
    for _ in range(MAX_FOLDERS):
        if not queue:
            return
        folder, depth = queue.popleft()
        if fence and os.path.islink(folder) and depth and not is_below(os.path.realpath(folder), fence):
            report(Problem(Path(folder), 0, "is a link that leaves an untrusted folder; it is not followed", "warning"))
        elif info := _skill_file(folder):
            yield folder, info
        elif depth < MAX_DEPTH and (real := os.path.realpath(folder)) not in entered:
            entered.add(real)
            queue.extend((below, depth + 1) for below in _subfolders(folder, report))
    if queue:
        message = f"has more than {MAX_FOLDERS} folders; the rest is not searched"
        report(Problem(Path(parent), 0, message, "warning"))


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
            found = [each for each in entries if plain(each.name)]
    except OSError as error:
        report(Problem(Path(folder), 0, f"cannot be searched for skills: {error.strerror}", "warning"))
        return []
    for each in found:
        if each.name.lower() == SKILL_FILE.lower():
            report(_misnamed(Path(each.path)))
    return sorted(each.path for each in found if _is_folder(each))


def _is_folder(found: os.DirEntry[str]) -> bool:
    return found.is_dir(follow_symlinks=False) or (found.is_symlink() and os.path.isdir(found.path))


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
        data = read_inside(Path(os.path.realpath(folder)), SKILL_FILE)
        document = read_document(file, data)
    except FileNotFoundError:
        return _Loaded(signature, None, (Problem(file, 0, "is a broken link", "error"),))
    except (OSError, SkillError) as error:
        message = str(getattr(error, "strerror", "") or error)
        return _Loaded(signature, None, (Problem(file, 0, message, "error"),))
    if not document.values:
        return _Loaded(signature, None, document.problems)
    problems = (*document.problems, *_lenient(head_problems(file, document, folder_name(folder))))
    broken = any(problem.level == "error" for problem in problems)
    return _Loaded(signature, None if broken else _skill(folder, document.values, problems), problems, digest(data))


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
        name=one_line(_text(values.get("name", ""))) or folder_name(folder),
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
