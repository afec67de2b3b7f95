"""The autopilot through random misfortune: no step that harms, the right voters in the end, and then rest."""

from __future__ import annotations

from random import Random

import pytest

from fabric.core.voters.facts import Reconfigure
from tests.sim.seeds import few_seeds, seeds
from tests.sim.voters_world import VotersWorld

TROUBLE_SECONDS = 1_200
SETTLE_SECONDS = 900
REST_SECONDS = 120
MOVES_SECONDS = 1_900  # the spread may want two moves, ten minutes apart
STEPS_MAX = 24  # after the last misfortune: everybody invited, promoted and moved once, and some twice


def lived(seed: int) -> VotersWorld:
    world = VotersWorld(seed)
    rng = Random(seed)
    for _ in range(rng.randrange(7)):
        world.join()
    world.loss_percent = rng.choice((0, 20, 50))
    eventful = rng.choice((20, 60, 150))  # seconds between two misfortunes
    for _ in range(TROUBLE_SECONDS):
        if rng.randrange(eventful) == 0:
            world.misfortune()
        world.second()
    return world


@pytest.mark.parametrize("seed", seeds(4))
def test_the_voters_are_right_in_the_end_and_rest(seed: int) -> None:
    world = lived(seed)
    world.calm()
    before = len(world.steps)
    for _ in range(SETTLE_SECONDS):
        world.second()
    world.check_converged()
    for _ in range(MOVES_SECONDS):
        world.second()
    world.check_converged()
    assert len(world.steps) - before <= STEPS_MAX, world.steps[before:]
    for _ in range(REST_SECONDS):
        assert world.second() is None, "it does not come to rest"


@pytest.mark.parametrize("seed", few_seeds(2))
def test_the_same_seed_takes_the_same_steps(seed: int) -> None:
    one, other = lived(seed), lived(seed)
    assert one.steps == other.steps
    assert one.configuration == other.configuration


def test_the_troubles_are_some() -> None:
    """A world in which nothing happens would prove nothing."""
    steps = [step for seed in range(6) for _, step in lived(seed).steps]
    changes = [step for step in steps if isinstance(step, Reconfigure)]
    assert any("(dead)" in step.reason for step in changes)
    assert {len(step.voters) for step in changes} == {1, 3, 5}
