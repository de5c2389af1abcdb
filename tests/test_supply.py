"""What the service is made of: the lock file, what its packages bring, and the audit of them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from supply.audit import Skipped, ask, verdict
from tests.upstream import Reply, Upstream, json_reply, text_reply

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def asked() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def locked() -> Iterator[tuple[Requirement, str]]:
    """Each package with what is said of it."""
    for block in re.split(r"\n(?=[a-z0-9])", LOCK.split(":all:\n", 1)[1].strip()):
        yield Requirement(block.partition(" \\\n")[0]), block


def versions() -> dict[str, Version]:
    return {package.name: Version(next(iter(package.specifier)).version) for package, _ in locked()}


def installed() -> Iterator[Distribution]:
    """Those of the locked packages that are here: some are for other systems or Pythons only."""
    for name in versions():
        try:
            yield distribution(name)
        except PackageNotFoundError:
            continue


def test_the_lock_has_what_requirements_ask_for_within_their_bounds() -> None:
    found = versions()
    for requirement in asked():
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), requirement


def test_the_lock_has_all_that_its_packages_need() -> None:
    names = versions().keys()
    for package in installed():
        needs = (Requirement(line) for line in package.requires or ())
        needed = {canonicalize_name(n.name) for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})}
        assert needed <= names, package.name


def test_documents_have_the_number_of_packages() -> None:
    """One that is locked for some Pythons and for the others counts once."""
    counts = {"README.md": f"{len(versions())} packages in all", "docs/comparison.md": f"| {len(versions())} | 139 |"}
    counts["docs/supply-chain.md"] = f"names {len(asked())} packages"
    for name, words in counts.items():
        assert words in (ROOT / name).read_text("utf-8"), (name, words)


def test_every_locked_package_is_one_release_known_by_its_hashes() -> None:
    for package, block in locked():
        assert [each.operator for each in package.specifier] == ["=="], package
        assert not package.url and len(HASH.findall(block)) >= 1, package
    assert not re.search(r"^-(?!-only-binary :all:$)|https?:", LOCK, re.MULTILINE), "other options, or addresses"


def test_no_package_runs_code_while_it_is_installed() -> None:
    """A wheel is unpacked; only building one from a source archive runs something. pip obeys the line in the file."""
    assert re.search(r"^--only-binary :all:$", LOCK, re.MULTILINE)


def test_no_package_runs_code_when_python_starts() -> None:
    """Python runs the lines of .pth files that begin with an import: https://docs.python.org/3/library/site.html"""
    seen = 0
    for package in installed():
        for file in package.files or ():
            seen += 1
            if file.suffix == ".pth":
                lines = Path(str(package.locate_file(file))).read_text("utf-8").splitlines()
                assert not [line for line in lines if line.startswith(("import ", "import\t"))], file
    assert seen > 1000


# The audit


def told(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


WELL = {"name": "h11", "version": "0.16.0", "vulns": []}
ILL = {"id": "PYSEC-1", "fix_versions": ["0.17"], "aliases": [], "description": "bad"}
UNKNOWN = {"name": "idna", "skip_reason": "Dependency not found on PyPI"}


def test_a_known_vulnerability_is_a_finding_even_where_other_packages_are_unknown() -> None:
    found, count = verdict(told(WELL, {**WELL, "vulns": [ILL]}, UNKNOWN))
    assert (found, count) == (["h11 0.16.0: PYSEC-1, mended in 0.17"], 3)
    assert verdict(told(WELL)) == ([], 1)


def test_what_was_not_looked_at_is_not_called_well() -> None:
    with pytest.raises(Skipped, match="1 of 2 packages: Dependency not found"):
        verdict(told(WELL, UNKNOWN))
    with pytest.raises(Skipped, match="ConnectionError: no route"):
        verdict("", "Traceback\nConnectionError: no route\n")


@pytest.mark.parametrize(
    "reply", [text_reply("", 404), json_reply({"info": {}}), text_reply("<p>hello", 200), Reply(stall=True)]
)
def test_an_index_that_tells_no_advisories_is_known_before_anything_is_installed(reply: Reply) -> None:
    with Upstream() as up, pytest.raises(Skipped, match="the index tells no advisories"):
        up.always(reply)
        ask(f"{up.url}/pypi/pip/25.0/json", seconds=0.5)


def test_an_index_that_cannot_be_reached_is_skipped_and_one_that_answers_is_not() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Skipped):
            ask(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    with Upstream() as up:
        up.always(json_reply({"info": {}, "vulnerabilities": []}))
        ask(up.url)
