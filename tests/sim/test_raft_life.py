"""Voters through random troubles: safe all the time, and well again when the troubles end."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.raft_world import Faults, RaftWorld
from tests.sim.seeds import seeds

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
    leader = world.leader()
    assert leader is not None
    keys = world.propose(leader.me, 3)
    world.run_until(lambda: all(key in world.acknowledged for key in keys), within_ms=SETTLE_MS)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_settled()
    leader = world.leader()
    assert leader is not None
    reads = world.reads_done
    world.ask_read(leader.me)
    world.run_until(lambda: world.reads_done > reads, within_ms=SETTLE_MS)
    assert not any(voter.asked for voter in world.voters.values()), "a read is neither answered nor refused"
    a_minority_dies(world)


def a_minority_dies(world: RaftWorld) -> None:
    """The rest elects another leader if it must, and goes on."""
    leader = world.leader()
    assert leader is not None
    assert leader.node is not None
    voters = sorted(leader.node.configuration.voters)
    for name in world.rng.sample(voters, (len(voters) - 1) // 2):
        world.crash(name)
    done = len(world.acknowledged)

    def takes_commands() -> bool:
        now = world.leader()
        if now is not None:
            world.propose(now.me)
        return len(world.acknowledged) > done

    world.run_until(takes_commands, within_ms=SETTLE_MS, step_ms=100)
