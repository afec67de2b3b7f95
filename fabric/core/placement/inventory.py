"""How much of a resource class a provider has to give. Source: Placement's inventories."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.placement.resources import AMOUNT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """`ratio_milli`: the allocation ratio times 1,000, so that `apply` needs no float."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = AMOUNT_MAX
    step_size: int = 1
    ratio_milli: int = 1_000

    @property
    def capacity(self) -> int:
        """What may be claimed in all: (total - reserved) * allocation ratio, rounded down."""
        return max(0, self.total - self.reserved) * self.ratio_milli // 1_000

    def takes(self, amount: int, used: int) -> bool:
        """Whether one more consumer of `amount` fits beside what is `used`."""
        return self.fits_units(amount) and used + amount <= self.capacity

    def fits_units(self, amount: int) -> bool:
        """Whether the amount is one a single consumer may have."""
        return self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0
