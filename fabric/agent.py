"""The one thing an operator starts. Wires concrete parts together and nothing else.

Start order: identity, mesh, local socket, the voter where this node is one, host side. The API follows the
voter's rows. Stop order is the reverse. Guests and their networks outlive every stop.
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
from pathlib import Path
from random import Random
from typing import Any

from fabric import __version__
from fabric.agent_api import ApiSide
from fabric.agent_conductor import Work
from fabric.agent_copies import AgentCopies
from fabric.agent_database import DatabaseSide
from fabric.agent_host import make_address_plug, make_driver, make_plug, provider_config_of
from fabric.agent_identity import IdentitySide
from fabric.agent_nodes import AgentNodes, where_to_ask
from fabric.agent_operator import OperatorSide
from fabric.agent_placement_desk import AgentPlacementDesk
from fabric.agent_roles import conductor_of, conducts, may_ask_hosts, may_vote, wishes_of
from fabric.agent_voter import VoterSide, holds_rows, others_may_vote
from fabric.agent_voter_slot import LetGo, VoterSlot
from fabric.agent_voters_desk import AgentVotersDesk
from fabric.api.local.app import LocalParts
from fabric.api.local.server import serve_local
from fabric.compute.capacity import Allocation, HostIdentity
from fabric.compute.host_side import HostSide, HostSideConfig
from fabric.config import Config
from fabric.control import operate
from fabric.control.context import Cloud
from fabric.control.operate import DRAIN_REASON
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.membership import Membership as MembershipCore
from fabric.core.membership.model import RoleClaim
from fabric.core.servers.model import ImageSource
from fabric.core.voters.levels import LEVELS_LABEL, THIS_PROGRAM
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime import local_socket
from fabric.runtime.addresses import default_address, endpoint_of
from fabric.runtime.admission_watch import DOOR_LABEL
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.blob_sweep import BlobSweeper
from fabric.runtime.blob_transfer import BlobFetcher, serve_blobs
from fabric.runtime.clock import SystemClock
from fabric.runtime.events import EventLog
from fabric.runtime.group_watch import GROUP_LABEL
from fabric.runtime.hard_state import HardState
from fabric.runtime.host_calls import RpcHostCalls
from fabric.runtime.invitation import InvitationService
from fabric.runtime.lease_status import LeaseSeen, ask_leases
from fabric.runtime.level_watch import HALTED_LABEL
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.node_identity import IdentityError
from fabric.runtime.remote_state import RemoteState
from fabric.runtime.role_claims import RoleClaims
from fabric.runtime.sd_notify import READY, STOPPING, ServiceManager
from fabric.runtime.virtual_address import VIP_LABEL, VirtualAddress
from fabric.runtime.voter_peers import VoterRoute
from fabric.runtime.voter_state import VoterState
from fabric.runtime.watchdog import LoopLag, LoopWatchdog
from fabric.scheduler_policy import scheduler_policy
from fabric.store.lock import DirectoryLock
from fabric.supervisor import PartFailedError, Supervisor
from netplug.contract import NetPlug
from proto.ids import NodeId

log = logging.getLogger(__name__)

CAPACITY_INTERVAL_S = 1.0
LEAVE_LINGER_S = 0.2  # the last word gets this long to reach the wire
STOP_TIMEOUT_S = 20.0
HARD_STOP_S = 45.0  # a stop that hangs, in a library's thread say, ends so: kill -9 is safe, waiting is not


class Agent:
    """One a process. `run` returns after SIGTERM or SIGINT, or raises what made it impossible to go on:
    PartFailedError when a part failed while it ran.

    `config_dir`: where the configuration came from; what lies beside it counts, too. Raises ConfigError for
    a provider.yaml that cannot be.

    `on_stopping` is called once when a stop begins, `on_impatience` at each signal after that."""

    def __init__(
        self,
        config: Config,
        *,
        api_fd: int | None = None,
        config_dir: Path | None = None,
        on_stopping: Callable[[], None] = lambda: None,
        on_impatience: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._scheduler = scheduler_policy(config.scheduler)
        self._api_fd = api_fd
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
        self._plug: NetPlug | None = None
        self._virtual: VirtualAddress | None = None
        self._remote: RemoteState | None = None
        self._slot: VoterSlot | None = None
        self._cloud: Cloud | None = None
        self._labels = wishes_of(config) | {LEVELS_LABEL: str(THIS_PROGRAM)}

    @property
    def begins_anew(self) -> bool:
        """Whether `run` ended only to begin again, with new keys."""
        return self._who.begins_anew

    @property
    def voter(self) -> VoterSide | None:
        """None: this node holds no rows, or not yet."""
        return None if self._slot is None else self._slot.voter

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
                    await self._stop.wait()
                log.info("agent stopping", extra={"node": self._config.node_name})
                if not self.begins_anew:  # else the service manager would wait for an end that never comes
                    self._manager.tell(STOPPING)
                if self._ready:
                    self._ready = False
                    if self._slot is not None:
                        await self._slot.hand_over()
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
        self._identity, self._member = self._who.identity, self._who.member
        await self._open_virtual_address(stack)
        await self._start_mesh(stack)
        await self._start_local(stack)
        self._blobs = FileBlobStore(self._directory / "blobs")
        self._fetcher = BlobFetcher(self._rpc, self._blobs)
        serve_blobs(self._rpc, self._blobs)
        remote = self._remote = RemoteState(self._rpc, lambda: conductor_of(self._fleet), self._clock)
        self._api = self._make_api(stack)
        slot = self._slot = VoterSlot(
            self._make_voter, config=self._config, who=self._who, supervisor=self._supervisor, stack=stack
        )
        stack.push_async_callback(slot.close)
        if self._config.state.is_shared:
            await self._start_database(stack, slot)
        elif holds_rows(
            self._config,
            is_founder=self._member.founder,
            others_vote=others_may_vote(self._fleet, self._who.trust),
            tell=lambda what, why: self._events.add(what, self._config.node_name, {"reason": why}),
        ):
            await slot.start()
        InvitationService(
            self._rpc,
            self._identity,
            self._clock,
            member=lambda: self._who.member,
            may_invite=lambda node_id: conducts(self._fleet, node_id),
            accept=slot.become,
            dismiss=slot.dismiss,
        )
        self._supervisor.supervise(stack, "blob sweeper", BlobSweeper(remote, self._blobs).run())
        if self._config.node.host:
            await self._start_host(stack, remote)
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

    def _own_duties(self) -> tuple[Work, ...]:
        return () if self._virtual is None else (("virtual address", self._virtual.hold()),)

    async def _start_mesh(self, stack: contextlib.AsyncExitStack) -> None:
        config, who, member = self._config, self._identity, self._member
        address = config.mesh.address or default_address()
        transport = RouterDealer(
            CurveKeyPair(who.curve_public, who.curve_secret),
            bind=endpoint_of(address, config.mesh.port),
        )
        self._switchboard = Switchboard(transport, member.fabric_id)
        self._rpc = MeshRpc(who.node_id, self._switchboard)
        self._route = VoterRoute(
            self._switchboard, self._rpc, lambda node_id: may_vote(self._fleet, self._who.trust, node_id)
        )
        record = await asyncio.to_thread(self._who.record, endpoint_of(address, config.mesh.port))
        self._address = address
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
        self._operator = OperatorSide(
            config=config,
            fleet=self._fleet,
            rpc=self._rpc,
            switchboard=self._switchboard,
            clock=self._clock,
            events=self._events,
            strangers=transport.strangers,
            former_keys_ms=transport.former_keys_ms,
            lag=self._loop_lag,
            door=lambda: "" if self.voter is None else self.voter.door_endpoint,
        )
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

    def _make_voter(self, let_go: LetGo) -> VoterSide:
        voter = VoterSide(
            config=self._config,
            identity=self._identity,
            member=lambda: self._who.member,
            adopt=self._who.adopt,
            trust=self._who.trust,
            fleet=self._fleet,
            rpc=self._rpc,
            route=self._route,
            clock=self._clock,
            events=self._events,
            address=self._address,
            claim=self._claims.set,
            on_door=lambda endpoint: self._label({DOOR_LABEL: endpoint, GROUP_LABEL: str(voter.incarnation)}),
            label=self._label,
            on_filled=self._start_api,
            on_failure=lambda error: self._supervisor.fail(f"the state stopped itself: {error}"),
            on_halted=lambda reason: self._label({HALTED_LABEL: reason}),
            on_let_go=let_go,
            duties=self._own_duties,
            scheduler=self._scheduler,
        )
        return voter

    async def _start_database(self, stack: contextlib.AsyncExitStack, slot: VoterSlot) -> None:
        database = DatabaseSide(
            self._config.state.url,
            self._directory,
            self._identity,
            self._rpc,
            self._clock,
            member=lambda: self._who.member,
            adopt=self._who.adopt,
            may_entrust=lambda node_id: conducts(self._fleet, node_id),
            may_conduct=self._config.voters.eligible,
            label=self._label,
            open_rows=slot.start,
        )
        await database.begin()
        self._supervisor.supervise(stack, "database", database.run())

    def _label(self, labels: dict[str, str]) -> None:
        """ "" takes a label off."""
        self._labels = {key: text for key, text in (self._labels | labels).items() if text}
        self._fleet.publish(labels=self._labels)

    async def _start_host(self, stack: contextlib.AsyncExitStack, state: HardState) -> None:
        config = self._config
        self._plug = make_plug(config)
        self._host = HostSide(
            state=state,
            rpc=self._rpc,
            driver=make_driver(config),
            plug=self._plug,
            fetch=self._fetch_image,
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

    def _make_api(self, stack: contextlib.AsyncExitStack) -> ApiSide:
        return ApiSide(
            config=self._config,
            fd=self._api_fd,
            address=self._address,
            clock=self._clock,
            events=self._events,
            supervisor=self._supervisor,
            stack=stack,
            on_served=self._api_served,
        )

    async def _start_api(self, state: HardState) -> None:
        config = self._config
        cloud = self._cloud = Cloud(
            state=state,
            fleet=self._fleet,
            hosts=RpcHostCalls(self._rpc),
            blobs=self._blobs,
            clock=self._clock,
            build_deadline_ms=config.compute.build_deadline_s * 1000,
            action_deadline_ms=config.compute.action_deadline_s * 1000,
            default_zone=config.node.zone,
            region=config.api.region,
            image_bytes_max=config.api.image_bytes_max,
            token_ttl_ms=config.api.token_ttl_s * 1000,
            blob_source=self._fetcher,
            public_url=config.api.public_url or None,
            wait_applied=state.wait_applied if isinstance(state, VoterState) else None,
            catch_up=state.catch_up if isinstance(state, VoterState) else None,
            placement=self._scheduler,
        )
        await self._api.start(cloud, must=self._member.founder)

    def _api_served(self, claim: RoleClaim, url: str) -> None:
        self._claims.set(claim.role, claim)
        self._fleet.publish(api_urls=(url,))

    async def _start_local(self, stack: contextlib.AsyncExitStack) -> None:
        await serve_local(
            stack,
            local_socket.bind(self._directory),
            LocalParts(
                fleet=self._fleet,
                clock=self._clock,
                events=self._events,
                status=self._status,
                create_token=self._create_token,
                host_network=self._host_network,
                leases=self._leases,
                host_zones=self._host_zones,
                mesh=self._operator.mesh,
                scrape=self._operator.scrape,
                note=lambda: self._who.not_admitted,
                voters=AgentVotersDesk(self._fleet, self._rpc, lambda: self.voter),
                copies=AgentCopies(self._config, lambda: self.voter, self._clock, self._events),
                placement=AgentPlacementDesk(self._fleet, self._own_cloud),
                nodes=AgentNodes(
                    self._fleet,
                    self._clock,
                    admin=lambda: None if self.voter is None else self.voter.admin,
                    state=self._any_state,
                    rotation=lambda: self._who.rotation,
                ),
            ),
        )
        metrics = await self._operator.serve_metrics()
        if metrics is not None:
            stack.push_async_callback(metrics.close)
        for name, work in self._operator.work():
            self._supervisor.supervise(stack, name, work)

    # -- what parts ask

    async def _fetch_image(self, source: ImageSource) -> str:
        return await self._fetcher.fetch(source.sha256, source.size_bytes, source.node_id)

    async def _publish_capacity(self, host: HostSide) -> None:
        was_draining, told = False, ""
        while True:
            offered = replace(host.capacity(), load_milli=int(os.getloadavg()[0] * 1000))
            reason = host.drain_reason
            extra = {DRAIN_REASON: reason} if reason != told else None
            urgent = offered.is_draining is not was_draining or extra is not None
            self._fleet.publish(capacity=offered, extra=extra, urgent=urgent)
            was_draining, told = offered.is_draining, reason
            await asyncio.sleep(CAPACITY_INTERVAL_S)

    def _loop_lag(self) -> LoopLag:
        return self._watchdog.lag

    def _status(self) -> dict[str, Any]:
        return {
            "id": self._identity.node_id,
            "name": self._config.node_name,
            "fabric": self._member.fabric_id,
            "version": __version__,
            "ready": self._ready,
            "founder": self._member.founder,
            "not_admitted": self._who.not_admitted,
            "mesh_dropped": dict(self._operator.dropped()),
        }

    async def _create_token(self, ttl_s: int, uses: int) -> str:
        if self.voter is None:
            raise IdentityError(where_to_ask(self._fleet, "join tokens are made"))
        return await self.voter.create_token(ttl_s=ttl_s, uses=uses)

    async def _leases(self) -> tuple[LeaseSeen, ...]:
        if self.voter is not None and self.voter.leads:
            return self.voter.leases()
        conductor = conductor_of(self._fleet)
        return () if conductor in (None, self._fleet.me) else await ask_leases(self._rpc, conductor)

    async def _host_zones(self) -> Mapping[NodeId, str]:
        """Of this node's own rows: a host without any is told of itself alone."""
        if self.voter is None or not self.voter.is_serving:
            return {}
        return await operate.host_zones(self.voter.state)

    def _own_cloud(self) -> Cloud | None:
        """Over rows of this node's own; None where it has none, or none yet."""
        return self._cloud if self.voter is not None and self.voter.is_serving else None

    def _any_state(self) -> HardState | None:
        """Rows of this node's own, or the way to who has them; None while the agent starts."""
        if self.voter is not None and self.voter.is_serving:
            return self.voter.state
        return self._remote

    async def _host_network(self) -> dict[str, Any]:
        if self._plug is None:
            return {"bridges": [], "taps": [], "dnsmasq_pids": [], "nft_rules": 0, "files": []}
        left = await self._plug.leftovers()
        return {
            "bridges": list(left.bridges),
            "taps": list(left.taps),
            "dnsmasq_pids": list(left.dnsmasq_pids),
            "nft_rules": left.nft_rules,
            "files": list(left.files),
        }


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
        on_stopping=arm,
        on_impatience=lambda: end_at_once("a second signal"),
    )
    await agent.run()
    return agent.begins_anew


__all__ = ["Agent", "PartFailedError", "run_agent"]
