"""The mutation score: python -m tests.mutants [--json] [--only WORD] [--jobs N] [--tests PATH ...]

Exit 0: all bugs died. 1: some survived. 2: the score could not be taken (a bug no longer applies, or the
tests fail without any bug).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.mutants.bug import Bug, DoesNotApplyError
from tests.mutants.catalog import CATALOG
from tests.mutants.trial import Copy, TrialError, Verdict

ROOT = Path(__file__).resolve().parents[2]
BASELINE_TIMEOUT_S = 600


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the score as JSON on standard output")
    parser.add_argument("--only", default="", metavar="WORD", help="bugs whose name or file holds it")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="trials at once")
    parser.add_argument(
        "--tests",
        nargs="+",
        metavar="PATH",
        help="instead of each bug's own: tests/sim for the simulator's score",
    )
    options = parser.parse_args(argv)
    bugs = [bug for bug in CATALOG if options.only in bug.name or options.only in bug.file]
    if options.tests:
        bugs = [replace(bug, tests=tuple(options.tests)) for bug in bugs]
    if not bugs or options.jobs < 1:
        parser.error("no bug is chosen, or no job")
    started = time.monotonic()
    try:
        for bug in bugs:
            bug.check(ROOT)
        with tempfile.TemporaryDirectory(prefix="fabric-mutants-") as folder:
            verdicts = try_all(bugs, Path(folder), jobs=min(options.jobs, len(bugs)))
    except (DoesNotApplyError, TrialError, SyntaxError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_json(verdicts) if options.json else as_table(verdicts))
    killed = sum(verdict.killed_by is not None for verdict in verdicts)
    print(
        f"{killed} of {len(verdicts)} planted bugs died in {time.monotonic() - started:.0f} s",
        file=sys.stderr if options.json else sys.stdout,
    )
    return 0 if killed == len(verdicts) else 1


def baseline(copy: Copy, tests: Sequence[str]) -> str | None:
    """What fails without any bug. Raises TrialError."""
    return copy.run(tests, timeout_s=BASELINE_TIMEOUT_S) if tests else None


def try_all(bugs: Sequence[Bug], folder: Path, *, jobs: int) -> list[Verdict]:
    """Each bug in a copy that nobody else uses meanwhile. Raises DoesNotApplyError, TrialError."""
    copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    made = [Copy(ROOT, folder / str(number)) for number in range(jobs)]
    if not made[0].imports_itself():
        raise TrialError("tests in the copy would test the installed package instead")
    shares = [sorted({test for bug in bugs for test in bug.tests})[number::jobs] for number in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        for copy, failure in zip(made, pool.map(baseline, made, shares), strict=True):
            if failure:
                raise TrialError(f"without any bug {failure} fails already:\n{copy.output}")
        for copy in made:
            copies.put(copy)

        def one(bug: Bug) -> Verdict:
            copy = copies.get()
            try:
                verdict = copy.try_out(bug)
            finally:
                copies.put(copy)
            told = f"killed by {verdict.killed_by}" if verdict.killed_by else "SURVIVED"
            print(f"{verdict.seconds:5.1f} s  {bug.name}: {told}", file=sys.stderr, flush=True)
            return verdict

        return list(pool.map(one, bugs))


def as_table(verdicts: Sequence[Verdict]) -> str:
    rows = [("bug", "harm", "file", "killed by", "s")]
    rows += [
        (
            verdict.bug.name,
            verdict.bug.harm.value,
            verdict.bug.file,
            verdict.killed_by or "SURVIVED",
            f"{verdict.seconds:.1f}",
        )
        for verdict in verdicts
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_json(verdicts: Sequence[Verdict]) -> str:
    score = {
        "bugs": len(verdicts),
        "killed": sum(verdict.killed_by is not None for verdict in verdicts),
        "survivors": [verdict.bug.name for verdict in verdicts if verdict.killed_by is None],
        "trials": [
            {
                "bug": verdict.bug.name,
                "harm": verdict.bug.harm.value,
                "file": verdict.bug.file,
                "killed_by": verdict.killed_by,
                "seconds": round(verdict.seconds, 1),
            }
            for verdict in verdicts
        ],
    }
    return json.dumps(score, indent=1)


if __name__ == "__main__":
    sys.exit(main())
