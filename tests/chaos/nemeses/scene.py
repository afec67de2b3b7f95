"""What somebody who does harm has at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.chaos.bed import Bed, Faults
from tests.chaos.group import Group


@dataclass(frozen=True, slots=True)
class Scene:
    bed: Bed
    group: Group
    rng: Random  # whom to harm, not a secret
    say: Callable[[str], None]
    hold_s: float  # how long harm lasts where nothing else says so

    @property
    def faults(self) -> Faults:
        assert self.bed.faults is not None, "this needs machines of one's own"
        return self.bed.faults

    def hold(self) -> None:
        time.sleep(self.hold_s)

    def victims(self, count: int) -> list[str]:
        """That many nodes; whoever leads is the first of them two times of three, else the last resort."""
        leader = self.group.leader()
        others = [name for name in self.bed.names if name != leader]
        self.rng.shuffle(others)
        leading = [] if leader is None else [leader]
        order = leading + others if self.rng.random() < 2 / 3 else others + leading
        return order[:count]

    def told(self, what: str, victims: list[str]) -> None:
        leader = self.group.leader()
        named = [f"{name} (who leads)" if name == leader else name for name in victims]
        self.say(f"{what}: {', '.join(named)}")

    def minority(self) -> int:
        """How many may fail at once."""
        return (len(self.bed.names) - 1) // 2
