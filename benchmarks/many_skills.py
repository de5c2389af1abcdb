"""What a thousand skills cost: scanning them, naming them all to a model, finding those that fit a query.

python benchmarks/many_skills.py [--skills N]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.context import tokens  # noqa: E402
from skill_store import SkillStore, catalog_text  # noqa: E402
from skill_store.find import find, found_text  # noqa: E402

T = TypeVar("T")

MEDIAN, SPREAD = 261, 0.48
"""Characters of a description: half are shorter, nine of ten stay below 481, as in thousands of public skills."""
SETTLED = 2.2
"""Seconds after which an edited file is no longer read again, in case it is edited once more."""
QUERIES = 200
BODY = "Read the request first. Then do the work step by step, and check it.\n" * 40

ACTIONS = """Analyzes Builds Checks Converts Creates Designs Drafts Extracts Generates Plans Reviews Summarizes"""
PLAIN = """a an and the of for with from to in on that when use user asks wants needs or this it new data files
reports teams without into by their tasks such as including supports workflow"""
SYLLABLES = "ba cor del fin gra hol in jo kel lum mar net or pra qui ros sta tur vin wex yel zor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skills", type=int, default=1000)
    count: int = parser.parse_args().skills
    with tempfile.TemporaryDirectory() as folder:
        chance = random.Random(1)
        subjects = _write(Path(folder), count, chance)
        time.sleep(SETTLED)
        _measure(Path(folder), count, subjects, chance)


def _write(parent: Path, count: int, chance: random.Random) -> list[str]:
    """Makes the skills; gives the words that they are about."""
    subjects = ["".join(chance.choices(SYLLABLES.split(), k=chance.randint(2, 3))) for _ in range(2 * count)]
    for number in range(count):
        name = f"{'-'.join(chance.sample(subjects, 2))}-{number}"
        folder = parent / name
        folder.mkdir()
        text = f"---\nname: {name}\ndescription: {_description(subjects, chance)}\n---\n{BODY}"
        (folder / "SKILL.md").write_text(text, "utf-8")
    return subjects


def _description(subjects: list[str], chance: random.Random) -> str:
    length = min(round(MEDIAN * chance.lognormvariate(0, SPREAD)), 1024)
    words = [chance.choice(ACTIONS.split())]
    while len(" ".join(words)) < length:
        # A few subjects are in many descriptions, most in few.
        rare = subjects[min(int(chance.paretovariate(0.6)), len(subjects) - 1)]
        words.append(chance.choice(PLAIN.split()) if chance.random() < 0.6 else rare)
    return " ".join(words)[: length - 1] + "."


def _measure(folder: Path, count: int, subjects: list[str], chance: random.Random) -> None:
    store = SkillStore(folder)
    catalog, first = _timed(store.scan)
    skills = list(catalog.skills.values())
    assert len(skills) == count, catalog.problems[:3]
    again = statistics.median(_timed(store.scan)[1] for _ in range(11))
    before = _resident()
    queries = [" ".join(["create", *chance.sample(subjects, 3)]) for _ in range(QUERIES)]
    found, begun = _timed(lambda: find(queries[0], skills))
    later = sorted(_timed(partial(find, query, skills))[1] * 1000 for query in queries)
    lengths = sorted(len(skill.description) for skill in skills)
    print(f"| {count} skills | |\n| --- | --- |")
    print(f"| characters of a description, p50 and p90 | {lengths[count // 2]}, {lengths[count * 9 // 10]} |")
    print(f"| first scan | {first * 1000:.0f} ms |")
    print(f"| scan when nothing changed | {again * 1000:.1f} ms |")
    print(f"| the catalog in a system prompt | {tokens(catalog_text(skills)):,} tokens |")
    print(f"| what a find tells | {tokens(found_text(found)):,} tokens |")
    print(f"| first find | {begun * 1000:.0f} ms |")
    print(f"| later finds, p50 and p99 | {later[QUERIES // 2]:.1f} ms, {later[QUERIES * 99 // 100]:.1f} ms |")
    print(f"| memory of the index | {_resident() - before:.1f} MB |")
    print(f"| memory of the process | {_resident():.0f} MB |")


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def _resident() -> float:
    """MB."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
