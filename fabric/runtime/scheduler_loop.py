"""The scheduler role: unplaced servers in, `ServerPlace` or `ServerUnplaceable` out.

Level-triggered: each round reads what is unplaced from applied state, so a lost wake-up, a lost answer
or a new holder of the role loses nothing. A round places its whole batch before the next reads, so
committed rows and the batch's own claims are all the claims there are; `apply` checks them once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.choose import Choice, choose_batch
from fabric.core.placement.explain import NoHost
from fabric.core.placement.host_table import HostTable
from fabric.core.queries import Consistency
from fabric.core.servers.model import Server
from fabric.core.servers.queries import ListUnplaced
from fabric.errors import CommandRejectedError, FabricError, Outcome
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import AppliedEntry, HardState, derive_request_id
from proto.commands import Command
from proto.commands.servers import ServerCreate, ServerPlace, ServerUnplaceable
from proto.ids import Fence, new_uuid

log = logging.getLogger(__name__)

# Losing these is ordinary: someone else changed the row or took the room; the next round looks again.
_LOST_RACE = frozenset({"no_capacity", "stale", "host_disabled", "bad_state", "not_found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    batch_max: int = 256  # servers a round reads; their user data must fit one frame from a remote voter
    in_flight_max: int = 64  # proposals at once: enough to fill a group commit, a guess
    resync_ms: int = 2_000  # a round even when nobody woke us
    pause_ms: int = 250  # after a round in which nothing could be proposed
    pause_ms_max: int = 5_000


@dataclass(slots=True)
class RoundResult:
    """What a round did; `retry` counts servers that stay unplaced and deserve another look."""

    placed: int = 0
    unplaceable: int = 0
    retry: int = 0
    is_full: bool = False  # the batch was full: more may wait
    is_blocked: bool = False  # no role, fenced, or no answer: wait before looking again


class SchedulerLoop:
    """Runs while this node holds the role. `fence` gives the grant's fence, None when there is none."""

    def __init__(
        self,
        state: HardState,
        fleet: Fleet,
        fence: Callable[[], Fence | None],
        clock: Clock,
        config: SchedulerConfig | None = None,
    ) -> None:
        self._state = state
        self._fleet = fleet
        self._fence = fence
        self._clock = clock
        self._config = config or SchedulerConfig()
        self._wake = asyncio.Event()
        self._batch = self._config.batch_max

    async def run(self) -> None:
        """Until cancelled."""
        unsubscribe = self._state.subscribe(self._on_applied)
        pause_ms = self._config.pause_ms
        try:
            while True:
                self._wake.clear()
                try:
                    result = await self.round()
                except FabricError as error:
                    self._batch = max(1, self._batch // 2)  # in case the answer outgrew a frame
                    log.warning("scheduling round failed", extra={"code": error.code, "error": str(error)})
                    result = RoundResult(is_blocked=True)
                except Exception:
                    log.exception("scheduling round failed unexpectedly")
                    result = RoundResult(is_blocked=True)
                if result.is_blocked or (result.retry and not result.placed):
                    await asyncio.sleep(pause_ms / 1000)
                    pause_ms = min(pause_ms * 2, self._config.pause_ms_max)
                    continue
                pause_ms = self._config.pause_ms
                if not (result.is_full or result.retry):
                    await self._wait()
        finally:
            unsubscribe()

    async def round(self) -> RoundResult:
        """One look, one batch of decisions, all of them answered. Raises FabricError from the reads."""
        result = RoundResult()
        fence = self._fence()
        if fence is None:
            result.is_blocked = True
            return result
        servers = await self._state.read(ListUnplaced(limit=self._batch))
        if not servers:
            self._batch = self._config.batch_max
            return result
        started_ms = self._clock.monotonic_ms()
        usages = await self._state.read(ListHosts(), consistency=Consistency.LINEARIZABLE)
        states = {member.record.node_id: member.state for member in self._fleet.members()}
        table = HostTable.of(usages, states)
        result.is_full = len(servers) >= self._batch
        await self._decide(servers, table, fence, result)
        log.info(
            "scheduling round",
            extra={
                "placed": result.placed,
                "unplaceable": result.unplaceable,
                "retry": result.retry,
                "hosts": len(usages),
                "took_ms": self._clock.monotonic_ms() - started_ms,
            },
        )
        return result

    async def _decide(
        self, servers: Sequence[Server], table: HostTable, fence: Fence, result: RoundResult
    ) -> None:
        slots = asyncio.Semaphore(self._config.in_flight_max)
        async with asyncio.TaskGroup() as group:
            for server, decision in zip(servers, choose_batch(servers, table), strict=True):
                command = _command(server, decision, fence)
                group.create_task(self._propose(server, command, slots, result))

    async def _propose(
        self, server: Server, command: Command, slots: asyncio.Semaphore, result: RoundResult
    ) -> None:
        """A fresh request id each time: `read_generation` already makes a repeat harmless, and a stored
        refusal must not answer for a later, better choice."""
        request_id = derive_request_id(server.request_id, f"place/{new_uuid()}")
        fields = {"server": server.server_id, "request_id": server.request_id}
        async with slots:
            try:
                await self._state.propose(command, request_id=request_id)
            except CommandRejectedError as error:
                result.retry += 1
                if error.reason == "fenced":
                    result.is_blocked = True
                    log.warning("scheduler is fenced", extra=fields)
                elif error.reason in _LOST_RACE:
                    log.info("placement lost a race", extra={**fields, "reason": error.reason})
                else:
                    log.error("placement refused", extra={**fields, "reason": error.reason})
                return
            except FabricError as error:
                result.retry += 1
                known = "not done" if error.outcome is Outcome.NOT_DONE else "unknown"
                log.warning("placement not answered", extra={**fields, "code": error.code, "outcome": known})
                return
        if isinstance(command, ServerPlace):
            result.placed += 1
            log.debug("server placed", extra={**fields, "host": command.host_id})
        elif isinstance(command, ServerUnplaceable):
            result.unplaceable += 1
            log.warning("no valid host", extra={**fields, "reason": command.message})

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.resync_ms / 1000):
                await self._wake.wait()

    def _on_applied(self, entry: AppliedEntry) -> None:
        if isinstance(entry.command, ServerCreate):
            self._wake.set()


def _command(server: Server, decision: Choice | NoHost, fence: Fence) -> Command:
    if isinstance(decision, Choice):
        return ServerPlace(
            server_id=server.server_id,
            host_id=decision.host_id,
            fence=fence,
            read_generation=server.generation,
        )
    return ServerUnplaceable(
        server_id=server.server_id,
        fence=fence,
        read_generation=server.generation,
        message=decision.message,
        details=decision.details,
    )
