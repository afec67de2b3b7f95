"""What hosts have in cells and devices, and what guests were given of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

CELLS_MAX = 64  # of a host
DEVICES_MAX = 4_096  # of a host; a card has up to 256 virtual functions
ALIASES_MAX = 64  # of a device
GUEST_CELLS_MAX = 16
GUEST_DEVICES_MAX = 64
SMALL_PAGE_KB = 4


class Affinity(StrEnum):
    """How near a device must be to its guest's memory. Nova's names: `required`: at one of its cells;
    `legacy`: the same, or the host does not say where it is; `socket`: at a cell of the same socket;
    `preferred`: anywhere."""

    REQUIRED = "required"
    LEGACY = "legacy"
    SOCKET = "socket"
    PREFERRED = "preferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCell:
    """One NUMA cell. `shared`: processors that guests share, `dedicated`: those given one guest each.
    `memory_mb`: in small pages. `pages`: how many huge ones of each size, in KB, there are."""

    cell_id: int
    memory_mb: int
    shared: int
    dedicated: int = 0
    pages: Mapping[int, int] = field(default_factory=dict)
    socket: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDevice:
    """A PCI device that guests may be given. `aliases`: under which names, and how near it has to be.
    `parent`: of a virtual function, the address of its physical one."""

    address: str  # "0000:81:00.0"
    aliases: Mapping[str, Affinity]
    cell_id: int | None = None  # None: the host does not say
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTopology:
    """Both in the order in which the host tells them, each once. No cells: the host says nothing of them."""

    cells: tuple[HostCell, ...] = ()
    devices: tuple[HostDevice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGrant:
    """One NUMA node of a guest, and the host's cell that it has. `vcpus`: the guest's, by number. `shared` of
    them share the cell's processors; `dedicated`: how many it has for itself, its emulator's among them.
    `page_kb` 0: small pages, of which more may be given than there are."""

    cell_id: int
    vcpus: tuple[int, ...]
    memory_mb: int
    shared: int = 0
    dedicated: int = 0
    page_kb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGrant:
    alias: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one guest has of a host's cells and devices: `cells` by its NUMA nodes in their order."""

    cells: tuple[CellGrant, ...] = ()
    devices: tuple[DeviceGrant, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cells or self.devices)


NOTHING_GIVEN = Grant()
