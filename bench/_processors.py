"""How much processor time a cluster took while it was timed: did its agents set the pace, or the machine?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

SHORTEST_S = 0.5  # reading the books of some hundred threads takes some hundredths itself


def cpu_s(pid: int) -> float:
    """Of all threads of a process that live, to the microsecond. 0 for one that is gone."""
    ns = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            ns += int((thread / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return ns / 1e9


class Meter:
    """From its making on. Who dies meanwhile is not counted."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._before = {pid: cpu_s(pid) for pid in pids}
        self._began = time.monotonic()

    def busy(self) -> float | None:
        """The share of all processors that these processes had. 1: nothing could have been faster here. None:
        over too short a time to tell."""
        passed = time.monotonic() - self._began
        if passed < SHORTEST_S:
            return None
        used = sum(max(0.0, cpu_s(pid) - before) for pid, before in self._before.items())
        return used / (passed * (os.cpu_count() or 1))
