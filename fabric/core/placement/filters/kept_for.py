"""Aggregates that are kept for some: a host that is in any of them takes only who one of them lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fabric.core.placement.host_facts import AggregateFacts
from fabric.core.placement.host_table import HostTable, Mask


@dataclass(frozen=True, slots=True)
class KeptFor:
    """`others`: hosts of none of them."""

    others: Mask
    aggregates: tuple[tuple[AggregateFacts, frozenset[str]], ...]

    def takes(self, name: str, table: HostTable) -> Mask:
        passing = self.others
        for aggregate, listed in self.aggregates:
            if name in listed:
                passing = passing | table.members(aggregate)
        return passing


def kept_for(
    table: HostTable, key: str, listed_by: Callable[[AggregateFacts], frozenset[str] | None]
) -> KeptFor:
    """`listed_by`: of an aggregate; None: it is for all. Worked out once for each state of the aggregates."""
    return table.of_aggregates(key, lambda: _kept_for(table, listed_by))


def _kept_for(table: HostTable, listed_by: Callable[[AggregateFacts], frozenset[str] | None]) -> KeptFor:
    found = [(each, listed_by(each)) for each in table.around.aggregates]
    aggregates = tuple((each, listed) for each, listed in found if listed is not None)
    others: Mask = np.ones(len(table), dtype=np.bool_)
    for aggregate, _ in aggregates:
        others &= ~table.members(aggregate)
    return KeptFor(others, aggregates)
