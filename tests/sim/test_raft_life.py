"""Voters through random troubles: safe all the time, and well again when the troubles end."""

from __future__ import annotations

from random import Random

import pytest

from fabric.core.raft.node import Role
from tests.sim.raft_faults import Faults
from tests.sim.raft_world import RaftWorld
from tests.sim.seeds import few_seeds, seeds

TROUBLE_MS = 20_000
SETTLE_MS = 20_000


@pytest.mark.parametrize("seed", seeds(200))
def test_voters_are_safe_and_then_recover(seed: int) -> None:
    rng = Random(seed)
    voters = rng.choice((1, 2, 3, 3, 3, 5))
    world = RaftWorld(seed, voters, spare=rng.choice((0, 0, 2)), faults=Faults.drawn_from(rng))
    world.run(2_000)
    world.trouble(TROUBLE_MS)
    world.heal()
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    until_a_command_is_done(world)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_settled()
    reads = world.reads_done

    def answers_reads() -> bool:
        now = world.leader()
        if now is not None:
            world.ask_read(now.me)
        return world.reads_done > reads

    world.run_until(answers_reads, within_ms=SETTLE_MS, step_ms=100)
    world.run(SETTLE_MS)
    assert not any(voter.asked for voter in world.voters.values()), "a read is neither answered nor refused"
    a_minority_dies(world)
    world.check_history()


@pytest.mark.parametrize("seed", few_seeds(5))
def test_a_leader_that_is_cut_off_shows_nothing_stale(seed: int) -> None:
    """For a moment it and its follower both lead: whoever was told something by the one asks the other."""
    world = RaftWorld(seed, 3, faults=Faults(delay_ms=1, fsync_ms=0, fold_ms=0))
    world.run(2_000)
    for _ in range(5):
        leader = world.leader()
        assert leader is not None
        world.split([leader.me], [name for name in world.voters if name != leader.me])
        while leader.node is not None and leader.node.role is Role.LEADER:
            now = world.leader()
            if now is not None and now is not leader:
                world.propose(now.me)
            world.run(5)
        world.heal()
        world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_history()


def a_minority_dies(world: RaftWorld) -> None:
    """The rest elects another leader if it must, and goes on."""
    leader = world.leader()
    assert leader is not None
    assert leader.node is not None
    voters = sorted(leader.node.configuration.voters)
    for name in world.rng.sample(voters, (len(voters) - 1) // 2):
        world.crash(name)
    until_a_command_is_done(world)


def until_a_command_is_done(world: RaftWorld) -> None:
    """Whoever leads is asked again and again: it may be paused, or about to be followed by another."""
    done = len(world.acknowledged)

    def takes_commands() -> bool:
        now = world.leader()
        if now is not None:
            world.propose(now.me)
        return len(world.acknowledged) > done

    world.run_until(takes_commands, within_ms=SETTLE_MS, step_ms=100)
