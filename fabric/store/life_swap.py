"""How a state directory that was built beside the present one takes its place, whole or not at all.

It is built in `state.new` and becomes the state by one rename, to `state.next`; what follows is done again by
whoever comes next, the agent too (`settle`). The state before is only set aside.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from fabric.store.files import fsync_directory
from fabric.store.incarnation import read_incarnation

log = logging.getLogger(__name__)

STATE = "state"  # below the node's own directory
NEW, NEXT = "state.new", "state.next"


def settle(node_directory: Path) -> Path | None:
    """Ends what a crash cut short. The node's lock is held. Gives where the state before is, None when there
    was nothing to do, or no state before. Raises OSError."""
    state, following = node_directory / STATE, node_directory / NEXT
    if not following.exists():
        return None
    incarnation = read_incarnation(following)
    had_one = set_state_aside(node_directory, incarnation) is not None
    aside = _aside(node_directory, incarnation)
    following.rename(state)
    fsync_directory(node_directory)
    log.warning("the state was made anew", extra={"before": str(aside) if had_one else ""})
    return aside if aside.exists() else None


def set_state_aside(node_directory: Path, incarnation: int) -> Path | None:
    """For a life that begins now. The node's lock is held. Gives where it is, None when there was none.
    Raises OSError."""
    state, aside = node_directory / STATE, _aside(node_directory, incarnation)
    if not state.exists():
        return None
    state.rename(aside)
    fsync_directory(node_directory)
    return aside


def _aside(node_directory: Path, incarnation: int) -> Path:
    return node_directory / f"{STATE}.before-{incarnation}"


def begin_building(node_directory: Path) -> Path:
    """An empty directory to build in; what an earlier try left is gone. Raises OSError."""
    building = node_directory / NEW
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    return building


def commit(node_directory: Path) -> Path | None:
    """What was built is the state. Gives where the one before is. The node's lock is held. Raises OSError."""
    building = node_directory / NEW
    for path in building.iterdir():
        if path.is_dir():
            fsync_directory(path)
    fsync_directory(building)
    building.rename(node_directory / NEXT)
    fsync_directory(node_directory)
    return settle(node_directory)
