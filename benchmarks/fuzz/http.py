"""The HTTP surface for a time: python -m benchmarks.fuzz.http SECONDS [SCHEMATHESIS]

Half of the time are rounds of tests/test_fuzz_http.py, each with another seed; half is schemathesis (the command) over
the service's own /openapi.json: https://schemathesis.readthedocs.io
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.surface import service, write_skill
from tests.test_fuzz_http import Faults, play
from tests.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "build" / "fuzz" / "http"
EXAMPLES = 250
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LONGEST = 600
"""Seconds of one round."""


def rounds(seconds: float) -> int:
    end, first, asked = time.monotonic() + seconds, int(time.time()), 0
    for seed in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(first)):
        command = [sys.executable, "-m", "pytest", "-s", "tests/test_fuzz_http.py", f"--hypothesis-seed={seed}"]
        environment = {**os.environ, "FUZZ_EXAMPLES": str(EXAMPLES)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=LONGEST, check=False)
        said = done.stdout.decode("utf-8", "replace")
        (FOUND / f"round-{seed}.txt").write_text(said)
        asked += sum(map(int, re.findall(r"(\d+) requests over HTTP", said)))
        if done.returncode:
            print(f"hypothesis   seed {seed} has found something: {FOUND}/round-{seed}.txt")
            return 1
    print(f"hypothesis   {asked:9} requests in {seed - first + 1} rounds, 0 findings", flush=True)
    return 0


def conformance(seconds: int, schemathesis: str) -> int:
    """Every operation of the document, with data that fits it and data that does not."""
    faults = Faults()
    faults.install()
    with tempfile.TemporaryDirectory() as folder, Upstream() as up:
        up.always(play)
        write_skill(Path(folder), "tea")
        with service(up, skills=(Path(folder),)) as server:
            command = [
                str(Path(schemathesis).absolute()),
                "run",
                f"{server.url}/openapi.json",
                "--mode",
                "all",
                "--checks",
                CHECKS,
            ]
            command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "400", "--seed", "1"]
            command += ["--max-time", str(seconds), "--continue-on-failure", "--no-color", "--request-timeout", "30"]
            command += ["--suppress-health-check", "all", "--request-retries", "0"]
            done = subprocess.run(
                command,
                cwd=FOUND,
                capture_output=True,
                timeout=seconds + LONGEST,
                check=False,
                stdin=subprocess.DEVNULL,
            )
    said = done.stdout.decode("utf-8", "replace")
    (FOUND / "schemathesis.txt").write_text(said + done.stderr.decode("utf-8", "replace"))
    cases = re.search(r"(\d+) generated", said)
    findings = re.search(r"(\d+) unique failure", said)
    print(f"schemathesis {cases[1] if cases else '?':>9} cases, {findings[1] if findings else 0} findings", flush=True)
    for told in faults.told:
        print(told)
    return int(done.returncode != 0 or bool(faults.told))


def main(seconds: int, schemathesis: str) -> int:
    FOUND.mkdir(parents=True, exist_ok=True)
    if not schemathesis:
        return rounds(seconds)
    return rounds(seconds / 2) | conformance(seconds // 2, schemathesis)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
