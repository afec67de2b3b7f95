"""One server, one table: a host, or nobody and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from operator import and_

import numpy as np

from fabric.core.placement.filters import HostFilter
from fabric.core.placement.filters.room_columns import room_columns
from fabric.core.placement.host_table import Floats, Hashes, HostTable, Mask
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.weigh import Places, weigh
from fabric.core.topology.give import give
from fabric.core.topology.model import NOTHING_GIVEN, Grant
from proto.ids import NodeId, ServerId

FEW = 16  # places; they are ordered in less time than numpy takes to begin
HOSTS_AT_ONCE = 512  # of which a column is told, before others get a turn: 3 us each, and less
ROOMS_AT_ONCE = 64  # hosts whose cells and devices are looked at before that: 40 us each
Masks = Sequence[tuple[HostFilter, Mask]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`alternates`: the next best, for when the first turns out not to do."""

    server_id: ServerId
    host_id: NodeId
    alternates: tuple[NodeId, ...] = ()


def choose(
    request: PlacementRequest, table: HostTable, policy: Policy, *, alternates: int = 0
) -> Choice | None:
    """The heaviest host that passes all filters; None: no host does. Does not claim: the caller does."""
    places = fitting(request, table, policy)
    if not len(places):
        return None
    weights = weigh(request, table, policy, places)
    order = ranked(request, table, *_heaviest(places, weights, alternates + 1))
    best, *others = [table.hosts[place].host.host_id for place in order[: alternates + 1]]
    return Choice(server_id=request.server_id, host_id=best, alternates=tuple(others))


def choose_batch(
    requests: Iterable[PlacementRequest], table: HostTable, policy: Policy
) -> list[Choice | None]:
    """Places servers in their order; each choice is claimed in `table` before the next is made."""
    results: list[Choice | None] = []
    for request in requests:
        choice = choose(request, table, policy)
        if choice is not None:
            claim(request, choice.host_id, table)
        results.append(choice)
    return results


def claim(request: PlacementRequest, host_id: NodeId, table: HostTable) -> None:
    grant: Grant | None = None
    if request.topology is not None:
        grant = give(table.hosts[table.place[host_id]].room, request.topology)
    table.claim(
        host_id,
        request.resources.total(),
        server_id=request.server_id,
        group_id=None if request.group is None else request.group.group_id,
        grant=grant or NOTHING_GIVEN,
    )


def made_ready(request: PlacementRequest, table: HostTable, policy: Policy) -> Iterator[None]:
    """Has the columns made that a request of a new kind asks about, giving way after a few hosts, and after
    each that asks: making one takes ten thousand hosts some milliseconds, choosing then a part of one."""
    for question in () if request.topology is None else room_columns(request.topology):
        yield from table.make_mask_of_rooms(question, step=ROOMS_AT_ONCE)
    if not table.is_first(request.kind):
        return
    filters = [each for each in policy.filters if each.applies(request, table)]

    def ask(asked: HostTable) -> None:
        for each in filters:
            each.passes(request, asked)
        for weigher, _ in policy.weighers:
            weigher.column(request, asked)

    yield from table.columns_in_steps(ask, step=HOSTS_AT_ONCE)
    for each in filters:
        each.passes(request, table)
        yield
    for weigher, _ in policy.weighers:
        weigher.column(request, table)
        yield


def fitting(request: PlacementRequest, table: HostTable, policy: Policy) -> Places:
    """The places of hosts that pass every filter."""
    masks = [each.passes(request, table) for each in policy.asked if each.applies(request, table)]
    return _all_of(masks, table)


def masks_of(request: PlacementRequest, table: HostTable, policy: Policy) -> Masks:
    """Of each filter that has a say, in their order: which hosts it passes."""
    return [(each, each.passes(request, table)) for each in policy.filters if each.applies(request, table)]


def passing(masks: Masks, table: HostTable) -> Places:
    """The places that all of them pass."""
    return _all_of([mask for _, mask in masks], table)


def _all_of(masks: Sequence[Mask], table: HostTable) -> Places:
    if not masks:
        return np.arange(len(table), dtype=np.int64)
    return reduce(and_, masks).nonzero()[0]


def ranked(request: PlacementRequest, table: HostTable, places: Places, weights: Floats) -> Sequence[int]:
    """These places, the best first."""
    if len(places) == 1:
        return [int(places[0])]
    if len(places) <= FEW:
        heaviest_first = sorted(zip(weights.tolist(), places.tolist(), strict=True), reverse=True)
        if len({weight for weight, _ in heaviest_first}) == len(places):
            return [place for _, place in heaviest_first]
    ties = _mixed(request.server_id, table.hashes[places])
    order = np.lexsort((places, ties, weights))[::-1]
    return [int(place) for place in places[order]]


def _heaviest(places: Places, weights: Floats, count: int) -> tuple[Places, Floats]:
    """That many, and all that weigh no less than the last of them: sorting the rest tells nobody anything."""
    if len(places) <= count:
        return places, weights
    last = len(places) - count
    if count == 1:
        bound = weights[weights.argmax()]
    else:
        parted = weights.copy()
        parted.partition(last)
        bound = parted[last]
    kept = (weights >= bound).nonzero()[0]
    return places[kept], weights[kept]


def rendezvous(server_id: ServerId, table: HostTable) -> Hashes:
    """Highest random weight (Thaler and Ravishankar, 1998): hosts that are equal share servers evenly,
    whoever decides. The hashes of server and host are mixed as in SplitMix64 (Steele and others, 2014)."""
    return _mixed(server_id, table.hashes)


def _mixed(server_id: ServerId, hashes: Hashes) -> Hashes:
    salt = np.uint64(int.from_bytes(blake2b(server_id.encode(), digest_size=8).digest()))
    mixed = hashes ^ salt
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
