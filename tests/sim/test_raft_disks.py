"""Voters whose disks fail: nothing wrong is told, and a disk that is not trusted becomes another voter."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fabric.core.raft.node import Role
from proto.ids import VoterId
from tests.sim.raft_faults import DiskFault, Faults
from tests.sim.raft_voter import SimVoter
from tests.sim.raft_world import RaftWorld
from tests.sim.seeds import few_seeds
from tests.sim.test_raft_life import SETTLE_MS

CALM = Faults(delay_ms=1, fsync_ms=1, fold_ms=1, segment_bytes=3_000)  # a few entries
N1, N2, N3 = map(VoterId, ("n1", "n2", "n3"))


def led(seed: int, voters: int = 3) -> RaftWorld:
    world = RaftWorld(seed, voters, faults=CALM)
    world.run(1_000)
    busy(world, 10)
    return world


def busy(world: RaftWorld, commands: int) -> None:
    done = len(world.acknowledged)

    def takes_commands() -> bool:
        now = world.leader()
        if now is not None:
            world.propose(now.me)
        return len(world.acknowledged) >= done + commands

    world.run_until(takes_commands, within_ms=SETTLE_MS, step_ms=20)


def follower(world: RaftWorld) -> SimVoter:
    return next(
        voter
        for voter in world.voters.values()
        if voter.node is not None and voter.node.role is Role.FOLLOWER
    )


def is_replaced(world: RaftWorld, gone: VoterId) -> bool:
    leader = world.leader()
    known = None if leader is None or leader.node is None else leader.node.configuration
    return known is not None and gone not in known.members and world.is_settled()


@pytest.mark.parametrize(
    ("fault", "is_leader"),
    [
        (DiskFault.WRITE, False),
        (DiskFault.SYNC, True),
        (DiskFault.NAMES, True),
        (DiskFault.ROT, False),
        (DiskFault.SET_BACK, False),
    ],
)
def test_a_disk_that_may_have_lost_something_comes_back_as_another_voter(
    fault: DiskFault, is_leader: bool
) -> None:
    world = led(1)
    leader = world.leader()
    assert leader is not None
    voter = leader if is_leader else follower(world)
    if fault is DiskFault.SET_BACK:
        voter.crash()
        voter.keep_copy()
        voter.start()
        busy(world, 5)
    assert voter.suffer(fault)
    busy(world, 25)
    if fault is DiskFault.ROT:
        assert not voter.is_disowned, "nobody has read it yet"
        voter.crash()
    if voter.node is None and not voter.is_disowned:
        voter.start()
    assert voter.is_disowned
    world.run_until(lambda: is_replaced(world, voter.me), within_ms=SETTLE_MS)
    busy(world, 5)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_settled()
    world.check_history()


@pytest.mark.parametrize(
    "fault", [DiskFault.FULL, DiskFault.FULL_WRITE, DiskFault.UNREADABLE, DiskFault.TABLES]
)
def test_a_disk_that_lost_nothing_keeps_its_voter(fault: DiskFault) -> None:
    world = led(2)
    voter = follower(world)
    assert voter.suffer(fault)
    busy(world, 25)
    assert voter.node is None, "it stopped"
    assert not voter.is_disowned
    while voter.node is None:
        voter.start()
    voter.mend_disk()
    busy(world, 5)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_settled()
    world.check_history()
    assert voter.me in world.founders.voters


@pytest.mark.parametrize("fault", [DiskFault.WRITE, DiskFault.SYNC, DiskFault.NAMES])
def test_one_that_is_alone_writes_again_what_its_disk_may_have_dropped(fault: DiskFault) -> None:
    """It keeps its name, having nobody to learn from; nothing acknowledged goes when the power fails then."""
    world = led(3, voters=1)
    voter = world.voters[N1]
    for _ in range(4):
        assert voter.suffer(fault)
        while voter.node is not None:
            world.propose(N1)
            world.run(5)
        assert not voter.is_disowned
        voter.start()
        busy(world, 3)
        voter.crash()
        voter.start()
        busy(world, 1)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_settled()
    world.check_history()


def test_what_only_the_others_know_the_leader_tells() -> None:
    """All of a node's disk was put back, and with it the count of its starts."""
    world = led(4)
    voter = follower(world)
    voter.crash()
    voter.keep_copy()
    voter.start()
    busy(world, 10)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    assert voter.put_back_whole()
    voter.start()
    assert not voter.is_disowned, "it looks as it should"
    world.run_until(lambda: voter.is_disowned, within_ms=1_000)
    world.run_until(lambda: is_replaced(world, voter.me), within_ms=SETTLE_MS)
    world.check_settled()
    world.check_history()


@pytest.mark.parametrize("seed", few_seeds(4))
def test_disks_that_fail_without_measure_make_nobody_lie(seed: int) -> None:
    """So many at once that no majority may be left: then nobody answers, and what was answered stays true."""
    rng = Random(seed)
    faults = replace(
        Faults.drawn_from(rng), disk=rng.uniform(1.0, 3.0), disk_faults=tuple(DiskFault), is_correlated=True
    )
    world = RaftWorld(seed, rng.choice((3, 3, 5)), faults=faults)
    world.run(2_000)
    world.trouble(20_000)
    world.heal()
    world.run(SETTLE_MS)
    if world.leader() is not None and world.is_settled():
        world.check_settled()
    world.check_history()
