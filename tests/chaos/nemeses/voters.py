"""Harm to who votes: the lead goes round, one is away until it needs a snapshot, one loses its rows."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from fabric.errors import FabricError
from fabric.runtime.authority import ROOT_FILE
from fabric.store.life_swap import STATE
from fabric.store.looked_at import look
from tests.chaos.ballast import Ballast
from tests.chaos.bed import local
from tests.chaos.group import PATIENCE_S, until_whole
from tests.chaos.nemeses.waiting import until

if TYPE_CHECKING:
    from tests.chaos.nemeses.scene import Scene

TRANSFERS = 6
BALLAST = 8  # long entries between two looks
CUT_S = 600.0  # where the machine is busy, clients write little
REPLACED_S = 600.0  # a leader asks who was silent for 60 s, and each new leader counts anew


def lead(scene: Scene) -> None:
    """Handed over again and again, as fast as somebody leads."""
    done, refused = 0, 0
    for _ in range(TRANSFERS):
        leader = _leader(scene)
        heir = scene.rng.choice([name for name in scene.bed.names if name != leader])
        try:
            local(scene.bed, leader).post(f"/voters/{heir}/lead", {})
            done += 1
        except FabricError:
            refused += 1  # it lost the lead meanwhile
    scene.say(f"lead handed over {done} times, refused {refused} times")
    if not done:
        raise AssertionError("the lead was never handed over")


def snapshot(scene: Scene) -> None:
    """Down for so long that the others have cut their logs behind it: it goes on from a copy of the rows,
    under load."""
    (victim,) = scene.victims(1)
    scene.told("down until it needs a snapshot", [victim])
    scene.bed.kill([victim], signal.SIGKILL)
    last = look(scene.bed.state_dir(victim) / STATE).last_index
    ballast = Ballast(scene.bed)

    def is_cut() -> bool:
        for _ in range(BALLAST):
            ballast.write()
        return _begins(scene, _leader(scene)) > last

    until(is_cut, f"the leader's log to be cut behind entry {last}", within_s=CUT_S)
    scene.bed.start(victim)
    until_whole(scene.group)
    if _begins(scene, victim) <= last:
        raise AssertionError(f"{victim} caught up without a snapshot")


def wipe(scene: Scene) -> None:
    """It loses log and rows, and comes back as a host that is invited to vote again."""
    (victim,) = scene.victims(1)
    scene.told("rows lost", [victim])
    scene.bed.kill([victim], signal.SIGKILL)
    directory = scene.bed.state_dir(victim)
    shutil.rmtree(directory / STATE)
    (directory / ROOT_FILE).unlink(missing_ok=True)  # as the agent of the founder says itself
    scene.hold()
    scene.bed.start(victim)
    until_whole(scene.group, within_s=REPLACED_S)


def _leader(scene: Scene) -> str:
    found: list[str] = []

    def leads() -> bool:
        leader = scene.group.leader()
        found[:] = [] if leader is None else [leader]
        return bool(found)

    until(leads, "somebody to lead", within_s=PATIENCE_S)
    return found[0]


def _begins(scene: Scene, name: str) -> int:
    """The entry behind which its log begins; 0 while its files are in motion."""
    try:
        seen = look(scene.bed.state_dir(name) / STATE)
    except (FabricError, OSError):
        return 0
    return 0 if seen.log is None else seen.log.mark.index
