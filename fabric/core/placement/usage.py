"""What hosts have, what is claimed of it and what is left: of one, or of several together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import OWN_CLASSES
from fabric.core.placement.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one resource class, in its unit. `capacity`: what may be claimed, by the allocation ratios."""

    total: int = 0
    reserved: int = 0
    capacity: int = 0
    used: int = 0

    @property
    def free(self) -> int:
        """Below 0 where a ratio was lowered under what is claimed."""
        return self.capacity - self.used

    @property
    def ratio(self) -> float:
        """How often each unit may be given away."""
        return self.capacity / max(1, self.total - self.reserved)

    @property
    def overcommit(self) -> float:
        """How often each unit is given away."""
        return self.used / max(1, self.total - self.reserved)

    def plus(self, other: Usage) -> Usage:
        return Usage(
            total=self.total + other.total,
            reserved=self.reserved + other.reserved,
            capacity=self.capacity + other.capacity,
            used=self.used + other.used,
        )


def inventories_of(facts: HostFacts) -> dict[str, Inventory]:
    """Of every class that it has."""
    names = (*OWN_CLASSES, *(name for name in facts.offered if name not in OWN_CLASSES))
    return {name: inventory for name in names if (inventory := facts.inventory(name)) is not None}


def usage_of(facts: HostFacts) -> dict[str, Usage]:
    """By resource class. From the same inventories that filters count with."""
    return {
        name: Usage(
            total=inventory.total,
            reserved=inventory.reserved,
            capacity=inventory.capacity,
            used=facts.used.get(name, 0),
        )
        for name, inventory in inventories_of(facts).items()
    }


def together(usages: Iterable[Mapping[str, Usage]]) -> dict[str, Usage]:
    found: dict[str, Usage] = {}
    for usage in usages:
        for name, each in usage.items():
            found[name] = found.get(name, Usage()).plus(each)
    return found
