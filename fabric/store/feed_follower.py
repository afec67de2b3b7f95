"""Reads from the feed what other agents committed, and has it told here in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fabric.core.queries import Applied, AppliedEntry
from fabric.errors import FabricError
from fabric.store.in_order import InOrder
from fabric.store.shared_feed import FeedPage, FeedRow
from proto.commands import Kinds, decode_command
from proto.errors import WireError
from proto.ids import LogIndex

log = logging.getLogger(__name__)

LOOK_S = 2.0  # although notified: a proxy between us and the database may swallow what is said
POLL_S = 0.2  # where the database cannot notify


class FeedFollower:
    """`wake` it when there may be something new."""

    def __init__(self, order: InOrder, read: Callable[[LogIndex], Awaitable[FeedPage]], kinds: Kinds) -> None:
        """`read` gives what follows that index. Raises FabricError. `kinds`: of command that this program
        knows."""
        self._kinds = kinds
        self._order = order
        self._read = read
        self._wake = asyncio.Event()
        self._is_failing = False
        self.look_s = POLL_S

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self.look_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.catch_up()
            except FabricError as error:
                if not self._is_failing:
                    log.warning("feed not read", extra={"code": error.code, "reason": str(error)})
                self._is_failing = True
            else:
                self._is_failing = False

    async def catch_up(self) -> None:
        """Returns when there was nothing more. Raises FabricError."""
        while True:
            after = self._order.told
            page = await self._read(after)
            if page.position < after:
                # Only a database that was put back, or a standby that had not heard of all, does so.
                log.error("the database went back", extra={"from": after, "to": page.position})
                self._order.begin_again(page.position)
                return
            following = page.rows[0].index if page.rows else LogIndex(page.position + 1)
            if following > self._order.told + 1:
                log.warning("entries passed over", extra={"from": after + 1, "to": following - 1})
                self._order.pass_over(following)
            for row in page.rows:
                self._bring(row)
            if not page.rows or page.rows[-1].index >= page.position:
                return

    def _bring(self, row: FeedRow) -> None:
        if not row.body:
            self._order.bring(row.index, None)
            return
        try:
            command = decode_command(row.body, self._kinds)
        except WireError as error:  # of a newer agent: its rows are there for whoever looks
            log.warning("entry not understood", extra={"index": row.index, "reason": str(error)})
            self._order.pass_over(LogIndex(row.index + 1))
            return
        self._order.bring(row.index, AppliedEntry(row.index, command, Applied(row.index, row.result)))
