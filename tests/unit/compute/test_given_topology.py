"""What a host says of its cells and devices, and what its guests are made with of what they were given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drivers.contract import GuestNode, NumaCell, PciDevice, PciKind, Pins
from fabric.compute.errors import NoProcessorsError, NoTopologyError
from fabric.compute.guest_nodes import grant_of, guest_nodes
from fabric.compute.pin_keeper import PinKeeper
from fabric.compute.processors import HostProcessors
from fabric.compute.topology_offer import host_topology
from fabric.core.servers.states import TaskState, VmState
from fabric.core.topology.facts import read_facts
from fabric.core.topology.model import Affinity, CellGrant, DeviceGrant, Grant, HostCell, HostDevice
from fabric.core.topology.pci_config import PciConfig, read_pci_config
from proto.commands.providers import HostOffers
from proto.ids import ServerId, new_uuid
from tests.fixtures.compute_doubles import DriverDouble, Machine
from tests.fixtures.compute_rows import assigned, placed
from tests.unit.compute.world import CONFIG, World
from tests.unit.core.topology.rows import sized

CARD, NIC, PART = (
    PciDevice(address="0000:81:00.0", vendor_id="10de", product_id="1db4", cell_id=1),
    PciDevice(address="0000:82:00.0", vendor_id="8086", product_id="1520", kind=PciKind.PF),
    PciDevice(
        address="0000:82:10.0", vendor_id="8086", product_id="1528", kind=PciKind.VF, parent="0000:82:00.0"
    ),
)
CELLS = tuple(
    NumaCell(
        cell_id=number,
        memory_mb=4_096,
        cpus=tuple(range(4 * number, 4 * number + 4)),
        cores=((4 * number, 4 * number + 1), (4 * number + 2, 4 * number + 3)),
        pages={2_048: 8},
        socket=number,
    )
    for number in range(2)
)
OFFERS = replace(DriverDouble(Machine()).offers, vcpus=8, cells=CELLS, devices=(CARD, NIC, PART))
DIVIDED = HostProcessors(shared=frozenset({0, 1}), dedicated=frozenset({2, 3, 4, 5, 6, 7}))
PCI = read_pci_config(
    [{"vendor_id": "10de"}, {"address": "0000:82:*.*"}],
    [
        {"name": "gpu", "vendor_id": "10de", "product_id": "1db4", "numa_policy": "required"},
        {"name": "part", "vendor_id": "8086", "device_type": "type-VF"},
    ],
)
A, B, C = (ServerId(new_uuid()) for _ in range(3))


def dedicated(cell_id: int, *vcpus: int, more: int = 0) -> CellGrant:
    return CellGrant(cell_id=cell_id, vcpus=vcpus, memory_mb=64, dedicated=len(vcpus) + more)


def test_an_offer_has_all_cells_and_the_devices_that_are_named() -> None:
    found = host_topology(OFFERS, DIVIDED, PCI)
    assert found.cells == (
        HostCell(cell_id=0, memory_mb=4_096, shared=2, dedicated=2, pages={2_048: 8}),
        HostCell(cell_id=1, memory_mb=4_096, shared=0, dedicated=4, pages={2_048: 8}, socket=1),
    )
    assert found.devices == (
        HostDevice(address=CARD.address, aliases={"gpu": Affinity.REQUIRED}, cell_id=1),
        HostDevice(address=PART.address, aliases={"part": Affinity.LEGACY}, parent=NIC.address),
    )
    plain = host_topology(OFFERS, HostProcessors(), PciConfig())
    assert [(cell.shared, cell.dedicated) for cell in plain.cells] == [(4, 0), (4, 0)]
    assert plain.devices == ()


def telling(machine: Machine) -> DriverDouble:
    made = DriverDouble(machine)
    made.offers = OFFERS
    return made


@pytest.fixture
def driver() -> DriverDouble:
    return telling(Machine())


async def test_pins_are_of_the_cells_that_were_given_and_siblings_go_together(driver: DriverDouble) -> None:
    keeper = PinKeeper(driver, DIVIDED)
    flavor = sized(2, hw__cpu_policy="dedicated")
    at_one = Grant(cells=(dedicated(1, 0, 1),))
    assert await keeper.pins(A, flavor, grant=at_one) == Pins(vcpus=(4, 5), emulator=(4, 5))
    assert await keeper.pins(A, flavor, grant=at_one) == Pins(vcpus=(4, 5), emulator=(4, 5))
    across = Grant(cells=(dedicated(1, 1), dedicated(0, 0)))
    assert await keeper.pins(B, flavor, grant=across) == Pins(vcpus=(2, 6), emulator=(2, 6))
    with pytest.raises(NoProcessorsError, match="2 dedicated processors wanted, 1 of NUMA cell 1's 4 free"):
        await keeper.pins(C, flavor, grant=at_one)
    with pytest.raises(NoProcessorsError, match="no NUMA cell 7"):
        await keeper.pins(C, flavor, grant=Grant(cells=(dedicated(7, 0, 1),)))
    keeper.release(A)  # and is given another cell by another placement
    assert await keeper.pins(A, flavor, grant=Grant(cells=(dedicated(0, 0), dedicated(1, 1)))) == Pins(
        vcpus=(3, 7), emulator=(3, 7)
    )


async def test_siblings_that_are_required_are_had_or_it_is_refused(driver: DriverDouble) -> None:
    keeper = PinKeeper(driver, DIVIDED)
    one, two = sized(1, hw__cpu_policy="dedicated"), sized(2, hw__cpu_policy="dedicated")
    for server_id in (A, B):
        await keeper.pins(server_id, one, grant=Grant(cells=(dedicated(1, 0),)), threads="isolate")
    words = r"2 dedicated processors wanted \(hw:cpu_thread_policy=require\), 2 of NUMA cell 1's 4 free"
    with pytest.raises(NoProcessorsError, match=words):
        await keeper.pins(C, two, grant=Grant(cells=(dedicated(1, 0, 1),)), threads="require")
    pins = await keeper.pins(C, two, grant=Grant(cells=(dedicated(0, 0, 1),)), threads="require")
    assert pins == Pins(vcpus=(2, 3), emulator=(2, 3))


async def test_what_a_guest_had_before_it_was_given_cells_is_kept_if_it_suits(driver: DriverDouble) -> None:
    flavor = sized(2, hw__cpu_policy="dedicated", hw__emulator_threads_policy="isolate")
    keeper = PinKeeper(driver, DIVIDED)
    before = await keeper.pins(A, flavor)
    assert before == Pins(vcpus=(2, 3), emulator=(4,))  # whole cores first, wherever they are
    grant = Grant(cells=(dedicated(1, 0, 1, more=1),))
    assert await keeper.pins(A, flavor, grant=grant) == Pins(vcpus=(4, 5), emulator=(6,))
    assert await keeper.pins(A, flavor, grant=grant) == Pins(vcpus=(4, 5), emulator=(6,))


def test_nodes_run_on_their_cells_shared_processors() -> None:
    grant = Grant(
        cells=(
            CellGrant(cell_id=0, vcpus=(0,), memory_mb=64, shared=1, page_kb=2_048),
            CellGrant(cell_id=1, vcpus=(1,), memory_mb=32, dedicated=1),
        )
    )
    assert guest_nodes(grant, CELLS, (0, 1)) == (
        GuestNode(vcpus=(0,), memory_mb=64, cell_id=0, page_kb=2_048, cpu_set=(0, 1)),
        GuestNode(vcpus=(1,), memory_mb=32, cell_id=1),
    )
    assert guest_nodes(grant, CELLS, ())[0].cpu_set == (0, 1, 2, 3)
    assert guest_nodes(Grant(), CELLS, (0, 1)) == ()
    with pytest.raises(NoTopologyError, match="no NUMA cell 1 any more"):
        guest_nodes(grant, CELLS[:1], ())


def test_a_guest_that_was_given_nothing_of_what_it_wants_is_not_built() -> None:
    wants = sized(2, hw__numa_nodes="2", pci_passthrough__alias="gpu:1")
    row = assigned(placed(flavor=wants))
    with pytest.raises(NoTopologyError, match="the guest was given none"):
        grant_of(row)
    some = Grant(cells=(CellGrant(cell_id=0, vcpus=(0, 1), memory_mb=1, shared=2),))
    with pytest.raises(NoTopologyError, match="the guest was given none"):
        grant_of(replace(row, grant=some))
    whole = replace(some, devices=(DeviceGrant(alias="gpu", address=CARD.address),))
    assert grant_of(replace(row, grant=whole)) == whole
    ran = replace(row, server=replace(row.server, launched_ms=5))
    assert grant_of(ran) == Grant()  # since before there were any to give
    only = replace(row.server, flavor=sized(2, hw__cpu_policy="dedicated"))
    assert grant_of(replace(row, server=only)) == Grant()


async def test_a_host_tells_them_and_builds_what_was_given(tmp_path: Path) -> None:
    world = World(tmp_path, config=replace(CONFIG, processors=DIVIDED, pci=PCI))
    flavor = sized(2, 128, hw__numa_nodes="2", pci_passthrough__alias="gpu:1")
    grant = Grant(
        cells=tuple(CellGrant(cell_id=1 - n, vcpus=(n,), memory_mb=64, shared=1) for n in range(2)),
        devices=(DeviceGrant(alias="gpu", address=CARD.address),),
    )
    one = world.add("web-1", "10.0.0.5", flavor=flavor)
    world.state.put(replace(world.state.servers[one], grant=grant))
    without = world.add("web-2", "10.0.0.6", flavor=flavor)
    async with world.life(driver=telling(world.machine)):
        await world.until_active(one)
        await world.until_state(without, VmState.ERROR)
        await world.state.until(lambda: any(isinstance(each, HostOffers) for each in world.state.commands))
    spec = world.machine.specs[one]
    assert [(node.cell_id, node.vcpus, node.cpu_set) for node in spec.nodes] == [
        (1, (0,), ()),
        (0, (1,), (0, 1)),
    ]
    assert spec.devices == (CARD.address,)
    (offer,) = [each for each in world.state.commands if isinstance(each, HostOffers)]
    assert read_facts(offer.facts) == host_topology(OFFERS, DIVIDED, PCI)
    fault = world.row(without).fault
    assert fault is not None
    assert "`processors`: the flavor asks for NUMA nodes or devices" in fault.message
    assert world.row(without).task_state is not TaskState.SPAWNING
