"""Aggregates that are kept for some: a host that is in any of them takes only who one of them lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fabric.core.placement.host_facts import AggregateFacts
from fabric.core.placement.host_table import COLUMNS_MAX, HostTable, Mask


@dataclass(frozen=True, slots=True)
class KeptFor:
    """`others`: hosts of none of them."""

    others: Mask
    aggregates: tuple[tuple[AggregateFacts, frozenset[str]], ...]
    listed: frozenset[str]  # by any of them
    taking: dict[str, Mask] = field(default_factory=dict)  # of those listed, as far as they were asked about

    def takes(self, name: str, table: HostTable) -> Mask:
        """Not to be written to."""
        if name not in self.listed:
            return self.others
        taking = self.taking.get(name)
        if taking is None:
            if len(self.taking) >= COLUMNS_MAX:
                self.taking.clear()
            own = table.in_any(aggregate for aggregate, listed in self.aggregates if name in listed)
            taking = self.taking[name] = self.others | own
        return taking


def kept_for(
    table: HostTable, key: str, listed_by: Callable[[AggregateFacts], frozenset[str] | None]
) -> KeptFor:
    """`listed_by`: of an aggregate; None: it is for all. Worked out once for each state of the aggregates."""
    return table.of_aggregates(key, lambda: _kept_for(table, listed_by))


def _kept_for(table: HostTable, listed_by: Callable[[AggregateFacts], frozenset[str] | None]) -> KeptFor:
    found = [(each, listed_by(each)) for each in table.around.aggregates]
    aggregates = tuple((each, listed) for each, listed in found if listed is not None)
    others = ~table.in_any(aggregate for aggregate, _ in aggregates)
    return KeptFor(others, aggregates, frozenset[str]().union(*(listed for _, listed in aggregates)))
