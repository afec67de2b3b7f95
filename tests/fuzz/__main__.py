"""Fuzzes every target for MINUTES of processor time in all, prints a table, and fails on a crash.

    MINUTES=10 .venv-fuzz/bin/python -m tests.fuzz [TARGET ...]

A crasher is kept under .fabric/fuzz/TARGET/; `python -m tests.fuzz.cases FILE` spells it as a case
that plain pytest replays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS

HOME = Path(".fabric/fuzz")
RSS_MB_MAX = 512
PATIENCE = 1_000  # wall seconds a processor second may take on a machine that does much else


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    exit_code: int
    runs: int
    cpu_seconds: float
    peak_rss_mb: int
    corpus: int
    crashers: tuple[Path, ...]

    @property
    def is_good(self) -> bool:
        return self.exit_code == 0 and not self.crashers and self.runs > 0


def main(names: list[str]) -> int:
    minutes = float(os.environ.get("MINUTES", "10"))
    chosen = {name: TARGETS[name] for name in names or TARGETS}
    shares = sum(target.share for target in chosen.values())
    results = []
    for name, target in chosen.items():
        seconds = minutes * 60 * target.share / shares
        print(f"{name}: {seconds:.0f} s of processor time", file=sys.stderr, flush=True)
        results.append(fuzz(name, seconds))
    print(table(results))
    for result in results:
        for crasher in result.crashers:
            print(f"crash in {result.name}: {crasher}, log {HOME / result.name / 'log'}")
    return 0 if all(result.is_good for result in results) else 1


def fuzz(name: str, seconds: float) -> Result:
    directory = HOME / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(directory), str(seconds), str(RSS_MB_MAX)]
    with (directory / "log").open("wb") as log:
        try:
            exit_code = subprocess.run(
                command, stdout=log, stderr=log, timeout=120 + PATIENCE * seconds
            ).returncode
        except subprocess.TimeoutExpired:
            exit_code = -1
    stats_file = directory / "stats.json"
    stats = json.loads(stats_file.read_text()) if stats_file.exists() else {}
    return Result(
        name=name,
        exit_code=exit_code,
        runs=stats.get("runs", 0),
        cpu_seconds=stats.get("cpu_seconds", 0.0),
        peak_rss_mb=stats.get("peak_rss_mb", 0),
        corpus=stats.get("corpus", 0),
        crashers=tuple(
            path
            for path in sorted(directory.iterdir())
            if path.name.startswith(("crash-", "oom-", "timeout-", "leak-", "slow-unit-"))
        ),
    )


def table(results: list[Result]) -> str:
    rows = [f"{'target':20} {'runs':>9} {'exec/s':>8} {'cpu s':>7} {'corpus':>7} {'RSS MB':>7} crashes"]
    for r in results:
        rate = round(r.runs / r.cpu_seconds) if r.cpu_seconds else 0
        verdict = str(len(r.crashers)) if r.exit_code == 0 else f"{len(r.crashers)} (exit {r.exit_code})"
        rows.append(
            f"{r.name:20} {r.runs:>9} {rate:>8} {r.cpu_seconds:>7} {r.corpus:>7} {r.peak_rss_mb:>7} {verdict}"
        )
    cpu_seconds = sum(r.cpu_seconds for r in results)
    rows.append(f"{'all':20} {sum(r.runs for r in results):>9} {'':>8} {cpu_seconds:>7.1f}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
