"""IoOpsFilter and NumInstancesFilter, and the same two with limits from aggregates' metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from fabric.core.placement.changes import Change, other_host
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import Floats, HostTable, Ints, Mask
from fabric.core.placement.request import PlacementRequest


class LoadFilter:
    """Below a limit. `key`: of aggregates' metadata, whose least value counts instead; None: not asked."""

    def __init__(
        self, name: str, limit: int, key: str | None, column: Callable[[HostTable], Floats], unit: str
    ) -> None:
        self.name = name
        self._limit = limit
        self._key = key
        self._column = column
        self._unit = unit

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return self._key is None or bool(table.with_key(self._key))

    def _limits(self, table: HostTable) -> Ints:
        limits: Ints = np.full(len(table), self._limit, dtype=np.int64)
        if self._key is None:
            return limits
        least = np.full(len(table), np.iinfo(np.int64).max, dtype=np.int64)
        for aggregate in table.with_key(self._key):
            value = aggregate.metadata[self._key]
            if value.isascii() and value.isdigit():
                np.minimum(least, int(value), out=least, where=table.members(aggregate))
        return np.where(least == np.iinfo(np.int64).max, limits, least)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        found: Mask = self._column(table) < self._limits(table)
        return found

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        limit = int(self._limits(table)[place])
        return Refusal(
            filter_name=self.name,
            reason=f"too many {self._unit}",
            remark=f"has {int(self._column(table)[place])} {self._unit}, at most {limit}",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        facts = table.hosts[place]
        few = max(0, int(self._limits(table)[place]) - 1)

        def fewer(now: HostFacts) -> HostFacts:
            return replace(now, servers=min(now.servers, few), io_ops=min(now.io_ops, few))

        yield other_host(f"{facts.host.name} had {few} {self._unit}", facts, few, fewer)


def io_ops_filter(limit: int) -> LoadFilter:
    return LoadFilter("IoOpsFilter", limit, None, lambda table: table.io_ops, "servers that build or move")


def num_instances_filter(limit: int) -> LoadFilter:
    return LoadFilter("NumInstancesFilter", limit, None, lambda table: table.servers, "servers")


def aggregate_io_ops_filter(limit: int) -> LoadFilter:
    return LoadFilter(
        "AggregateIoOpsFilter",
        limit,
        "max_io_ops_per_host",
        lambda table: table.io_ops,
        "servers that build or move",
    )


def aggregate_num_instances_filter(limit: int) -> LoadFilter:
    return LoadFilter(
        "AggregateNumInstancesFilter",
        limit,
        "max_instances_per_host",
        lambda table: table.servers,
        "servers",
    )
