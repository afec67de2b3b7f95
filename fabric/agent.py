"""The one thing an operator starts. Wires concrete parts together and nothing else.

Start order: identity, mesh, state (the founder's own, or the conductor's over the mesh), roles, host side,
API, local socket. Stop order is the reverse. Guests and their networks outlive every stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from netplug.fake import FakeNetPlug

from drivers.contract import ComputeDriver
from drivers.sim import SimDriver
from fabric import __version__
from fabric.agent_roles import Conductor, conductor_of
from fabric.api.compute import routes as compute
from fabric.api.identity import routes as identity_api
from fabric.api.image import routes as image
from fabric.api.local.app import LocalParts, build_local_app
from fabric.api.network import routes as network
from fabric.api.server import ApiServer, build_root
from fabric.compute.capacity import Allocation, HostIdentity
from fabric.compute.host_side import HostSide, HostSideConfig
from fabric.config import Config
from fabric.control.context import Cloud
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import Member, MemberState, NodeRecord
from fabric.core.servers.model import ImageSource
from fabric.errors import ConfigError
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime import local_socket
from fabric.runtime.authority import verifier
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.blob_sweep import BlobSweeper
from fabric.runtime.blob_transfer import BlobFetcher, serve_blobs
from fabric.runtime.clock import SystemClock
from fabric.runtime.events import EventLog
from fabric.runtime.hard_state import HardState
from fabric.runtime.host_calls import RpcHostCalls
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.node_identity import IdentityError, load_membership, load_or_create, next_incarnation
from fabric.runtime.remote_state import RemoteState
from netplug.contract import NetPlug

log = logging.getLogger(__name__)

CAPACITY_INTERVAL_S = 1.0
LEAVE_LINGER_S = 0.2  # the last word gets this long to reach the wire
STOP_TIMEOUT_S = 20.0


class Agent:
    """One a process. `run` returns after SIGTERM or SIGINT, or raises what made it impossible to go on."""

    def __init__(self, config: Config, *, api_fd: int | None = None) -> None:
        self._config = config
        self._api_fd = api_fd
        self._clock = SystemClock()
        self._events = EventLog(self._clock)
        self._directory = config.state_dir
        self._stop = asyncio.Event()
        self._ready = False
        self._host: HostSide | None = None
        self._plug: NetPlug | None = None
        self._conductor: Conductor | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._start(stack)
                log.info("agent ready", extra={"node": self._config.node_name, "id": self._fleet.me})
                await self._stop.wait()
                log.info("agent stopping", extra={"node": self._config.node_name})
                self._ready = False
                self._fleet.leave()
                await asyncio.sleep(LEAVE_LINGER_S)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        member = load_membership(self._directory)
        if member is None:
            raise IdentityError(
                f"this node belongs to no fabric yet (state in {self._directory}); `fabric init` founds one, "
                "`fabric join TOKEN` enters one"
            )
        self._identity = load_or_create(self._directory)
        self._member = member
        await self._start_mesh(stack)
        await self._start_local(stack)
        self._blobs = FileBlobStore(self._directory / "blobs")
        self._fetcher = BlobFetcher(self._rpc, self._blobs)
        serve_blobs(self._rpc, self._blobs)
        state = await self._start_state(stack)
        await self._supervise(stack, "blob sweeper", BlobSweeper(state, self._blobs).run())
        if self._config.node.host:
            await self._start_host(stack, state)
        if self._conductor is not None:
            await self._start_api(stack, state)
        self._fleet.publish(
            roles=self._conductor.claims() if self._conductor is not None else (),
            api_urls=(self._api_url(),) if self._conductor is not None else (),
        )
        self._ready = True

    # -- parts

    async def _start_mesh(self, stack: contextlib.AsyncExitStack) -> None:
        config, who, member = self._config, self._identity, self._member
        address = config.mesh.address or default_address()
        transport = RouterDealer(
            CurveKeyPair(who.curve_public, who.curve_secret),
            bind=f"tcp://{address}:{config.mesh.port}",
        )
        self._switchboard = Switchboard(transport, member.fabric_id)
        self._rpc = MeshRpc(who.node_id, self._switchboard)
        incarnation = await asyncio.to_thread(next_incarnation, self._directory)
        record = NodeRecord(
            node_id=who.node_id,
            name=config.node_name,
            endpoint=f"tcp://{address}:{config.mesh.port}",
            curve_public=who.curve_public,
            certificate=member.certificate,
            incarnation=incarnation,
            version=1,
            zone=config.node.zone,
            software=__version__,
        )
        self._address = address
        core = Membership(
            record,
            MembershipConfig(),
            Random(),  # noqa: S311  # jitter, not a secret
            sign=who.sign,
            verify=verifier(member.root_public, member.fabric_id, self._clock.wall_ms),
        )
        self._fleet = MembershipLoop(core, self._switchboard, self._clock, self._directory)
        self._fleet.watch(self._member_changed)
        await self._switchboard.start()
        stack.push_async_callback(self._switchboard.close)
        stack.push_async_callback(self._rpc.close)
        stack.push_async_callback(self._fleet.close)
        self._fleet.start()
        self._events.add("agent.started", config.node_name, {"incarnation": str(incarnation)})

    async def _start_state(self, stack: contextlib.AsyncExitStack) -> HardState:
        """The rows themselves on the founder; elsewhere a way to who has them."""
        if not self._member.founder:
            return RemoteState(self._rpc, lambda: conductor_of(self._fleet), self._clock)
        self._conductor = Conductor(
            config=self._config,
            identity=self._identity,
            member=self._member,
            fleet=self._fleet,
            rpc=self._rpc,
            clock=self._clock,
            events=self._events,
            address=self._address,
            on_failure=self._state_failed,
        )
        stack.push_async_callback(self._conductor.close)
        state = await self._conductor.open()
        for name, work in self._conductor.work():
            await self._supervise(stack, name, work)
        return state

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
            config=HostSideConfig(
                build_concurrency=config.compute.build_concurrency,
                stop_grace_ms=config.compute.stop_grace_s * 1000,
                allocation=Allocation(
                    cpu_ratio_milli=round(config.compute.cpu_ratio * 1000),
                    memory_ratio_milli=round(config.compute.memory_ratio * 1000),
                    disk_ratio_milli=round(config.compute.disk_ratio * 1000),
                    reserved_memory_mb=config.compute.reserved_memory_mb,
                ),
            ),
        )
        await self._supervise(stack, "host side", self._host.run(), close=self._host.close)
        await self._supervise(stack, "capacity", self._publish_capacity(self._host))

    async def _start_api(self, stack: contextlib.AsyncExitStack, state: HardState) -> None:
        config = self._config
        cloud = Cloud(
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
        )
        root = build_root(
            cloud,
            apps={
                "/identity": identity_api.app(),
                "/compute": compute.app(),
                "/image": image.app(),
                "/network": network.app(),
            },
        )
        if self._api_fd is not None:
            os.set_inheritable(self._api_fd, False)  # no child of ours may hold the API's port
            server = await ApiServer.listen_on(root, socket.socket(fileno=self._api_fd))
        else:
            server = await ApiServer.listen(root, host=config.api.listen, port=config.api.port)
        stack.push_async_callback(server.close)
        self._api_port = server.port

    async def _start_local(self, stack: contextlib.AsyncExitStack) -> None:
        app = build_local_app(
            LocalParts(
                fleet=self._fleet,
                clock=self._clock,
                events=self._events,
                status=self._status,
                create_token=self._create_token,
                host_network=self._host_network,
            )
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, local_socket.bind(self._directory)).start()

    # -- what parts ask

    async def _supervise(
        self, stack: contextlib.AsyncExitStack, name: str, work: Any, close: Any = None
    ) -> None:
        """Runs a part's loop beside us. Should it end by an error, the whole agent stops, loudly: its
        supervisor starts it again, and every part recovers from its files."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._part_ended)

        async def end() -> None:
            if close is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(end)

    def _part_ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        log.critical("part failed", extra={"part": task.get_name()}, exc_info=task.exception())
        self._stop.set()

    def _state_failed(self, error: BaseException) -> None:
        log.critical("state stopped itself", extra={"error": str(error)})
        self._stop.set()

    async def _fetch_image(self, source: ImageSource) -> str:
        return await self._fetcher.fetch(source.sha256, source.size_bytes, source.node_id)

    async def _publish_capacity(self, host: HostSide) -> None:
        while True:
            load = os.getloadavg()[0]
            self._fleet.publish(capacity=replace(host.capacity(), load_milli=int(load * 1000)))
            await asyncio.sleep(CAPACITY_INTERVAL_S)

    def _member_changed(self, member: Member, before: MemberState | None) -> None:
        if member.state is before:
            return
        state = "left" if member.state is MemberState.LEFT else member.state.value
        self._events.add(f"member.{state}", member.record.name, {"id": member.record.node_id})

    def _api_url(self) -> str:
        return self._config.api.public_url or f"http://{self._address}:{self._api_port}"

    def _status(self) -> dict[str, Any]:
        return {
            "id": self._identity.node_id,
            "name": self._config.node_name,
            "fabric": self._member.fabric_id,
            "version": __version__,
            "ready": self._ready,
            "founder": self._member.founder,
            "mesh_dropped": dict(self._switchboard.dropped()),
        }

    async def _create_token(self, ttl_s: int, uses: int) -> str:
        if self._conductor is None:
            conductor = conductor_of(self._fleet)
            member = None if conductor is None else self._fleet.member(conductor)
            where = "the conductor" if member is None else f"{member.record.name} (the conductor)"
            raise IdentityError(f"join tokens are made on {where}, not on this node")
        return await self._conductor.create_token(ttl_s=ttl_s, uses=uses)

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


