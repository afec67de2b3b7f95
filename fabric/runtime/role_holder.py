"""A node's side of a role that the log grants: works while it holds it, and asks the leader to let it go on.

What is granted is read from this node's own rows. A renewal that is refused, or that nobody answers for a
whole lease, ends the work: another one may have it by now, and this node's fence would be refused anyway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fabric.core.membership.model import RoleClaim
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.queries import AppliedEntry
from fabric.core.voters.leases import TTL_MS
from fabric.errors import FabricError, NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.duties import raise_end
from fabric.runtime.hard_state import HardState
from fabric.runtime.role_keeper import RENEW
from proto.codec import Plain
from proto.commands.nodes import RoleHold
from proto.ids import Fence, NodeId

log = logging.getLogger(__name__)

RENEW_S = TTL_MS / 1_000 / 4
CALL_TIMEOUT_MS = 1_000
LOOK_S = 2.0  # although told: rows that come as a whole, or after a long absence, tell of no entry


class RoleHolder:
    def __init__(
        self,
        role: str,
        state: HardState,
        rpc: Rpc,
        clock: Clock,
        *,
        me: NodeId,
        leader: Callable[[], NodeId | None],
        work: Callable[[Fence], Coroutine[Any, Any, None]],
        claim: Callable[[RoleClaim | None], None],
    ) -> None:
        """`work` is what the role does under that fence, until cancelled."""
        self._role = role
        self._state = state
        self._rpc = rpc
        self._clock = clock
        self._me = me
        self._leader = leader
        self._work = work
        self._claim = claim
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Raises DutyEndedError: the work does not end by itself."""
        unsubscribe = self._state.subscribe(self._on_applied)
        lost: Fence | None = None
        try:
            while True:
                self._changed.clear()
                fence = await self._granted_or_none()
                if fence is None or fence == lost:
                    await self._wait(LOOK_S)
                    continue
                await self._hold(fence)
                lost = fence
        finally:
            unsubscribe()

    def _on_applied(self, entry: AppliedEntry) -> None:
        if isinstance(entry.command, RoleHold) and entry.command.role == self._role:
            self._changed.set()

    async def _wait(self, pause_s: float) -> bool:
        """Whether there was word of a grant meanwhile."""
        try:
            async with asyncio.timeout(pause_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _granted_or_none(self) -> Fence | None:
        try:
            return await self._granted()
        except FabricError as error:
            log.info("grant not read", extra={"role": self._role, "reason": str(error)})
            return None

    async def _granted(self) -> Fence | None:
        grants = await self._state.read(ListRoleGrants())
        mine = [grant.fence for grant in grants if grant.role == self._role and grant.node_id == self._me]
        return mine[0] if mine else None

    async def _hold(self, fence: Fence) -> None:
        self._claim(RoleClaim(role=self._role, fence=fence, since_ms=self._clock.wall_ms()))
        log.info("role held", extra={"role": self._role, "fence": fence})
        work = asyncio.create_task(self._work(fence), name=self._role)
        lease = asyncio.create_task(self._keep(fence), name=f"{self._role} lease")
        try:
            done, _ = await asyncio.wait((work, lease), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._claim(None)
            for task in (work, lease):
                task.cancel()
            await asyncio.gather(work, lease, return_exceptions=True)
        log.info("role not held any more", extra={"role": self._role, "fence": fence})
        if work in done:
            raise_end(work)
        lease.result()

    async def _keep(self, fence: Fence) -> None:
        """Returns when the role is not this node's any more."""
        until_ms = self._clock.monotonic_ms() + TTL_MS
        while self._clock.monotonic_ms() < until_ms:
            asked_ms = self._clock.monotonic_ms()
            try:
                if not await self._renew(fence):
                    return
                until_ms = asked_ms + TTL_MS
            except FabricError as error:
                log.debug("role not renewed", extra={"role": self._role, "reason": str(error)})
            if not await self._wait(RENEW_S):
                continue
            self._changed.clear()
            try:
                if await self._granted() != fence:
                    return
            except FabricError:  # whether it still is, its renewal tells
                continue

    async def _renew(self, fence: Fence) -> bool:
        """Raises FabricError: nobody answered, or who was asked leads no more."""
        leader = self._leader()
        if leader is None:
            raise NoQuorumError("nobody leads at the moment")
        body: dict[str, Plain] = {"role": self._role, "fence": fence}
        answer = await self._rpc.call(leader, RENEW, body, timeout_ms=CALL_TIMEOUT_MS)
        return isinstance(answer, dict) and answer.get("held") is True
