"""What the conductor does beside voting: nudges hosts, ends what is overdue, looks after voters and roles.

Each is a loop that begins when this node begins to lead and is cancelled when it leads no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from fabric.agent_engine import NodeEngine
from fabric.config import Config
from fabric.core.membership.model import MemberState
from fabric.core.voters.config import VotersConfig
from fabric.core.voters.roles import SCHEDULER
from fabric.core.voters.wishes import NEVER, SCHEDULES_LABEL
from fabric.errors import FabricError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.autopilot_loop import AutopilotLoop
from fabric.runtime.clock import Clock
from fabric.runtime.digest_watch import DigestClock
from fabric.runtime.entrusting_loop import OPEN, ROWS_LABEL, EntrustingLoop
from fabric.runtime.events import EventLog
from fabric.runtime.fleet import Fleet
from fabric.runtime.host_calls import HostNudger
from fabric.runtime.invitation import Inviter
from fabric.runtime.lead_loop import CONDUCTOR
from fabric.runtime.lease_status import LeaseSeen, LeaseStatus
from fabric.runtime.level_watch import HALTED_LABEL, SharedLevelKeeper
from fabric.runtime.reaper import Reaper
from fabric.runtime.role_keeper import RoleKeeper
from proto.ids import NodeId, node_of

log = logging.getLogger(__name__)

RETRY_S = 1.0

Work = tuple[str, Coroutine[Any, Any, None]]


class ConductorDuties:
    def __init__(
        self,
        engine: NodeEngine,
        *,
        config: Config,
        fleet: Fleet,
        rpc: Rpc,
        clock: Clock,
        events: EventLog,
        inviter: Inviter,
        entrust: Callable[[NodeId], Awaitable[None]],
        may_conduct: Callable[[NodeId], bool],
        readmit: Callable[[], Awaitable[None]],
        more: Callable[[], Sequence[Work]],
    ) -> None:
        """`entrust` the root to a node that uses the same database; `may_conduct`, by its certificate;
        `readmit` tells the mesh what the rows say of its members; `more` are duties of the agent's own."""
        self._engine = engine
        self._config = config
        self._fleet = fleet
        self._rpc = rpc
        self._clock = clock
        self._events = events
        self._inviter = inviter
        self._entrust = entrust
        self._may_conduct = may_conduct
        self._readmit = readmit
        self._more = more
        self._keepers: tuple[RoleKeeper, ...] = ()
        self.autopilot_says = ""  # in one sentence, as of the time this node last led

    def duties(self) -> Sequence[Work]:
        state = self._engine.state
        self._keepers = (self._scheduler_lease(),)
        works = [
            ("host nudger", HostNudger(state, self._rpc, self._fleet).run()),
            ("reaper", Reaper(state, self._fleet, self._clock).run()),
            *((f"{keeper.role}'s lease", keeper.run()) for keeper in self._keepers),
            ("lease status", LeaseStatus(self._rpc, self.leases, self._is_member).run()),
            ("readmission", self._tell_once()),
            *self._more(),
        ]
        if self._engine.shared is not None:
            works.append(("level", SharedLevelKeeper(self._engine.shared, self._fleet).run()))
        voter = self._engine.voter
        if voter is not None:
            autopilot = AutopilotLoop(
                voter,
                state,
                self._fleet,
                self._inviter,
                self._clock,
                self._events,
                VotersConfig(target=self._config.voters.target, serving=self._config.api.count),
                told=self._hear_autopilot,
            )
            works.append(("autopilot", autopilot.run()))
            works.append(("digest clock", DigestClock(voter, self._clock).run()))
        else:
            entrusting = EntrustingLoop(self._fleet, self._clock, self._events, entrust=self._entrust)
            works.append(("entrusting", entrusting.run()))
        return works

    def leases(self) -> tuple[LeaseSeen, ...]:
        """Of the roles that have one, while this node leads."""
        left_ms = self._engine.lead_left_ms()
        lead = LeaseSeen(role=CONDUCTOR, node_id=self._fleet.me, left_ms=left_ms or 0)
        kept = (keeper.lease() for keeper in self._keepers)
        return (*((lead,) if left_ms is not None else ()), *(each for each in kept if each is not None))

    def _is_member(self, node_id: NodeId) -> bool:
        return self._fleet.member(node_id) is not None

    def _scheduler_lease(self) -> RoleKeeper:
        return RoleKeeper(
            SCHEDULER,
            self._engine.leading,
            self._engine.state,
            self._rpc,
            self._clock,
            me=self._fleet.me,
            candidates=self._may_schedule,
            is_alive=self._fleet.is_alive,
            zone_of=self._zone_of,
            is_spared=self._is_spared,
        )

    def _zone_of(self, node_id: NodeId) -> str:
        member = self._fleet.member(node_id)
        return "" if member is None else member.record.zone

    def _is_spared(self, node_id: NodeId) -> bool:
        member = self._fleet.member(node_id)
        return member is not None and member.record.labels.get(SCHEDULES_LABEL) == NEVER

    def _may_schedule(self) -> frozenset[NodeId]:
        """Whoever is there, has the rows, and is allowed to by its certificate."""
        voter = self._engine.voter
        if voter is None:
            return frozenset(
                member.record.node_id
                for member in self._fleet.members()
                if member.state is MemberState.ALIVE
                and member.record.labels.get(ROWS_LABEL) == OPEN
                and self._may_conduct(member.record.node_id)
            )
        nodes = {node_of(each) for each in voter.configuration.voters}
        return frozenset(node_id for node_id in nodes if self._is_well(node_id))

    def _is_well(self, node_id: NodeId) -> bool:
        member = self._fleet.member(node_id)
        if member is None or HALTED_LABEL in member.record.labels:  # its rows are of the past
            return False
        return member.state is MemberState.ALIVE

    def _hear_autopilot(self, waits_for: str) -> None:
        self.autopilot_says = waits_for

    async def _tell_once(self) -> None:
        """What the conductor before may have written and not told."""
        while True:
            try:
                await self._readmit()
                break
            except FabricError as error:  # the rows are elsewhere, and away
                log.info("mesh not told of the rows", extra={"reason": str(error)})
                await asyncio.sleep(RETRY_S)
        await asyncio.Event().wait()
