"""The driver without a hypervisor: it keeps the contract to the letter and so documents it.

What it simulates: domains that run, stop, and survive the death of the agent; pids that are never given
twice; disks that are never overwritten; half-made builds; a serial console. State is one small file per
domain, replaced atomically, so a driver opened again on the same directory finds the same guests under the
same pids. There is no fsync: a simulated guest need not survive a power failure, and a boot costs well under
a millisecond of file work, little enough to do on the event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivers.contract import (
    Capabilities,
    DiskFile,
    DomainSpec,
    DomainState,
    FillFile,
    NumaCell,
    OnProgress,
    OtherHost,
    PciDevice,
    Pins,
    Pipe,
    Power,
)
from drivers.sim_files import TEMPORARY, as_driver_error, create, replace_file
from drivers.sim_limits import limits_of
from drivers.sim_moves import Guests, SimMoves
from proto.errors import DriverError
from proto.ids import ServerId, is_uuid

HYPERVISOR_VERSION = 1_000_000  # 1.0.0 in libvirt's way of counting
FIRST_PID = 100_000
PIDS_RESERVED = 64  # at a time: the counter's file is written once for so many boots
CONSOLE_BYTES_MAX = 256 * 1024
DISK_BYTES_MAX = 64 * 1024  # of a simulated one
_COUNTER = "next-pid"


@dataclass(slots=True, kw_only=True)
class SimFaults:
    """What goes wrong, for tests. Counts fall as failures are spent; a test may set them at any time."""

    failures: Counter[str] = field(default_factory=Counter)  # verb -> how many calls still fail
    message: str = "simulated failure"
    fail_after_disks: bool = False  # a failing ensure_running leaves its disks behind, as a real one does
    ignore_acpi: bool = False  # guests do not react to the power button

    def spend(self, verb: str) -> None:
        """Raises DriverError while failures of `verb` are left."""
        if self.failures[verb] > 0:
            self.failures[verb] -= 1
            raise DriverError(f"{self.message} ({verb})")


@dataclass(frozen=True, slots=True)
class _Domain:
    """What a domain's file holds."""

    power: Power
    pid: int | None
    boots: int
    pins: Pins | None = None
    devices: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)


