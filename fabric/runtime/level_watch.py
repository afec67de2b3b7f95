"""Levels as nodes say them in their records, and raising the level of whoever holds the rows.

On the embedded engine the autopilot decides it, among its other steps. A shared database has no voters, so a
duty of its own does: whoever conducts is its elected migrator.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fabric.core.membership.model import Member, MemberState
from fabric.core.queries import Applied
from fabric.core.voters.levels import LEVELS_LABEL, Levels, next_level, parse_levels
from fabric.errors import FabricError
from fabric.runtime.events import EventLog
from fabric.runtime.fleet import Fleet
from fabric.runtime.group_watch import GROUP_LABEL

log = logging.getLogger(__name__)

HALTED_LABEL = "halted"  # in a voter's record: why its rows take no more entries
HALTED_CHARS_MAX = 200
LOOK_S = 10.0
HALT_LOOK_S = 1.0
GONE = (MemberState.LEFT, MemberState.FORGOTTEN)  # who is down comes back with the program that it had


class LevelHolder(Protocol):
    """An engine."""

    @property
    def level(self) -> int: ...

    @property
    def levels(self) -> Levels:
        """What its program can apply."""
        ...

    async def raise_level(self, to: int) -> Applied:
        """Raises CommandRejectedError where somebody raised it first; what proposing raises."""
        ...


def levels_of(member: Member) -> Levels:
    """Who says nothing is of a version before levels."""
    return parse_levels(member.record.labels.get(LEVELS_LABEL, ""))


class SharedLevelKeeper:
    """A duty of who conducts over a shared database."""

    def __init__(self, holder: LevelHolder, fleet: Fleet) -> None:
        self._holder = holder
        self._fleet = fleet

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except FabricError as error:
                log.info("level not raised", extra={"reason": str(error)})
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Raises the level by one where every node that uses the database can follow, those that are down as
        well. Raises FabricError."""
        users = [member for member in self._fleet.members() if _uses_rows(member)]
        others = [levels_of(member) for member in users if member.record.node_id != self._fleet.me]
        to = next_level(self._holder.level, self._holder.levels, others)
        if to is not None:
            await self._holder.raise_level(to)
            log.info("level raised", extra={"level": to})


def _uses_rows(member: Member) -> bool:
    return GROUP_LABEL in member.record.labels and member.state not in GONE


class HaltedVoter(Protocol):
    @property
    def halt(self) -> FabricError | None: ...


class HaltWatch:
    """Tells the fabric of a voter that has halted: its agent says so in its record, so that whoever leads
    lets another vote instead, and every operator sees it."""

    def __init__(self, voter: HaltedVoter, events: EventLog, node: str, tell: Callable[[str], None]) -> None:
        """`node`: its name. `tell` is called once, with the reason."""
        self._voter = voter
        self._events = events
        self._node = node
        self._tell = tell

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._voter.halt is not None:
                break
            await asyncio.sleep(HALT_LOOK_S)
        reason = str(self._voter.halt)[:HALTED_CHARS_MAX]
        self._events.add("voters.halted", self._node, {"reason": reason})
        self._tell(reason)
        await asyncio.Event().wait()
