"""All targets, two at a time: python -m benchmarks.fuzz SECONDS [TARGET …]

A line for each; what ended one lies in build/fuzz/TARGET, and ends the others' corpus no more than its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz.seeds import SEEDS, write

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "build" / "fuzz"
AT_A_TIME = 2
SLOWEST = 10
"""Seconds for one input; more is a finding."""
LIMITS = (f"-timeout={SLOWEST}", "-rss_limit_mb=2048", "-max_len=8192", "-print_final_stats=1")
SPARE = 120
"""Seconds for starting and for the last input."""


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    log: str
    status: int

    @property
    def line(self) -> str:
        runs = int(self._number(r"stat::number_of_executed_units: (\d+)"))
        begun, covered = self._number(r"INITED cov: (\d+)"), re.findall(r" cov: (\d+)", self.log)
        seconds = self._number(r"Done \d+ runs in (\d+) second")
        new = int(covered[-1]) - int(begun) if covered else 0
        rate = f"{runs / int(seconds):.0f}" if int(seconds) else "?"
        crashes = len(re.findall(r"Test unit written to", self.log)) or int(self.status != 0)
        return f"{self.name:12} {runs:9} runs {rate:>6}/s  {new:+4} branches  {crashes} crashes"

    def _number(self, pattern: str) -> str:
        found = re.search(pattern, self.log)
        return found[1] if found else "0"


def fuzz(name: str, seconds: int) -> Outcome:
    folder = FOUND / name
    write(name, folder / "seeds")
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    command = ["nice", "-n", "10", sys.executable, "-m", "benchmarks.fuzz.run", name, str(corpus)]
    command += [str(folder / "seeds"), f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", *LIMITS]
    log = folder / "log.txt"
    with log.open("wb") as out:
        done = subprocess.run(command, cwd=ROOT, stdout=out, stderr=out, timeout=seconds + SPARE, check=False)
    return Outcome(name, log.read_text("utf-8", "replace"), done.returncode)


def main(seconds: int, names: list[str]) -> int:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        failed = 0
        for outcome in pool.map(lambda name: fuzz(name, seconds), names or list(SEEDS)):
            print(outcome.line, flush=True)
            failed += outcome.status != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
