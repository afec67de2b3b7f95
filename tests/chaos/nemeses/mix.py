"""Two kinds of harm at once, each to another node."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.nemeses.scene import Scene


def mix(scene: Scene) -> None:
    """One is killed while another is cut off, deaf, or held: as many as may fail."""
    killed, other = scene.victims(2)
    rest = [name for name in scene.bed.names if name != other]
    pid = scene.bed.pid(other)
    assert pid is not None
    scene.told("killed", [killed])
    match scene.rng.randrange(3):
        case 0:
            scene.told("split off", [other])
            scene.faults.split([other], rest)
        case 1:
            scene.told("deaf", [other])
            scene.faults.deafen(rest, [other])
        case _:
            scene.told("paused", [other])
            os.kill(pid, signal.SIGSTOP)
    try:
        scene.bed.kill([killed], signal.SIGKILL)
        scene.hold()
    finally:
        os.kill(pid, signal.SIGCONT)
        scene.faults.mend()
    scene.bed.start(killed)
