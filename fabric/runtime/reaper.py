"""The reconciler of last resort, on the conductor: nothing stays transitional past its deadline.

It knows nothing of how work is done; it looks at deadlines and says why, as well as can be known, the
one who owed the work did not deliver.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from fabric.core.membership.model import MemberState
from fabric.core.moves.model import WAITS_FOR_HOST
from fabric.core.servers.model import Server
from fabric.core.servers.queries import ListOverdue
from fabric.errors import CommandRejectedError, FabricError
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState, derive_request_id
from proto.commands.servers import ServerExpire

log = logging.getLogger(__name__)

# What a tenant reads as their server's fault: the state's name, for whoever looks it up, and what it means.
_BELIEVED = {
    MemberState.STALLED: "stalled: its machine answers and its agent does not",
    MemberState.SUSPECT: "suspect: it does not answer, and that is being looked into",
    MemberState.AGENT_DOWN: "agent_down: its machine answers, its agent is gone or stuck",
    MemberState.HOST_DOWN: "host_down: nothing answers there",
    MemberState.LEAVING: "leaving: its agent was stopped",
    MemberState.LEFT: "left: its agent was stopped and did not come back",
    MemberState.FORGOTTEN: "forgotten: it is no member any more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaperConfig:
    interval_ms: int = 2_000  # deadlines are minutes; two seconds late is on time
    batch_max: int = 200


class Reaper:
    def __init__(
        self, state: HardState, fleet: Fleet, clock: Clock, config: ReaperConfig | None = None
    ) -> None:
        self._state = state
        self._fleet = fleet
        self._clock = clock
        self._config = config or ReaperConfig()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.round()
            except FabricError as error:
                log.warning("reaper could not look", extra={"code": error.code, "error": str(error)})
            except Exception:
                log.exception("reaper failed unexpectedly")
            await asyncio.sleep(self._config.interval_ms / 1000)

    async def round(self) -> int:
        """Expires what is overdue now; how many were. Raises FabricError from the read."""
        now_ms = self._clock.wall_ms()
        overdue = await self._state.read(ListOverdue(now_ms=now_ms, limit=self._config.batch_max))
        expired = 0
        for server in overdue:
            expired += await self._expire(server, now_ms)
        return expired

    async def _expire(self, server: Server, now_ms: int) -> int:
        reason = self.reason(server, now_ms)
        fields = {"server": server.server_id, "request_id": server.request_id, "reason": reason}
        try:
            await self._state.propose(
                ServerExpire(server_id=server.server_id, generation=server.generation, reason=reason),
                request_id=derive_request_id(server.request_id, f"expire/{server.generation}/{now_ms}"),
            )
        except CommandRejectedError as error:
            # It moved after all, or the log's clock is behind ours: the next round looks again.
            log.info("expiry was not due", extra={**fields, "rejected": error.reason})
            return 0
        log.warning("server expired", extra=fields)
        return 1

    def reason(self, server: Server, now_ms: int) -> str:
        """ "host h2 did not report within 600 s; it is host_down: nothing answers there"."""
        waited_s = max(0, now_ms - server.updated_ms) // 1000
        task = server.task_state.value if server.task_state is not None else server.vm_state.value
        if server.host_id is None or server.task_state in WAITS_FOR_HOST:
            return f"no scheduler found it a host within {waited_s} s"
        host = server.host_name or server.host_id
        member = self._fleet.member(server.host_id)
        if member is None:
            believed = "not in the membership table"
        elif member.state is MemberState.ALIVE:
            believed = f"alive but did not finish {task}"
        else:
            believed = _BELIEVED[member.state]
        return f"host {host} did not report within {waited_s} s; it is {believed}"
