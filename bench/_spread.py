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


def spread_us(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles in microseconds."""
    ordered = sorted(seconds)
    shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
    found = {name: ordered[int(share * (len(ordered) - 1))] for name, share in shares.items()}
    return {name: round(value * 1e6, 1) for name, value in (found | {"max": ordered[-1]}).items()}


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
