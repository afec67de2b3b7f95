"""What two filters ask of hosts' cells and devices, as columns of the host table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fabric.core.placement.cell_columns import CellColumns
from fabric.core.placement.room_masks import Mask, RoomQuestion
from fabric.core.topology.give import give
from fabric.core.topology.room import HostRoom
from fabric.core.topology.wish import TopologyWish


def numa_column(wish: TopologyWish) -> RoomQuestion:
    """Where devices are short whatever the cells, that is another filter's word."""
    cells, devices = replace(wish, devices={}), replace(wish, cells=())

    def holds(room: HostRoom) -> bool:
        if give(room, cells) is None:
            return False
        return not wish.devices or give(room, devices) is None or give(room, wish) is not None

    def known(columns: CellColumns) -> tuple[Mask, Mask]:
        have_room = columns.have_room(wish.cells)
        if have_room is None:
            return np.zeros_like(columns.has_devices), np.ones_like(columns.has_devices)
        passing: Mask = np.where(columns.cells == 0, not wish.is_explicit, have_room)
        is_open = passing & columns.has_devices if wish.devices else np.zeros_like(passing)
        return passing, is_open

    return RoomQuestion(key=("numa", wish.key), holds=holds, known=known)


def pci_column(wish: TopologyWish) -> RoomQuestion:
    """Whatever the cells."""
    devices = replace(wish, cells=())

    def known(columns: CellColumns) -> tuple[Mask, Mask]:
        return np.zeros_like(columns.has_devices), columns.has_devices.copy()

    return RoomQuestion(
        key=("pci", devices.key), holds=lambda room: give(room, devices) is not None, known=known
    )


def room_columns(wish: TopologyWish) -> Iterator[RoomQuestion]:
    if wish.cells:
        yield numa_column(wish)
    if wish.devices:
        yield pci_column(wish)
