"""Harm to the network. Nobody is told: packets vanish."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.nemeses.scene import Scene


def split(scene: Scene) -> None:
    """A minority against the rest. Clients reach both."""
    few = scene.victims(scene.rng.randint(1, scene.minority()))
    scene.told("split off", few)
    scene.faults.split(few, _rest(scene, few))
    _hold_and_mend(scene)


def shatter(scene: Scene) -> None:
    """No part is a majority: nothing can be written, and everything goes on afterwards."""
    names = scene.victims(len(scene.bed.names))
    parts = [names[start : start + scene.minority()] for start in range(0, len(names), scene.minority())]
    scene.told(f"shattered into {len(parts)}", names)
    for one, other in combinations(parts, 2):
        scene.faults.split(one, other)
    _hold_and_mend(scene)


def deafen(scene: Scene) -> None:
    """One way: it hears nobody and all hear it; or nobody hears it; or one of them does not hear another."""
    (victim,) = scene.victims(1)
    rest = _rest(scene, [victim])
    match scene.rng.randrange(3):
        case 0:
            scene.told("deaf", [victim])
            scene.faults.deafen(rest, [victim])
        case 1:
            scene.told("mute", [victim])
            scene.faults.deafen([victim], rest)
        case _:
            deaf = scene.rng.choice(rest)
            scene.told(f"not heard by {deaf}", [victim])
            scene.faults.deafen([victim], [deaf])
    _hold_and_mend(scene)


def unplug(scene: Scene) -> None:
    """A minority reaches nobody at all: no peer, no client, no database."""
    few = scene.victims(scene.rng.randint(1, scene.minority()))
    scene.told("unplugged", few)
    scene.faults.unplug(few)
    _hold_and_mend(scene)


def _rest(scene: Scene, names: list[str]) -> list[str]:
    return [name for name in scene.bed.names if name not in names]


def _hold_and_mend(scene: Scene) -> None:
    try:
        scene.hold()
    finally:
        scene.faults.mend()
