"""What `bench/membership.py` measures, how often, and what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass

ROWS = ("join", "kill", "restart", "silent", "half", "record", "starved", "stall", "updates", "idle")
# name -> victims, seconds stopped, seconds running
STARVED = {"starved_4_8s": (4, 8.0, 0.5), "starved_4_2s": (4, 2.0, 1.0), "starved_8_16s": (8, 16.0, 0.5)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    joins: int = 5
    kills: int = 5
    silences: int = 3
    halves: int = 2
    records: int = 10
    holds: int = 2
    hold_ms: int = 8_000
    starved_sizes: tuple[int, ...] = (30,)
    starved_s: float = 60.0
    calm_s: float = 15.0  # after a start, before anything is measured
    idle_s: float = 40.0
    updates_s: float = 10.0
    update_bytes: int = 500
    serf_rates: tuple[float, ...] = (1, 3, 5, 8, 12, 20, 35, 60)
    mesh_rates: tuple[float, ...] = (50, 100, 250, 500, 1_000)


FULL = Plan()
QUICK = Plan(
    joins=2,
    kills=3,
    silences=2,
    halves=1,
    holds=1,
    starved_s=30.0,
    calm_s=8.0,
    idle_s=20.0,
    updates_s=8.0,
    serf_rates=(2, 5, 12, 35),
    mesh_rates=(100, 350, 500),
)