class SimDriver:
    """Simulated guests under `directory`, one directory each.

    Args:
        vcpus, memory_mb, disk_gb: what the host claims to have.
        cells: into how many NUMA cells processors and memory are divided evenly; 0: it tells of none.
        devices: the host's PCI devices.
        limits_cpu: whether it keeps guests' processor limits.
        hostname: what it calls itself; by default this machine's name.
        build_ms, jitter_ms: how long a boot takes: the first, plus up to the second drawn from `rng`.
        shutdown_ms: how long a guest takes to obey the power button.
        migrate_ms: how long a live migration takes.
        faults: what goes wrong.
    """

    def __init__(
        self,
        directory: Path,
        *,
        vcpus: int = 64,
        memory_mb: int = 262_144,
        disk_gb: int = 4_096,
        cells: int = 0,
        devices: tuple[PciDevice, ...] = (),
        limits_cpu: bool = True,
        hostname: str = "",
        build_ms: int = 0,
        jitter_ms: int = 0,
        shutdown_ms: int = 0,
        migrate_ms: int = 0,
        faults: SimFaults | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if min(vcpus, memory_mb, disk_gb, build_ms, jitter_ms, shutdown_ms, migrate_ms) < 0:
            raise ValueError("capacities and times cannot be negative")
        self.faults = faults if faults is not None else SimFaults()
        self._directory = directory.absolute()
        self._build_ms, self._jitter_ms, self._shutdown_ms = build_ms, jitter_ms, shutdown_ms
        self._rng = rng if rng is not None else random.Random()  # noqa: S311 - not a secret
        self._pids: Iterator[int] = iter(())
        self._locks: dict[ServerId, tuple[asyncio.Lock, int]] = {}
        self._is_open = False
        guests = Guests(
            where=self._where,
            has_domain=lambda server_id: (self._where(server_id) / "domain.json").exists(),
            make_disks=self._make_disks,
            pack=self._pack,
            unpack=self._unpack,
        )
        self._moves = SimMoves(guests, migrate_ms)
        self._capabilities = Capabilities(
            hypervisor_type="sim",
            hypervisor_version=HYPERVISOR_VERSION,
            hypervisor_hostname=hostname or os.uname().nodename,
            arch="x86_64",
            vcpus=vcpus,
            memory_mb=memory_mb,
            disk_gb=disk_gb,
            why="simulated: no guest really runs",
            cells=_cells(cells, vcpus, memory_mb),
            devices=devices,
            limits_cpu=limits_cpu,
        )

    async def open(self) -> None:
        with as_driver_error(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    def capabilities(self) -> Capabilities:
        self._require_open()
        return self._capabilities

    async def ensure_running(self, spec: DomainSpec) -> DomainState:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                return await self._run(spec)

    async def ensure_stopped(self, server_id: ServerId, *, grace_ms: int) -> DomainState:
        with self._lock_of(server_id) as lock:
            async with lock:
                self.faults.spend("ensure_stopped")
                return await self._stop(server_id, grace_ms)

    async def reboot(self, spec: DomainSpec, *, hard: bool, grace_ms: int) -> DomainState:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                self.faults.spend("reboot")
                self._check_disks(spec)
                self._moves.check_presence(spec.server_id)
                if self._read(spec.server_id) is not None:
                    await self._stop(spec.server_id, 0 if hard else grace_ms)
                return await self._run(spec)

    async def ensure_absent(self, server_id: ServerId) -> None:
        with self._lock_of(server_id) as lock:
            async with lock:
                self.faults.spend("ensure_absent")
                self._moves.cancel(server_id)
                where = self._where(server_id)
                with as_driver_error(where):
                    # The domain goes first: killed in between, we leave files without a domain.
                    (where / "domain.json").unlink(missing_ok=True)
                    if where.exists():
                        shutil.rmtree(where)

    async def list_domains(self) -> tuple[DomainState, ...]:
        self._require_open()
        self.faults.spend("list_domains")
        with as_driver_error(self._directory):
            names = sorted(os.listdir(self._directory))
        states = []
        for server_id in (ServerId(name) for name in names if is_uuid(name)):
            domain = self._read(server_id)
            if domain is not None:
                states.append(DomainState(server_id=server_id, power=domain.power, pid=domain.pid))
            elif self._where(server_id).exists():
                states.append(DomainState(server_id=server_id, power=Power.SHUTDOWN, pid=None))
        return tuple(states)

    async def pinned(self) -> Mapping[ServerId, Pins]:
        self._require_open()
        self.faults.spend("pinned")
        with as_driver_error(self._directory):
            names = sorted(os.listdir(self._directory))
        found = {}
        for server_id in (ServerId(name) for name in names if is_uuid(name)):
            domain = self._read(server_id)
            if domain is not None and domain.pins is not None:
                found[server_id] = domain.pins
        return found

    async def console_log(self, server_id: ServerId, *, bytes_max: int) -> bytes:
        self._require_open()
        self.faults.spend("console_log")
        path = self._where(server_id) / "console.log"
        try:
            return path.read_bytes()[-bytes_max:] if bytes_max > 0 else b""
        except FileNotFoundError:
            return b""

    async def prepare_incoming(self, spec: DomainSpec) -> bytes:
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                self.faults.spend("prepare_incoming")
                return self._moves.prepare(spec, limits_of(spec, self._capabilities))

    async def serve_incoming(self, server_id: ServerId, door: str, pipe: Pipe) -> None:
        self._require_open()
        await self._moves.serve(server_id, door, pipe)

    async def finish_incoming(self, server_id: ServerId) -> DomainState:
        with self._lock_of(server_id) as lock:
            async with lock:
                self.faults.spend("finish_incoming")
                self._moves.finish(server_id)
                domain = self._read(server_id)
                assert domain is not None, "it has arrived"
                return DomainState(server_id=server_id, power=domain.power, pid=domain.pid)

    async def cancel_incoming(self, server_id: ServerId) -> None:
        with self._lock_of(server_id) as lock:
            async with lock:
                self.faults.spend("cancel_incoming")
                self._moves.cancel(server_id)

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
                self.faults.spend("migrate")
                await self._moves.migrate(server_id, landing, other, on_progress)

    async def has_left(self, server_id: ServerId) -> bool:
        self._require_open()
        return self._moves.has_left(server_id)

    async def abort_migration(self, server_id: ServerId) -> None:
        self._require_open()
        self._moves.abort(server_id)

    async def force_migration(self, server_id: ServerId) -> None:
        self._require_open()
        self._moves.force(server_id)

    # -- what a guest or the world does, for tests

    def guest_powers_off(self, server_id: ServerId) -> None:
        """The guest shuts itself down."""
        self._end(server_id, Power.SHUTDOWN)

    def guest_crashes(self, server_id: ServerId) -> None:
        """The guest's process dies."""
        self._end(server_id, Power.CRASHED)

    def limits(self, server_id: ServerId) -> Mapping[str, int]:
        """What a guest is held to as it runs, by words of `limits_of`. Raises DriverError: it is not here."""
        domain = self._read(server_id)
        if domain is None:
            raise DriverError(f"server {server_id} has no domain here")
        return domain.limits

    def host_loses_power(self) -> None:
        """Every guest is off, every file still there."""
        for name in os.listdir(self._directory):
            if is_uuid(name) and self._read(ServerId(name)) is not None:
                self._end(ServerId(name), Power.SHUTDOWN)

    async def disks(self, server_id: ServerId) -> tuple[DiskFile, ...]:
        with self._lock_of(server_id) as lock:
            async with lock:
                domain = self._read(server_id)
                if domain is not None and domain.power is not Power.SHUTDOWN:
                    raise DriverError(f"server {server_id} is not off: its disks change")
                path = self._where(server_id) / "root.disk"
                if not path.exists():
                    raise DriverError(f"server {server_id} has no disk here")
                return (DiskFile(name="root", path=str(path), size_bytes=path.stat().st_size),)

    async def export_root(self, server_id: ServerId, target: Path) -> int:
        self.faults.spend("export_root")
        (root,) = await self.disks(server_id)
        await self._take_time()
        with as_driver_error(target):
            held = _flattened(Path(root.path))
            target.write_text(json.dumps(held))
        return int(held["size_gb"]) << 30

    async def take_disk(self, spec: DomainSpec, name: str, fill: FillFile) -> None:
        if name != "root":
            raise DriverError(f"a simulated guest has no disk {name[:20]!r}")
        with self._lock_of(spec.server_id) as lock:
            async with lock:
                where = self._where(spec.server_id)
                target = where / "root.disk"
                if target.exists():
                    return
                fresh = target.with_name(f"{target.name}{TEMPORARY}{secrets.token_hex(4)}")
                with as_driver_error(where):
                    where.mkdir(exist_ok=True)
                    fresh.touch()
                try:
                    await fill(fresh)
                    self._rebase(fresh, spec)
                    with as_driver_error(target):
                        os.replace(fresh, target)
                finally:
                    fresh.unlink(missing_ok=True)

    # -- steps

    @staticmethod
    def _rebase(disk: Path, spec: DomainSpec) -> None:
        """What the guest wrote stays; what it is built on is this host's file."""
        try:
            held = json.loads(disk.read_bytes())
            disk.write_text(json.dumps({**held, "backing": spec.root.base_path}))
        except (OSError, ValueError, TypeError) as error:
            raise DriverError(f"{disk.name} is not a simulated disk") from error

    async def _run(self, spec: DomainSpec) -> DomainState:
        self._moves.check_presence(spec.server_id)
        domain = self._read(spec.server_id)
        if domain is not None and domain.power is Power.RUNNING:
            return DomainState(server_id=spec.server_id, power=Power.RUNNING, pid=domain.pid)
        if not self.faults.fail_after_disks:
            self.faults.spend("ensure_running")
        self._make_disks(spec)
        await self._take_time()
        self.faults.spend("ensure_running")
        self._need_devices(spec)
        boots = (domain.boots if domain is not None else 0) + 1
        limits = limits_of(spec, self._capabilities)
        started = _Domain(Power.RUNNING, self._next_pid(), boots, spec.pins, spec.devices, limits)
        self._append_console(spec, boots)
        self._write(spec.server_id, started)
        return DomainState(server_id=spec.server_id, power=Power.RUNNING, pid=started.pid)

    def _need_devices(self, spec: DomainSpec) -> None:
        """There, and with no other guest that runs. Nothing is awaited from here until the domain is one."""
        known = {device.address for device in self._capabilities.devices}
        for address in spec.devices:
            if address not in known:
                raise DriverError(f"there is no PCI device {address}")
        for name in sorted(os.listdir(self._directory)) if spec.devices else ():
            other = self._read(ServerId(name)) if is_uuid(name) and name != spec.server_id else None
            if other is not None and other.power is Power.RUNNING:
                for address in set(spec.devices) & set(other.devices):
                    raise DriverError(f"PCI device {address} is in use by {name}")

    async def _stop(self, server_id: ServerId, grace_ms: int) -> DomainState:
        domain = self._read(server_id)
        if domain is None and not self._where(server_id).exists():
            raise DriverError(f"server {server_id} has no domain here")
        if domain is not None and domain.power is not Power.SHUTDOWN:
            obeys_ms = grace_ms if self.faults.ignore_acpi else min(grace_ms, self._shutdown_ms)
            if obeys_ms > 0:
                await asyncio.sleep(obeys_ms / 1000)
            self._end(server_id, Power.SHUTDOWN)
        return DomainState(server_id=server_id, power=Power.SHUTDOWN, pid=None)

    async def _take_time(self) -> None:
        build_ms = self._build_ms + (self._rng.uniform(0, self._jitter_ms) if self._jitter_ms else 0.0)
        if build_ms > 0:
            await asyncio.sleep(build_ms / 1000)

    def _pack(self, server_id: ServerId) -> bytes:
        domain = self._read(server_id)
        if domain is None or domain.power not in (Power.RUNNING, Power.PAUSED):
            raise DriverError(f"server {server_id} does not run here")
        with as_driver_error(self._where(server_id)):
            console = (self._where(server_id) / "console.log").read_text()
            disk = json.loads((self._where(server_id) / "root.disk").read_bytes())
        state = {"power": domain.power.value, "boots": domain.boots, "disk": disk}
        return json.dumps({**state, "console": console[-CONSOLE_BYTES_MAX:]}).encode()

    def _unpack(self, server_id: ServerId, data: bytes, pins: Pins | None, limits: Mapping[str, int]) -> None:
        try:
            value = json.loads(data)
            power, boots, console = Power(value["power"]), int(value["boots"]), str(value["console"])
            disk = self._where(server_id) / "root.disk"
            written = {**value["disk"], "backing": json.loads(disk.read_bytes())["backing"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DriverError("what came is no simulated guest") from error
        replace_file(disk, json.dumps(written).encode())
        replace_file(self._where(server_id) / "console.log", console.encode())
        self._write(server_id, _Domain(power, self._next_pid(), boots, pins, limits=limits))

    def _check_disks(self, spec: DomainSpec) -> None:
        path = self._where(spec.server_id) / "root.disk"
        if spec.has_booted and not path.exists():
            raise DriverError(f"the guest's disk {path.name} is gone; it is not replaced by an empty one")

    def _make_disks(self, spec: DomainSpec) -> None:
        self._check_disks(spec)
        if not os.path.isfile(spec.root.base_path):
            raise DriverError(f"root disk: no base image {spec.root.base_path}")
        where = self._where(spec.server_id)
        with as_driver_error(where):
            where.mkdir(exist_ok=True)
            for path in where.glob(f"*{TEMPORARY}*"):  # of a driver killed in the middle
                path.unlink(missing_ok=True)
            overlay = json.dumps({"backing": spec.root.base_path, "size_gb": spec.root.size_gb})
            create(where / "root.disk", overlay.encode())
            if spec.config_drive is not None:
                create(where / "config.iso", spec.config_drive)

    def _append_console(self, spec: DomainSpec, boots: int) -> None:
        with as_driver_error(self._where(spec.server_id)):
            path = self._where(spec.server_id) / "console.log"
            if path.exists() and path.stat().st_size > CONSOLE_BYTES_MAX:
                path.unlink()
            with path.open("a") as log:
                log.write(_boot_messages(spec, boots))

    def _end(self, server_id: ServerId, power: Power) -> None:
        domain = self._read(server_id)
        if domain is None:
            raise DriverError(f"server {server_id} has no domain here")
        self._write(server_id, replace(domain, power=power, pid=None))

    # -- files

    def _where(self, server_id: ServerId) -> Path:
        if not is_uuid(server_id):  # it becomes a path
            raise DriverError(f"{server_id[:60]!r} is not a server id")
        return self._directory / server_id

    def _read(self, server_id: ServerId) -> _Domain | None:
        path = self._where(server_id) / "domain.json"
        try:
            value = json.loads(path.read_bytes())
            pins = value.get("pins")
            return _Domain(
                Power(value["power"]),
                value["pid"],
                value["boots"],
                None if pins is None else _pins(pins),
                tuple(value.get("devices", ())),
                dict(value.get("limits", {})),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise DriverError(f"{path} is not a simulated domain") from error

    def _write(self, server_id: ServerId, domain: _Domain) -> None:
        value: dict[str, object] = {
            "power": domain.power.value,
            "pid": domain.pid,
            "boots": domain.boots,
        }
        if domain.pins is not None:
            value["pins"] = [domain.pins.vcpus, domain.pins.emulator, domain.pins.of]
        if domain.devices:
            value["devices"] = domain.devices
        if domain.limits:
            value["limits"] = domain.limits
        replace_file(self._where(server_id) / "domain.json", json.dumps(value).encode())

    def _next_pid(self) -> int:
        pid = next(self._pids, None)
        if pid is not None:
            return pid
        counter = self._directory / _COUNTER
        try:
            first = int(counter.read_text())
        except FileNotFoundError:
            first = FIRST_PID
        except (OSError, ValueError) as error:
            raise DriverError(f"{counter} is not a pid counter") from error
        # Written before any is given: a driver killed meanwhile skips pids, it never repeats one.
        replace_file(counter, str(first + PIDS_RESERVED).encode())
        self._pids = iter(range(first + 1, first + PIDS_RESERVED))
        return first

    def _require_open(self) -> None:
        if not self._is_open:
            raise DriverError("the driver is not open")

    @contextmanager
    def _lock_of(self, server_id: ServerId) -> Iterator[asyncio.Lock]:
        """The server's lock, kept while anybody holds or awaits it: two verbs never mix on one server."""
        self._require_open()
        lock, users = self._locks.get(server_id, (asyncio.Lock(), 0))
        self._locks[server_id] = (lock, users + 1)
        try:
            yield lock
        finally:
            _, users = self._locks.pop(server_id)
            if users > 1:
                self._locks[server_id] = (lock, users - 1)


def _pins(said: list[list[int]]) -> Pins:
    vcpus, emulator, *of = map(tuple, said)
    return Pins(vcpus=vcpus, emulator=emulator, of=of[0] if of else ())


def _cells(count: int, vcpus: int, memory_mb: int) -> tuple[NumaCell, ...]:
    """Cores have one thread each; each cell is a socket. What is left over is the last one's."""
    cells = []
    for number in range(count):
        first, after = (vcpus // count * each for each in (number, number + 1))
        cpus = tuple(range(first, after if number < count - 1 else vcpus))
        rest_mb = memory_mb % count if number == count - 1 else 0
        cells.append(
            NumaCell(
                cell_id=number,
                memory_mb=memory_mb // count + rest_mb,
                cpus=cpus,
                cores=tuple((cpu,) for cpu in cpus),
                socket=number,
                distances={other: 10 if other == number else 20 for other in range(count)},
            )
        )
    return tuple(cells)


def _flattened(disk: Path) -> dict[str, Any]:
    """What a simulated disk holds, with what it is built on."""
    held: dict[str, Any] = json.loads(disk.read_bytes())
    base = Path(held.pop("backing"))
    try:
        below = json.loads(base.read_bytes()) if base.stat().st_size <= DISK_BYTES_MAX else None
    except ValueError:
        below = None  # an image from outside: bytes that nobody reads
    return {**below, **held} if isinstance(below, dict) else held


def _boot_messages(spec: DomainSpec, boots: int) -> str:
    """A plausible boot, with what tests look for: the name, the server's id, each NIC."""
    name = spec.name.encode("ascii", "replace").decode().replace("\n", " ")
    lines = [
        "[    0.000000] Linux version 0.0.0-fabric-sim (simulated guest)",
        f"[    0.000000] Command line: {spec.kernel_args or 'console=ttyS0'}",
        f"[    0.000000] DMI: OpenStack Foundation OpenStack Nova, serial {spec.server_id}",
        f"[    0.004000] Memory: {spec.memory_mb * 1024}K available, {spec.vcpus} CPU(s)",
    ]
    lines += [
        f"[    0.200000] virtio_net virtio{index} eth{index}: {nic.mac} mtu {nic.mtu}"
        for index, nic in enumerate(spec.nics)
    ]
    lines += [
        f"[    0.100000] node {number}: cpus {','.join(map(str, node.vcpus))}, {node.memory_mb} MB"
        for number, node in enumerate(spec.nodes)
    ]
    lines += [f"[    0.300000] pci: device {address} of the host" for address in spec.devices]
    if spec.config_drive is not None:
        lines.append(f"guest: config drive of {len(spec.config_drive)} bytes")
    lines += [f"guest: booted {name} boot={boots}", "", f"{name} login: "]
    return "\n".join(lines) + "\n"
