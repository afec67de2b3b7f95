"""Cells and devices as a host's offer carries them: plain values, bounded before they are read.

    {"cells": [{"id": 0, "memory_mb": 65536, "shared": 14, "dedicated": 2, "pages": {"2048": 512},
                "socket": 0}],
     "pci": [{"aliases": {"gpu": "legacy"}, "cell": 0, "parent": "", "addresses": ["0000:81:00.0"]}]}

Devices that differ by nothing but their address stand in one entry. What cannot be read, or is more than any
host has, is as if nothing was said of that kind: a host then gets no servers that want it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fabric.core.topology.model import (
    ALIASES_MAX,
    CELLS_MAX,
    DEVICES_MAX,
    Affinity,
    HostCell,
    HostDevice,
    HostTopology,
)

CELLS, DEVICES = "cells", "pci"
NUMBER_MAX = 1 << 40
PAGE_SIZES_MAX = 16
ALIAS_CHARS_MAX = 255
ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")

Facts = Mapping[str, object]


@dataclass(frozen=True)  # without slots: what was read is kept beside it
class Told:
    """What a host's offer says."""

    facts: Facts = field(default_factory=dict)

    @cached_property
    def topology(self) -> HostTopology:
        return read_facts(self.facts)


NOTHING_TOLD = Told()


class _UnreadableError(Exception):
    pass


def write_facts(topology: HostTopology) -> dict[str, object]:
    """What there is nothing to say of is left out."""
    facts: dict[str, object] = {}
    if topology.cells:
        facts[CELLS] = [
            {
                "id": cell.cell_id,
                "memory_mb": cell.memory_mb,
                "shared": cell.shared,
                "dedicated": cell.dedicated,
                "pages": {str(size): cell.pages[size] for size in sorted(cell.pages)},
                "socket": cell.socket,
            }
            for cell in topology.cells
        ]
    pools: dict[object, dict[str, Any]] = {}
    for device in topology.devices:
        aliases = {alias: device.aliases[alias].value for alias in sorted(device.aliases)}
        key = tuple(aliases.items()), device.cell_id, device.parent
        same: dict[str, Any] = {
            "aliases": aliases,
            "cell": device.cell_id,
            "parent": device.parent,
            "addresses": [],
        }
        pools.setdefault(key, same)["addresses"].append(device.address)
    if pools:
        facts[DEVICES] = list(pools.values())
    return facts


def read_facts(facts: Facts) -> HostTopology:
    if not facts:
        return HostTopology()
    try:
        cells = tuple(map(_cell, _listed(facts.get(CELLS), CELLS_MAX)))
        if len({cell.cell_id for cell in cells}) != len(cells):
            cells = ()
    except _UnreadableError:
        cells = ()
    try:
        pools = [_pool(each) for each in _listed(facts.get(DEVICES), DEVICES_MAX)]
        devices = tuple(device for pool in pools for device in pool)
        if len(devices) > DEVICES_MAX or len({each.address for each in devices}) != len(devices):
            devices = ()
    except _UnreadableError:
        devices = ()
    return HostTopology(cells=cells, devices=devices)


def count_devices(facts: Facts) -> int:
    """How many there are, without reading them."""
    pools = facts.get(DEVICES)
    if not isinstance(pools, list | tuple):
        return 0
    told = [each.get("addresses") for each in pools if isinstance(each, Mapping)]
    return sum(len(addresses) for addresses in told if isinstance(addresses, list | tuple))


def with_more_devices(told: Told, more: Mapping[str, int]) -> Told:
    """As if the host had so many more of each alias; anywhere."""
    units = [alias for alias, count in more.items() for _ in range(count)]
    pools: list[object] = [
        {
            "aliases": {alias: Affinity.PREFERRED.value},
            "addresses": [f"ffffffff:{at >> 8:02x}:{at >> 3 & 31:02x}.{at & 7}"],
        }
        for at, alias in enumerate(units)
    ]
    before = told.facts.get(DEVICES)
    return Told({**told.facts, DEVICES: [*(before if isinstance(before, list | tuple) else ()), *pools]})


def _cell(said: object) -> HostCell:
    fields = _mapping(said, 16)
    pages = _mapping(fields.get("pages", {}), PAGE_SIZES_MAX)
    return HostCell(
        cell_id=_number(fields.get("id")),
        memory_mb=_number(fields.get("memory_mb")),
        shared=_number(fields.get("shared")),
        dedicated=_number(fields.get("dedicated", 0)),
        pages={_page_size(size): _number(pages[size]) for size in sorted(pages)},
        socket=_number(fields.get("socket", 0)),
    )


def _pool(said: object) -> list[HostDevice]:
    fields = _mapping(said, 16)
    cell = fields.get("cell")
    cell_id = None if cell is None else _number(cell)
    parent = fields.get("parent", "")
    if parent != "":
        parent = _address(parent)
    aliases = {
        _alias(alias): _affinity(policy)
        for alias, policy in _mapping(fields.get("aliases"), ALIASES_MAX).items()
    }
    return [
        HostDevice(address=_address(each), aliases=aliases, cell_id=cell_id, parent=str(parent))
        for each in _listed(fields.get("addresses"), DEVICES_MAX)
    ]


def _listed(value: object, most: int) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list | tuple) or len(value) > most:
        raise _UnreadableError
    return list(value)


def _mapping(value: object, most: int) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > most:
        raise _UnreadableError
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise _UnreadableError
    return value


def _page_size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not int(text):
        raise _UnreadableError
    return int(text)


def _address(value: object) -> str:
    if not isinstance(value, str) or ADDRESS.fullmatch(value) is None:
        raise _UnreadableError
    return value


def _alias(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= ALIAS_CHARS_MAX:
        raise _UnreadableError
    return value


def _affinity(value: object) -> Affinity:
    if not isinstance(value, str) or value not in list(Affinity):
        raise _UnreadableError
    return Affinity(value)
