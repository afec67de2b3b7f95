"""Fabrics to begin a scenario with."""

from __future__ import annotations

from fabric.core.membership.config import MembershipConfig
from tests.sim.membership_world import World

SETTLE_MS = 15_000


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(1, count + 1)]


def settled(count: int, seed: int, *, config: MembershipConfig | None = None, traced: bool = False) -> World:
    """`count` nodes that all know each other, and whose links have found their places."""
    world = World(seed, config=config, traced=traced)
    world.settle(names(count))
    world.run_until(world.is_at_rest, within_ms=SETTLE_MS, step_ms=50)
    world.run(2_000 + world.rng.randrange(1_000))  # not every trouble begins with a beat
    return world
