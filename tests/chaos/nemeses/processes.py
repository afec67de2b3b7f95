"""Harm to processes: killed, held, told to stop."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.chaos.group import until_whole

if TYPE_CHECKING:
    from tests.chaos.nemeses.scene import Scene


def kill(scene: Scene) -> None:
    """As many at once as may fail, with SIGKILL."""
    victims = scene.victims(scene.minority())
    scene.told("killed", victims)
    scene.bed.kill(victims, signal.SIGKILL)
    scene.hold()
    for name in victims:
        scene.bed.start(name)


def pause(scene: Scene) -> None:
    """Held in the middle of whatever they do, longer than an election takes; they wake and know nothing of
    it."""
    victims = scene.victims(scene.rng.randint(1, scene.minority()))
    pids = [pid for name in victims if (pid := scene.bed.pid(name)) is not None]
    scene.told("paused", victims)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        scene.hold()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def rolling(scene: Scene) -> None:
    """As an upgrade goes: each is told to stop, started again, and the next is touched when all are well."""
    names = list(scene.bed.names)
    scene.rng.shuffle(names)
    scene.told("stopped in turn", names)
    for name in names:
        scene.bed.kill([name], signal.SIGTERM)
        scene.bed.start(name)
        until_whole(scene.group)
