"""The compute contract over libvirt. Each verb looks at what is there, then does what is missing.

Truth is what libvirt and the directory say at the moment of the call; nothing is remembered between calls,
so a driver that was killed at any point is continued by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from drivers.contract import (
    Capabilities,
    DiskFile,
    DomainSpec,
    DomainState,
    FillFile,
    OnProgress,
    OtherHost,
    Pins,
    Pipe,
    Power,
)
from drivers.libvirt import console
from drivers.libvirt.connection import Connection
from drivers.libvirt.cpu_limits_probe import can_limit_cpu
from drivers.libvirt.cpu_traits import traits_of_this_machine
from drivers.libvirt.disk_export import export_root
from drivers.libvirt.disks import (
    ServerDirectory,
    check_disks,
    ensure_files,
    remove,
    server_directories,
    supports_direct_io,
)
from drivers.libvirt.disks_taken import disk_files, take_disk
from drivers.libvirt.domain_xml import HostTraits, domain_name, domain_xml, pins_of, qemu_owner
from drivers.libvirt.host_cells import MEMINFO, memory_kb, numa_cells
from drivers.libvirt.host_cpus import has_sibling_threads
from drivers.libvirt.incoming import Arrivals, Landing
from drivers.libvirt.kvm import KvmVerdict, probe_kvm
from drivers.libvirt.outgoing import Departures
from drivers.libvirt.pci_devices import pci_devices
from drivers.libvirt.processes import guest_pids
from proto.errors import DriverError
from proto.ids import ServerId, is_uuid

log = logging.getLogger(__name__)

BUTTON_INTERVAL_S = 5.0  # a guest that was still booting missed the first press
POWER_POLL_S = 0.1
REMOVE_TRIES_MAX = 5


class LibvirtDriver:
    """Guests under QEMU through libvirt.

    Args:
        uri: e.g. `qemu:///system`.
        directory: one directory per server is kept in it. Two drivers on one libvirtd need two directories;
            each sees the domains of its own only.
        force_emulation: True: never KVM; False: KVM or no `open`; None: KVM where it truly works.
        host_root: where the hypervisor's file system is, for a driver that is outside of it.
    """

    def __init__(
        self,
        uri: str,
        directory: Path,
        *,
        force_emulation: bool | None = None,
        host_root: Path = Path("/"),
    ) -> None:
        self._directory = directory.absolute()
        self._connection = Connection(uri)
        self._arrivals = Arrivals(self._connection, uri, host_root)
        self._departures = Departures(self._connection, host_root)
        self._force_emulation = force_emulation
        self._locks: dict[ServerId, tuple[asyncio.Lock, int]] = {}
        self._capabilities: Capabilities | None = None
        self._host = HostTraits(accelerated=False)

    async def open(self) -> None:
        try:
            self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._directory.chmod(0o711)  # whatever our umask: QEMU may run as another user
        except OSError as error:
            raise DriverError(f"cannot make {self._directory}: {error.strerror}") from error
        await self._connection.open()
        verdict = await self._acceleration()
        limits_cpu = await can_limit_cpu(self._connection, self._directory, accelerated=verdict.works)
        direct = await asyncio.to_thread(supports_direct_io, self._directory)
        self._host = HostTraits(
            accelerated=verdict.works,
            limits_cpu=limits_cpu,
            disk_cache="none" if direct else "writeback",
        )
        owner = qemu_owner(await self._connection.capabilities_xml())
        self._arrivals.qemu_owner = self._departures.qemu_owner = owner
        kind, version, hostname = await self._connection.hypervisor()
        self._capabilities = Capabilities(
            hypervisor_type="KVM" if verdict.works else kind,
            hypervisor_version=version,
            hypervisor_hostname=hostname,
            arch="x86_64",
            vcpus=os.cpu_count() or 1,
            memory_mb=_memory_mb(),
            disk_gb=shutil.disk_usage(self._directory).total >> 30,
            why=verdict.why,
            traits=(*(traits_of_this_machine() if verdict.works else ()), *_thread_traits()),
            cells=numa_cells(await self._connection.capabilities_xml()),
            devices=await asyncio.to_thread(pci_devices),
            limits_cpu=limits_cpu,
        )
        log.info("libvirt driver open", extra={"hypervisor": self._capabilities.hypervisor_type,
                                               "why": verdict.why})  # fmt: skip

    async def close(self) -> None:
        await self._connection.close()

    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            raise DriverError("the driver is not open")
        return self._capabilities

    async def ensure_running(self, spec: DomainSpec) -> DomainState:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                return await self._run(spec)

    async def ensure_stopped(self, server_id: ServerId, *, grace_ms: int) -> DomainState:
        with self._lock_of(server_id) as lock:
            async with lock:
                await self._stop(server_id, grace_ms)
                return DomainState(server_id=server_id, power=Power.SHUTDOWN, pid=None)

    async def reboot(self, spec: DomainSpec, *, hard: bool, grace_ms: int) -> DomainState:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                name = domain_name(spec.server_id)
                await asyncio.to_thread(check_disks, self._where(spec.server_id), spec)
                await self._check_presence(spec.server_id)
                if await self._connection.power(name) is not None:
                    if hard:
                        await self._connection.destroy(name)
                    else:
                        await self._stop(spec.server_id, grace_ms)
                return await self._run(spec)

    async def ensure_absent(self, server_id: ServerId) -> None:
        with self._lock_of(server_id) as lock:
            async with lock:
                name = domain_name(server_id)
                await self._arrivals.cancel(self._where(server_id))
                await self._remove_domain(name)
                self._connection.forget(server_id)
                await asyncio.to_thread(remove, self._where(server_id))

    async def list_domains(self) -> tuple[DomainState, ...]:
        domains = [found for found in await self._connection.domains() if found.owner == str(self._directory)]
        on_disk = await asyncio.to_thread(server_directories, self._directory)
        live = [found.name for found in domains if found.power is not Power.SHUTDOWN]
        pids = await asyncio.to_thread(guest_pids, live)
        await asyncio.to_thread(self._bound_console_logs, on_disk)
        states = dict.fromkeys(on_disk, Power.SHUTDOWN)
        states.update({found.server_id: found.power for found in domains})
        return tuple(
            DomainState(server_id=server_id, power=power, pid=pids.get(domain_name(server_id)))
            for server_id, power in sorted(states.items())
        )

    async def disks(self, server_id: ServerId) -> tuple[DiskFile, ...]:
        with self._lock_of(server_id) as lock:
            async with lock:
                await self._need_off(server_id)
                return await asyncio.to_thread(disk_files, self._where(server_id))

    async def export_root(self, server_id: ServerId, target: Path) -> int:
        with self._lock_of(server_id) as lock:
            async with lock:
                await self._need_off(server_id)
                return await export_root(self._where(server_id), target)

    async def take_disk(self, spec: DomainSpec, name: str, fill: FillFile) -> None:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                await take_disk(self._where(spec.server_id), spec, name, fill)

    async def pinned(self) -> Mapping[ServerId, Pins]:
        found = {
            domain.name: domain.server_id
            for domain in await self._connection.domains()
            if domain.owner == str(self._directory)
        }
        described = await self._connection.descriptions(found.keys())
        pins = {found[name]: pins_of(text) for name, text in described.items()}
        return {server_id: each for server_id, each in pins.items() if each is not None}

    async def console_log(self, server_id: ServerId, *, bytes_max: int) -> bytes:
        where = self._where(server_id)
        try:
            return await asyncio.to_thread(console.tail, where.console_log, bytes_max)
        except OSError as error:
            raise DriverError(f"console log of {server_id}: {error.strerror}") from error

    async def prepare_incoming(self, spec: DomainSpec) -> bytes:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                where = self._where(spec.server_id)
                xml = domain_xml(spec, where.files(spec), self._host)
                return await self._arrivals.prepare(where, spec, xml)

    async def serve_incoming(self, server_id: ServerId, door: str, pipe: Pipe) -> None:
        await self._arrivals.serve(self._where(server_id), door, pipe)

    async def finish_incoming(self, server_id: ServerId) -> DomainState:
        with self._lock_of(server_id) as lock:
            async with lock:
                await self._arrivals.finish(self._where(server_id))
                return await self._state(server_id)

    async def cancel_incoming(self, server_id: ServerId) -> None:
        with self._lock_of(server_id) as lock:
            async with lock:
                await self._arrivals.cancel(self._where(server_id))

    async def migrate(
        self,
        server_id: ServerId,
        landing: bytes,
        other: OtherHost,
        *,
        bandwidth_mib_s: int,
        on_progress: OnProgress,
    ) -> None:
        with self._lock_of(server_id) as lock:
            async with lock:
                known = Landing.decode(landing)
                await self._departures.migrate(
                    self._where(server_id), known, other, bandwidth_mib_s, on_progress
                )

    async def has_left(self, server_id: ServerId) -> bool:
        is_marked = self._where(server_id).leaving.exists()
        return is_marked and await self._connection.power(domain_name(server_id)) is None

    async def abort_migration(self, server_id: ServerId) -> None:
        await self._departures.abort(server_id)

    async def force_migration(self, server_id: ServerId) -> None:
        await self._departures.force(server_id)

    # -- steps

    async def _check_presence(self, server_id: ServerId) -> None:
        """Raises DriverError when its guest is not here, although files of it are: it would be started from
        disks that are half copied, or that it has left behind."""
        where, name = self._where(server_id), domain_name(server_id)
        if where.arriving.exists():
            if not await self._connection.is_lasting(name):
                raise DriverError(f"the guest of server {server_id} has not arrived from its other host yet")
            await self._arrivals.settle(where)
        if await self.has_left(server_id):
            raise DriverError(f"the guest of server {server_id} has left for another host")

    async def _run(self, spec: DomainSpec) -> DomainState:
        where, name = self._where(spec.server_id), domain_name(spec.server_id)
        await self._check_presence(spec.server_id)
        power = await self._connection.power(name)
        if power is Power.PAUSED:
            await self._connection.resume(name)
        elif power is not Power.RUNNING:
            xml = domain_xml(spec, where.files(spec), self._host)
            if power is Power.CRASHED:
                await self._connection.destroy(name)
            await ensure_files(where, spec)
            await self._connection.define(xml)
            try:
                await self._connection.start(name)
            except DriverError as error:  # libvirt's message does not say which tap it misses
                taps = ", ".join(nic.device for nic in spec.nics) or "none"
                raise DriverError(f"domain {name} (taps: {taps}) did not start: {error}") from error
        return await self._state(spec.server_id)

    async def _remove_domain(self, name: str) -> None:
        """Until it is really gone: a start that a killed driver had asked for may come in between, and
        undefining a running domain only makes it forgotten after its end."""
        for _ in range(REMOVE_TRIES_MAX):
            await self._connection.destroy(name)
            await self._connection.undefine(name)
            if await self._connection.power(name) is None:
                return
        raise DriverError(f"domain {name} came back {REMOVE_TRIES_MAX} times while it was removed")

    async def _need_off(self, server_id: ServerId) -> None:
        power = await self._connection.power(domain_name(server_id))
        if power is not None and power is not Power.SHUTDOWN:
            raise DriverError(f"server {server_id} is not off: its disks change")

    async def _stop(self, server_id: ServerId, grace_ms: int) -> None:
        name = domain_name(server_id)
        power = await self._connection.power(name)
        if power is None and not self._where(server_id).path.exists():
            raise DriverError(f"server {server_id} has no domain here")
        if power is Power.RUNNING:
            power = await self._shut_down(name, grace_ms)
        if power not in (None, Power.SHUTDOWN):
            await self._connection.destroy(name)

    async def _shut_down(self, name: str, grace_ms: int) -> Power | None:
        """Presses the power button until the guest is off or the grace is over. Returns its power then."""
        deadline = time.monotonic() + grace_ms / 1000
        next_press = 0.0
        power = await self._connection.power(name)
        while power is Power.RUNNING and (now := time.monotonic()) < deadline:
            if now >= next_press:
                await self._connection.press_power_button(name)
                next_press = now + BUTTON_INTERVAL_S
            await asyncio.sleep(min(POWER_POLL_S, max(0.0, deadline - now)))
            power = await self._connection.power(name)
        return power

    async def _state(self, server_id: ServerId) -> DomainState:
        name = domain_name(server_id)
        power = await self._connection.power(name)
        if power is None:
            raise DriverError(f"domain {name} went away while it was started")
        pids = await asyncio.to_thread(guest_pids, [name]) if power is not Power.SHUTDOWN else {}
        return DomainState(server_id=server_id, power=power, pid=pids.get(name))

    async def _acceleration(self) -> KvmVerdict:
        if self._force_emulation is True:
            return KvmVerdict(False, "emulation was asked for")
        verdict = await probe_kvm()
        if verdict.works and "type='kvm'" not in await self._connection.capabilities_xml():
            verdict = KvmVerdict(False, f"{verdict.why}, but libvirt offers no domains of type kvm")
        if self._force_emulation is False and not verdict.works:
            raise DriverError(f"KVM was asked for: {verdict.why}")
        return verdict

    def _bound_console_logs(self, server_ids: tuple[ServerId, ...]) -> None:
        for server_id in server_ids:
            try:
                console.roll_over(self._where(server_id).console_log)
            except OSError as error:
                log.warning("console log not rolled over",
                            extra={"server": server_id, "reason": error.strerror})  # fmt: skip

    def _where(self, server_id: ServerId) -> ServerDirectory:
        if not is_uuid(server_id):  # it becomes a path
            raise DriverError(f"{server_id[:60]!r} is not a server id")
        return ServerDirectory(self._directory, server_id)

    @contextmanager
    def _lock_of(self, server_id: ServerId) -> Iterator[asyncio.Lock]:
        """The server's lock, kept while anybody holds or awaits it: two verbs never mix on one server."""
        lock, users = self._locks.get(server_id, (asyncio.Lock(), 0))
        self._locks[server_id] = (lock, users + 1)
        try:
            yield lock
        finally:
            _, users = self._locks.pop(server_id)
            if users > 1:
                self._locks[server_id] = (lock, users - 1)


def _thread_traits() -> tuple[str, ...]:
    return ("HW_CPU_HYPERTHREADING",) if has_sibling_threads() else ()


def _memory_mb() -> int:
    """From /proc/meminfo: libvirt's own figure counts one NUMA node only."""
    found_kb = memory_kb(MEMINFO)
    if found_kb is None:
        raise DriverError(f"{MEMINFO} does not tell MemTotal")
    return found_kb // 1024
