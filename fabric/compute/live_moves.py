"""Guests that move while they run: this host's part, at either end. The rows say who, and when to stop.

The source asks the destination until that has made ready, and sends. That the guest has arrived is the
destination's to say (`MoveArrived`): it alone has seen it run. What failed or was aborted is the source's,
which has the guest then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

from drivers.contract import ComputeDriver, DomainState, MigrationProgress, Power
from fabric.compute.build_server import ServerBuilder, step
from fabric.compute.errors import StepFailedError
from fabric.compute.live_link import LiveLink, MigrationNotPreparedError
from fabric.compute.observe import Reporter
from fabric.core.moves.model import MoveOfServer, MoveStatus
from fabric.core.servers.model import AssignedServer
from fabric.errors import DeadlineExceededError, FabricError, Outcome, PeerUnreachableError
from fabric.runtime.clock import Clock
from proto.errors import DriverError, HypervisorAwayError
from proto.ids import NodeId, ServerId

log = logging.getLogger(__name__)

PREPARE_MS = 900_000  # for the other host, which may have to fetch the image first
UNREACHABLE_MS = 60_000  # of it, in a row
ASK_AGAIN_S = 0.5
SENT_AT_ONCE = 2  # guests: more of them at once would each take longer


class MigrationAbortedError(FabricError):
    """Its user, or its deadline, has had enough of it."""

    code = "fabric.migration.aborted"
    outcome = Outcome.NOT_DONE


class MigrationLateError(FabricError):
    """The other host has not made ready in time."""

    code = "fabric.migration.late"
    outcome = Outcome.NOT_DONE


class MigrationUnwantedError(FabricError):
    """A guest has arrived that is not to be here any more."""

    code = "fabric.migration.unwanted"
    outcome = Outcome.NOT_DONE


@dataclass(slots=True)
class _Leaving:
    """A guest that is being sent, or waits to be."""

    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    has_turn: bool = False
    is_forced: bool = False
    is_sending: bool = False
    progress: MigrationProgress = field(default_factory=MigrationProgress)


class LiveMoves:
    def __init__(
        self,
        *,
        driver: ComputeDriver,
        link: LiveLink,
        builder: ServerBuilder,
        reporter: Reporter,
        clock: Clock,
        bandwidth_mib_s: int,
    ) -> None:
        self._driver = driver
        self._link = link
        self._builder = builder
        self._reporter = reporter
        self._clock = clock
        self._bandwidth_mib_s = bandwidth_mib_s
        self._slots = asyncio.Semaphore(SENT_AT_ONCE)
        self._leaving: dict[ServerId, _Leaving] = {}
        self._wishes: set[asyncio.Task[None]] = set()

    # -- here

    async def leave(self, assigned: AssignedServer) -> DomainState:
        """It runs on the other host. Raises StepFailedError: it is here, as it was."""
        server_id, move = assigned.server.server_id, assigned.move
        assert move is not None
        assert move.dest_host_id is not None, "it goes somewhere"
        leaving = self._leaving[server_id] = _Leaving()
        try:
            self.heed(assigned)
            async with step("migrate"):
                if await self._driver.has_left(server_id):  # an earlier life of ours has sent it
                    return _elsewhere(server_id)
            async with step("prepare"):
                await self._turn(leaving)
                landing = await self._landing(move.dest_host_id, server_id, leaving)
            async with step("migrate"):
                await self._reporter.running(assigned.server, move.move_id)
                _need_wanted(leaving)
                leaving.is_sending = True
                await self._driver.migrate(
                    server_id,
                    landing,
                    self._link.other_host(move.dest_host_id, server_id),
                    bandwidth_mib_s=self._bandwidth_mib_s,
                    on_progress=lambda progress: setattr(leaving, "progress", progress),
                )
            return _elsewhere(server_id)
        finally:
            del self._leaving[server_id]
            if leaving.has_turn:
                self._slots.release()

    def heed(self, assigned: AssignedServer) -> None:
        """What its row wants of a move under way. Asked at each look at the rows."""
        leaving = self._leaving.get(assigned.server.server_id)
        if leaving is None or assigned.move is None:
            return
        if assigned.move.status == MoveStatus.ABORTING:
            leaving.aborted.set()
            if leaving.is_sending:
                self._wish(self._driver.abort_migration(assigned.server.server_id))
        elif assigned.move.status == MoveStatus.FORCING and leaving.is_sending and not leaving.is_forced:
            leaving.is_forced = True
            self._wish(self._driver.force_migration(assigned.server.server_id))

    def progress(self, server_id: ServerId) -> MigrationProgress | None:
        """None: it is not being sent from here."""
        leaving = self._leaving.get(server_id)
        return None if leaving is None else leaving.progress

    async def _turn(self, leaving: _Leaving) -> None:
        """Raises MigrationAbortedError."""
        acquiring = asyncio.ensure_future(self._slots.acquire())
        aborted = asyncio.ensure_future(leaving.aborted.wait())
        try:
            await asyncio.wait({acquiring, aborted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            aborted.cancel()
            leaving.has_turn = acquiring.done()
            acquiring.cancel()
        _need_wanted(leaving)

    async def _landing(self, other: NodeId, server_id: ServerId, leaving: _Leaving) -> bytes:
        """Raises MigrationAbortedError, MigrationRefusedError, MigrationLateError, PeerUnreachableError,
        DeadlineExceededError."""
        began_ms = heard_ms = self._clock.monotonic_ms()
        while True:
            _need_wanted(leaving)
            try:
                return await self._link.landing(other, server_id)
            except MigrationNotPreparedError as error:
                heard_ms = self._clock.monotonic_ms()
                if heard_ms - began_ms >= PREPARE_MS:
                    raise MigrationLateError(f"not ready after {PREPARE_MS // 1000} s: {error}") from error
            except (PeerUnreachableError, DeadlineExceededError):
                if self._clock.monotonic_ms() - heard_ms >= UNREACHABLE_MS:
                    raise
            await asyncio.sleep(ASK_AGAIN_S)

    def _wish(self, work: Coroutine[Any, Any, None]) -> None:
        async def tell() -> None:
            try:
                await work
            except DriverError as error:  # it ends by itself meanwhile, or the next look tells it again
                log.debug("wish for a migration not heard", extra={"error": str(error)})

        task = asyncio.get_running_loop().create_task(tell(), name="wish for a migration")
        self._wishes.add(task)
        task.add_done_callback(self._wishes.discard)

    # -- there

    async def receive(self, assigned: AssignedServer) -> None:
        """Made ready, and its source is let in; or that is told why not. Raises StepFailedError: to be tried
        again, for the hypervisor is away."""
        server_id, move = assigned.server.server_id, _move(assigned)
        if await self._has_arrived(server_id):
            return
        try:
            landing = await self._builder.receive(assigned)
        except StepFailedError as error:
            if isinstance(error.cause, HypervisorAwayError):
                raise
            log.warning("guest cannot be received", extra={"server": server_id, "error": str(error.cause)})
            self._link.refuse(server_id, move.source_host_id, f"step `{error.step}`: {error.cause}")
            return
        self._link.expect(server_id, move.source_host_id, landing)

    async def land(self, assigned: AssignedServer) -> DomainState:
        """It has arrived, and everybody knows. Raises StepFailedError: it has not."""
        server_id = assigned.server.server_id
        async with step("land"):
            state = await self._driver.finish_incoming(server_id)
        async with step("report"):
            if not await self._reporter.arrived(assigned.server, _move(assigned).move_id):
                raise MigrationUnwantedError("its move is over; this host's rows will say so")
        return state

    def expects(self, server_id: ServerId) -> bool:
        return self._link.expects(server_id)

    def expect_only(self, server_ids: Collection[ServerId]) -> None:
        self._link.expect_only(server_ids)

    async def _has_arrived(self, server_id: ServerId) -> bool:
        """An earlier life of ours may have received it; the next look at the driver will show it running."""
        try:
            return (await self._driver.finish_incoming(server_id)).power is Power.RUNNING
        except DriverError:
            return False


def _move(assigned: AssignedServer) -> MoveOfServer:
    assert assigned.move is not None, "it comes from somewhere"
    return assigned.move


def _elsewhere(server_id: ServerId) -> DomainState:
    return DomainState(server_id=server_id, power=Power.RUNNING, pid=None)


def _need_wanted(leaving: _Leaving) -> None:
    if leaving.aborted.is_set():
        raise MigrationAbortedError("it was aborted")
