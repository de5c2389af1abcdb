"""What the server and the command line take where nothing is said: the port, and where data of this user lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from settings import SettingsError


def default_port(env: Mapping[str, str]) -> int:
    for name in ("DATABRICKS_APP_PORT", "PORT"):
        if value := env.get(name, "").strip():
            if not (value.isdecimal() and 0 < int(value) < 65536):
                raise SettingsError(name, "expected a port number", value)
            return int(value)
    return 8000


def data_folder(env: Mapping[str, str] | None = None) -> Path:
    """Of this user: https://specifications.freedesktop.org/basedir-spec"""
    env = os.environ if env is None else env
    return Path(env.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")) / "skill-agent"


def default_store(env: Mapping[str, str] | None = None) -> str:
    """A file in the user's data folder, "" where none can be."""
    folder = data_folder(env)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return ""
    return f"sqlite:///{folder}/store.db" if os.access(folder, os.W_OK) else ""
