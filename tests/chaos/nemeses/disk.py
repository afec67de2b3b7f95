"""Harm to disks: not one more byte fits. A full disk loses nothing, so whoever had one comes back as
itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.nemeses.scene import Scene


def disk(scene: Scene) -> None:
    """A minority's are full, and have room again."""
    victims = scene.victims(scene.rng.randint(1, scene.minority()))
    scene.told("disk full", victims)
    try:
        for name in victims:
            scene.faults.fill_disk(name)
        scene.hold()
    finally:
        for name in victims:
            scene.faults.free_disk(name)
