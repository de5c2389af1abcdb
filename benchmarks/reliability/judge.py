"""Whether what a client heard is what the fault table says."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.reliability.client import Answer
from benchmarks.reliability.expected import Case, Seen
from benchmarks.reliability.heard import Heard, hear

DEADLINE = 4.0
"""Seconds that an answer may take here, over all attempts."""
GRACE = 1.0


def problems(case: Case, surface: str, stream: bool, answer: Answer, seen: Seen) -> Iterator[str]:
    """Everything that the table says."""
    heard = hear(answer, surface)
    yield from _lasting(answer)
    fewest, most = case.attempts
    if case.after:
        fewest, most = (1, 1) if stream else (1, max(most, 3))
    if not fewest <= len(seen) <= most:
        yield f"the provider is asked {len(seen)} times, not {fewest if fewest == most else f'{fewest} to {most}'}"
    yield from _good(case, heard) if case.status == 200 else _told(case, surface, stream, answer, heard)
    if case.check and (wrong := case.check(seen)):
        yield wrong


def gross_problems(case: Case, surface: str, answer: Answer) -> Iterator[str]:
    """What matters whatever the codes are: a failure is told and told in time, and no failure looks like an answer."""
    heard = hear(answer, surface)
    yield from _lasting(answer)
    if case.status == 200:
        yield from _good(case, heard)
    elif heard.finish and not heard.code:
        yield f"a normal end: {heard.finish}"
    elif not heard.told:
        yield "the failure is not told"


def _lasting(answer: Answer) -> Iterator[str]:
    if answer.seconds > DEADLINE + GRACE:
        yield f"it takes {answer.seconds:.1f} s"


def _good(case: Case, heard: Heard) -> Iterator[str]:
    if heard.told:
        yield f"{heard.status} {heard.code}, not an answer"
    elif not heard.closed:
        yield "the answer does not come to its end"
    elif heard.finish != case.finish or case.text not in heard.text:
        yield f"finish {heard.finish!r}, not {case.finish!r}, and the text {heard.text[:40]!r}"


def _told(case: Case, surface: str, stream: bool, answer: Answer, heard: Heard) -> Iterator[str]:
    if heard.finish and not heard.code:
        # The one end that tells it too: a response that is incomplete because its time is over.
        if not (surface == "responses" and case.code == "deadline_exceeded" and heard.finish == "length"):
            yield f"a normal end: {heard.finish}"
        return
    if not heard.told:
        yield "the failure is not told"
        return
    if not heard.closed:
        yield "the error's frame is not the end" if heard.status == 200 else "the error is cut"
    if heard.status != case.status and not (stream and heard.status == 200):
        yield f"status {heard.status} {heard.code}, not {case.status} {case.code}"
    elif case.code != "*" and heard.code not in case.codes:
        yield f"code {heard.code}, not {case.code}"
    if heard.status != 200:
        yield from (f"no {name}" for name in case.headers if name not in answer.headers)
