"""Which seeds to run: SEEDS=N the first N, SEED=n that one only; otherwise as many as a quick run allows."""

from __future__ import annotations

import os


def seeds(quick: int) -> range:
    one = os.environ.get("SEED")
    if one:
        return range(int(one), int(one) + 1)
    return range(int(os.environ.get("SEEDS") or quick))
