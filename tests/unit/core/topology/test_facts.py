"""What a host says of its cells and devices is read as it was written, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fabric.core.topology.facts import Told, read_facts, with_more_devices, write_facts
from fabric.core.topology.model import CELLS_MAX, DEVICES_MAX, HostTopology
from proto.codec import pack, unpack_map
from proto.records import from_wire, to_wire
from tests.unit.core.topology.rows import device, two_cells

CARD = device("0000:81:00.0", "gpu", "any", cell_id=1)
PARTS = [
    device(f"0000:82:10.{number}", "nic", parent="0000:82:00.0", affinity="socket") for number in range(3)
]
WHOLE = HostTopology(cells=two_cells(dedicated=2, pages={2_048: 7}), devices=(CARD, *PARTS))
FACTS: Any = write_facts(WHOLE)


def test_it_is_read_as_it_was_written() -> None:
    assert read_facts(FACTS) == WHOLE
    assert read_facts(json.loads(json.dumps(FACTS))) == WHOLE
    assert from_wire(Told, unpack_map(pack(to_wire(Told(FACTS))))).topology == WHOLE
    assert len(FACTS["pci"]) == 2  # the three parts are one entry
    assert write_facts(HostTopology()) == {}
    assert read_facts({}) == HostTopology()


def cells(**changes: Any) -> dict[str, Any]:
    return {**FACTS, "cells": [{**FACTS["cells"][0], **changes}, FACTS["cells"][1]]}


def pci(**changes: Any) -> dict[str, Any]:
    return {**FACTS, "pci": [{**FACTS["pci"][0], **changes}, FACTS["pci"][1]]}


@pytest.mark.parametrize(
    "facts",
    [
        {**FACTS, "cells": {}},
        {**FACTS, "cells": [5]},
        {**FACTS, "cells": FACTS["cells"] * (CELLS_MAX // 2 + 1)},
        cells(id=1),
        cells(id=True),
        cells(memory_mb=-1),
        cells(shared=1.0),
        cells(dedicated=1 << 50),
        cells(pages={"big": 1}),
        cells(pages={"0": 1}),
        cells(pages={str(size): 1 for size in range(1, 20)}),
        cells(memory_mb=None),
    ],
)
def test_cells_that_cannot_be_read_are_not_there(facts: dict[str, Any]) -> None:
    assert read_facts(facts) == HostTopology(devices=WHOLE.devices)


@pytest.mark.parametrize(
    "facts",
    [
        {**FACTS, "pci": "gpu"},
        pci(addresses=["0000:81:00.8"]),
        pci(addresses=["0000:82:10.0"]),  # twice
        pci(addresses=[f"{number:08x}:00:00.0" for number in range(DEVICES_MAX + 1)]),
        pci(addresses=[f"{number:08x}:00:00.0" for number in range(DEVICES_MAX)]),  # and three more
        pci(aliases=["gpu"]),
        pci(aliases={"gpu": "near"}),
        pci(aliases={"": "legacy"}),
        pci(cell="0"),
        pci(parent="card"),
    ],
)
def test_devices_that_cannot_be_read_are_not_there(facts: dict[str, Any]) -> None:
    assert read_facts(facts) == HostTopology(cells=WHOLE.cells)


def test_more_devices_can_be_made_up() -> None:
    told = with_more_devices(Told(FACTS), {"gpu": 300, "fpga": 1})
    found = [alias for each in told.topology.devices for alias in each.aliases]
    assert (found.count("gpu"), found.count("fpga"), found.count("nic")) == (301, 1, 3)
