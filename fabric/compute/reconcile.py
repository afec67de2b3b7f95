"""Wanted against present, again and again: the loop that makes this host what its rows say.

Level-triggered. A pass pulls rows, looks at the driver, and gives every server whose two sides differ
one worker. It is woken by nudges, by workers that end, and by time. Rules it keeps:
- one worker a server; the newest wish cancels work on an older one, but a take-down always ends;
- nothing is removed for being unknown before a complete pull has succeeded in this life;
- what the driver listed while a worker touched a server says nothing about that server;
- a guest that runs and should run is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Any

from drivers.contract import ComputeDriver, DomainState, Power
from fabric.compute.act import ServerActs
from fabric.compute.assignments import Assignments
from fabric.compute.build_server import ServerBuilder
from fabric.compute.decide import Work, decide, decide_arriving, is_written_off, power_state_of
from fabric.compute.errors import StaleAssignmentsError, StepFailedError
from fabric.compute.live_moves import LiveMoves
from fabric.compute.network_keeper import NetworkKeeper
from fabric.compute.observe import Reporter
from fabric.compute.save_root import RootSaver, SavedRoot
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.states import Desired, PowerState
from fabric.runtime.build_failures import FailuresInARow
from fabric.runtime.clock import Clock
from proto.errors import DriverError, FabricError, HypervisorAwayError
from proto.ids import ServerId

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileConfig:
    prepare_concurrency: int = 32  # builds that fetch, wire or boot; how many boot is the builder's bound
    act_concurrency: int = 16  # stops and take-downs mostly wait for the guest
    save_concurrency: int = 2  # disks that are made images of: each keeps a disk of the host busy
    resync_ms: int = 10_000  # rows are pulled at least so often
    watch_ms: int = 2_000  # the driver is asked at least so often: guests move by themselves
    heal_ms: int = 10_000  # the network plan is applied afresh at least so often
    settle_ms: int = 50  # new rows mostly start work here, and its own apply then covers the rest of them
    list_timeout_ms: int = 30_000
    retry_ms: int = 1_000  # after a failed pull or take-down, doubling
    retry_ms_max: int = 30_000


@dataclass(slots=True)
class _Worker:
    work: Work
    generation: int
    task: asyncio.Task[None] | None = None
    is_cancelled: bool = False  # once is enough: a second cancel would cut its grace short


@dataclass(slots=True)
class _Backoff:
    failures: int
    due_ms: int


class Reconciler:
    def __init__(
        self,
        *,
        assignments: Assignments,
        driver: ComputeDriver,
        network: NetworkKeeper,
        builder: ServerBuilder,
        acts: ServerActs,
        live: LiveMoves,
        saver: RootSaver,
        reporter: Reporter,
        clock: Clock,
        config: ReconcileConfig,
    ) -> None:
        self._assignments = assignments
        self._driver = driver
        self._network = network
        self._builder = builder
        self._acts = acts
        self._live = live
        self._saver = saver
        self._reporter = reporter
        self._clock = clock
        self._config = config
        self._wake = asyncio.Event()
        self._plan_due = asyncio.Event()
        self._prepare_slots = asyncio.Semaphore(config.prepare_concurrency)
        self._act_slots = asyncio.Semaphore(config.act_concurrency)
        self._save_slots = asyncio.Semaphore(config.save_concurrency)
        self._domains: dict[ServerId, DomainState] = {}
        self._listed_ms: int | None = None
        self._touched: dict[ServerId, int] = {}  # when a worker last changed something, by `_touch_count`
        self._touch_count = 0
        self._done: dict[ServerId, int] = {}  # newest action generation finished in this life
        self._failed: dict[ServerId, int] = {}  # newest action generation that ended in a fault
        self._workers: dict[ServerId, _Worker] = {}
        self._backoff: dict[ServerId, _Backoff] = {}
        self._told: dict[ServerId, tuple[int, PowerState]] = {}  # row generation, power: reported already
        self._is_pull_wanted = True
        self._is_look_wanted = True
        self._is_driver_away = False
        self._pulled_ms = 0
        self._pull_failures = 0
        self._builds = FailuresInARow()

    @property
    def failed_builds(self) -> int:
        """In a row, lately."""
        return self._builds.count(self._clock.monotonic_ms())

    @property
    def domains(self) -> dict[ServerId, DomainState]:
        """What the driver showed last. Read only."""
        return self._domains

    @property
    def is_idle(self) -> bool:
        return not self._workers

    def nudge(self) -> None:
        """Rows may have changed: pull now."""
        self._is_pull_wanted = True
        self._wake.set()

    def look(self) -> None:
        """Guests may have come or gone: ask the driver now."""
        self._is_look_wanted = True
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; then waits for host operations under way, within the workers' grace."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_network())
            while True:
                self._wake.clear()
                wait_ms = self._config.watch_ms
                try:
                    wait_ms = await self._pass(group)
                except Exception:
                    log.exception("reconcile pass failed unexpectedly")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_ms / 1000):
                        await self._wake.wait()

    async def _pass(self, group: asyncio.TaskGroup) -> int:
        """One look. Returns how long to wait for the next when nobody wakes us, in ms."""
        is_fresh = await self._pull() if self._is_pull_due() else False
        if self._assignments.is_complete:
            await self._look()
            if self._listed_ms is not None:
                self._sort_members()
                self._plan_due.set()
                for server_id, assigned in self._assignments.servers.items():
                    self._dispatch(group, server_id, assigned)
                self._dispatch_arriving(group)
                for server_id in self._running_though_parked():
                    self._start(group, server_id, None, Work.PARK, 0)
                if is_fresh:
                    for server_id in self._unknown():
                        self._start(group, server_id, None, Work.DISCARD, 0)
                    await self._forget_notes()
                self._forget_gone()
        return min(self._config.watch_ms, self._pull_wait_ms())

    def _is_pull_due(self) -> bool:
        return self._is_pull_wanted or self._pull_wait_ms() == 0

    async def _pull(self) -> bool:
        self._is_pull_wanted = False
        try:
            await self._assignments.pull()
        except StaleAssignmentsError as error:
            log.error("assignments refused: older than what this host acted on", extra={"error": str(error)})
        except FabricError as error:
            log.warning("assignments not pulled", extra={"code": error.code, "error": str(error)})
        except OSError as error:
            log.error("assignments not remembered", extra={"error": str(error)})
        else:
            self._pull_failures = 0
            self._pulled_ms = self._clock.monotonic_ms()
            return True
        self._pull_failures += 1
        self._pulled_ms = self._clock.monotonic_ms()
        return False

    def _pull_wait_ms(self) -> int:
        """Until the next pull that nobody asked for: a resync, or another try."""
        interval_ms = self._config.resync_ms
        if self._pull_failures:
            interval_ms = min(self._config.retry_ms << min(self._pull_failures - 1, 10), interval_ms)
        return max(0, self._pulled_ms + interval_ms - self._clock.monotonic_ms())

    async def _look(self) -> None:
        """Asks the driver, when it is time. Servers a worker touched meanwhile keep what it said."""
        now_ms = self._clock.monotonic_ms()
        is_due = self._listed_ms is None or now_ms - self._listed_ms >= self._config.watch_ms
        if not (is_due or self._is_look_wanted):
            return
        began = self._touch_count
        busy = set(self._workers)
        try:
            async with asyncio.timeout(self._config.list_timeout_ms / 1000):
                listed = await self._driver.list_domains()
        except (DriverError, TimeoutError) as error:
            log.warning("driver does not list its domains", extra={"error": str(error)})
            self._is_driver_away = True
            return
        if self._is_driver_away:
            self._is_driver_away = False
            self._backoff.clear()  # what waited for the driver need not wait longer
        busy |= {server_id for server_id, when in self._touched.items() if when > began}
        fresh = {state.server_id: state for state in listed if state.server_id not in busy}
        kept = {server_id: state for server_id, state in self._domains.items() if server_id in busy}
        self._domains = {**fresh, **kept}
        self._listed_ms = now_ms
        self._is_look_wanted = False

    def _sort_members(self) -> None:
        """Ports stay wired where a guest is or was meant to stay; workers decide for their own servers."""
        adopt, drop = [], []
        for server_id, assigned in self._assignments.servers.items():
            if server_id in self._workers:
                continue
            has_domain = server_id in self._domains
            is_kept = (
                assigned.server.launched_ms is not None and assigned.server.desired is not Desired.ABSENT
            )
            if is_written_off(assigned.server) and not has_domain:
                drop.append(server_id)
            elif has_domain or is_kept:
                adopt.append(server_id)
        self._network.adopt(adopt)
        self._network.drop(drop)
        kept = self._assignments.server_ids | self._assignments.arriving_ids | self._workers.keys()
        self._network.drop(self._network.members - kept)

    def _dispatch(self, group: asyncio.TaskGroup, server_id: ServerId, assigned: AssignedServer) -> None:
        server = assigned.server
        domain = self._domains.get(server_id)
        work = decide(
            server,
            domain,
            move=assigned.move,
            done_generation=self._done.get(server_id, 0),
            failed_generation=self._failed.get(server_id, 0),
        )
        if work is Work.REPORT and self._told.get(server_id) == (server.generation, power_state_of(domain)):
            return  # said, and the row has not changed: `apply` knows better, or we have not pulled yet
        if work is Work.MIGRATE:
            self._live.heed(assigned)
        if work is not Work.NONE:
            self._start(group, server_id, assigned, work, server.action_generation)

    def _dispatch_arriving(self, group: asyncio.TaskGroup) -> None:
        self._live.expect_only(self._assignments.arriving_ids)
        for server_id, assigned in self._assignments.arriving.items():
            domain, is_expected = self._domains.get(server_id), self._live.expects(server_id)
            work = decide_arriving(domain, is_expected=is_expected)
            if work is not Work.NONE:
                self._start(group, server_id, assigned, work, assigned.server.action_generation)

    def _start(
        self,
        group: asyncio.TaskGroup,
        server_id: ServerId,
        assigned: AssignedServer | None,
        work: Work,
        generation: int,
    ) -> None:
        """Gives the server its worker; an older wish's worker is cancelled first and wakes us when it
        has ended."""
        present = self._workers.get(server_id)
        if present is not None:
            is_same = present.work is work and present.generation == generation
            is_final = present.work in (Work.REMOVE, Work.DISCARD)
            if not (is_same or is_final or present.is_cancelled) and present.task is not None:
                present.is_cancelled = True
                present.task.cancel()
            return
        backoff = self._backoff.get(server_id)
        if backoff is not None and self._clock.monotonic_ms() < backoff.due_ms:
            return
        worker = _Worker(work, generation)
        self._workers[server_id] = worker
        worker.task = group.create_task(self._work(server_id, assigned, worker))
        # Not in the coroutine: a task cancelled before its first step never runs its `finally`.
        worker.task.add_done_callback(lambda _task: self._ended(server_id))

    def _ended(self, server_id: ServerId) -> None:
        self._workers.pop(server_id, None)
        self.nudge()

    async def _work(self, server_id: ServerId, assigned: AssignedServer | None, worker: _Worker) -> None:
        fields = {"server": server_id, "work": worker.work.value, "generation": worker.generation}
        if assigned is not None:
            fields["request_id"] = assigned.server.request_id
        log.debug("work begins", extra=fields)
        try:
            if worker.work is Work.PARK:
                await self._park(server_id)
                log.warning("stopped a guest that has gone to another host", extra=fields)
            elif assigned is None or worker.work is Work.DISCARD:
                await self._take_down(server_id)
                log.warning("discarded what should not be here", extra=fields)
            elif worker.work is Work.REMOVE:
                await self._take_down(server_id)
                await self._reporter.removed(assigned.server)
                self._done[server_id] = worker.generation
            elif worker.work in (Work.RECEIVE, Work.LAND):
                await self._take_in(assigned, worker.work)
            elif worker.work is Work.REPORT:
                domain = self._domains.get(server_id)
                await self._reporter.moved(assigned.server, domain)
                self._told[server_id] = (assigned.server.generation, power_state_of(domain))
            else:
                await self._carry_out(assigned, worker)
            self._backoff.pop(server_id, None)
            log.info("work done", extra=fields)
        except StepFailedError as error:  # take-downs, and a hypervisor that is away: others end in a fault
            self._postpone(server_id)
            log.warning("work failed, will try again", extra={**fields, "error": str(error)})
        except Exception:
            self._postpone(server_id)
            log.exception("work failed unexpectedly", extra=fields)

    async def _carry_out(self, assigned: AssignedServer, worker: _Worker) -> None:
        """Start, stop and the like; ends in a report either way. A hypervisor's restart is no fault of the
        server: while nobody answers, StepFailedError. The conductor's deadline ends the waiting."""
        server = assigned.server
        try:
            done = await self._perform(assigned, worker.work)
        except StepFailedError as error:
            if isinstance(error.cause, HypervisorAwayError):
                raise
            message = f"{worker.work.value.capitalize()} failed at step `{error.step}`: {error.cause}"
            log.warning(
                "work failed",
                extra={
                    "server": server.server_id,
                    "request_id": server.request_id,
                    "step": error.step,
                    "error": str(error.cause),
                },
            )
            if worker.work in (Work.BUILD, Work.ARRIVE):
                self._builds.failed(self._clock.monotonic_ms())
                self._domains.pop(server.server_id, None)
            self._touch(server.server_id)
            self._done[server.server_id] = self._failed[server.server_id] = worker.generation
            self._is_look_wanted = True  # before judging what is left
            await self._reporter.failed(
                server,
                self._domains.get(server.server_id),
                message,
                _chain(error.cause),
                left_nothing=error.left_nothing,
            )
            return
        self._done[server.server_id] = worker.generation
        if isinstance(done, SavedRoot):
            await self._reporter.shelved(server, done)
            return
        if worker.work in (Work.BUILD, Work.ARRIVE):
            self._builds.succeeded()
        if worker.work is Work.MIGRATE:
            self._domains.pop(server.server_id, None)
            self._is_look_wanted = True
        else:
            self._domains[server.server_id] = done
        self._touch(server.server_id)
        await self._reporter.done(server, done)

    async def _take_in(self, assigned: AssignedServer, work: Work) -> None:
        """A guest that comes while it runs. Its source tells of what fails."""
        server_id = assigned.server.server_id
        if work is Work.RECEIVE:
            async with self._prepare_slots:
                await self._live.receive(assigned)
        else:
            self._domains[server_id] = await self._live.land(assigned)
        self._touch(server_id)
        self._is_look_wanted = True

    async def _perform(self, assigned: AssignedServer, work: Work) -> DomainState | SavedRoot:
        server_id = assigned.server.server_id
        if work in (Work.STOP, Work.LEAVE):
            async with self._act_slots:
                if work is Work.STOP:
                    return await self._acts.stop(server_id)
                return await self._acts.leave(assigned, self._domains.get(server_id))
        if work is Work.MIGRATE:
            return await self._live.leave(assigned)
        if work is Work.SAVE:
            async with self._save_slots:
                return await self._saver.save(server_id)
        async with self._prepare_slots:
            domain = self._domains.get(server_id)
            if work is Work.BUILD:
                return await self._builder.build(assigned, domain)
            if work is Work.ARRIVE:
                return await self._builder.build(assigned, domain, is_arriving=True)
            if work is Work.START:
                return await self._acts.start(assigned)
            assert work is Work.REBOOT, work
            return await self._acts.reboot(assigned, domain)

    async def _take_down(self, server_id: ServerId) -> None:
        async with self._act_slots:
            await self._acts.take_down(server_id)
        self._domains.pop(server_id, None)
        self._touch(server_id)

    async def _park(self, server_id: ServerId) -> None:
        async with self._act_slots:
            self._domains[server_id] = await self._acts.stop(server_id)
        self._touch(server_id)

    def _touch(self, server_id: ServerId) -> None:
        self._touch_count += 1
        self._touched[server_id] = self._touch_count

    def _postpone(self, server_id: ServerId) -> None:
        before = self._backoff.get(server_id)
        failures = before.failures + 1 if before is not None else 1
        delay_ms = min(self._config.retry_ms << min(failures - 1, 10), self._config.retry_ms_max)
        self._backoff[server_id] = _Backoff(failures, self._clock.monotonic_ms() + delay_ms)

    def _unknown(self) -> list[ServerId]:
        """Guests of ours that no row assigns to this host. Asked only right after a successful pull."""
        assert self._assignments.is_complete
        rows = self._assignments
        known = rows.server_ids | rows.parked.keys() | rows.arriving_ids
        return [server_id for server_id in self._domains if server_id not in known]

    def _running_though_parked(self) -> list[ServerId]:
        """Guests whose rows have another host by now, and which must not be there twice."""
        domains, parked = self._domains, self._assignments.parked
        return [each for each in parked if each in domains and domains[each].power is not Power.SHUTDOWN]

    def _forget_gone(self) -> None:
        """Keeps the books as long as the servers, no longer."""
        known = self._assignments.server_ids | self._domains.keys() | self._workers.keys()
        books: tuple[dict[ServerId, Any], ...] = (
            self._done,
            self._failed,
            self._backoff,
            self._touched,
            self._told,
        )
        for book in books:
            for server_id in [key for key in book if key not in known]:
                del book[server_id]

    async def _forget_notes(self) -> None:
        """Asked only right after a successful pull."""
        try:
            rows = self._assignments
            ours = rows.server_ids | rows.arriving_ids | rows.parked.keys()
            await self._builder.forget_others(ours | self._workers.keys() | self._domains.keys())
        except OSError as error:
            log.warning("notes not forgotten", extra={"error": str(error)})

    async def _keep_network(self) -> None:
        """Applies the network plan when rows changed it, and now and then to heal the kernel's state."""
        healed_ms: int | None = None
        while True:
            await self._plan_due.wait()
            await asyncio.sleep(self._config.settle_ms / 1000)
            self._plan_due.clear()
            now_ms = self._clock.monotonic_ms()
            is_heal = healed_ms is None or now_ms - healed_ms >= self._config.heal_ms
            try:
                await self._network.refresh(is_forced=is_heal)
                if is_heal:
                    healed_ms = now_ms
            except FabricError as error:
                log.warning("network plan not applied", extra={"error": str(error)})
                await asyncio.sleep(self._config.retry_ms / 1000)
            except Exception:
                log.exception("network plan failed unexpectedly")
                await asyncio.sleep(self._config.retry_ms / 1000)


def _chain(error: BaseException) -> str:
    """The error and its causes, one a line: for admins, without a stack."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 8:
        lines.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return "\n".join(lines)
