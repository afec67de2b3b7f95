"""What columns say of hosts' cells and devices is what each host says, asked alone: for any hosts and
wishes, and while hosts change between questions and between the steps of one."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.placement import room_masks
from fabric.core.placement.filters.room_columns import numa_column, pci_column
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.topology.facts import Told, write_facts
from fabric.core.topology.give import give
from fabric.core.topology.model import Grant
from fabric.core.topology.wish import TopologyWish
from proto.ids import ServerId
from tests.fixtures.placement_rows import facts
from tests.property.test_topology import topology, wishes

COUNT = 12


def host(rng: Random, number: int) -> HostFacts:
    """Of any ratios; some guests have something of it, and some have processors nobody knows where."""
    told = topology(rng)
    if rng.random() < 0.3:  # pages of 4 KB as if they were huge
        told = replace(
            told,
            cells=tuple(replace(each, pages={**each.pages, 4: rng.randint(0, 9)}) for each in told.cells),
        )
    found = facts(
        f"h{number}",
        told=Told(write_facts(told) if rng.random() < 0.9 else {}),
        cpu_ratio_milli=rng.choice((500, 1_000, 4_000)),
        memory_ratio_milli=rng.choice((900, 1_000, 1_500)),
        used={"PCPU": rng.randint(0, 2)},
    )
    for at, wanted in enumerate(wishes(rng, rng.randint(0, 3))):
        found = with_guest(found, wanted, f"guest-{at}")
    return replace(found, told=Told({})) if rng.random() < 0.05 else found


def with_guest(found: HostFacts, wanted: TopologyWish, name: str) -> HostFacts:
    grant: Grant | None = give(found.room, wanted)
    if grant is None:
        return found
    dedicated = sum(each.dedicated for each in grant.cells)
    return found.with_claim({"PCPU": dedicated}, server_id=ServerId(name), grant=grant)


def uneven(rng: Random, wanted: TopologyWish) -> TopologyWish:
    """Nodes of one guest may differ."""
    cells = tuple(
        replace(each, memory_mb=each.memory_mb * rng.randint(1, 3), shared=each.shared * rng.randint(0, 2))
        for each in wanted.cells
    )
    return replace(wanted, cells=cells)


def asked_alone(wanted: TopologyWish, found: HostFacts) -> tuple[bool, bool]:
    """Whether the cells do, and the devices."""
    devices = give(found.room, replace(wanted, cells=())) is not None
    if give(found.room, replace(wanted, devices={})) is None:
        return False, devices
    return not devices or give(found.room, wanted) is not None, devices


def agree(table: HostTable, wanted: TopologyWish) -> None:
    alone = [asked_alone(wanted, each) for each in table.hosts]
    if wanted.cells:
        assert table.mask_of_rooms(numa_column(wanted)).tolist() == [cells for cells, _ in alone], wanted
    if wanted.devices:
        assert table.mask_of_rooms(pci_column(wanted)).tolist() == [devices for _, devices in alone], wanted


def change(rng: Random, table: HostTable) -> None:
    place = rng.randrange(len(table))
    before = table.hosts[place]
    match rng.randrange(4):
        case 0:
            table.put(replace(host(rng, 0), host=before.host))
        case 1:
            table.put(replace(before, io_ops=before.io_ops + 1))  # of no interest to cells
        case 2:
            ratio = rng.choice((500, 1_000, 4_000))
            table.put(replace(before, host=replace(before.host, cpu_ratio_milli=ratio)))
        case _:
            (wanted,) = wishes(rng, 1)
            grant = give(before.room, wanted)
            if grant is not None:
                dedicated = sum(each.dedicated for each in grant.cells)
                name = ServerId(f"more-{rng.random()}")
                table.claim(before.host.host_id, {"PCPU": dedicated}, server_id=name, grant=grant)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_columns_say_what_each_host_says(seed: int) -> None:
    rng = Random(seed)
    stale_max, room_masks.STALE_MAX = room_masks.STALE_MAX, rng.choice((2, 1_000))
    try:
        table = HostTable([host(rng, number) for number in range(COUNT)])
        asked = [uneven(rng, each) if rng.random() < 0.5 else each for each in wishes(rng, 6)]
        for wanted in asked:
            steps = table.make_mask_of_rooms(numa_column(wanted), step=3) if wanted.cells else iter(())
            for _ in steps:
                if rng.random() < 0.3:
                    change(rng, table)
            agree(table, wanted)
            for _ in range(rng.randint(0, 3)):
                change(rng, table)
            agree(table, wanted)
            if rng.random() < 0.3:
                copied = table.copy()
                change(rng, table)
                agree(copied, rng.choice(asked))
                table = rng.choice((table, copied))
            if rng.random() < 0.3:
                agree(table.of(rng.sample(range(COUNT), 5)), wanted)
    finally:
        room_masks.STALE_MAX = stale_max
