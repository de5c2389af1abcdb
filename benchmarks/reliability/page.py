"""docs/reliability.md: R1's table and the figures of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.reliability.expected import ROWS, Case, Row
from benchmarks.reliability.faults import Table
from benchmarks.reliability.figures import Figure
from benchmarks.reliability.heard import SURFACES
from benchmarks.reliability.service import PROVIDERS
from benchmarks.reliability.trial import Cell

HEAD = """# When things fail

What clients hear of each fault of a provider, of the network and of themselves, and twelve figures of how the service
holds. Both are measured, against an upstream that fails on purpose:

```console
$ {command}
```

The last run was on {date}, on two cores, with Python {python}. `benchmarks/README.md` says what each figure is.

"""
TABLE = """## Faults

Time limits are scaled down to a second of silence and four seconds for an answer. A fault before the first word has
the status; where a stream has begun, the same code comes in band: over Chat Completions as `data: {"error": …}` and
`[DONE]`, over Responses as `response.failed`. An answer that is cut never ends as one that is whole.

`asked` is how often the provider is asked: a call is repeated only before the first word. The marks of a dialect are
those of Chat Completions streamed and whole, then of Responses streamed and whole: `+` as the table says, `x` not, `.`
does not apply.

"""


def page(figures: Sequence[Figure], table: Table | None, command: str, python: str, notes: Sequence[str]) -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime())
    text = HEAD.format(command=command, date=date, python=python) + _figures(figures)
    text += "".join(f"{note}\n\n" for note in notes)
    return text + (TABLE + _faults(table) if table else "")


def _figures(figures: Sequence[Figure]) -> str:
    lines = ["| figure | of | measured | target | |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {f.name} | {f.of or 'skill-agent'} | {f.words} | {f.target} | {f.verdict} |" for f in figures]
    return "\n".join(lines) + "\n\n"


def _faults(table: Table) -> str:
    lines = [f"| | fault | the client hears | asked | {' | '.join(PROVIDERS)} |", "| --- " * (4 + len(PROVIDERS)) + "|"]
    lines += [_row(row, table) for row in ROWS]
    return "\n".join(lines) + "\n"


def _row(row: Row, table: Table) -> str:
    marks = " | ".join(f"`{_marks(row, provider, table)}`" for provider in PROVIDERS)
    heard = ", ".join(dict.fromkeys(_heard(row, case) for case in row.cases))
    asked = ", ".join(dict.fromkeys(_asked(case) for case in row.cases))
    return f"| {row.number} | {row.fault} | {heard} | {asked} | {marks} |"


def _marks(row: Row, provider: str, table: Table) -> str:
    verdicts = [table.verdicts.get(Cell(row.number, provider, s, stream)) for s in SURFACES for stream in (True, False)]
    return "".join("." if verdict is None else "x" if verdict.wrong else "+" for verdict in verdicts)


def _heard(row: Row, case: Case) -> str:
    if row.where == "leaving":
        return "nothing; the provider is left within a second"
    if case.status == 200:
        return "an answer" if case.finish == "stop" else f"an answer that ends with `{case.finish}`"
    code = case.code.split("|")[0]
    return f"{case.status} `{'invalid_request_error' if code == '*' else code}`"


def _asked(case: Case) -> str:
    fewest, most = case.attempts
    if most == 0:
        return ""
    return str(most) if fewest == most else f"{fewest} to {most}"
