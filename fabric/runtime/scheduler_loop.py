"""The scheduler role: servers that wait for a host in, `ServerPlace` or `ServerUnplaceable` out. Servers that
are to leave their host go the same road, and get `MovePlace` or `MoveUnplaceable`.

Level-triggered: each round reads what is unplaced from applied state, so a lost wake-up, a lost answer
or a new holder of the role loses nothing. A round places its whole batch before the next reads, so
committed rows and the batch's own claims are all the claims there are; `apply` checks them once more.

The host table is kept between rounds. A server that finds no host in a kept one is decided once more with one
that was read for this, when all other proposals of the round are answered and rows hold what came of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fabric.core.placement.choose import Choice, choose, claim, made_ready
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.no_host import NoHost, no_host
from fabric.core.placement.policy import Policy, policy_of
from fabric.core.placement.queries import ListPlacementRequests
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.errors import CommandRejectedError, FabricError, Outcome
from fabric.runtime.build_failures import BuildFailures
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import AppliedEntry, HardState, derive_request_id
from fabric.runtime.kept_table import KeptTable
from fabric.runtime.level_watch import levels_of
from proto.commands import Command
from proto.commands.moves import MoveBegin, MovePlace, MoveUnplaceable
from proto.commands.servers import ServerCreate, ServerPlace, ServerUnplaceable
from proto.ids import Fence, new_uuid

log = logging.getLogger(__name__)

# Losing these is ordinary: someone else changed the row or took the room; the next round looks again.
_LOST_RACE = frozenset({"no_capacity", "stale", "host_disabled", "bad_state", "not_found", "policy_violated"})
# That host is at fault: the next best may do.
_OTHER_HOST = frozenset({"no_capacity", "host_disabled", "policy_violated"})
ALTERNATES = 2
DECIDED_AT_ONCE = 4  # then the loop gets a turn


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
        policy: Policy | None = None,
    ) -> None:
        self._state = state
        self._fleet = fleet
        self._fence = fence
        self._clock = clock
        self._config = config or SchedulerConfig()
        self._policy = policy or policy_of(PlacementSettings())
        self._failures = BuildFailures()
        self._table = KeptTable(state, fleet, clock)
        self._wake = asyncio.Event()
        self._batch = self._config.batch_max

    async def run(self) -> None:
        """Until cancelled."""
        ends = (self._table.listen(), self._state.subscribe(self._on_applied))
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
            for end in ends:
                end()

    async def round(self) -> RoundResult:
        """One look, one batch of decisions, all of them answered. Raises FabricError from the reads."""
        result = RoundResult()
        fence = self._fence()
        if fence is None:
            result.is_blocked = True
            return result
        requests = await self._state.read(ListPlacementRequests(limit=self._batch))
        started_ms = self._clock.monotonic_ms()
        failures = self._failures.counts(started_ms)
        if not requests:
            self._batch = self._config.batch_max
            await self._table.keep_up(failures)
            return result
        result.is_full = len(requests) >= self._batch
        requests = self._to_able_hosts(requests)
        table, is_new = await self._table.look(requests, failures)
        in_vain = await self._decide(requests, table, fence, result, is_last_word=is_new)
        if in_vain:
            table = await self._table.look_anew(in_vain, failures)
            await self._decide(in_vain, table, fence, result, is_last_word=True)
        log.info(
            "scheduling round",
            extra={
                "placed": result.placed,
                "unplaceable": result.unplaceable,
                "retry": result.retry,
                "hosts": len(table),
                "took_ms": self._clock.monotonic_ms() - started_ms,
            },
        )
        return result

    def _to_able_hosts(self, requests: tuple[PlacementRequest, ...]) -> tuple[PlacementRequest, ...]:
        """A server never moves to a host whose program is from before moves: it would not fetch the disks."""
        if not any(request.move_id for request in requests):
            return requests
        members = self._fleet.members()
        old = frozenset(each.record.node_id for each in members if not levels_of(each).can(MovePlace.LEVEL))
        return tuple(
            replace(each, ignored_hosts=each.ignored_hosts | old) if each.move_id else each
            for each in requests
        )

    async def _decide(
        self,
        requests: Sequence[PlacementRequest],
        table: HostTable,
        fence: Fence,
        result: RoundResult,
        *,
        is_last_word: bool,
    ) -> Sequence[PlacementRequest]:
        """Each choice is claimed before the next is made. A proposal leaves while later ones are decided; all
        are answered when this returns. Gives those that found no host, unless this was the last word."""
        slots = asyncio.Semaphore(self._config.in_flight_max)
        explained: dict[object, NoHost] = {}  # many servers of one kind are in vain for one reason
        in_vain = []
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(requests):
                for _ in made_ready(request, table, self._policy):
                    await asyncio.sleep(0)
                choice = choose(request, table, self._policy, alternates=ALTERNATES)
                if choice is not None:
                    claim(request, choice.host_id, table)
                    self._table.doubt(choice.host_id)
                    commands = _places(request, choice, fence)
                elif is_last_word:
                    why = explained.get(request.kind)
                    if why is None:
                        why = await asyncio.to_thread(no_host, request, table, self._policy)
                        explained[request.kind] = why
                    commands = [_unplaceable(request, why, fence)]
                else:
                    in_vain.append(request)
                    continue
                group.create_task(self._propose(request, commands, slots, result))
                if number % DECIDED_AT_ONCE == DECIDED_AT_ONCE - 1:
                    await asyncio.sleep(0)
        return in_vain

    async def _propose(
        self,
        request: PlacementRequest,
        commands: Sequence[Command],
        slots: asyncio.Semaphore,
        result: RoundResult,
    ) -> None:
        """The first of `commands`, and the next one when it was the host that could not. A fresh request id
        each time: `read_generation` already makes a repeat harmless, and a stored refusal must not answer for
        a later, better choice."""
        fields = {"server": request.server_id, "request_id": request.request_id}
        async with slots:
            for command in commands:
                request_id = derive_request_id(request.request_id, f"place/{new_uuid()}")
                try:
                    await self._state.propose(command, request_id=request_id)
                except CommandRejectedError as error:
                    if error.reason in _OTHER_HOST and command is not commands[-1]:
                        log.info("placement tries an alternate", extra={**fields, "reason": error.reason})
                        continue
                    self._rejected(error.reason, fields, result)
                    return
                except FabricError as error:
                    result.retry += 1
                    known = "not done" if error.outcome is Outcome.NOT_DONE else "unknown"
                    log.warning(
                        "placement not answered", extra={**fields, "code": error.code, "outcome": known}
                    )
                    return
                break
        if isinstance(command, ServerPlace | MovePlace):
            result.placed += 1
            log.debug("server placed", extra={**fields, "host": command.host_id})
        elif isinstance(command, ServerUnplaceable | MoveUnplaceable):
            result.unplaceable += 1
            log.warning("no valid host", extra={**fields, "reason": command.message})

    def _rejected(self, reason: str, fields: dict[str, str], result: RoundResult) -> None:
        result.retry += 1
        if reason == "fenced":
            result.is_blocked = True
            log.warning("scheduler is fenced", extra=fields)
        elif reason in _LOST_RACE:
            log.info("placement lost a race", extra={**fields, "reason": reason})
        else:
            log.error("placement refused", extra={**fields, "reason": reason})

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.resync_ms / 1000):
                await self._wake.wait()

    def _on_applied(self, entry: AppliedEntry) -> None:
        self._failures.note(entry, self._clock.monotonic_ms())
        command = entry.command
        is_new = command.KIND.startswith(ServerCreate.KIND) or isinstance(command, MoveBegin)
        if is_new or entry.applied.result.get("unplaced"):
            self._wake.set()


def _places(request: PlacementRequest, choice: Choice, fence: Fence) -> list[Command]:
    """Where it is to go; and where else, should it turn out that it cannot."""
    hosts = (choice.host_id, *choice.alternates)
    server_id, generation = request.server_id, request.generation
    if request.move_id:
        return [
            MovePlace(
                move_id=request.move_id,
                server_id=server_id,
                host_id=host_id,
                fence=fence,
                read_generation=generation,
            )
            for host_id in hosts
        ]
    return [
        ServerPlace(server_id=server_id, host_id=host_id, fence=fence, read_generation=generation)
        for host_id in hosts
    ]


def _unplaceable(request: PlacementRequest, why: NoHost, fence: Fence) -> Command:
    if request.move_id:
        return MoveUnplaceable(
            move_id=request.move_id,
            server_id=request.server_id,
            fence=fence,
            read_generation=request.generation,
            message=why.message,
            details=why.details,
        )
    return ServerUnplaceable(
        server_id=request.server_id,
        fence=fence,
        read_generation=request.generation,
        message=why.message,
        details=why.details,
    )
