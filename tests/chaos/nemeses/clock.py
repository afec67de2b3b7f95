"""Harm to wall clocks: they jump, far and back. Monotonic time goes on, as on a real machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.nemeses.scene import Scene

JUMPS_S = (30, -30, 600, -600, 3_600, -3_600, 5 * 3_600)
JUMPS = 2


def clock(scene: Scene) -> None:
    """A minority's, or a majority's with the leader's among them; at last all are right again, which is one
    more jump for each of them."""
    victims = scene.victims(scene.rng.randint(1, len(scene.bed.names)))
    try:
        for _ in range(JUMPS):
            jumps = {name: scene.rng.choice(JUMPS_S) for name in victims}
            scene.say(f"clocks jump: {', '.join(f'{name} {jump:+d} s' for name, jump in jumps.items())}")
            for name, jump in jumps.items():
                scene.faults.set_clock(name, jump)
            scene.hold()
    finally:
        for name in victims:
            scene.faults.set_clock(name, 0)
