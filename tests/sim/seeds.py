"""Which seeds to run: SEEDS=N the first N, SEED=n that one only; otherwise as many as a quick run allows."""

from __future__ import annotations

import os

QUICK_MOST = 30  # what `quick` of a cheap scenario is: CI has half an hour on two processors


def seeds(quick: int) -> range:
    one = os.environ.get("SEED")
    if one:
        return range(int(one), int(one) + 1)
    return range(int(os.environ.get("SEEDS") or quick))


def deeper(quick: int) -> int:
    """How many states to search: `quick` times what a long run has of seeds more, up to what memory holds."""
    return quick * min(20, max(1, int(os.environ.get("SEEDS") or 1) // 100))


def few_seeds(quick: int) -> range:
    """Of a scenario that is too dear for all: `quick` of QUICK_MOST, in a long run, too."""
    wanted = os.environ.get("SEEDS")
    if os.environ.get("SEED") or not wanted:
        return seeds(quick)
    return range(max(1, int(wanted) * quick // QUICK_MOST))
