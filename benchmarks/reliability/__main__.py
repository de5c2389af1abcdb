"""Runs the figures, prints a line for each, and says by its exit code whether all targets are met."""

from __future__ import annotations

import argparse
import asyncio
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import reliability
from benchmarks.reliability import (
    crash,
    drain,
    exposure,
    faults,
    inputs,
    leaks,
    peer,
    readers,
    recovery,
    slow,
    soak,
    streams,
)
from benchmarks.reliability.faults import Table
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.page import page
from benchmarks.reliability.service import Bench, upstream, write_skill

NAMES = tuple(f"R{number}" for number in range(1, 13))
BESIDE = {"R8": "R11"}
"""Figures that mostly wait, and are measured side by side."""


class Report:
    """Prints figures as they come, and keeps them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.figures: list[Figure] = []
        self.table: Table | None = None

    def add(self, *figures: Figure) -> None:
        for figure in figures:
            self.figures.append(figure)
            print(figure.json() if self._options.json else figure.line(), flush=True)
            shown = figure.failures if self._options.verbose else figure.failures[:3]
            for failure in shown:
                print(f"       {failure[:300]}", file=sys.stderr)
            if len(shown) < len(figure.failures):
                print(f"       … {len(figure.failures) - len(shown)} more (--verbose)", file=sys.stderr)

    @property
    def met(self) -> bool:
        """Of ours; what is measured beside it has no say."""
        return all(figure.met is not False for figure in self.figures if not figure.of)


def main() -> int:
    options = _options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    version = peer.installed() if options.peer else ""
    report = Report(options)
    begun = time.monotonic()
    asyncio.run(_run(report, options))
    print(f"{time.monotonic() - begun:.0f} s in all", file=sys.stderr)
    if options.write:
        command = "make reliability" + (" PEER=litellm" if options.peer else "")
        command += "" if options.only == NAMES else f" ONLY={','.join(options.only)}"
        notes = [PEER_NOTE.format(version=version)] if options.peer else []
        options.write.write_text(page(report.figures, report.table, command, platform.python_version(), notes))
    return 0 if report.met else 1


PEER_NOTE = """LiteLLM's proxy {version} ran in the same run over the same upstream: one worker, no database, its
defaults but for `num_retries: 2`, and in R1 a `timeout` and `stream_timeout` of one second. Of R1 it was asked what
holds for any service (a failure is told, told in time, and never ends as an answer does; the next request is served),
without our codes, on the chat surface, and without the rows about agents."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description=reliability.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=_names, default=NAMES, help="comma-separated, as in R3,R4")
    parser.add_argument("--quick", action="store_true", help="less of R2, R3, R4 and R5")
    parser.add_argument("--verbose", action="store_true", help="every failure, not the first three")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each figure")
    parser.add_argument("--peer", action="store_true", help="LiteLLM's proxy too, where a figure makes sense for it")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page with R1's table and the figures")
    parser.add_argument("--keep", action="store_true", help="leave the services' logs and stores where they are")
    return parser.parse_args()


def _names(given: str) -> Sequence[str]:
    names = given.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"no such figure: {', '.join(sorted(unknown))}")
    return names


async def _run(report: Report, options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    try:
        write_skill(folder / "skills")
        async with upstream(folder) as up:
            bench = Bench(folder, up, [], options.quick)
            for figures in _together(options.only):
                await asyncio.gather(*[_measure(figure, bench, report) for figure in figures])
                for figure in set(figures) & set(peer.FIGURES) if options.peer else ():
                    report.add(*await peer.measure(figure, bench, report.table))
    finally:
        if options.keep:
            print(f"kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _together(names: Sequence[str]) -> Iterator[list[str]]:
    beside = {name: other for name, other in BESIDE.items() if name in names and other in names}
    for name in names:
        if name not in beside.values():
            yield [name, *([beside[name]] if name in beside else [])]


async def _measure(name: str, bench: Bench, report: Report) -> None:
    match name:
        case "R1":
            figure, report.table = await faults.measure(bench)
            report.add(figure)
        case "R3":
            report.add(*await streams.measure(bench))
        case "R9":
            from benchmarks.reliability import cages

            report.add(await cages.measure(bench))
        case "R12":
            report.add(exposure.measure(bench))
        case _:
            others = {"R2": inputs, "R4": leaks, "R5": soak, "R6": drain, "R7": readers, "R8": slow}
            others |= {"R10": recovery, "R11": crash}
            report.add(await others[name].measure(bench))


if __name__ == "__main__":
    sys.exit(main())
