"""A host table that is kept, for whoever places servers again and again.

It learns from applied entries which hosts' rows changed, and reads those alone. What the fleet says of a host
is joined again when the fleet tells of a change, and within LOOK_MS: nobody is told of a changed load.

All is read anew by the first look, after rows came of which no listener was told (a snapshot, a gap in a
feed), after an entry of which `touched` does not know what it changes, and every ANEW_MS, so that a fault of
ours in any of this heals. Apply checks room and policy by its own rows: a table that is wrong can make a
placement fail, and cannot fill a host too far.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fabric.core.membership.model import Member
from fabric.core.placement.host_facts import AggregateFacts, HostFacts, Surroundings
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.queries import ListHostFacts
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.touched import touched
from fabric.core.topology.facts import NOTHING_TOLD, Told
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import AppliedEntry, HardState
from fabric.runtime.host_view import AT_ONCE, NO_FAILURES, around_of, in_turns, joined, made_table, said_by
from proto.ids import ImageId, NodeId

LOOK_MS = 3_000
LOOKED_AT_MIN = 256  # members, each time
ANEW_MS = 300_000
READ_BY_ID_MAX = 1_000  # hosts; for more, one statement that scans beats many that seek

IMAGES_MAX = 1_000  # deleted since the last look


@dataclass(slots=True)
class _News:
    """What was heard since rows were last read."""

    hosts: set[NodeId] = field(default_factory=set)  # whose rows have to be read
    images: set[ImageId] = field(default_factory=set)  # whose holders' have
    is_all: bool = False


class KeptTable:
    """For one user at a time, until it looks again. What is decided with the table is claimed in it and
    `doubt`ed here: the next look takes from rows what became of it."""

    def __init__(
        self, state: HardState, fleet: Fleet, clock: Clock, *, looked_at_min: int = LOOKED_AT_MIN
    ) -> None:
        self._looked_at_min = looked_at_min
        self._state = state
        self._fleet = fleet
        self._clock = clock
        self._is_listening = False
        self._table: HostTable | None = None  # None: all has to be read
        self._rows: dict[
            NodeId, HostFacts
        ] = {}  # of the table's hosts, in its order, without the fleet's word
        self._traits: dict[frozenset[str], frozenset[str]] = {}  # equal machines share one set
        self._said: dict[NodeId, object] = {}  # by the member that was joined, see `said_by`
        self._failures: Mapping[NodeId, int] = NO_FAILURES  # that were joined
        self._aggregates: tuple[AggregateFacts, ...] = ()
        self._are_aggregates_stale = True
        self._news = _News()
        self._changed: set[NodeId] = set()  # members, as the fleet told
        self._passed_over = 0  # by the state, before all was read
        self._read_ms = 0  # when all was read
        self._looked_ms = 0  # when some members were last looked at, in turn
        self._turn = 0  # whose it is next, a place in the table

    # ---- what it hears

    def listen(self) -> Callable[[], None]:
        """From now on things are kept; after the unsubscriber that this returns each look reads all again."""
        assert not self._is_listening, "one unsubscriber would end the other's"
        self._table, self._is_listening = None, True
        ends = (self._state.subscribe(self._on_applied), self._fleet.subscribe(self._on_member))

        def end() -> None:
            self._is_listening = False
            for each in ends:
                each()

        return end

    def doubt(self, host_id: NodeId) -> None:
        """What the table says of it is a guess."""
        self._news.hosts.add(host_id)

    def _on_applied(self, entry: AppliedEntry) -> None:
        what = touched(entry)
        self._news.is_all |= what.is_all
        self._are_aggregates_stale |= what.are_aggregates
        if what.host_id is not None:
            self._news.hosts.add(what.host_id)
        self._news.hosts.update(what.others)
        if what.holders_of is not None:
            self._news.images.add(what.holders_of)
            if len(self._news.images) > IMAGES_MAX:  # nobody has looked for long
                self._news = _News(is_all=True)

    def _on_member(self, member: Member) -> None:
        self._changed.add(member.record.node_id)

    # ---- what it gives

    async def look(
        self, requests: Iterable[PlacementRequest], build_failures: Mapping[NodeId, int] = NO_FAILURES
    ) -> tuple[HostTable, bool]:
        """The table for these requests, with whatever was answered anywhere before; and whether all of it was
        read for this. Raises FabricError from the reads."""
        await self._state.catch_up()
        return await self.look_here(requests, build_failures)

    async def look_here(
        self, requests: Iterable[PlacementRequest], build_failures: Mapping[NodeId, int] = NO_FAILURES
    ) -> tuple[HostTable, bool]:
        """As `look`, with what this node was told so far: where nobody can say what is newest, too."""
        table, is_new = await self._brought_up(build_failures)
        await self._surround(table, requests)
        return table, is_new

    async def look_anew(
        self, requests: Iterable[PlacementRequest], build_failures: Mapping[NodeId, int] = NO_FAILURES
    ) -> HostTable:
        """As `look`, and believes nothing that is kept."""
        self._news.is_all = self._are_aggregates_stale = True
        table, _ = await self.look(requests, build_failures)
        return table

    async def keep_up(self, build_failures: Mapping[NodeId, int] = NO_FAILURES) -> None:
        """In idle times, so that the next look has little to do. Raises FabricError from the reads."""
        if self._is_listening:
            await self._brought_up(build_failures)

    async def _brought_up(self, build_failures: Mapping[NodeId, int]) -> tuple[HostTable, bool]:
        table, self._table = self._table, None  # whoever is interrupted has to begin again
        is_new = table is None or self._needs_all()
        if table is None or is_new:
            table = await self._read_all(table, build_failures)
        else:
            table = await self._read_news(table, build_failures)
        self._table = table
        return table, is_new

    def _needs_all(self) -> bool:
        return (
            self._news.is_all
            or not self._is_listening
            or self._state.passed_over != self._passed_over
            or len(self._news.hosts) > max(READ_BY_ID_MAX, len(self._rows) // 4)
            or self._clock.monotonic_ms() - self._read_ms >= ANEW_MS
        )

    # ---- rows

    async def _let_go(self, table: HostTable | None) -> None:
        """Of a table that nobody uses any more, and the rows. Not all hosts at once, nor together with what
        they are replaced by: it takes 10,000 of them 40 ms."""
        if table is not None:
            await in_turns(table.emptied(step=AT_ONCE))
        while self._rows:
            for _ in range(min(AT_ONCE, len(self._rows))):
                self._rows.popitem()
            await asyncio.sleep(0)

    async def _read_all(self, table: HostTable | None, build_failures: Mapping[NodeId, int]) -> HostTable:
        """Instead of the table that there was."""
        self._passed_over = self._state.passed_over
        self._are_aggregates_stale = True
        self._news = _News()  # before the read: what is heard during it may not be in it
        self._read_ms = self._clock.monotonic_ms()
        before = {host_id: facts.told for host_id, facts in self._rows.items()}
        await self._let_go(table)
        found = list(await self._state.read(ListHostFacts()))
        self._traits = {}
        found.reverse()
        while found:  # what is not kept of each goes with it, and not with all others
            for facts in reversed(found[-AT_ONCE:]):
                host_id = facts.host.host_id
                self._rows[host_id] = self._with_shared(facts, before.pop(host_id, NOTHING_TOLD))
            del found[-AT_ONCE:]
            await asyncio.sleep(0)
        return await self._made(build_failures)

    async def _read_news(self, table: HostTable, build_failures: Mapping[NodeId, int]) -> HostTable:
        news, self._news = self._news, _News()
        stale = news.hosts | {
            host_id for host_id, facts in self._rows.items() if not news.images.isdisjoint(facts.images)
        }
        found = await self._state.read(ListHostFacts(host_ids=tuple(sorted(stale)))) if stale else ()
        rows: dict[NodeId, HostFacts] = {}
        for facts in found:
            before = self._rows.get(facts.host.host_id, facts).told
            rows[facts.host.host_id] = self._with_shared(facts, before)
            if len(rows) % AT_ONCE == 0:
                await asyncio.sleep(0)
        is_as_long = rows.keys() == stale & self._rows.keys()
        self._rows.update(rows)
        if is_as_long:
            await self._join(table, rows.keys(), build_failures)
            return table
        await in_turns(table.emptied(step=AT_ONCE))
        gone = stale - rows.keys()
        kept = (facts for facts in self._rows.values() if facts.host.host_id not in gone)
        self._rows = {
            facts.host.host_id: facts for facts in sorted(kept, key=lambda facts: facts.host.number)
        }
        return await self._made(build_failures)

    def _with_shared(self, facts: HostFacts, before: Told) -> HostFacts:
        """One object for what is equal. What a host told before has been read."""
        traits = self._traits.setdefault(facts.traits, facts.traits)
        told = before if before == facts.told else facts.told
        if traits is facts.traits and told is facts.told:
            return facts
        return replace(facts, traits=traits, told=told)

    # ---- the fleet's word

    async def _made(self, build_failures: Mapping[NodeId, int]) -> HostTable:
        """Of all rows there are."""
        self._said.clear()
        self._changed.clear()
        self._failures = dict(build_failures)
        self._looked_ms, self._turn = self._clock.monotonic_ms(), 0
        return await made_table(self._with_members(), Surroundings(), self._failures)

    def _with_members(self) -> Iterator[tuple[HostFacts, Member | None]]:
        for host_id, facts in self._rows.items():
            member = self._fleet.member(host_id)
            self._said[host_id] = said_by(member)
            yield facts, member

    async def _join(
        self, table: HostTable, read: Iterable[NodeId], build_failures: Mapping[NodeId, int]
    ) -> None:
        """Of hosts that were read, and where there is another word of the fleet, or another count."""
        before, self._failures = self._failures, dict(build_failures)
        due = {*read, *(host_id for host_id, _ in before.items() ^ self._failures.items())}
        changed, self._changed = self._changed, set()
        looked_at = (due | changed | self._next_in_turn(table)) & self._rows.keys()
        for number, host_id in enumerate(sorted(looked_at)):
            member = self._fleet.member(host_id)
            said = said_by(member)
            if host_id in due or said != self._said[host_id]:
                self._said[host_id] = said
                table.put(joined(self._rows[host_id], member, self._failures))
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)

    def _next_in_turn(self, table: HostTable) -> set[NodeId]:
        """So many that all have been looked at after LOOK_MS, however often that is."""
        now_ms = self._clock.monotonic_ms()
        share = min(1.0, (now_ms - self._looked_ms) / LOOK_MS)
        count = min(len(table), max(self._looked_at_min, math.ceil(share * len(table))))
        first, self._looked_ms = self._turn, now_ms
        self._turn = (first + count) % max(1, len(table))
        return {table.hosts[(first + each) % len(table)].host.host_id for each in range(count)}

    # ---- what is around

    async def _surround(self, table: HostTable, requests: Iterable[PlacementRequest]) -> None:
        is_stale, self._are_aggregates_stale = self._are_aggregates_stale, False
        query = around_of(requests, with_aggregates=is_stale)
        around = Surroundings()
        if is_stale or query.group_ids or query.server_ids:
            try:
                around = await self._state.read(query)
            except BaseException:
                self._are_aggregates_stale = is_stale
                raise
        if is_stale:
            self._aggregates = around.aggregates
        table.surround(replace(around, aggregates=self._aggregates))
