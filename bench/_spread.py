"""What every benchmark says of its numbers: the middle, the tail, and which code it measured."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in milliseconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1_000, 1)

    middle = round(statistics.median(ordered) * 1_000, 1)
    return {"p50": middle, "p95": at(0.95), "p99": at(0.99), "max": at(1.0)}


def spread_of_runs_us(runs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Percentiles in microseconds, over all runs; and the middle of the run that was disturbed least."""

    def at(share: float, times: Sequence[float]) -> float:
        return round(sorted(times)[int(share * (len(times) - 1))] * 1e6, 1)

    every = [each for run in runs for each in run]
    return {
        "p50": at(0.50, every),
        "p50_least": min(at(0.50, run) for run in runs),
        "p95": at(0.95, every),
        "p99": at(0.99, every),
        "max": at(1.0, every),
    }


def middle_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Of repeated runs, in milliseconds; the least is what other programs disturbed least."""
    return {
        "median": round(statistics.median(seconds) * 1_000, 2),
        "min": round(min(seconds) * 1_000, 2),
        "max": round(max(seconds) * 1_000, 2),
    }


def rate_of(rates: Sequence[float]) -> dict[str, float]:
    """Of repeated runs, a second."""
    return {
        "median": round(statistics.median(rates), 1),
        "min": round(min(rates), 1),
        "max": round(max(rates), 1),
    }


def commit() -> str:
    """With a "+" when the tree holds changes."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
