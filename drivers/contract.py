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
