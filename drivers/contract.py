"""What a compute driver promises: few verbs, idempotent, phrased as an end state.

Shape after os-vif (describe, plug, unplug) and Nova's fake driver (the fake documents the semantics).
All verbs raise `proto.errors.DriverError` and nothing else (`HypervisorAwayError` while nobody answers), and
may be called again after any failure, crash included. None blocks the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from proto.ids import ServerId

DOOR_CHARACTERS_MAX = 16
LANDING_BYTES_MAX = 64 * 1024


class Power(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaCell:
    """A part of the machine whose processors are near to its memory. `memory_mb`: in small pages; `pages`:
    how many huge ones there are of each size, in KB."""

    cell_id: int
    memory_mb: int
    cpus: tuple[int, ...]
    cores: tuple[tuple[int, ...], ...]  # the same by core: threads of one core are siblings
    pages: Mapping[int, int] = field(default_factory=dict)
    socket: int = 0
    distances: Mapping[int, int] = field(default_factory=dict)  # to other cells; 10 is to itself


class PciKind(StrEnum):
    """Nova's names."""

    PCI = "type-PCI"
    PF = "type-PF"  # it can be divided into virtual functions
    VF = "type-VF"  # it is one


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    address: str  # "0000:81:00.0"
    vendor_id: str  # four hexadecimal digits
    product_id: str
    kind: PciKind = PciKind.PCI
    cell_id: int | None = None  # None: nobody knows
    parent: str = ""  # of a virtual function: its physical one's address


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    hypervisor_type: str  # "QEMU", "KVM" or "sim"
    hypervisor_version: int  # libvirt's number: major * 1,000,000 + minor * 1,000 + micro
    hypervisor_hostname: str
    arch: str  # "x86_64"
    vcpus: int
    memory_mb: int
    disk_gb: int
    why: str = ""  # for people: e.g. why emulation was chosen although /dev/kvm exists
    traits: tuple[str, ...] = ()  # what guests can count on, by Placement's names for it
    cells: tuple[NumaCell, ...] = ()  # none: the driver does not know
    devices: tuple[PciDevice, ...] = ()
    limits_cpu: bool = False  # `DomainSpec.cpu_limits` hold on this host


@dataclass(frozen=True, slots=True, kw_only=True)
class RootDisk:
    """An overlay on `base_path` (a verified local file, shared by servers), grown to `size_gb`
    (0: as large as the base)."""

    base_path: str
    base_format: str  # "qcow2" or "raw"
    size_gb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """The tap device exists already (netplug made it) and is not the driver's to delete."""

    device: str  # tap name, at most 15 characters
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Processors of the host, by number, that a guest has for itself."""

    vcpus: tuple[int, ...] = ()  # of each vCPU its one, in their order
    of: tuple[int, ...] = ()  # which vCPUs those are, by number, where others share; empty: all
    emulator: tuple[int, ...] = ()  # where the guest's other threads may run


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuLimits:
    """`shares`: the guest's weight against others. Each vCPU runs for `quota_us` of every `period_us` at
    most. 0: the hypervisor's own."""

    shares: int = 0
    period_us: int = 0
    quota_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLimit:
    """Of each disk that its user's data is in. It may have `burst` a second for `burst_s` seconds."""

    way: str  # "read", "write", "total"
    unit: str  # "bytes", "iops"
    per_s: int
    burst: int = 0
    burst_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestNode:
    """A NUMA node of the guest. Its memory is of that cell of the host and no other."""

    vcpus: tuple[int, ...]  # by number
    memory_mb: int
    cell_id: int
    page_kb: int = 0  # of which pages its memory is; 0: small ones
    cpu_set: tuple[
        int, ...
    ] = ()  # where its vCPUs run that have no processor for themselves; empty: anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSpec:
    server_id: ServerId
    name: str  # shown to people; the domain's own name is "fabric-" + server_id
    project_id: str
    vcpus: int
    memory_mb: int
    root: RootDisk
    nics: tuple[Nic, ...]
    config_drive: bytes | None = None  # an ISO 9660 image, label config-2
    kernel_path: str | None = None
    ramdisk_path: str | None = None
    kernel_args: str = ""
    ephemeral_gb: int = 0
    swap_mb: int = 0
    system_version: str = ""  # SMBIOS; manufacturer and product are fixed (METADATA: ds-identify)
    image_properties: dict[str, str] = field(default_factory=dict)
    pins: Pins | None = None  # None: it has no processors for itself
    cpu_set: tuple[int, ...] = ()  # where it may run without them; empty: on any of the host's
    nodes: tuple[GuestNode, ...] = ()  # all of its vCPUs and memory; none: it has no NUMA nodes
    devices: tuple[str, ...] = ()  # addresses of PCI devices of the host that it has for itself
    cpu_limits: CpuLimits | None = None  # an error on a host that does not keep them
    disk_limits: tuple[DiskLimit, ...] = ()  # none of "total" and another way for the same unit
    has_booted: bool = False  # its disks hold its user's data: one that is missing is an error, not made anew


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainState:
    server_id: ServerId
    power: Power
    pid: int | None  # of the guest, while it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFile:
    """A file with a user's data, of a guest that is off."""

    name: str  # "root", "ephemeral0", "swap"
    path: str
    size_bytes: int


