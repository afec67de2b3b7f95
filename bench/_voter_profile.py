"""Where a voter's processor time goes: a profile for its loop and for each of its two threads."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from typing import Any

from fabric.store.voter_engine import VoterEngine

LINES = 45


def begin(engine: VoterEngine) -> list[tuple[str, cProfile.Profile]]:
    """On the loop. Each counts the processor time of its own thread only."""
    profiles = [(name, cProfile.Profile(time.thread_time)) for name in ("loop", "log", "tables")]
    (_, loop), (_, log), (_, tables) = profiles
    engine._log_thread.run(log.enable, lambda _: None)
    engine._tables_thread.run(tables.enable, lambda _: None)
    loop.enable()
    return profiles


def end(profiles: list[tuple[str, cProfile.Profile]]) -> dict[str, Any]:
    """The costliest lines of each, as `pstats` prints them."""
    told: dict[str, Any] = {}
    for name, profile in profiles:
        profile.disable()
        for order in ("cumulative", "tottime"):
            text = io.StringIO()
            pstats.Stats(profile, stream=text).sort_stats(order).print_stats(LINES)
            told[f"{name} by {order}"] = text.getvalue()
    return told
