"""What of this machine's cells and devices is offered to guests."""

from __future__ import annotations

from drivers.contract import Capabilities, NumaCell, PciDevice
from fabric.compute.processors import HostProcessors
from fabric.core.topology.model import DEVICES_MAX, HostCell, HostDevice, HostTopology
from fabric.core.topology.pci_config import Device, PciConfig


def host_topology(offers: Capabilities, processors: HostProcessors, pci: PciConfig) -> HostTopology:
    """All cells, and of devices those that the operator names, DEVICES_MAX at most."""
    cells = tuple(_cell(each, processors) for each in offers.cells)
    devices = [each for device in offers.devices if (each := _device(device, pci)) is not None]
    return HostTopology(cells=cells, devices=tuple(devices[:DEVICES_MAX]))


def _cell(cell: NumaCell, processors: HostProcessors) -> HostCell:
    is_divided = bool(processors.shared or processors.dedicated)
    return HostCell(
        cell_id=cell.cell_id,
        memory_mb=cell.memory_mb,
        shared=len(processors.shared.intersection(cell.cpus)) if is_divided else len(cell.cpus),
        dedicated=len(processors.dedicated.intersection(cell.cpus)),
        pages=dict(cell.pages),
        socket=cell.socket,
    )


def _device(device: PciDevice, pci: PciConfig) -> HostDevice | None:
    asked = Device(
        address=device.address,
        vendor_id=device.vendor_id,
        product_id=device.product_id,
        kind=device.kind.value,
        parent=device.parent,
    )
    aliases = pci.names_of(asked)
    if not aliases:
        return None
    return HostDevice(address=device.address, aliases=aliases, cell_id=device.cell_id, parent=device.parent)
