"""Who conducts by a lease: takes it, keeps it, stops in time by its own clock, and stands back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from fabric.core.queries import Applied
from fabric.errors import NoQuorumError, NotLeaderError
from fabric.runtime import shared_lead
from fabric.runtime.shared_lead import MARGIN_MS, TTL_MS, SharedLead
from fabric.store.held_lease import HeldLease, LeaseAnswer
from proto.commands import Command
from proto.commands.nodes import RoleHold
from proto.ids import LogIndex, NodeId, RequestId
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import ManualClock

A, B = NodeId("a" * 32), NodeId("b" * 32)
COMMAND = RoleHold(role="scheduler", node_id=A)


class Rows:
    """One lease on a clock of its own, as the database keeps it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.holder = ""
        self.epoch = 0
        self.until_ms = 0
        self.renewed = 0
        self.is_away = False
        self.is_stuck = False
        self.proposed: list[HeldLease] = []
        self.listeners: list[Callable[[], None]] = []

    async def _reached(self) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.is_away:
            raise NoQuorumError("away")

    async def take_lease(self, role: str, node_id: NodeId, ttl_ms: int) -> LeaseAnswer:
        await self._reached()
        now_ms = self.clock.now_ms
        if self.until_ms > now_ms and self.holder != node_id:
            return LeaseAnswer(epoch=None, left_ms=self.until_ms - now_ms)
        self.holder, self.until_ms, self.epoch = node_id, now_ms + ttl_ms, self.epoch + 1
        return LeaseAnswer(epoch=self.epoch, left_ms=ttl_ms)

    def _is_held(self, lease: HeldLease) -> bool:
        return (self.holder, self.epoch) == (lease.node_id, lease.epoch)

    async def renew_lease(self, lease: HeldLease, ttl_ms: int) -> bool:
        await self._reached()
        if self._is_held(lease):
            self.renewed += 1
            self.until_ms = self.clock.now_ms + ttl_ms
        return self._is_held(lease)

    async def give_up_lease(self, lease: HeldLease) -> None:
        await self._reached()
        if self._is_held(lease):
            self.holder, self.until_ms = "", 0
            for listener in tuple(self.listeners):
                listener()

    def watch_leases(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    async def propose_under(self, lease: HeldLease, command: Command, *, request_id: RequestId) -> Applied:
        if not self._is_held(lease):
            raise NotLeaderError("another node took the role")
        self.proposed.append(lease)
        return Applied(LogIndex(1), {})


class World:
    """Two nodes. Waits of the loop are short, and count by the clock only where that is moved."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.clock = self.rows.clock
        self.leads = {node_id: SharedLead(self.rows, node_id, self.clock) for node_id in (A, B)}
        self.told: list[tuple[NodeId, bool]] = []
        for node_id, lead in self.leads.items():
            lead.watch_lead(lambda node_id=node_id, lead=lead: self.told.append((node_id, lead.is_leader)))
        self.tasks: list[asyncio.Task[None]] = []

    def run(self, *node_ids: NodeId) -> None:
        self.tasks += [asyncio.create_task(self.leads[node_id].run()) for node_id in node_ids]

    async def led_by(self, node_id: NodeId) -> SharedLead:
        await until(lambda: self.leads[node_id].is_leader)
        return self.leads[node_id]


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    for name in ("RENEW_MS", "LOOK_MS", "RETRY_MS"):
        monkeypatch.setattr(shared_lead, name, 5)
    made = World()
    yield made
    for task in made.tasks:
        task.cancel()
    ended = await asyncio.gather(*made.tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def test_one_leads_and_keeps_it(world: World) -> None:
    world.run(A)
    await world.led_by(A)
    world.run(B)
    before = world.rows.renewed
    await until(lambda: world.rows.renewed > before + 3)
    assert world.told == [(A, True)]
    assert not world.leads[B].is_leader


async def test_who_cannot_reach_the_database_stops_before_another_may_begin(world: World) -> None:
    world.run(A)
    lead = await world.led_by(A)
    world.rows.is_away = True
    ends_ms = world.rows.until_ms
    world.clock.now_ms = ends_ms - MARGIN_MS
    assert not lead.is_leader, "by its own clock, told by nobody"
    await until(lambda: world.told[-1] == (A, False))
    world.rows.is_away = False
    world.clock.now_ms = ends_ms
    world.run(B)
    await until(lambda: any(each.is_leader for each in world.leads.values()))
    assert world.rows.epoch == 2


async def test_a_database_that_never_answers_does_not_keep_it_leading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(A)
    lead = await world.led_by(A)
    world.rows.is_stuck = True
    world.clock.advance(TTL_MS - MARGIN_MS)
    assert not lead.is_leader
    with pytest.raises(NotLeaderError):
        await lead.propose(COMMAND, request_id=RequestId("r"))
    assert world.rows.proposed == []


async def test_a_lease_counts_from_when_it_was_asked_for(world: World) -> None:
    real = world.rows.take_lease

    async def slow(role: str, node_id: NodeId, ttl_ms: int) -> LeaseAnswer:
        seen = await real(role, node_id, ttl_ms)
        world.clock.advance(TTL_MS - MARGIN_MS)  # the answer was long on its way
        world.rows.take_lease = real  # type: ignore[method-assign]
        world.rows.is_away = True
        return seen

    world.rows.take_lease = slow  # type: ignore[method-assign]
    world.run(A)
    await until(lambda: world.rows.is_away)
    await until(lambda: bool(world.told))
    assert (A, True) not in world.told, "it was over when it came"


async def test_a_stopped_one_that_goes_on_proposes_nothing(world: World) -> None:
    world.run(A)
    stale = await world.led_by(A)
    lease = HeldLease(role="conductor", node_id=A, epoch=1)
    world.clock.advance(TTL_MS)
    await world.rows.take_lease("conductor", B, TTL_MS)
    with pytest.raises(NotLeaderError):
        await stale.propose(COMMAND, request_id=RequestId("r"))
    with pytest.raises(NotLeaderError):  # and what was on its way already is refused by the rows
        await world.rows.propose_under(lease, COMMAND, request_id=RequestId("r"))
    await until(lambda: world.told[-1] == (A, False))


async def test_what_it_proposes_names_its_taking(world: World) -> None:
    world.run(A)
    lead = await world.led_by(A)
    await lead.propose(COMMAND, request_id=RequestId("r"))
    assert world.rows.proposed == [HeldLease(role="conductor", node_id=A, epoch=1)]


async def test_who_stands_back_lets_another_lead_at_once_and_leads_no_more(world: World) -> None:
    world.run(A)
    lead = await world.led_by(A)
    await lead.stand_back()
    assert not lead.is_leader
    for _ in range(10):  # longer than its loop pauses
        await asyncio.sleep(0.002)
        assert (world.rows.holder, lead.is_leader) == ("", False)
    world.run(B)
    await world.led_by(B)
    await lead.stand_back()
    assert world.rows.holder == B


async def test_a_lease_that_arrives_after_standing_back_is_given_up(world: World) -> None:
    real = world.rows.take_lease

    async def late(role: str, node_id: NodeId, ttl_ms: int) -> LeaseAnswer:
        await world.leads[A].stand_back()
        return await real(role, node_id, ttl_ms)

    world.rows.take_lease = late  # type: ignore[method-assign]
    world.run(A)
    await until(lambda: world.rows.epoch == 1 and world.rows.holder == "")
    assert not world.leads[A].is_leader
