"""The leader's care for a role that the log grants: grants it, hears its holder renew it, and grants it anew.

A renewal is a question to the leader and no entry. A lease says when to grant again, never that the old
holder has stopped: what that one still proposes carries an older fence, and apply refuses it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from fabric.core.nodes.model import RoleGrant
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.queries import Applied
from fabric.core.voters.leases import Grant, LeaseTable
from fabric.core.voters.roles import choose_scheduler
from fabric.errors import CommandRejectedError, FabricError, NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from fabric.runtime.lease_status import LeaseSeen
from proto.codec import Plain
from proto.commands import Command
from proto.commands.nodes import RoleHold
from proto.errors import WireError
from proto.ids import Fence, NodeId, RequestId, new_request_id

log = logging.getLogger(__name__)

RENEW = "role.renew"
LOOK_S = 0.5


class Proposer(Protocol):
    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...


class RoleKeeper:
    """A duty of who leads. Started anew each time."""

    def __init__(
        self,
        role: str,
        voter: Proposer,
        state: HardState,
        rpc: Rpc,
        clock: Clock,
        *,
        me: NodeId,
        candidates: Callable[[], frozenset[NodeId]],
        is_alive: Callable[[NodeId], bool],
        zone_of: Callable[[NodeId], str] = lambda node_id: "",
        is_spared: Callable[[NodeId], bool] = lambda node_id: False,
    ) -> None:
        """`candidates`: who is there and could hold it now; who `is_spared` only where nobody else can.
        `is_alive`: in the fabric's eyes; a holder that is not is not waited for."""
        self.role = role
        self._voter = voter
        self._state = state
        self._rpc = rpc
        self._clock = clock
        self._me = me
        self._candidates = candidates
        self._is_alive = is_alive
        self._zone_of = zone_of
        self._is_spared = is_spared
        self._leases: LeaseTable | None = None

    async def run(self) -> None:
        """Until cancelled."""
        self._rpc.serve(RENEW, self._renew)
        try:
            while True:
                try:
                    await self.look()
                except FabricError as error:
                    log.info("role not looked after", extra={"role": self.role, "reason": str(error)})
                await asyncio.sleep(LOOK_S)
        finally:
            self._rpc.unserve(RENEW)

    def lease(self) -> LeaseSeen | None:
        """None: nobody holds the role, or this keeper has not looked yet."""
        if self._leases is None:
            return None
        held = self._leases.left_ms(self.role, self._clock.monotonic_ms())
        if held is None:
            return None
        return LeaseSeen(role=self.role, node_id=held[0].holder, left_ms=held[1])

    async def look(self) -> None:
        """Grants the role where nobody holds it any more. Raises FabricError."""
        row = await self._row()
        now_ms = self._clock.monotonic_ms()
        if self._leases is None:  # every grant found lasts one term more: it was not our fault
            self._leases = LeaseTable([] if row is None else [_grant(row)], now_ms)
        elif row is not None:
            self._leases.grant(_grant(row), now_ms)
        late = {grant.holder for grant in self._leases.expired(now_ms)}
        if row is None or row.node_id in late or not self._is_alive(row.node_id):
            await self._grant(self._candidates() - late or self._candidates(), row)

    async def _grant(self, candidates: frozenset[NodeId], row: RoleGrant | None) -> None:
        spared = [node_id for node_id in candidates if self._is_spared(node_id)]
        holder = choose_scheduler(candidates, self._me, None, zone_of=self._zone_of, spared=spared)
        if holder is None:
            return
        command = RoleHold(role=self.role, node_id=holder)
        applied = await self._voter.propose(command, request_id=new_request_id())
        assert self._leases is not None
        if row is not None:
            self._leases.end(self.role, row.node_id)
        grant = Grant(role=self.role, holder=holder, fence=Fence(applied.index))
        self._leases.grant(grant, self._clock.monotonic_ms())
        log.info("role granted", extra={"role": self.role, "node": holder, "fence": applied.index})

    async def _row(self) -> RoleGrant | None:
        grants = await self._state.read(ListRoleGrants())
        return next((grant for grant in grants if grant.role == self.role), None)

    async def _renew(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        fence = body.get("fence")
        if type(fence) is not int:
            raise WireError("bad_field", "fence: must be a whole number")
        if body.get("role") != self.role:
            raise CommandRejectedError("not_found", "Nobody leases that role.")
        now_ms = self._clock.monotonic_ms()
        if self._leases is None:
            raise NoQuorumError("the conductor has just begun and has not looked yet; ask again")
        held = self._leases.renew(self.role, peer, Fence(fence), now_ms)
        return {"held": held}


def _grant(row: RoleGrant) -> Grant:
    return Grant(role=row.role, holder=row.node_id, fence=row.fence)
