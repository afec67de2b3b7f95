"""Waiting for what agents come to by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_S = 0.5


def until(holds: Callable[[], bool], what: str, *, within_s: float) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:.0f} s for {what}")
        time.sleep(LOOK_S)
