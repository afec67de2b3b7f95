"""The last act: four of five are lost for ever under load, and the one that is left goes on alone (`fabric
recover`).

It is no more than what it says of itself: everything up to the last entry it holds has to be there, and
only what was acknowledged from later ones may be gone.
"""

from __future__ import annotations

import re
import signal

from fabric.dev.cloud_client import CloudClient
from fabric.errors import FabricError
from tests.chaos.bed import cloud_at
from tests.chaos.group import PATIENCE_S
from tests.chaos.nemeses.scene import Scene
from tests.chaos.nemeses.waiting import until

KEPT = re.compile(r"^kept: entries up to (\d+);", re.MULTILINE)


def lose_all_but_one(scene: Scene) -> str:
    """The survivor, which still runs, and cannot do anything."""
    *lost, survivor = scene.victims(len(scene.bed.names))
    scene.told("lost for ever", lost)
    scene.bed.kill(lost, signal.SIGKILL)
    return survivor


def recover(scene: Scene, survivor: str) -> int:
    """Up to which entry it kept the log. The clients have ended."""
    scene.bed.kill([survivor], signal.SIGKILL)
    said = scene.bed.command(survivor, ["recover", "--survivor", "--yes-i-lose-writes"])
    found = KEPT.search(said)
    assert found is not None, said
    scene.say(f"{survivor} recovered: {found[0]}")
    scene.bed.start(survivor)
    return int(found[1])


def cloud_of(scene: Scene, survivor: str) -> CloudClient:
    """Its API, which answers as soon as it leads again. Raises TimeoutError."""
    found: list[CloudClient] = []

    def answers() -> bool:
        try:
            found.append(cloud_at(scene.bed, survivor))
        except (FabricError, OSError):
            return False
        return True

    until(answers, "the survivor's API", within_s=PATIENCE_S)
    return found[-1]
