"""Those who do harm, by name. Each does it, lets it last, and takes it back; the run then waits until all
are whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.nemeses.clock import clock
from tests.chaos.nemeses.disk import disk
from tests.chaos.nemeses.mix import mix
from tests.chaos.nemeses.network import deafen, shatter, split, unplug
from tests.chaos.nemeses.processes import kill, pause, rolling
from tests.chaos.nemeses.scene import Scene
from tests.chaos.nemeses.voters import lead, snapshot, wipe


@dataclass(frozen=True, slots=True)
class Nemesis:
    strike: Callable[[Scene], None]
    needs_machines: bool = False  # of one's own
    needs_voters: bool = False  # the embedded log


CLOCK = "clock"  # agents have clocks of their own for it
NEMESES = {
    "kill": Nemesis(kill),
    "pause": Nemesis(pause),
    "rolling": Nemesis(rolling),
    "lead": Nemesis(lead, needs_voters=True),
    "split": Nemesis(split, needs_machines=True),
    "deafen": Nemesis(deafen, needs_machines=True),
    "unplug": Nemesis(unplug, needs_machines=True),
    "shatter": Nemesis(shatter, needs_machines=True, needs_voters=True),
    "mix": Nemesis(mix, needs_machines=True),
    CLOCK: Nemesis(clock, needs_machines=True),
    "disk": Nemesis(disk, needs_machines=True, needs_voters=True),
    "snapshot": Nemesis(snapshot, needs_machines=True, needs_voters=True),
    "wipe": Nemesis(wipe, needs_voters=True),
}
RECOVER = "recover"  # the last act: see tests/chaos/last_act.py


def possible(*, has_machines: bool, has_voters: bool) -> tuple[str, ...]:
    """Names of those who can do their harm there, `recover` among them."""
    found = [
        name
        for name, nemesis in NEMESES.items()
        if (has_machines or not nemesis.needs_machines) and (has_voters or not nemesis.needs_voters)
    ]
    return (*found, *((RECOVER,) if has_voters else ()))


__all__ = ["CLOCK", "NEMESES", "RECOVER", "Nemesis", "Scene", "possible"]
