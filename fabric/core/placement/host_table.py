"""The hosts as the scheduler sees them: columns over all of them, so that a filter is one comparison.

A row changes by `put`, when facts about a host do, and by `claim`, when a server was placed in this round;
both cost a few cells. Columns that no request has asked about yet are made when one does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fabric.core.aggregates.model import ZONE_KEY
from fabric.core.placement.host_facts import AggregateFacts, HostFacts, Surroundings
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU
from fabric.core.placement.room_masks import RoomMasks, RoomQuestion
from fabric.core.topology.model import NOTHING_GIVEN, Grant
from proto.ids import NodeId, ServerId

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Column = NDArray[Any]
T = TypeVar("T")

OWN_CLASSES = (VCPU, MEMORY_MB, DISK_GB)
# The rows of `figures`: of a resource class, what is free. Those that nearly every policy weighs stand side
# by side, in the order in which it does, so that one gather serves all of them.
IO_OPS, BUILD_FAILURES, VERSION, SERVERS = "io_ops", "build_failures", "version", "servers"
_ROOM = (MEMORY_MB, VCPU, DISK_GB)  # as `HostFacts.own_room` has them
FIGURES = (*_ROOM, IO_OPS, BUILD_FAILURES, VERSION, SERVERS)
COLUMNS_MAX = 256  # made on demand: requests must not fill the memory with theirs
KINDS_MAX = 1_024


class HostTable:
    """Hosts have places 0 to n-1 in the order given; every column has n cells."""

    def __init__(self, hosts: Iterable[HostFacts], around: Surroundings | None = None) -> None:
        self._begin(list(hosts))
        self._enter(0, len(self.hosts))
        self.surround(around or Surroundings())

    @classmethod
    def in_steps(
        cls, hosts: Iterable[HostFacts], around: Surroundings, *, step: int
    ) -> Generator[None, None, HostTable]:
        """The same, giving way each time that it has taken, or entered, `step` hosts: for whoever must not
        hold up others."""
        table = cls(())
        taken: list[HostFacts] = []
        for facts in hosts:
            taken.append(facts)
            if len(taken) % step == 0:
                yield
        table._begin(taken)
        for first in range(0, len(taken), step):
            table._enter(first, min(first + step, len(taken)))
            yield
        table.surround(around)
        return table

    def _begin(self, hosts: list[HostFacts]) -> None:
        """With cells that say nothing yet."""
        self.hosts = hosts
        self.place = {facts.host.host_id: place for place, facts in enumerate(hosts)}
        assert len(self.place) == len(hosts), "a host stands in the table once"
        count = len(hosts)
        self.can_take: Mask = np.zeros(count, dtype=np.bool_)
        # Whole numbers, which a float has exactly up to 2**53: weighing is done in floats.
        self.figures: Floats = np.zeros((len(FIGURES), count), dtype=np.float64)
        self.free: dict[str, Floats] = {}  # capacity - used; negative where a ratio was lowered
        self.room: dict[str, Ints] = {}  # what one more server may take: free, and no larger than the machine
        self._name_figures()
        self.hashes: Hashes = np.zeros(count, dtype=np.uint64)
        self._columns: dict[object, tuple[Column, Callable[[HostFacts], object]]] = {}
        self._rooms = RoomMasks()
        self._of_aggregates: dict[object, Any] = {}
        self._kinds: set[object] = set()  # of requests that columns were made for
        self.around = Surroundings()
        self._with_key: dict[str, list[AggregateFacts]] = {}
        for name in OWN_CLASSES:
            self.room[name] = np.zeros(count, dtype=np.int64)

    def _name_figures(self) -> None:
        """Its rows by their own names."""
        rows: dict[str, Floats] = dict(zip(FIGURES, self.figures, strict=True))
        self.free |= {name: rows[name] for name in OWN_CLASSES}
        self.io_ops, self.servers = rows[IO_OPS], rows[SERVERS]
        self.build_failures, self.version = rows[BUILD_FAILURES], rows[VERSION]

    def _enter(self, first: int, end: int) -> None:
        """Hosts at these places, at once: to write a cell takes longer than to work out what is in it."""
        if first == end:
            return
        hosts = self.hosts[first:end]
        self.hashes[first:end] = [_hash_of(facts.host.host_id) for facts in hosts]
        self.can_take[first:end] = [facts.can_take for facts in hosts]
        free, room = zip(*[facts.own_room() for facts in hosts], strict=True)
        figures = [(*own, *_loads(facts)) for own, facts in zip(free, hosts, strict=True)]
        self.figures[:, first:end] = np.array(figures, dtype=np.float64).T
        for name, column in zip(_ROOM, np.array(room, dtype=np.int64).T, strict=True):
            self.room[name][first:end] = column

    def __len__(self) -> int:
        return len(self.hosts)

    # ---- what changes

    def surround(self, around: Surroundings) -> None:
        """Where groups and servers are now. Columns stay as long as the very same aggregates do."""
        is_same = around.aggregates is self.around.aggregates
        self.around = around
        self.group_counts = {
            group_id: {self.place[host]: count for host, count in hosts.items() if host in self.place}
            for group_id, hosts in around.group_hosts.items()
        }
        self.server_places = {
            server: self.place[host] for server, host in around.server_hosts.items() if host in self.place
        }
        if is_same:
            return
        self._forget_columns()
        self._of_aggregates.clear()
        self._with_key = {}  # a new one: copies of the table share it
        for each in around.aggregates:
            for key in each.metadata:
                self._with_key.setdefault(key, []).append(each)

    def put(self, facts: HostFacts) -> None:
        """Newer facts about a host of the table."""
        place = self.place[facts.host.host_id]
        before, self.hosts[place] = self.hosts[place], facts
        self._write(place)
        self._write_columns(place, before)

    def claim(
        self,
        host_id: NodeId,
        resources: Mapping[str, int],
        *,
        server_id: ServerId | None = None,
        group_id: str | None = None,
        grant: Grant = NOTHING_GIVEN,
    ) -> None:
        """A server placed in this round, which counts for those that come after it. The next round reads it
        back from rows."""
        place = self.place[host_id]
        before = self.hosts[place]
        facts = self.hosts[place] = before.with_claim(resources, server_id=server_id, grant=grant)
        for name, amount in resources.items():
            if name in self.free:
                self.free[name][place] -= amount
                self.room[name][place] = min(int(self.room[name][place]), int(self.free[name][place]))
        self.servers[place] = facts.servers
        self.io_ops[place] = facts.io_ops
        self._write_columns(place, before)
        if server_id is not None:
            self.server_places[server_id] = place
        if group_id is not None:
            counts = self.group_counts.setdefault(group_id, {})
            counts[place] = counts.get(place, 0) + 1

    def release(
        self,
        host_id: NodeId,
        resources: Mapping[str, int],
        *,
        server_id: ServerId | None = None,
        group_id: str | None = None,
        is_building: bool = False,
    ) -> None:
        """As if a server that is there was nowhere."""
        place = self.place[host_id]
        facts = self.hosts[place]
        self.put(facts.without_claim(resources, is_building=is_building, server_id=server_id))
        if server_id is not None:
            self.server_places.pop(server_id, None)
        if group_id is not None and place in self.group_counts.get(group_id, {}):
            counts = self.group_counts[group_id]
            counts[place] -= 1
            if not counts[place]:
                del counts[place]

    def of(self, places: Iterable[int]) -> HostTable:
        """A table of some of the hosts, which shares nothing that changes. With this round's claims."""
        chosen = np.fromiter(places, np.int64)
        new = {int(place): number for number, place in enumerate(chosen)}
        table = copy.copy(self)
        table.hosts = [self.hosts[place] for place in new]
        table.place = {facts.host.host_id: place for place, facts in enumerate(table.hosts)}
        table.can_take = self.can_take[chosen]
        table.figures = self.figures[:, chosen]
        table.free = {name: column[chosen] for name, column in self.free.items() if name not in OWN_CLASSES}
        table.room = {name: column[chosen] for name, column in self.room.items()}
        table._name_figures()
        table.hashes = self.hashes[chosen]
        table._columns = {key: (column[chosen], make) for key, (column, make) in self._columns.items()}
        table._rooms = self._rooms.of(chosen)
        table._of_aggregates = {}
        table._kinds = set()
        table.group_counts = {
            group: {new[place]: count for place, count in counts.items() if place in new}
            for group, counts in self.group_counts.items()
        }
        table.server_places = {
            server: new[place] for server, place in self.server_places.items() if place in new
        }
        return table

    def copy(self) -> HostTable:
        """Of all hosts, which shares nothing that changes."""
        table = copy.copy(self)
        table.can_take, table.hosts = self.can_take.copy(), list(self.hosts)
        table.figures = self.figures.copy()
        table.free = {name: column.copy() for name, column in self.free.items() if name not in OWN_CLASSES}
        table.room = {name: column.copy() for name, column in self.room.items()}
        table._name_figures()
        table._columns = {key: (column.copy(), make) for key, (column, make) in self._columns.items()}
        table._rooms = self._rooms.copy()
        table._of_aggregates, table._kinds = dict(self._of_aggregates), set(self._kinds)
        table.group_counts = {group: dict(counts) for group, counts in self.group_counts.items()}
        table.server_places = dict(self.server_places)
        return table

    def emptied(self, *, step: int) -> Generator[None, None, None]:
        """Lets its hosts go, giving way after each `step` of them. It is of no use then."""
        while self.hosts:
            del self.hosts[-step:]
            yield

    def _write(self, place: int) -> None:
        facts = self.hosts[place]
        self.can_take[place] = facts.can_take
        free, room = facts.own_room()
        self.figures[:, place] = (*free, *_loads(facts))
        for name, most in zip(_ROOM, room, strict=True):
            self.room[name][place] = most
        for name in self.room:
            if name not in OWN_CLASSES:
                self._write_class(name, place)

    def _write_columns(self, place: int, before: HostFacts) -> None:
        facts = self.hosts[place]
        for column, make in self._columns.values():
            column[place] = make(facts)
        self._rooms.changed(place, before, facts)

    def _class_in_steps(self, name: str, step: int) -> Iterator[None]:
        self.free[name] = np.zeros(len(self.hosts), dtype=np.float64)
        self.room[name] = np.zeros(len(self.hosts), dtype=np.int64)
        is_made = False
        try:
            for first in range(0, len(self.hosts), step):
                for place in range(first, min(first + step, len(self.hosts))):
                    self._write_class(name, place)
                yield
            is_made = True
        finally:
            if not is_made:
                del self.free[name], self.room[name]

    def _write_class(self, name: str, place: int) -> None:
        facts = self.hosts[place]
        inventory = facts.inventory(name)
        if inventory is None:
            self.free[name][place] = self.room[name][place] = 0
            return
        free = inventory.capacity - facts.used.get(name, 0)
        self.free[name][place] = free
        self.room[name][place] = min(free, inventory.max_unit)

    # ---- columns

    def is_first(self, kind: object) -> bool:
        """Whether this kind of request is new here, so that columns may have to be made for it. Says so
        once."""
        if kind in self._kinds:
            return False
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds.add(kind)
        return True

    def _forget_columns(self) -> None:
        self._columns.clear()
        self._kinds.clear()

    def room_of(self, name: str) -> Ints:
        """By resource class; 0 where a host has none of it."""
        if name not in self.room:
            for _ in self._class_in_steps(name, max(1, len(self.hosts))):
                pass
        return self.room[name]

    def column(self, key: object, make: Callable[[HostFacts], object], kind: type = object) -> Column:
        """One cell a host, made once and kept up to date when facts change. `make` must be of `key` alone."""
        found = self._columns.get(key)
        if found is None:
            if len(self._columns) >= COLUMNS_MAX:
                self._forget_columns()
            column: Column = np.fromiter(map(make, self.hosts), kind, len(self.hosts))
            found = self._columns[key] = (column, make)
        return found[0]

    def columns_in_steps(self, ask: Callable[[HostTable], object], *, step: int) -> Iterator[None]:
        """Makes the columns that `ask` looks at, giving way after each `step` hosts. A table without hosts is
        asked first, to hear which ones those are."""
        nobody = self.of(())
        ask(nobody)
        for key, (column, make) in nobody._columns.items():
            if key not in self._columns:
                yield from self._column_in_steps(key, make, column.dtype, step)
        for name in nobody.room:
            if name not in self.room:
                yield from self._class_in_steps(name, step)

    def _column_in_steps(
        self, key: object, make: Callable[[HostFacts], object], kind: np.dtype[Any], step: int
    ) -> Iterator[None]:
        if len(self._columns) >= COLUMNS_MAX:
            self._forget_columns()
        column: Column = np.zeros(len(self.hosts), dtype=kind)
        self._columns[key] = (column, make)  # what changes meanwhile is written
        is_made = False
        try:
            for first in range(0, len(self.hosts), step):
                some = self.hosts[first : first + step]
                column[first : first + step] = np.fromiter(map(make, some), kind, len(some))
                yield
            is_made = True
        finally:
            if not is_made:
                self._columns.pop(key, None)

    def mask(self, key: object, holds: Callable[[HostFacts], bool]) -> Mask:
        """Where it holds, kept until facts change."""
        return self.column(key, holds, np.bool_)

    def mask_of_rooms(self, question: RoomQuestion) -> Mask:
        """As `mask`, of what is said of hosts' cells and devices."""
        return self._rooms.mask(question, self.hosts)

    def make_mask_of_rooms(self, question: RoomQuestion, *, step: int) -> Iterator[None]:
        """Has it ready for the next who asks, giving way after each `step` hosts."""
        yield from self._rooms.in_steps(question, self.hosts, step=step)

    def in_any(self, aggregates: Iterable[AggregateFacts]) -> Mask:
        """Where a host is in one of them."""
        found: Mask = np.zeros(len(self.hosts), dtype=np.bool_)
        for each in aggregates:
            found |= self.members(each)
        return found

    def members(self, aggregate: AggregateFacts) -> Mask:
        key = ("aggregate", aggregate.aggregate_id)
        return self.mask(key, lambda facts: facts.host.host_id in aggregate.host_ids)

    def with_key(self, key: str) -> Sequence[AggregateFacts]:
        """The aggregates whose metadata has it."""
        return self._with_key.get(key, ())

    def has_any_key(self, keys: Iterable[str]) -> bool:
        """Whether any aggregate's metadata has one of them."""
        return not self._with_key.keys().isdisjoint(keys)

    def of_aggregates(self, key: object, make: Callable[[], T]) -> T:
        """What follows from `key`, the aggregates and who is in them alone: made once, kept until aggregates
        change, the same in copies of the table, and not to be written to."""
        found: T | None = self._of_aggregates.get(key)
        if found is None:
            if len(self._of_aggregates) >= COLUMNS_MAX:
                self._of_aggregates.clear()
            found = self._of_aggregates[key] = make()
            if isinstance(found, np.ndarray):
                found.flags.writeable = False
        return found

    def in_zone(self, zone: str) -> Mask:
        named = self.with_key(ZONE_KEY)
        return self.mask(("zone", zone), lambda facts: _zone_of(facts, named) == zone)

    def zone(self, place: int) -> str:
        return _zone_of(self.hosts[place], self.with_key(ZONE_KEY))

    def metadata_of(self, place: int) -> dict[str, set[str]]:
        """Of all aggregates the host is in: key -> values."""
        found: dict[str, set[str]] = {}
        host_id = self.hosts[place].host.host_id
        for each in self.around.aggregates:
            if host_id in each.host_ids:
                for key in each.metadata:
                    found.setdefault(key, set()).update(each.values(key))
        return found


def _loads(facts: HostFacts) -> tuple[int, int, int, int]:
    """FIGURES after the resource classes."""
    return facts.io_ops, facts.build_failures, facts.host.hypervisor_version, facts.servers


def _hash_of(host_id: str) -> int:
    return int.from_bytes(blake2b(host_id.encode(), digest_size=8).digest())


def _zone_of(facts: HostFacts, named: Iterable[AggregateFacts]) -> str:
    """The zone of its aggregate, or the one in its row."""
    for each in named:
        if facts.host.host_id in each.host_ids:
            return each.metadata[ZONE_KEY]
    return facts.host.zone
