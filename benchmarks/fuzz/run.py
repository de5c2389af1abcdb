"""One target under atheris: python -m benchmarks.fuzz.run TARGET CORPUS [libFuzzer's options]

atheris: https://github.com/google/atheris
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

# Not among what the tests need, so mypy does not find it.
atheris: Any = importlib.import_module("atheris")
OURS = ["bodies", "messages", "providers", "response_schemas", "schemas", "service.packing", "skill_store"]
IN_LINES = ("chat", "anthropic", "errors", "bodies")
"""Targets whose input is JSON, a value a line."""


def main(name: str, options: list[str]) -> None:
    with atheris.instrument_imports(include=OURS, enable_loader_override=False):
        from benchmarks.fuzz.targets import TARGETS
    from benchmarks.fuzz.mutation import changed

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        return changed(data, most, seed, lambda old: bytes(atheris.Mutate(old, most)))

    given = {"custom_mutator": mutator} if name in IN_LINES else {}
    atheris.Setup([sys.argv[0], *options], TARGETS[name], **given)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
