"""Known vulnerabilities of the locked packages, by pip-audit where its index answers.

python -m supply.audit [pip-audit's options]

Fails on findings only: an index that cannot be reached, or tells no advisories, is said in a line.
pip-audit: https://github.com/pypa/pip-audit
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / ".venv-audit"
RELEASE = "https://pypi.org/pypi/pip/25.0/json"
"""An answer as pip-audit asks for; the release has an advisory: https://docs.pypi.org/api/json"""
PATIENCE = 5.0
"""Seconds for the first answer of the index."""
LONGEST = 120.0
"""Seconds for all of them, and for the installation of pip-audit."""
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json")


class Skipped(Exception):
    """Why nothing is known."""


def ask(url: str = RELEASE, seconds: float = PATIENCE) -> None:
    """Before anything is installed. Raises `Skipped` where the index tells no advisories."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 - https, ours
            if "vulnerabilities" not in json.load(answer):
                raise Skipped("the index tells no advisories")
    except (OSError, ValueError) as error:
        raise Skipped(f"the index tells no advisories ({error})") from error


def install(folder: Path = TOOL) -> Path:
    """The command; in an environment of its own, as it has thirty packages behind it."""
    command = folder / "bin" / "pip-audit"
    if not command.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1"]
        run([*pip, "--disable-pip-version-check", "--only-binary", ":all:", "pip-audit>=2.10,<3"], check=True)
    return command


def run(command: Sequence[str | Path], check: bool = False) -> subprocess.CompletedProcess[str]:
    """Raises `Skipped` where it takes too long, or fails and must not."""
    try:
        return subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, timeout=LONGEST, check=check, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"no answer within {LONGEST:g} s") from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise Skipped(f"pip-audit cannot be installed: {error}") from error


def verdict(told: str, said: str = "") -> tuple[list[str], int]:
    """The findings, a line each, and how many packages were looked at. `said` is its standard error."""
    try:
        packages = json.loads(told)["dependencies"]
    except ValueError as error:
        raise Skipped(next(reversed(said.strip().splitlines()), "pip-audit says nothing")) from error
    unknown = [package for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for package in packages
        for known in package.get("vulns", ())
    ]
    if unknown and not found:
        raise Skipped(f"{len(unknown)} of {len(packages)} packages: {unknown[0]['skip_reason']}")
    return found, len(packages)


def main(options: Sequence[str]) -> int:
    try:
        if "--osv-url" not in options:
            ask()
        done = run([install(), "--requirement", ROOT / "requirements.lock", *OPTIONS, *options])
        found, count = verdict(done.stdout, done.stderr)
    except Skipped as why:
        found, count, told = [], 0, f"skipped: {why}"
    else:
        told = "\n".join(found) or f"no known vulnerability in {count} packages"
    print(f"audit: {told}", file=sys.stderr)  # noqa: T201
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
