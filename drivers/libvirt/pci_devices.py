"""The machine's PCI devices, as the kernel shows them below /sys/bus/pci."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.contract import PciDevice, PciKind

DEVICES = Path("/sys/bus/pci/devices")
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


def pci_devices(devices: Path = DEVICES) -> tuple[PciDevice, ...]:
    """By address; those that go while we look, or cannot be read, are left out."""
    try:
        names = sorted(path.name for path in devices.iterdir() if _ADDRESS.fullmatch(path.name))
    except OSError:
        return ()
    found = (_device(devices / name) for name in names)
    return tuple(device for device in found if device is not None)


def _device(where: Path) -> PciDevice | None:
    vendor, product = _read(where / "vendor"), _read(where / "device")
    if vendor is None or product is None:
        return None
    node = _read(where / "numa_node")
    parent = where / "physfn"
    return PciDevice(
        address=where.name,
        vendor_id=vendor.removeprefix("0x"),
        product_id=product.removeprefix("0x"),
        kind=_kind(where),
        cell_id=int(node) if node is not None and node.isdigit() else None,  # -1: nobody knows
        parent=parent.resolve().name if parent.exists() else "",
    )


def _kind(where: Path) -> PciKind:
    if (where / "physfn").exists():
        return PciKind.VF
    virtual = _read(where / "sriov_totalvfs")
    return PciKind.PF if virtual is not None and virtual != "0" else PciKind.PCI


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
