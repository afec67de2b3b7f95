"""What two filters ask of hosts' cells and devices, as columns of the host table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from fabric.core.topology.give import give
from fabric.core.topology.room import HostRoom
from fabric.core.topology.wish import TopologyWish

RoomColumn = tuple[object, Callable[[HostRoom], bool]]  # its key, and what holds


def numa_column(wish: TopologyWish) -> RoomColumn:
    """Where devices are short whatever the cells, that is another filter's word."""
    cells, devices = replace(wish, devices={}), replace(wish, cells=())

    def holds(room: HostRoom) -> bool:
        if give(room, cells) is None:
            return False
        return not wish.devices or give(room, devices) is None or give(room, wish) is not None

    return ("numa", wish.key), holds


def pci_column(wish: TopologyWish) -> RoomColumn:
    """Whatever the cells."""
    devices = replace(wish, cells=())
    return ("pci", devices.key), lambda room: give(room, devices) is not None


def room_columns(wish: TopologyWish) -> Iterator[RoomColumn]:
    if wish.cells:
        yield numa_column(wish)
    if wish.devices:
        yield pci_column(wish)
