"""Clients that only `make clients` installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
NODE_MODULES = Path(os.environ.get("SKILL_AGENT_NODE_MODULES") or Path(sys.prefix, "node", "node_modules"))
"""Beside Python's packages, so that the other environment, which has few of either, skips both."""


def package(name: str, **environment: str) -> Any:
    """The module `name`; the tests that ask are skipped where it is not there.

    What it warns of when it is imported is not about us. `environment` is what it reads then.
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        for variable, value in environment.items():
            patch.setenv(variable, value)
        return pytest.importorskip(name, reason=f"needs {name.partition('.')[0]}: `make clients` installs it")


def needs_node(*names: str) -> pytest.MarkDecorator:
    there = shutil.which("node") and all((NODE_MODULES / name).is_dir() for name in names)
    reason = f"needs node and {', '.join(names)}: `make clients` installs them"
    return pytest.mark.skipif(not there, reason=reason)


def node(script: str, *arguments: str) -> Any:
    """What a script beside this file prints, which is JSON."""
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    command = ["node", str(HERE / script), str(NODE_MODULES), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
