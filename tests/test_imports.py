"""The shape of the code: imports go one way, files and functions stay small."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APART = ("tests", "benchmarks", "docs", "build")
WEB = {"starlette", "uvicorn", "service", "schemas", "response_schemas", "server", "cli", "terminal", "checks"}


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(file): file
    for file in sorted(ROOT.rglob("*.py"))
    if not file.relative_to(ROOT).parts[0].startswith((".", *APART)) and "skills" not in file.relative_to(ROOT).parts
}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from at_run_time(child)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text("utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports at run time, also inside functions; our modules by their whole name."""
    found: set[str] = set()
    for node in at_run_time(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & FILES.keys()) or {node.module}
    return frozenset(found)


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in FILES}


@cache
def reached(module: str) -> frozenset[str]:
    """Everything that a module leads to, itself included; other people's packages by their first name."""
    seen, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports(name) if name in FILES else ()
    return frozenset(name if name in FILES else name.partition(".")[0] for name in seen)


def test_all_modules_are_looked_at() -> None:
    assert {"agent_loop", "providers", "providers.http", "service.chat", "settings"} <= FILES.keys()
    assert "providers.http" in reached("agent_loop") and "httpx" in reached("agent_loop")


@pytest.mark.parametrize("module", ["messages", "nesting", "patience", "redaction", "setting_forms", "key_forms"])
def test_the_lowest_modules_import_nothing_of_ours(module: str) -> None:
    assert not ours(module)


@pytest.mark.parametrize(
    "module", ["agent_loop", "skill_store", "tools", "agent.kit", "agent.run", "agent.opening", "providers"]
)
def test_the_agent_knows_nothing_of_the_web_service(module: str) -> None:
    assert not {name for name in reached(module) if name.partition(".")[0] in WEB}


def test_nobody_imports_the_loop_but_who_serves_it() -> None:
    users = {name for name in FILES if "agent_loop" in ours(name)}
    assert all(name.partition(".")[0] in ("cli", "server", "service", "terminal", "checks") for name in users)


def test_nobody_imports_the_entry_points() -> None:
    assert {name for name in FILES if {"server", "cli"} & ours(name)} <= {"cli"}


def test_the_service_is_imported_by_the_server_only() -> None:
    for name in FILES:
        if {"schemas", "response_schemas"} & ours(name) or any(found.startswith("service") for found in ours(name)):
            assert name in ("server", "response_schemas") or name.startswith("service")


def test_skills_and_tools_know_neither_providers_nor_settings() -> None:
    for name in FILES:
        if name.startswith(("skill_", "tools", "history", "agent.context", "agent.skill_", "agent.file_", "sandbox")):
            assert not [found for found in ours(name) if found.startswith(("providers", "settings"))], name


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("providers")])
def test_providers_import_only_what_lies_below_them(module: str) -> None:
    assert {name for name in ours(module) if not name.startswith("providers")} <= {
        "messages",
        "nesting",
        "history",
        "settings",
        "setting_forms",
        "patience",
    }


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("sandbox")])
def test_the_sandbox_imports_nothing_else_of_ours(module: str) -> None:
    assert all(name.startswith("sandbox") for name in ours(module))


def test_one_module_imports_httpx() -> None:
    assert [name for name in FILES if any(found.partition(".")[0] == "httpx" for found in imports(name))] == [
        "providers.http"
    ]


def test_what_draws_and_edits_is_imported_only_where_somebody_looks() -> None:
    """Pipes and scripts do not wait for rich and prompt_toolkit, and do without them."""
    for packages, module in (
        ({"rich", "pygments", "markdown_it"}, "terminal.markdown"),
        ({"prompt_toolkit"}, "terminal.line_editor"),
    ):
        assert [name for name in FILES if {found.partition(".")[0] for found in imports(name)} & packages] == [module]
        at_once = {node.module for name in FILES for node in tree(name).body if isinstance(node, ast.ImportFrom)}
        assert module not in at_once


def test_no_imports_go_in_circles() -> None:
    for name in FILES:
        behind = {found for after in ours(name) for found in reached(after)}
        assert name not in behind, f"{name} leads back to itself"


@pytest.mark.parametrize("module", FILES)
def test_every_file_is_short(module: str) -> None:
    assert len(FILES[module].read_text("utf-8").splitlines()) < 400


def test_functions_are_small() -> None:
    sizes: dict[str, int] = {}
    for module in FILES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes[f"{module}:{node.lineno} {node.name}"] = (node.end_lineno or node.lineno) - node.lineno + 1
    assert not {name: size for name, size in sizes.items() if size >= 60}
    assert statistics.median(sizes.values()) < 10
