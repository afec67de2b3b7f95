"""A voter of a group that was made anew after a disaster must end: nobody hears it any more, and where a
majority of the former group comes back it would go on beside the new one.

Whoever conducts says in its record which incarnation of the group it leads. Its certificate must allow it to
conduct, so no mere host can end a voter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fabric.core.membership.model import Member
from fabric.runtime.fleet import Fleet
from fabric.runtime.lead_loop import CONDUCTOR

log = logging.getLogger(__name__)

GROUP_LABEL = "group"  # in a voter's record: the incarnation of its group
LOOK_S = 1.0
DIGITS_MAX = 19


def newest_incarnation(fleet: Fleet) -> int:
    """The highest that a conductor known here leads; 0 where none says."""
    return max((_led_by(member) for member in fleet.members()), default=0)


def _led_by(member: Member) -> int:
    text = member.record.labels.get(GROUP_LABEL, "")
    if not any(claim.role == CONDUCTOR for claim in member.record.roles):
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else 0


class GroupWatch:
    def __init__(self, fleet: Fleet, incarnation: int, superseded: Callable[[], Awaitable[None]]) -> None:
        """`superseded` is awaited once, when somebody conducts a later incarnation than this voter's."""
        self._fleet = fleet
        self._incarnation = incarnation
        self._superseded = superseded

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            newest = newest_incarnation(self._fleet)
            if newest > self._incarnation:
                break
            await asyncio.sleep(LOOK_S)
        log.warning(
            "the group was made anew without this voter",
            extra={"incarnation": self._incarnation, "newest": newest},
        )
        await self._superseded()
        await asyncio.Event().wait()