def make_driver(config: Config) -> ComputeDriver:
    directory = config.state_dir / "instances"
    if config.compute.driver == "sim":
        return SimDriver(
            directory,
            vcpus=config.compute.sim_vcpus,
            memory_mb=config.compute.sim_memory_mb,
            disk_gb=config.compute.sim_disk_gb,
            hostname=config.node_name,
            build_ms=config.compute.sim_build_ms,
        )
    try:
        from drivers.libvirt.driver import LibvirtDriver  # needs libvirt-python, which sim nodes lack
    except ImportError as error:
        raise ConfigError(
            'compute.driver: libvirt needs the libvirt-python package; install it, or set driver = "sim"'
        ) from error
    emulate = True if config.compute.emulate else None
    return LibvirtDriver(config.compute.uri, directory, force_emulation=emulate)


def make_plug(config: Config) -> NetPlug:
    directory = config.state_dir / "network"
    if config.compute.driver == "sim":
        return FakeNetPlug(directory)
    from netplug.linux import LinuxNetPlug

    return LinuxNetPlug(directory, uplinks=config.network.uplinks, host_name=config.node_name)


def default_address() -> str:
    """The address of the interface the default route leaves by; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: a route look-up only
            return str(probe.getsockname()[0])
        except OSError as error:
            raise ConfigError(
                "mesh.address: this machine has no default route; set the address peers reach it at"
            ) from error


async def run_agent(config: Config, *, api_fd: int | None = None) -> None:
    await Agent(config, api_fd=api_fd).run()


def prepare_directory(path: Path) -> None:
    """The state directory, 0700. Raises ConfigError when it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"node.state_dir: cannot make {path}: {error.strerror}") from error


__all__ = ["Agent", "default_address", "prepare_directory", "run_agent"]
