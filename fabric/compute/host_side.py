"""The host side put together: what the agent runs on a machine that carries guests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from drivers.contract import ComputeDriver, DomainState
from fabric.compute.act import ServerActs
from fabric.compute.assignments import Assignments
from fabric.compute.build_server import ServerBuilder
from fabric.compute.capacity import Allocation, HostIdentity, Registrar, host_register, live_capacity
from fabric.compute.carry import DiskCarrier
from fabric.compute.cpu_monitor import CpuMonitor
from fabric.compute.disk_service import DiskService
from fabric.compute.image_cache import Fetch, ImageCache
from fabric.compute.live_link import LiveLink
from fabric.compute.live_moves import LiveMoves
from fabric.compute.metadata.facts import GuestFacts, random_seed
from fabric.compute.metadata.service import MetadataService
from fabric.compute.network_keeper import NetworkKeeper
from fabric.compute.notes import Notes
from fabric.compute.observe import ReportConfig, Reporter
from fabric.compute.offering import OfferTeller, host_offers
from fabric.compute.pin_keeper import PinKeeper
from fabric.compute.precache import Precacher
from fabric.compute.processors import HostProcessors
from fabric.compute.reconcile import ReconcileConfig, Reconciler
from fabric.compute.save_root import KeepBlob, RootSaver
from fabric.compute.supplement import Supplement
from fabric.compute.topology_offer import host_topology
from fabric.core.membership.model import Capacity
from fabric.core.placement.host_word import IMAGES_MAX, HostWord, packed
from fabric.core.servers.model import AssignedServer, ImageSource
from fabric.core.topology.pci_config import PciConfig
from fabric.errors import ConfigError, RemoteError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from fabric.runtime.host_calls import CACHE_IMAGES, CONSOLE_BYTES_MAX, CONSOLE_LOG, MIGRATION, NUDGE
from netplug.contract import NetPlug
from proto.codec import Plain
from proto.errors import DriverError, NetPlugError, Outcome, WireError
from proto.ids import NetworkId, NodeId, ServerId, is_uuid
from proto.records import from_wire

log = logging.getLogger(__name__)

SEED_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSideConfig:
    build_concurrency: int = 0  # guests booting at once; 0: one for each core
    stop_grace_ms: int = 60_000
    allocation: Allocation = field(default_factory=Allocation)
    processors: HostProcessors = field(default_factory=HostProcessors)
    supplement: Supplement = field(default_factory=Supplement)  # from provider.yaml
    pci: PciConfig = field(default_factory=PciConfig)
    metadata_address: str = "0.0.0.0"  # noqa: S104  # guests come in through their own bridges
    reconcile: ReconcileConfig = field(default_factory=ReconcileConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    cancel_grace_s: float = 60.0  # a host operation under way may end before its caller's cancellation does
    image_retry_s: float = 1.0
    plug_retry_s: float = 0.2
    open_retry_s: float = 2.0
    prune_s: float = 600.0
    is_cpu_measured: bool = False
    live_bandwidth_mib_s: int = 0  # of each live migration; 0: no bound

    def __post_init__(self) -> None:
        if self.build_concurrency < 0 or self.stop_grace_ms < 0:
            raise ConfigError("build_concurrency and stop_grace_ms must not be negative")


class HostSide:
    """One a process. `run` until cancelled or `close`d; guests and their network outlive both."""

    def __init__(
        self,
        *,
        state: HardState,
        rpc: Rpc,
        driver: ComputeDriver,
        plug: NetPlug,
        fetch: Fetch,
        keep: KeepBlob,
        directory: Path,
        identity: HostIdentity,
        clock: Clock,
        may_ask: Callable[[NodeId], bool],
        config: HostSideConfig | None = None,
    ) -> None:
        """Makes `directory` and reads it. Raises OSError; DamagedFileError for `assignments.json`.

        `may_ask`: whether that node may nudge this host and read its guests' consoles. Being a member is
        not enough: a stolen host must learn nothing of the guests of others."""
        self._config = config or HostSideConfig()
        self._may_ask = may_ask
        self._driver = driver
        self._rpc = rpc
        self._plug = plug
        self._identity = identity
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)  # on the way to base images, for QEMU's user; secrets below are private
        self._seed_key = _seed_key(directory / "seed.key")
        self._assignments = Assignments(state, identity.node_id, directory / "assignments.json", clock)
        self._metadata = MetadataService(
            self._guest, directory / "metadata_ports.json", address=self._config.metadata_address
        )
        self._notes = Notes(directory / "servers")
        self._images = ImageCache(directory / "images", fetch, retry_s=self._config.image_retry_s)
        self._precacher = Precacher(self._images)
        self._cpu = CpuMonitor()
        self._network = NetworkKeeper(
            plug, self._assignments, self._metadata, retry_s=self._config.plug_retry_s
        )
        self._registrar = Registrar(
            state,
            lambda: host_register(
                identity, driver.capabilities(), self._config.allocation, self._config.processors
            ),
        )
        self._teller = OfferTeller(
            state,
            self._registrar.registered,
            lambda: host_offers(
                identity.node_id,
                driver.capabilities(),
                self._config.supplement,
                self._config.processors.dedicated,
                host_topology(driver.capabilities(), self._config.processors, self._config.pci),
            ),
        )
        self._link = LiveLink(rpc, driver, lambda: self._reconciler.look())
        saver = RootSaver(driver, keep, directory / "saved")
        self._reconciler = self._make_reconciler(state, clock, saver)
        self._is_open = False
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        DiskService(rpc, self._assignments, driver, self._notes)
        rpc.serve(NUDGE, self._serve_nudge)
        rpc.serve(CONSOLE_LOG, self._serve_console_log)
        rpc.serve(CACHE_IMAGES, self._serve_cache_images)
        rpc.serve(MIGRATION, self._serve_migration)

    def _make_reconciler(self, state: HardState, clock: Clock, saver: RootSaver) -> Reconciler:
        config = self._config
        pins = PinKeeper(self._driver, config.processors)
        builder = ServerBuilder(
            driver=self._driver,
            network=self._network,
            images=self._images,
            notes=self._notes,
            pins=pins,
            carrier=DiskCarrier(self._rpc, self._driver, self._images),
            make_config_drive=self._config_drive,
            system_version=self._identity.version,
            cancel_grace_s=config.cancel_grace_s,
            boot_slots=asyncio.Semaphore(config.build_concurrency or os.cpu_count() or 1),
        )
        acts = ServerActs(
            driver=self._driver,
            network=self._network,
            builder=builder,
            notes=self._notes,
            pins=pins,
            stop_grace_ms=config.stop_grace_ms,
            cancel_grace_s=config.cancel_grace_s,
        )
        reporter = Reporter(state, self._identity.node_id, config.report)
        self._live = LiveMoves(
            driver=self._driver,
            link=self._link,
            builder=builder,
            reporter=reporter,
            clock=clock,
            bandwidth_mib_s=config.live_bandwidth_mib_s,
        )
        return Reconciler(
            assignments=self._assignments,
            driver=self._driver,
            network=self._network,
            builder=builder,
            acts=acts,
            live=self._live,
            saver=saver,
            reporter=reporter,
            clock=clock,
            config=config.reconcile,
        )

    async def run(self) -> None:
        """Opens driver and plug (again and again until they open), then works until cancelled or closed."""
        self._ended.clear()
        try:
            await self._open()
            async with asyncio.TaskGroup() as group:
                work = [
                    group.create_task(self._registrar.run()),
                    group.create_task(self._teller.run()),
                    group.create_task(self._reconciler.run()),
                    group.create_task(self._keep_images()),
                    group.create_task(self._precacher.run()),
                ]
                if self._config.is_cpu_measured:
                    work.append(group.create_task(self._cpu.run()))
                await self._closing.wait()
                for task in work:
                    task.cancel()
        finally:
            await self._let_go()
            self._ended.set()

    async def _let_go(self) -> None:
        try:
            await self._assignments.save()
        except OSError as error:
            log.error("assignments not remembered", extra={"error": str(error)})
        await self._link.close()
        await self._metadata.close()
        if self._is_open:
            self._is_open = False
            await self._plug.close()
            await self._driver.close()

    async def close(self) -> None:
        """Lets go of driver, plug and listeners. Guests and their network run on."""
        self._closing.set()
        await self._ended.wait()

    @property
    def registered(self) -> asyncio.Event:
        """Set when the conductor has accepted this host."""
        return self._registrar.registered

    @property
    def domains(self) -> Mapping[ServerId, DomainState]:
        """What the driver showed last. Read only."""
        return self._reconciler.domains

    @property
    def assigned(self) -> Mapping[ServerId, AssignedServer]:
        return self._assignments.servers

    @property
    def is_busy(self) -> bool:
        """Some server is being worked on."""
        return not self._reconciler.is_idle

    def nudge(self) -> None:
        """Rows of this host may have changed: look now."""
        self._reconciler.nudge()

    def capacity(self) -> Capacity:
        """The live record for gossip; an empty one until the driver is open."""
        if not self._is_open:
            return Capacity()
        offered = live_capacity(
            self._driver.capabilities(), self._assignments.servers.values(), self._config.processors
        )
        return replace(offered, is_draining=not self._assignments.is_enabled)

    def word(self) -> HostWord:
        """What it says of itself beside that."""
        return HostWord(
            failed_builds=self._reconciler.failed_builds,
            images=packed(self._images.held(IMAGES_MAX)),
            metrics=self._cpu.metrics,
        )

    @property
    def drain_reason(self) -> str:
        """Why this host takes no new servers; "" when it does, or when nobody said."""
        return "" if self._assignments.is_enabled else self._assignments.disabled_reason

    async def _open(self) -> None:
        while not self._closing.is_set():
            try:
                await self._driver.open()
                try:
                    await self._plug.open()
                except NetPlugError:
                    await self._driver.close()
                    raise
                self._is_open = True
                return
            except (DriverError, NetPlugError) as error:
                log.error("host side does not open", extra={"code": error.code, "error": str(error)})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.open_retry_s):
                    await self._closing.wait()

    async def _keep_images(self) -> None:
        """In memory, what is on disk; and on disk, what is of use."""
        with contextlib.suppress(OSError):  # whoever fetches tells better why not
            await self._images.look()
        while True:
            try:
                dropped = await self._images.prune(await self._images_in_use())
                if dropped:
                    log.info("unused base images dropped", extra={"count": dropped})
            except OSError as error:
                log.warning("base images not pruned", extra={"error": str(error)})
            await asyncio.sleep(self._config.prune_s)

    async def _images_in_use(self) -> frozenset[str]:
        """By what guests were built on, and by what those assigned may be built on."""
        boots = [note.boot for note in (await self._notes.all()).values() if note.boot is not None]
        built_on = {boot.base_path for boot in boots}
        built_on |= {path for boot in boots for path in (boot.kernel_path, boot.ramdisk_path) if path}
        sources = [
            source
            for assigned in self._assignments.servers.values()
            for source in (assigned.image, assigned.kernel, assigned.ramdisk)
            if source is not None
        ]
        return frozenset(built_on | {self._images.path_of(source) for source in sources})

    def _guest(self, network_id: NetworkId, address: str) -> GuestFacts | None:
        assigned = self._assignments.guest(network_id, address)
        return self._facts(assigned) if assigned is not None else None

    def _config_drive(self, assigned: AssignedServer) -> bytes:
        from fabric.compute.metadata.config_drive import make_config_drive  # pycdlib: no host starts with one

        return make_config_drive(self._facts(assigned))

    def _facts(self, assigned: AssignedServer) -> GuestFacts:
        names = {group.security_group_id: group.name for group in self._assignments.security_groups}
        wanted = {group_id for port in assigned.ports for group_id in port.security_group_ids}
        return GuestFacts(
            assigned=assigned,
            security_group_names=tuple(sorted(names[group_id] for group_id in wanted if group_id in names)),
            random_seed=random_seed(self._seed_key, assigned.server.server_id),
        )

    async def _serve_nudge(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_leave(sender)
        self.nudge()
        return {}

    async def _serve_migration(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        """How far a guest is that is being sent from here; {}: none is."""
        self._need_leave(sender)
        progress = self._live.progress(ServerId(str(body.get("server_id"))))
        return {} if progress is None else asdict(progress)

    async def _serve_cache_images(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_leave(sender)
        named = body.get("images")
        if not isinstance(named, list):
            raise RemoteError("fabric.host.invalid", "images must be a list", Outcome.NOT_DONE)
        try:
            sources = [from_wire(ImageSource, each) for each in named]
        except WireError as error:
            raise RemoteError("fabric.host.invalid", f"images: {error}", Outcome.NOT_DONE) from error
        self._precacher.want(sources)
        return {}

    def _need_leave(self, sender: NodeId) -> None:
        if not self._may_ask(sender):
            log.warning("call refused", extra={"node": sender})
            raise RemoteError(
                "fabric.host.forbidden",
                "Only a node that conducts or serves the API may ask.",
                Outcome.NOT_DONE,
            )

    async def _serve_console_log(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_leave(sender)
        server_id, bytes_max = body.get("server_id"), body.get("bytes_max")
        if not isinstance(server_id, str) or not is_uuid(server_id):
            raise RemoteError("fabric.host.invalid", "server_id must be a UUID", Outcome.NOT_DONE)
        if type(bytes_max) is not int or not 0 < bytes_max <= CONSOLE_BYTES_MAX:
            raise RemoteError(
                "fabric.host.invalid", f"bytes_max must be 1 to {CONSOLE_BYTES_MAX}", Outcome.NOT_DONE
            )
        try:
            data = await self._driver.console_log(ServerId(server_id), bytes_max=bytes_max)
        except DriverError as error:
            raise RemoteError("fabric.driver", str(error), Outcome.NOT_DONE) from error
        return {"data": data[-bytes_max:]}


def _seed_key(file: Path) -> bytes:
    """The host's secret for random seeds, made on first use."""
    with contextlib.suppress(FileNotFoundError):
        key = file.read_bytes()
        if len(key) == SEED_KEY_BYTES:
            return key
    key = secrets.token_bytes(SEED_KEY_BYTES)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(key)
    return key
