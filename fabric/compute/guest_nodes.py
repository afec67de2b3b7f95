"""What a guest was given of cells and devices, as the driver is told it."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import GuestNode, NumaCell
from fabric.compute.errors import NoTopologyError
from fabric.core.servers.model import AssignedServer
from fabric.core.topology.model import NOTHING_GIVEN, Grant
from fabric.core.topology.wish import TopologyError, wish_of


def grant_of(assigned: AssignedServer) -> Grant:
    """Raises NoTopologyError: it wants some, and was given nothing. One that has run so before may go on."""
    grant, server = assigned.grant or NOTHING_GIVEN, assigned.server
    if server.launched_ms is None:
        try:
            wish = wish_of(server.flavor)
        except TopologyError as error:
            raise NoTopologyError(str(error)) from error
        if wish is not None and (
            (wish.is_explicit and not grant.cells) or (wish.devices and not grant.devices)
        ):
            raise NoTopologyError("the flavor asks for NUMA nodes or devices, and the guest was given none")
    return grant


def guest_nodes(grant: Grant, cells: Sequence[NumaCell], shared: Sequence[int]) -> tuple[GuestNode, ...]:
    """`shared`: processors that guests share; none: all are. Raises NoTopologyError: a cell is gone."""
    by_id = {cell.cell_id: cell for cell in cells}
    nodes = []
    for node in grant.cells:
        if node.cell_id not in by_id:
            raise NoTopologyError(f"the host has no NUMA cell {node.cell_id} any more")
        cpus = by_id[node.cell_id].cpus
        nodes.append(
            GuestNode(
                vcpus=node.vcpus,
                memory_mb=node.memory_mb,
                cell_id=node.cell_id,
                page_kb=node.page_kb,
                cpu_set=tuple(cpu for cpu in cpus if not shared or cpu in shared) if node.shared else (),
            )
        )
    return tuple(nodes)
