"""Voters of two versions in one group, upgraded one by one through random troubles: the level is raised by
one entry, its revision is done at that entry everywhere, and nobody ever folds what its program does not
know."""

from __future__ import annotations

from random import Random

import pytest

from fabric.core.raft.node import Role
from proto.ids import VoterId
from tests.fixtures.next_program import BASELINE, TWO
from tests.sim.raft_world import Faults, RaftWorld
from tests.sim.seeds import few_seeds, seeds
from tests.sim.test_raft_life import SETTLE_MS, until_a_command_is_done

TROUBLE_MS = 20_000
PATCH_MS = 60_000


def raised(world: RaftWorld) -> bool:
    """Asks for it as often as the autopilot does."""
    world.raise_if_due()
    leader = world.leader()
    return leader is not None and leader.level == 2


@pytest.mark.parametrize("seed", seeds(2))
def test_a_group_is_upgraded_through_troubles(seed: int) -> None:
    rng = Random(seed)
    faults = Faults.drawn_from(rng)
    faults.upgrade, faults.stranger = rng.choice((0.02, 0.1, 0.4)), rng.choice((0.0, 0.0, 0.5))
    voters = rng.choice((1, 2, 3, 3, 5))
    world = RaftWorld(seed, voters, spare=rng.choice((0, 1, 2)), faults=faults, upgrade_to=TWO)
    world.run(2_000)
    world.trouble(TROUBLE_MS)
    for name, voter in world.voters.items():
        if voter.program is BASELINE:
            world.upgrade(name)
    world.heal()
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.run_until(lambda: raised(world), within_ms=SETTLE_MS, step_ms=200)
    until_a_command_is_done(world)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    assert not any(voter.halt for voter in world.voters.values())
    world.check_settled()
    world.check_history()


@pytest.mark.parametrize("seed", few_seeds(1))
def test_nothing_new_is_done_before_all_can_follow_and_a_rolling_upgrade_brings_it(seed: int) -> None:
    world = RaftWorld(seed, 3, spare=1, upgrade_to=TWO)
    old = [name for name, voter in world.voters.items() if voter.program is BASELINE]
    assert sorted(old) == ["n1", "n3"]
    world.run(2_000)
    for name in old:
        for _ in range(20):
            world.raise_if_due()
            until_a_command_is_done(world)
        assert not world.raised_at
        world.upgrade(name)
        world.run(50)
        world.start(name)
        world.run_until(lambda: world.leader() is not None, within_ms=SETTLE_MS)
    world.run_until(lambda: raised(world), within_ms=SETTLE_MS, step_ms=200)
    for _ in range(50):
        until_a_command_is_done(world)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.check_settled()
    leader = world.leader()
    assert leader is not None
    assert {colour for (colour,) in leader.of("paints", "colour")} == {"red", "blue"}


@pytest.mark.parametrize("is_far_behind", [False, True])
@pytest.mark.parametrize("seed", few_seeds(1))
def test_who_is_left_behind_halts_leads_nobody_and_goes_on_after_its_upgrade(
    seed: int, is_far_behind: bool
) -> None:
    """It meets the raise in the log, or a snapshot of the new level."""
    world = RaftWorld(seed, 3, upgrade_to=TWO)
    behind = world.voters[VoterId("n1")]
    world.run(2_000)
    world.upgrade(VoterId("n3"))
    world.start(VoterId("n3"))
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    world.crash(behind.me)
    behind.program = TWO  # as far as the others know
    world.run_until(lambda: raised(world), within_ms=SETTLE_MS, step_ms=200)
    for _ in range(20):
        until_a_command_is_done(world)
    if is_far_behind:
        for voter in world.voters.values():
            voter.compact()
    behind.program = BASELINE
    applied = behind.durable.mark.index
    world.start(behind.me)
    world.run_until(lambda: behind.halt is not None, within_ms=SETTLE_MS)
    assert behind.level == 1
    assert behind.applied_index >= applied
    assert behind.applied_index < world.raised_at[2]

    # the log goes on there, and its word counts: of the other two only one is left, and that one leads
    leader = next(voter for voter in world.voters.values() if voter is not behind and voter.node is not None)
    if not is_far_behind:
        world.run_until(lambda: _follows(world, behind), within_ms=SETTLE_MS)
        other = next(voter for voter in world.voters.values() if voter not in (behind, leader))
        world.crash(other.me)
        until_a_command_is_done(world)
        assert behind.applied_index < world.raised_at[2]
        world.crash(leader.me)
        world.run(PATCH_MS)
        assert behind.node is not None
        assert behind.node.role is Role.FOLLOWER
        world.start(leader.me)
        world.start(other.me)
    world.upgrade(behind.me)
    world.start(behind.me)
    world.run_until(world.is_settled, within_ms=SETTLE_MS)
    assert behind.level == 2
    world.check_settled()
    world.check_history()


def _follows(world: RaftWorld, behind: object) -> bool:
    leader = world.leader()
    return (
        leader is not None
        and leader.node is not None
        and all(
            voter.node is not None and voter.node.log.last_index == leader.node.log.last_index
            for voter in world.voters.values()
        )
    )
