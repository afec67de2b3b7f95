"""Whom the conductor entrusts the root to: those that wait for it, one try now and then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.errors import NoQuorumError
from fabric.runtime.entrusting_loop import AGAIN_MS, OPEN, REACHED, ROWS_LABEL, EntrustingLoop
from fabric.runtime.events import EventLog
from proto.ids import NodeId
from tests.fixtures.compute_doubles import FleetDouble
from tests.fixtures.store_world import ManualClock

A, B, C, D = (NodeId(letter * 32) for letter in "abcd")


class LabelledFleet(FleetDouble):
    labels: dict[NodeId, str]

    def member(self, node_id: NodeId) -> Member | None:
        member = super().member(node_id)
        if member is None:
            return None
        labels = {ROWS_LABEL: self.labels[node_id]} if node_id in self.labels else {}
        return replace(member, record=replace(member.record, labels=labels))


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        alive, suspect = MemberState.ALIVE, MemberState.SUSPECT
        self.fleet = LabelledFleet({A: alive, B: alive, C: suspect, D: alive})
        self.fleet.labels = {A: REACHED, B: OPEN, C: REACHED}
        self.asked: list[NodeId] = []
        self.fails = False
        self.events = EventLog(self.clock)
        self.loop = EntrustingLoop(self.fleet, self.clock, self.events, entrust=self._entrust)

    async def _entrust(self, node_id: NodeId) -> None:
        self.asked.append(node_id)
        if self.fails:
            raise NoQuorumError("not now")


@pytest.fixture
def world() -> World:
    return World()


async def test_those_that_wait_and_are_there_are_asked(world: World) -> None:
    await world.loop.look()
    assert world.asked == [A]


async def test_one_that_failed_is_asked_again_later(world: World) -> None:
    world.fails = True
    await world.loop.look()
    await world.loop.look()
    assert world.asked == [A]
    world.clock.advance(AGAIN_MS)
    await world.loop.look()
    assert world.asked == [A, A]


async def test_one_that_waits_anew_is_asked_at_once(world: World) -> None:
    await world.loop.look()
    world.fleet.labels[A] = OPEN
    await world.loop.look()
    world.fleet.labels[A] = REACHED  # its key was lost with its disk
    await world.loop.look()
    assert world.asked == [A, A]
