"""Folders that a script could write to are removed, whatever it has left in them."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # known to mypy; `typing` would have to be imported for every script
if TYPE_CHECKING:
    from collections.abc import Iterator


def remove(folder: str | os.PathLike[str]) -> None:
    """Also where it is too deep for any path, or closed to its owner. What cannot be removed stays, without an error.

    Nothing may run in it any more.
    """
    top = os.fspath(folder)
    flat = os.path.join(top, os.urandom(16).hex())
    try:
        os.chmod(top, 0o700)
        os.mkdir(flat)
    except OSError:
        return
    folders = [top]
    for here in folders:
        folders += _emptied(here, flat)
    for here in (*folders[1:], flat, top):
        try:
            os.rmdir(here)
        except OSError:
            continue


def _emptied(folder: str, flat: str) -> Iterator[str]:
    """The folders in a folder, after a move into `flat`; all else in it is gone then."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.path != flat]
    except OSError:
        return
    for entry in found:
        place = os.path.join(flat, str(entry.inode()))
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry)
                continue
            os.chmod(entry, 0o700)
            os.rename(entry, place)
        except OSError:
            continue
        yield place