FillFile = Callable[[Path], Awaitable[None]]  # writes a file that is there, and empty


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationProgress:
    """How far a live migration is, in bytes; a total may grow, for a guest writes meanwhile."""

    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0


OnProgress = Callable[[MigrationProgress], None]  # never blocks


class Pipe(Protocol):
    """Bytes to and from the other host's driver, in order. All raise ConnectionError once it is broken."""

    async def read(self) -> bytes:
        """What came, at least one byte; none at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more."""
        ...

    async def write_eof(self) -> None:
        """Nothing more is written, and all that was will arrive; reading goes on."""
        ...

    def close(self) -> None:
        """Nothing more is read here. Without a `write_eof` before, the other end finds it broken. May be
        called again."""
        ...


class OtherHost(Protocol):
    """The driver a guest moves to, as the driver that it moves from reaches it."""

    async def connect(self, door: str) -> Pipe:
        """A new pipe to its `serve_incoming`, by a name of at most DOOR_CHARACTERS_MAX that drivers choose
        among themselves. Raises ConnectionError."""
        ...


class ComputeDriver(Protocol):
    async def open(self) -> None:
        """Connects; finds the guests of an earlier life. Raises DriverError."""
        ...

    async def close(self) -> None:
        """Lets go of the hypervisor; guests run on."""
        ...

    def capabilities(self) -> Capabilities:
        """After `open`."""
        ...

    async def ensure_running(self, spec: DomainSpec) -> DomainState:
        """The domain exists as described and runs. Makes the overlay (unless it `has_booted`) and config
        drive when missing; a disk that exists is never overwritten. A running domain is left alone (same
        pid)."""
        ...

    async def ensure_stopped(self, server_id: ServerId, *, grace_ms: int) -> DomainState:
        """ACPI first, force after `grace_ms`. The domain stays defined. Absent is an error."""
        ...

    async def reboot(self, spec: DomainSpec, *, hard: bool, grace_ms: int) -> DomainState:
        """Soft: ACPI, then start again; falls back to hard after `grace_ms`. Hard: destroy, define
        afresh from `spec`, start. Disks stay. Ends running."""
        ...

    async def ensure_absent(self, server_id: ServerId) -> None:
        """No domain, no disk, no file of it is left. Absent already is success."""
        ...

    async def list_domains(self) -> tuple[DomainState, ...]:
        """Every domain of ours on this host, also half-made ones (files without a domain: SHUTDOWN)."""
        ...

    async def disks(self, server_id: ServerId) -> tuple[DiskFile, ...]:
        """What its user's data is in, by name, to be brought to another host. The guest must be off: one that
        runs is an error."""
        ...

    async def export_root(self, server_id: ServerId, target: Path) -> int:
        """Writes the root disk with all that it is built on to `target`, as one qcow2 that refers to no other
        file; what is there already is written over. Gives how large its guest sees it, in bytes. The guest
        must be off: one that runs is an error."""
        ...

    async def take_disk(self, spec: DomainSpec, name: str, fill: FillFile) -> None:
        """The disk of that name is there, brought from another host: `fill` writes a fresh file, which gets
        its name once it is whole; the root disk is then an overlay on this host's `spec.root`. One that is
        there already is left alone, and `fill` is not asked. What `fill` raises comes through."""
        ...

    async def pinned(self) -> Mapping[ServerId, Pins]:
        """Of every domain of ours that has processors for itself, running or not, which: as it runs, or
        would be started."""
        ...

    async def console_log(self, server_id: ServerId, *, bytes_max: int) -> bytes:
        """The tail of what the guest wrote to its first serial port. Empty when it wrote nothing yet."""
        ...

    # -- live migration
    #
    # Between two hosts with the same kind of driver, called in this order: `prepare_incoming` there,
    # `migrate` here, `finish_incoming` there, `ensure_absent` here. Whatever fails or is killed, at most one
    # of the two runs on: before `migrate` has succeeded it is the source's, and `cancel_incoming` cleans up
    # there. What nobody but the caller can settle is an answer that was lost at the very switch: both hosts
    # may then have the domain, and the caller knows whose it is.

    async def prepare_incoming(self, spec: DomainSpec) -> bytes:
        """Everything of a guest is here but the guest: new disks of the same sizes over the base image,
        config drive; its taps exist by now. Those of an attempt that failed are made anew. Until it has
        arrived nothing starts it here: `ensure_running` and `reboot` are errors.

        Returns what the source's driver has to know (at most LANDING_BYTES_MAX), opaque to everybody else.
        Raises DriverError, also when it has a domain here, or a disk that is not of such an attempt.
        """
        ...

    async def serve_incoming(self, server_id: ServerId, door: str, pipe: Pipe) -> None:
        """Serves one pipe of the source's until it ends, and closes it. The caller has made sure that it is
        the source's. Raises DriverError: nothing is prepared, no such door, or not what a migration of that
        server says."""
        ...

    async def finish_incoming(self, server_id: ServerId) -> DomainState:
        """It has arrived: the domain lasts, under the same id, and is like any other. Raises DriverError
        when it has not; may be called again."""
        ...

    async def cancel_incoming(self, server_id: ServerId) -> None:
        """Pipes are closed, and nothing of a guest that has not arrived is left. One that has is left alone:
        `list_domains` tells of it. Nothing prepared is success."""
        ...

    async def migrate(
        self,
        server_id: ServerId,
        landing: bytes,
        other: OtherHost,
        *,
        bandwidth_mib_s: int,
        on_progress: OnProgress,
    ) -> None:
        """The running guest is on the other host, with its memory and what it has written; here it has no
        domain any more (`has_left`), its files stay until `ensure_absent`, and nothing starts it from them.
        It is stopped for a moment only. `bandwidth_mib_s`: of memory and of each disk; 0: no bound.

        Returns when it has left. Raises DriverError when it has not: then it runs on here as before. When
        cancelled it aborts, and ends within seconds.
        """
        ...

    async def has_left(self, server_id: ServerId) -> bool:
        """Whether its guest has gone from here by `migrate`, this driver's or an earlier one's."""
        ...

    async def abort_migration(self, server_id: ServerId) -> None:
        """Its `migrate`, if one is under way, fails soon, unless it is all but done. May be called again."""
        ...

    async def force_migration(self, server_id: ServerId) -> None:
        """Has the guest wait until it has arrived, for one that writes faster than can be sent. Raises
        DriverError: no migration of it is under way."""
        ...
