"""How much room there is: of hosts, zones and aggregates, and how many more servers of a flavor fit where.

From rows, as the scheduler and the Placement API count. What hosts say of themselves is `operate.capacity`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.explanations import NO_PROJECT, NOBODY, find_flavor, snapshot_of
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.room import how_many_more
from fabric.core.placement.usage import Usage, together, usage_of
from fabric.runtime.host_view import read_table
from proto.ids import LogIndex, NodeId


class By(StrEnum):
    HOST = "host"
    ZONE = "zone"
    AGGREGATE = "aggregate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Of one host, or of several. `name` None: of the hosts that are in no aggregate. `taking`: how many of
    `hosts` take new servers now. `fits`: how many more of the flavor; None: none was named."""

    name: str | None
    hosts: int
    taking: int
    servers: int
    usage: Mapping[str, Usage]
    fits: int | None
    zone: str | None = None  # of one host
    aggregates: tuple[str, ...] = ()
    state: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomReport:
    """By the rows as of `index`. `total` counts each host once, as the sums by aggregate may not."""

    by: By
    index: LogIndex
    flavor: str | None
    rooms: tuple[Room, ...]
    total: Room


async def capacity(cloud: Cloud, caller: Caller, by: By, *, flavor: str | None = None) -> RoomReport:
    """`flavor`: an id or a name. Raises: ForbiddenError, InvalidError."""
    policy.require(caller, "fabric:capacity:show")
    request = None
    if flavor is not None:
        found = await find_flavor(cloud, caller, flavor)
        request = PlacementRequest(
            server_id=NOBODY, project_id=caller.project_id or NO_PROJECT, flavor=snapshot_of(found)
        )
    index = cloud.state.applied_index
    table = await read_table(cloud.state, cloud.fleet, [] if request is None else [request])
    fits = (
        None if request is None else await asyncio.to_thread(how_many_more, request, table, cloud.placement)
    )
    rooms = {
        By.HOST: lambda: [_of_host(table, place, fits) for place in range(len(table))],
        By.ZONE: lambda: _by_zone(table, fits),
        By.AGGREGATE: lambda: _by_aggregate(table, fits),
    }[by]()
    return RoomReport(
        by=by,
        index=index,
        flavor=None if request is None else request.flavor.name,
        rooms=tuple(rooms),
        total=_of(None, table.hosts, fits),
    )


_Fits = Mapping[NodeId, int] | None


def _of(name: str | None, hosts: Iterable[HostFacts], fits: _Fits) -> Room:
    counted = list(hosts)
    return Room(
        name=name,
        hosts=len(counted),
        taking=sum(facts.can_take for facts in counted),
        servers=sum(facts.servers for facts in counted),
        usage=together(map(usage_of, counted)),
        fits=None if fits is None else sum(fits.get(facts.host.host_id, 0) for facts in counted),
    )


def _of_host(table: HostTable, place: int, fits: _Fits) -> Room:
    facts = table.hosts[place]
    host = facts.host
    return Room(
        name=host.name,
        hosts=1,
        taking=int(facts.can_take),
        servers=facts.servers,
        usage=usage_of(facts),
        fits=None if fits is None else fits.get(host.host_id, 0),
        zone=table.zone(place),
        aggregates=tuple(each.name for each in table.around.aggregates if host.host_id in each.host_ids),
        state=None if facts.state is None else facts.state.value,
        enabled=host.enabled and not host.forced_down,
    )


def _by_zone(table: HostTable, fits: _Fits) -> list[Room]:
    zones: dict[str, list[HostFacts]] = {}
    for place, facts in enumerate(table.hosts):
        zones.setdefault(table.zone(place), []).append(facts)
    return [_of(zone, zones[zone], fits) for zone in sorted(zones)]


def _by_aggregate(table: HostTable, fits: _Fits) -> list[Room]:
    """A host counts in each of its aggregates. Those of none come last."""
    rooms = [
        _of(each.name, [facts for facts in table.hosts if facts.host.host_id in each.host_ids], fits)
        for each in sorted(table.around.aggregates, key=lambda each: each.name)
    ]
    grouped = frozenset[NodeId]().union(*(each.host_ids for each in table.around.aggregates))
    rest = [facts for facts in table.hosts if facts.host.host_id not in grouped]
    return [*rooms, _of(None, rest, fits)] if rest else rooms
