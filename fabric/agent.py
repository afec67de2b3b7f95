"""The one thing an operator starts. Wires concrete parts together and nothing else.

Start order: identity, mesh, local socket, the voter where this node is one, host side. The API follows the
voter's rows. A node that only carries guests begins with its host side, so that it can be given servers while
the other half of our modules is still being read. Stop order: host side first, then the reverse of the start.
Guests and their networks outlive every stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from fabric import __version__
from fabric.agent_host import (
    make_address_plug,
    make_driver,
    make_plug,
    processors_of,
    provider_config_of,
)
from fabric.agent_identity import IdentitySide
from fabric.agent_node import NodeParts
from fabric.agent_roles import conductor_of, may_ask_hosts, wishes_of
from fabric.agent_story import tell_story
from fabric.compute.capacity import Allocation, HostIdentity
from fabric.compute.host_side import HostSide, HostSideConfig
from fabric.config import Config, SchedulerSection
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.membership import Membership as MembershipCore
from fabric.core.membership.model import DRAIN_REASON
from fabric.core.placement.host_word import write_word
from fabric.core.voters.levels import LEVELS_LABEL, THIS_PROGRAM
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.addresses import default_address, endpoint_of
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.blob_transfer import BlobFetcher, serve_blobs
from fabric.runtime.clock import SystemClock
from fabric.runtime.collection import settle
from fabric.runtime.events import EventLog
from fabric.runtime.hard_state import HardState
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.ownership import Process
from fabric.runtime.remote_state import RemoteState
from fabric.runtime.renaming import NAME_WANTED_LABEL
from fabric.runtime.role_claims import RoleClaims
from fabric.runtime.sd_notify import READY, STOPPING, ServiceManager
from fabric.runtime.virtual_address import VIP_LABEL, VirtualAddress
from fabric.runtime.watchdog import LoopLag, LoopWatchdog
from fabric.store.life_swap import STATE
from fabric.store.lock import DirectoryLock
from fabric.supervisor import PartFailedError, Supervisor
from netplug.contract import NetPlug

if TYPE_CHECKING:  # read late, see `_start`
    from fabric.agent_control import ControlSide
    from fabric.agent_voter import VoterSide

log = logging.getLogger(__name__)

CAPACITY_INTERVAL_S = 1.0
REGISTERS_S = 2.0  # so long a host that is known soon is not kept from its processor by what else there is
LEAVE_LINGER_S = 0.2  # the last word gets this long to reach the wire
STOP_TIMEOUT_S = 20.0
HARD_STOP_S = 45.0  # a stop that hangs, in a library's thread say, ends so: kill -9 is safe, waiting is not


class Agent:
    """One a process. `run` returns after SIGTERM or SIGINT, or raises what made it impossible to go on:
    PartFailedError when a part failed while it ran.

    `config_dir`: where the configuration came from; what lies beside it counts, too. Raises ConfigError for
    a provider.yaml that cannot be.

    `on_ready` is called once it has started, `on_stopping` once when a stop begins, `on_impatience` at each
    signal after that."""

    def __init__(
        self,
        config: Config,
        *,
        api_fd: int | None = None,
        config_dir: Path | None = None,
        on_ready: Callable[[], None] = lambda: None,
        on_stopping: Callable[[], None] = lambda: None,
        on_impatience: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        if config.scheduler != SchedulerSection():  # what a person wrote is judged before anything starts
            from fabric.scheduler_policy import scheduler_policy

            scheduler_policy(config.scheduler)
        self._api_fd = api_fd
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self._on_impatience = on_impatience
        self._clock = SystemClock()
        self._events = EventLog(self._clock)
        self._directory = config.state_dir
        self._supervisor = Supervisor()
        self._stop = self._supervisor.stop
        self._manager = ServiceManager()
        self._watchdog = LoopWatchdog(manager=self._manager)
        self._who = IdentitySide(config, self._clock, self._events, stop=self._stop.set)
        self._ready = False
        self._host: HostSide | None = None
        self._provider_config = provider_config_of(config, config_dir)
        self._processors = processors_of(config)
        self._plug: NetPlug | None = None
        self._virtual: VirtualAddress | None = None
        self._control: ControlSide | None = None
        self._labels = wishes_of(config) | {LEVELS_LABEL: str(THIS_PROGRAM)}

    @property
    def begins_anew(self) -> bool:
        """Whether `run` ended only to begin again, with new keys."""
        return self._who.begins_anew

    @property
    def voter(self) -> VoterSide | None:
        """None: this node holds no rows, or not yet."""
        return None if self._control is None else self._control.voter

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._watchdog.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        stopping.add_done_callback(lambda task: None if task.cancelled() else self._on_stopping())
        try:
            async with contextlib.AsyncExitStack() as stack:
                if await self._started_before(stopping, stack):
                    log.info("agent ready", extra={"node": self._config.node_name, "id": self._fleet.me})
                    self._manager.tell(READY)
                    self._on_ready()
                    await self._stop.wait()
                log.info("agent stopping", extra={"node": self._config.node_name})
                if not self.begins_anew:  # else the service manager would wait for an end that never comes
                    self._manager.tell(STOPPING)
                if self._ready:
                    self._ready = False
                    if self._control is not None:
                        await self._control.hand_over()
                    self._fleet.leave()
                    await asyncio.sleep(LEAVE_LINGER_S)
        finally:
            stopping.cancel()
            self._watchdog.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if not self.begins_anew:  # else what failed is a former life's: under rows that were set aside, say
            self._supervisor.raise_failure()
        if self._who.ending is not None:
            raise self._who.ending

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._on_impatience()
        self._stop.set()

    async def _started_before(self, stopping: asyncio.Task[Any], stack: contextlib.AsyncExitStack) -> bool:
        """False: told to stop, or a part failed, while starting. Raises what start raises."""
        starting = asyncio.create_task(self._start(stack), name="start")
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            starting.cancel()  # nothing, when it is done
            await asyncio.wait((starting,), timeout=STOP_TIMEOUT_S)
        if starting.done() and not starting.cancelled() and starting.exception() is not None:
            self._stop.set()  # what is open closes under the same watch as at any stop
            starting.result()
        return not self._stop.is_set()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """What is open already is on `stack` at every await, so a stop may come at any."""
        self._who.need_member()
        lock = DirectoryLock(self._directory)
        lock.acquire()
        stack.callback(lock.release)
        self._who.load()
        self._config = self._who.config
        if self._who.name_wanted:
            self._labels |= {NAME_WANTED_LABEL: self._who.name_wanted}
        self._identity, self._member = self._who.identity, self._who.member
        await self._open_virtual_address(stack)
        first_a_host = self._config.node.host and self._only_hosts()
        if not first_a_host:  # before others see this node: then it soon answers its operator, too
            await self._control_module()
        await self._start_mesh(stack)
        blobs = FileBlobStore(self._directory / "blobs")
        fetcher = BlobFetcher(self._rpc, blobs)
        serve_blobs(self._rpc, blobs)
        remote = RemoteState(self._rpc, lambda: conductor_of(self._fleet), self._clock, self._process)
        async with contextlib.AsyncExitStack() as hosting:
            if first_a_host:
                await self._start_host(hosting, remote, blobs, fetcher)
            await self._start_control(stack, remote, blobs, fetcher)
            if self._config.node.host and self._host is None:
                await self._start_host(hosting, remote, blobs, fetcher)
            stack.push_async_callback(hosting.pop_all().aclose)
        self._ready = True

    # -- parts

    async def _open_virtual_address(self, stack: contextlib.AsyncExitStack) -> None:
        """First of all: one that an earlier life left must not answer beside its new holder."""
        plug = make_address_plug(self._config)
        if plug is None:
            return
        self._virtual = VirtualAddress(
            plug,
            self._events,
            address=self._config.api.virtual_address.split("/")[0],
            node=self._config.node_name,
            another_conducts=lambda: conductor_of(self._fleet) not in (None, self._identity.node_id),
            tell=lambda address: self._label({VIP_LABEL: address}),
        )
        stack.push_async_callback(self._virtual.close)
        await self._virtual.open()
        self._supervisor.supervise(stack, "virtual address", self._virtual.keep_away())

    def _only_hosts(self) -> bool:
        """Whether nothing says that this node holds rows, now or once a founder's first ones are made."""
        return not (
            self._member.founder or self._config.state.is_shared or (self._directory / STATE).exists()
        )

    async def _control_module(self) -> Any:
        """Half of all our modules; in a thread, for heartbeats and first servers do not wait for them."""
        return await asyncio.to_thread(import_module, "fabric.agent_control")

    async def _start_control(
        self,
        stack: contextlib.AsyncExitStack,
        remote: RemoteState,
        blobs: FileBlobStore,
        fetcher: BlobFetcher,
    ) -> None:
        if self._host is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REGISTERS_S):
                    await self._host.registered.wait()
        module = await self._control_module()
        node = NodeParts(
            config=self._config,
            who=self._who,
            fleet=self._fleet,
            transport=self._transport,
            switchboard=self._switchboard,
            rpc=self._rpc,
            clock=self._clock,
            events=self._events,
            address=self._address,
            claims=self._claims,
            supervisor=self._supervisor,
            remote=remote,
            blobs=blobs,
            fetcher=fetcher,
            lag=self._loop_lag,
            label=self._label,
        )
        made: ControlSide = module.ControlSide(
            node,
            virtual=self._virtual,
            api_fd=self._api_fd,
            is_ready=lambda: self._ready,
            plug=lambda: self._plug,
        )
        self._control = made
        await made.open(stack)

    async def _start_mesh(self, stack: contextlib.AsyncExitStack) -> None:
        config, who, member = self._config, self._identity, self._member
        address = config.mesh.address or default_address()
        transport = self._transport = RouterDealer(
            CurveKeyPair(who.curve_public, who.curve_secret),
            bind=endpoint_of(address, config.mesh.port),
        )
        self._switchboard = Switchboard(transport, member.fabric_id)
        self._rpc = MeshRpc(who.node_id, self._switchboard)
        record = await asyncio.to_thread(self._who.record, endpoint_of(address, config.mesh.port))
        self._address = address
        self._process = Process.of(record)
        core = MembershipCore(
            record,
            MembershipConfig(),
            Random(),  # noqa: S311  # jitter, not a secret
            self._who.trust,
        )
        self._fleet = MembershipLoop(
            core,
            self._switchboard,
            self._clock,
            self._directory,
            on_quarantine=self._who.on_quarantine,
        )
        self._claims = RoleClaims(self._fleet)
        tell_story(self._fleet, self._events, self._clock)
        await self._switchboard.start()
        stack.push_async_callback(self._switchboard.close)
        stack.push_async_callback(self._rpc.close)
        stack.push_async_callback(self._fleet.close)
        self._fleet.start()
        self._fleet.publish(labels=self._labels)
        self._events.add("agent.started", config.node_name, {"epoch": str(record.epoch)})
        self._who.open(self._fleet, self._rpc)
        for name, work in self._who.work():
            self._supervisor.supervise(stack, name, work)

    def _label(self, labels: Mapping[str, str]) -> None:
        """ "" takes a label off."""
        self._labels = {key: text for key, text in (self._labels | dict(labels)).items() if text}
        self._fleet.publish(labels=self._labels)

    async def _start_host(
        self,
        stack: contextlib.AsyncExitStack,
        state: HardState,
        blobs: FileBlobStore,
        fetcher: BlobFetcher,
    ) -> None:
        config = self._config
        self._plug = make_plug(config)
        self._host = HostSide(
            state=state,
            rpc=self._rpc,
            driver=make_driver(config),
            plug=self._plug,
            fetch=lambda source: fetcher.fetch(source.sha256, source.size_bytes, source.node_id),
            keep=blobs.put,
            directory=self._directory / "host",
            identity=HostIdentity(
                node_id=self._identity.node_id,
                name=config.node_name,
                address=self._address,
                zone=config.node.zone,
                version=__version__,
            ),
            clock=self._clock,
            may_ask=lambda node_id: may_ask_hosts(self._fleet, node_id),
            config=HostSideConfig(
                build_concurrency=config.compute.build_concurrency,
                stop_grace_ms=config.compute.stop_grace_s * 1000,
                is_cpu_measured="cpu.virt_driver" in config.compute.monitors,
                live_bandwidth_mib_s=config.compute.migration_bandwidth_mib_s,
                processors=self._processors,
                pci=config.pci.read(),
                supplement=self._provider_config.of(self._identity.node_id, config.node_name),
                allocation=Allocation(
                    cpu_ratio_milli=round(config.compute.cpu_ratio * 1000),
                    memory_ratio_milli=round(config.compute.memory_ratio * 1000),
                    disk_ratio_milli=round(config.compute.disk_ratio * 1000),
                    reserved_memory_mb=config.compute.reserved_memory_mb,
                ),
            ),
        )
        self._supervisor.supervise(stack, "host side", self._host.run(), close=self._host.close)
        self._supervisor.supervise(stack, "capacity", self._publish_capacity(self._host))

    # -- what parts ask

    async def _publish_capacity(self, host: HostSide) -> None:
        was_draining, told, was_failing = False, "", False
        while True:
            offered = replace(host.capacity(), load_milli=int(os.getloadavg()[0] * 1000))
            reason, word = host.drain_reason, host.word()
            extra = write_word(word) | ({DRAIN_REASON: reason} if reason else {})
            is_failing = word.failed_builds > 0
            urgent = (offered.is_draining, reason, is_failing) != (was_draining, told, was_failing)
            self._fleet.publish(capacity=offered, extra=extra, urgent=urgent)
            was_draining, told, was_failing = offered.is_draining, reason, is_failing
            await asyncio.sleep(CAPACITY_INTERVAL_S)

    def _loop_lag(self) -> LoopLag:
        return self._watchdog.lag


async def run_agent(config: Config, *, api_fd: int | None = None, config_dir: Path | None = None) -> bool:
    """The agent as a process: a stop that hangs, or a second signal, ends it at once with status 1. That is
    a crash by choice, and a crash loses nothing (STYLE section 5). True: it ended only to begin anew."""

    def end_at_once(why: str) -> None:
        log.critical("agent ends at once", extra={"node": config.node_name, "reason": why})
        for handler in logging.getLogger().handlers:
            handler.flush()
        os._exit(1)

    def arm() -> None:  # a thread, for the loop itself may be what hangs
        timer = threading.Timer(HARD_STOP_S, end_at_once, (f"not stopped within {HARD_STOP_S:.0f} s",))
        timer.daemon = True
        timer.start()

    agent = Agent(
        config,
        config_dir=config_dir,
        api_fd=None if api_fd is None else os.dup(api_fd),  # the next life needs it, too
        on_ready=settle,
        on_stopping=arm,
        on_impatience=lambda: end_at_once("a second signal"),
    )
    await agent.run()
    return agent.begins_anew


__all__ = ["Agent", "PartFailedError", "run_agent"]
