"""A lock file holds the SHA-256 of every file of every skill, so that none is used that has changed since.

    {"version": 1, "skills": {"skills/pdf": {"SKILL.md": "9f86d0…", "scripts/fill.py": "60303a…"}}}

Folders are relative to the lock file's. It stands beside a parent folder of skills, as `skills.lock`, or where the
store is told. Where there is one, all skills of that parent have to be in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from skill_store.files import SkillError, shown
from skill_store.trust import Parent

LOCK_FILE = "skills.lock"
MAX_ENTRIES, MAX_TOTAL = 10_000, 256 << 20
"""Files and bytes of one skill that can be locked."""
MAX_LOCK = 32 << 20
VERSION = 1
# What tools write by themselves, and Python is told not to read.
_LEFT_OUT = frozenset({".git", "__pycache__"})
_PIECE = 1 << 20

Digests: TypeAlias = Mapping[str, str]
"""Hexadecimal SHA-256 by POSIX path below the skill's folder; for a link "link:" and where it leads."""


def lock_beside(parent: Parent) -> Path:
    return Path(os.path.dirname(os.path.realpath(parent)), LOCK_FILE)


class Lock:
    """A lock file as it is now. One that cannot be read locks all skills out: `fault` says why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""
        self._beside = os.path.dirname(os.path.realpath(path))
        self._skills: Mapping[str, Digests] = {}
        self._by_folder: dict[str, Digests] = {}
        try:
            self._skills = _read(path)
        except (OSError, ValueError, RecursionError) as error:
            self.fault = f"the lock file {path} cannot be used ({str(error) or type(error).__name__})"

    def digests(self, folder: str) -> Digests:
        """Of a skill's real folder. Raises SkillError where the lock knows nothing of it."""
        if self.fault:
            raise SkillError(self.fault)
        found = self._by_folder.get(folder)
        if found is None:
            found = self._skills.get(_key(self._beside, folder))
            if found is None:
                raise SkillError(f"is not in {self.path}; look at it, then: python cli.py skills lock")
            self._by_folder[folder] = found
        return found


def _read(path: Path) -> Mapping[str, Digests]:
    if path.stat().st_size > MAX_LOCK:
        raise ValueError("it is too large")
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"its version is not {VERSION}")
    skills = found.get("skills")
    if not isinstance(skills, dict) or not all(map(_is_digests, skills.values())):
        raise ValueError("expected digests by file by skill")
    return skills


def _is_digests(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def write_lock(path: Path, folders: Iterable[str]) -> int:
    """Locks the skills in these real folders, and no others, as they are now; the result is how many they are.

    Raises SkillError where a skill cannot be locked or the file not be written.
    """
    beside = os.path.dirname(os.path.realpath(path))
    skills = {_key(beside, folder): _sorted_digests(folder) for folder in folders}
    text = json.dumps({"version": VERSION, "skills": dict(sorted(skills.items()))}, indent=1, ensure_ascii=False)
    try:
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text(f"{text}\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise SkillError(f"{path} cannot be written: {error.strerror}") from error
    return len(skills)


def _sorted_digests(folder: str) -> Digests:
    try:
        return dict(sorted(digests_of(Path(folder)).items()))
    except SkillError as error:
        raise SkillError(f"{folder}: {error}") from None


def _key(beside: str, folder: str) -> str:
    """Both are real folders."""
    return Path(os.path.relpath(folder, beside)).as_posix()


def digests_of(folder: Path) -> Digests:
    """Of the files in a real folder, hidden ones and dependencies too. Raises SkillError where it cannot be told."""
    found: dict[str, str] = {}
    total = 0
    try:
        for path, info in _entries(folder):
            total += info.st_size
            if total > MAX_TOTAL:
                raise SkillError(f"has more than {MAX_TOTAL >> 20} MiB, which is the most that is locked")
            found[path] = _digest_at(folder, path, info)
    except OSError as error:
        raise SkillError(f"cannot be compared with its lock: {error.strerror}") from error
    return found


def _entries(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything but folders, by path, links not followed."""
    waiting, count = [prefix], 0
    while waiting:
        prefix = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                count += 1
                if count > MAX_ENTRIES:
                    raise SkillError(f"has more than {MAX_ENTRIES} files, which is the most that is locked")
                info = entry.stat(follow_symlinks=False)
                if not stat.S_ISDIR(info.st_mode):
                    yield f"{prefix}{entry.name}", info
                elif entry.name not in _LEFT_OUT:
                    waiting.append(f"{prefix}{entry.name}/")


def _digest_at(folder: Path, path: str, info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return f"link:{os.readlink(folder / path)}"
    if not stat.S_ISREG(info.st_mode):
        raise SkillError(f"{shown(path)} is not a regular file, so the skill cannot be locked")
    digest = hashlib.sha256()
    with open(folder / path, "rb", opener=_plainly) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _plainly(path: str, _: int) -> int:
    """Should a link or a FIFO be put there meanwhile, it is neither followed nor waited for."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differing(held: Digests, found: Digests) -> str:
    """What is not as in the lock, in a few words; "" where all is."""
    changed = [f"{shown(path)} has changed" for path in sorted(held.keys() & found.keys()) if held[path] != found[path]]
    changed += [f"{shown(path)} is gone" for path in sorted(held.keys() - found.keys())]
    changed += [f"{shown(path)} is new" for path in sorted(found.keys() - held.keys())]
    return _few(changed)


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more
