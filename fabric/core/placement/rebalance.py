"""Which servers to move, so that hosts are as busy as each other: proposals, each of them a placement that
all filters allow.

Greedy: hosts that are disabled are emptied first, largest servers first; then, as long as it helps, one
server of one of the busiest hosts goes where the scheduler would put it now. What counts is the sum over
hosts of the squared distance from the mean, of processors and of memory, so each move is nearer to even and
none is undone. Work is bounded by what is tried for each move, whatever the size of the fabric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from fabric.core.placement.choose import choose, claim
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import Floats, HostTable
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import MEMORY_MB, VCPU
from fabric.core.placement.usage import inventories_of
from proto.ids import NodeId, ServerId

EVENED = (VCPU, MEMORY_MB)
SOURCES_TRIED = 8  # of the busiest hosts, for each move
SERVERS_TRIED = 16  # of each of them, the largest first
GAIN_MIN = 0.002  # moving costs; it is what 1 % of a host brings that goes where 10 % less is used


class Reason(StrEnum):
    HOST_DISABLED = "host_disabled"
    UNEVEN = "uneven"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A server that could move; `request` as it would be asked for now."""

    request: PlacementRequest
    host_id: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Loads are by resource class: what is claimed, as a part of what may be."""

    server_id: ServerId
    source: str  # hosts' names
    target: str
    reason: Reason
    source_before: Mapping[str, float]
    source_after: Mapping[str, float]
    target_before: Mapping[str, float]
    target_after: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`moves` in the order in which they are to be made. `stuck`: servers of disabled hosts that no other
    host can take. `spread_before` and `spread_after`: standard deviation of the loads of hosts that take
    servers."""

    moves: tuple[Move, ...]
    stuck: tuple[tuple[ServerId, str], ...]  # and its host's name
    spread_before: Mapping[str, float]
    spread_after: Mapping[str, float]


def plan(servers: Sequence[Placed], table: HostTable, policy: Policy, *, moves_max: int) -> Plan:
    """`table` has the claims of these servers, and of all others, and stays as it is."""
    work = _Work(servers, table.copy(), policy)
    before = work.spread()
    moves: list[Move] = []
    stuck = work.empty_disabled(moves, moves_max)
    while len(moves) < moves_max and (move := work.even_out()) is not None:
        moves.append(move)
    return Plan(moves=tuple(moves), stuck=tuple(stuck), spread_before=before, spread_after=work.spread())


class _Work:
    def __init__(self, servers: Sequence[Placed], table: HostTable, policy: Policy) -> None:
        self._table = table
        self._policy = policy
        self._left: dict[int, list[PlacementRequest]] = {}  # by place, largest first; a server moves once
        for each in servers:
            if each.host_id in table.place:
                self._left.setdefault(table.place[each.host_id], []).append(each.request)
        for requests in self._left.values():
            requests.sort(key=_size, reverse=True)
        self._capacity = {
            name: np.array([inventories_of(facts)[name].capacity for facts in table.hosts], dtype=np.float64)
            for name in EVENED
        }

    # ---- emptying

    def empty_disabled(self, moves: list[Move], moves_max: int) -> list[tuple[ServerId, str]]:
        """Appends to `moves`. Gives who cannot leave."""
        stuck: list[tuple[ServerId, str]] = []
        for place, facts in enumerate(self._table.hosts):
            if facts.host.enabled:
                continue
            for request in tuple(self._left.get(place, ())):
                if len(moves) == moves_max:
                    return stuck
                target = self._target(request, place)
                if target is None:
                    stuck.append((request.server_id, facts.host.name))
                else:
                    moves.append(self._move(request, place, target, Reason.HOST_DISABLED))
        return stuck

    # ---- evening out

    def even_out(self) -> Move | None:
        """Made in the table already. None: nothing that was tried helps."""
        loads = self._loads()
        busy = sum(loads.values())
        assert not isinstance(busy, int)
        sources = [
            int(place)
            for place in np.argsort(-busy, kind="stable")
            if self._table.can_take[place] and self._left.get(int(place))
        ]
        for source in sources[:SOURCES_TRIED]:
            best: tuple[float, PlacementRequest, int] | None = None
            for request in self._left[source][:SERVERS_TRIED]:
                target = self._target(request, source)
                if target is None:
                    continue
                gain = self._gain(request, source, target, loads)
                if gain >= GAIN_MIN and (best is None or gain > best[0]):
                    best = gain, request, target
            if best is not None:
                return self._move(best[1], source, best[2], Reason.UNEVEN)
        return None

    def _gain(
        self, request: PlacementRequest, source: int, target: int, loads: Mapping[str, Floats]
    ) -> float:
        """By how much the sum of squares falls. The mean stays nearly what it is, and counts as if it did."""
        gain = 0.0
        for name, load in loads.items():
            amount = request.resources.total().get(name, 0)
            mean = float(load[self._table.can_take].mean())
            for place, change in ((source, -amount), (target, amount)):
                was = float(load[place]) - mean
                now = was + change / max(1.0, float(self._capacity[name][place]))
                gain += was * was - now * now
        return gain

    # ---- one move

    def _target(self, request: PlacementRequest, source: int) -> int | None:
        """Where the scheduler would put it, were it not where it is and that host not there."""
        table, host_id = self._table, self._table.hosts[source].host.host_id
        before = table.hosts[source]
        counts = {group: dict(counts) for group, counts in table.group_counts.items()}
        places = dict(table.server_places)
        self._release(request, host_id)
        choice = choose(
            replace(request, ignored_hosts=request.ignored_hosts | {host_id}), table, self._policy
        )
        table.put(before)
        table.group_counts, table.server_places = counts, places
        return None if choice is None else table.place[choice.host_id]

    def _move(self, request: PlacementRequest, source: int, target: int, reason: Reason) -> Move:
        table = self._table
        befores = self._load(source), self._load(target)
        self._release(request, table.hosts[source].host.host_id)
        claim(request, table.hosts[target].host.host_id, table)
        table.put(replace(table.hosts[target], io_ops=table.hosts[target].io_ops - 1))  # once it is over
        self._left[source].remove(request)
        return Move(
            server_id=request.server_id,
            source=table.hosts[source].host.name,
            target=table.hosts[target].host.name,
            reason=reason,
            source_before=befores[0],
            source_after=self._load(source),
            target_before=befores[1],
            target_after=self._load(target),
        )

    def _release(self, request: PlacementRequest, host_id: NodeId) -> None:
        self._table.release(
            host_id,
            request.resources.total(),
            server_id=request.server_id,
            group_id=None if request.group is None else request.group.group_id,
        )

    # ---- loads

    def _load(self, place: int) -> dict[str, float]:
        return load_of(self._table.hosts[place])

    def _loads(self) -> dict[str, Floats]:
        return {
            name: (capacity - self._table.free[name]) / np.maximum(1.0, capacity)
            for name, capacity in self._capacity.items()
        }

    def spread(self) -> dict[str, float]:
        taking = self._table.can_take
        if not taking.any():
            return dict.fromkeys(EVENED, 0.0)
        return {name: float(load[taking].std()) for name, load in self._loads().items()}


def load_of(facts: HostFacts) -> dict[str, float]:
    """What is claimed of what may be, by class; more than 1 where a ratio was lowered."""
    offered = inventories_of(facts)
    return {name: facts.used.get(name, 0) / max(1, offered[name].capacity) for name in EVENED}


def _size(request: PlacementRequest) -> tuple[int, int, ServerId]:
    needs = request.resources.total()
    return needs.get(MEMORY_MB, 0), needs.get(VCPU, 0), request.server_id
