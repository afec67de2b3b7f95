"""What is to be reached, and which of our figures miss it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench._membership_plan import STARVED

Figures = dict[str, Any]
OURS = ("mesh", "agent", "sim")


@dataclass(frozen=True, slots=True)
class Bar:
    row: str
    what: str
    value: Callable[[Any], float]  # of the row's figures
    at_most: float = 0.0
    at_least: float | None = None

    def is_missed(self, value: float) -> bool:
        return value < self.at_least if self.at_least is not None else value > self.at_most

    @property
    def spelled(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


BARS = (
    Bar("join", "median s", lambda row: float(row["median_s"]), 3.0),
    Bar("join", "runs with stragglers", lambda row: float(row["stragglers"]), 0),
    Bar("kill", "median s", lambda row: float(row["median_s"]), 1.5),
    Bar("silent", "median s", lambda row: float(row["median_s"]), 4.5),
    Bar("half", "median s", lambda row: float(row["median_s"]), 6.0),
    Bar("restart", "median s", lambda row: float(row["median_s"]), 0.5),
    Bar("record", "median s", lambda row: float(row["median_s"]), 0.05),
    Bar("record", "worst s", lambda row: float(row["worst_s"]), 0.15),
    *(Bar(name, "false DOWN", lambda row: float(row["false_down"]), 0) for name in STARVED),
    Bar("stall", "false DOWN", lambda row: float(row["false_down"]), 0),
    Bar("updates", "a second", lambda row: float(row["best_per_s"]), at_least=500),
    Bar("idle", "KB/s", lambda row: float(row["sent_bytes_per_s"]) / 1_000, 3.0),
    Bar("idle", "CPU %", lambda row: float(row["cpu_percent"]), 0.6),
    Bar("idle", "PSS MB", lambda row: float(row["pss_mb"]), 40.0),
)


def misses(systems: dict[str, dict[str, Figures]]) -> Iterator[str]:
    """A line for each figure of ours beyond its bar, and how busy this machine was meanwhile."""
    for system in OURS:
        for size, figures in sorted(systems.get(system, {}).items(), key=lambda item: int(item[0])):
            for bar in BARS:
                if bar.row in figures and bar.is_missed(value := bar.value(figures[bar.row])):
                    busy = figures[bar.row].get("busy")
                    why = "" if busy is None else f"; the agents had {busy:.0%} of all processors meanwhile"
                    yield f"{system} {size} {bar.row}: {value:.3g} {bar.what}, to reach {bar.spelled}{why}"
