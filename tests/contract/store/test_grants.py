"""Cells and devices of hosts are given when a server is placed, never twice, and given back, on both
engines."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.placement.queries import ListHostFacts
from fabric.core.servers.queries import GetAssignments
from fabric.core.topology.facts import write_facts
from fabric.core.topology.model import Affinity, Grant, HostCell, HostDevice, HostTopology
from fabric.store.tables import level3
from proto.commands.catalog import FlavorUpdate
from proto.commands.moves import MoveConfirm, MoveRevert
from proto.commands.providers import ClassInventory, HostOffers
from proto.commands.servers import ServerRemoved
from proto.ids import FlavorId, NodeId, RequestId, ServerId
from tests.contract.store import test_moves as moves
from tests.fixtures.newest_level import raise_to_newest
from tests.fixtures.store_world import HOST_A, HOST_B, StoreWorld, flavor_create, observed

CELLS = tuple(HostCell(cell_id=number, memory_mb=2_048, shared=2, dedicated=2) for number in range(2))
GPUS = tuple(
    HostDevice(address=f"0000:8{number}:00.0", aliases={"gpu": Affinity.LEGACY}, cell_id=number)
    for number in range(2)
)
TWO_NODES = {"hw:numa_nodes": "2"}


def offers(host_id: NodeId = HOST_A, *, pcpus: int = 4, facts: Any = None) -> HostOffers:
    told = write_facts(HostTopology(cells=CELLS, devices=GPUS)) if facts is None else facts
    inventories = {"PCPU": ClassInventory(total=pcpus)} if pcpus else {}
    return HostOffers(host_id=host_id, inventories=inventories, facts=told)


async def flavor(world: StoreWorld, specs: dict[str, str], **sizes: int) -> dict[str, Any]:
    """A new flavor, as arguments of a server."""
    flavor_id = FlavorId("-".join(["f", *map(str, specs.values()), *map(str, sizes.values())]))
    await world.do(flavor_create(flavor_id, **sizes))
    await world.do(FlavorUpdate(flavor_id=flavor_id, extra_specs_set=specs))
    return {"flavor_id": flavor_id}


async def held(world: StoreWorld, host_id: NodeId = HOST_A) -> dict[ServerId, Grant]:
    """As the scheduler sees it, which is what the host is told."""
    (facts,) = await world.ask(ListHostFacts(host_ids=(host_id,)))
    assigned = (await world.ask(GetAssignments(host_id=host_id))).servers
    told = {each.server.server_id: each.grant for each in assigned if each.grant is not None}
    assert told == facts.held
    return told


async def cells(world: StoreWorld) -> dict[str, list[int]]:
    return {name: [cell.cell_id for cell in grant.cells] for name, grant in (await held(world)).items()}


async def devices(world: StoreWorld) -> dict[str, list[str]]:
    return {name: [device.address for device in grant.devices] for name, grant in (await held(world)).items()}


async def test_a_server_has_its_cells_until_it_is_gone(world: StoreWorld) -> None:
    await world.do(offers())
    wants = await flavor(world, TWO_NODES, vcpus=2, memory_mb=4_096)
    one = await world.active("one", **wants)
    assert await cells(world) == {"one": [0, 1]}
    two = await world.server("two", **wants)
    await world.refuse(world.place(two, HOST_B), "no_capacity", "it says nothing of its own")
    words = await world.refuse(world.place(two), "no_capacity")
    assert words == (
        "Compute host host-a has no room for two: 2 NUMA nodes of 1 CPUs and 2048 MB wanted, free are "
        "31 CPUs, 2 dedicated, 1024 MB at cell 0; 31 CPUs, 2 dedicated, 1024 MB at cell 1."
    )
    await world.do(world.act(one, "delete"))
    await world.refuse(world.place(two), "no_capacity")  # its host still has it
    await world.do(ServerRemoved(server_id=one, host_id=HOST_A))
    assert await cells(world) == {}
    await world.do(world.place(two))
    assert await cells(world) == {"two": [0, 1]}


async def test_a_device_is_given_once(world: StoreWorld) -> None:
    await world.do(offers())
    wants = await flavor(world, {"pci_passthrough:alias": "gpu:1"})
    for name in ("one", "two"):
        await world.active(name, **wants)
    assert await devices(world) == {"one": ["0000:80:00.0"], "two": ["0000:81:00.0"]}
    three = await world.server("three", **wants)
    await world.refuse(world.place(three), "no_capacity", "three: 1 PCI devices gpu wanted, 0 free.")
    await world.active("plain")
    assert set(await held(world)) == {"one", "two"}


async def test_dedicated_processors_are_of_one_cell(world: StoreWorld) -> None:
    await world.do(offers())
    dedicated = {"hw:cpu_policy": "dedicated"}
    small = await flavor(world, dedicated, vcpus=1)
    for name in ("one", "two"):
        await world.active(name, **small)
    assert await cells(world) == {"one": [0], "two": [1]}
    large = await world.server("large", **await flavor(world, dedicated, vcpus=2))
    words = "1 NUMA node of 2 dedicated CPUs and 512 MB wanted"
    await world.refuse(world.place(large), "no_capacity", words)
    await world.refuse(world.place(large, HOST_B), "no_capacity", "2 PCPU wanted, none offered")
    await world.do(offers(HOST_B, facts={}))
    await world.do(world.place(large, HOST_B))  # which says nothing of cells
    assert await held(world, HOST_B) == {}


async def test_what_a_failed_build_was_given_goes_to_others(world: StoreWorld) -> None:
    await world.do(offers())
    await world.do(offers(HOST_B))
    wants = await flavor(world, {"pci_passthrough:alias": "gpu:2"})
    one = await world.server("one", **wants)
    await world.do(world.place(one))
    await world.do(observed(one, 2, power_state="nostate", fault_message="no", left_nothing=True))
    assert await held(world) == {}
    two = await world.server("two", **wants)
    await world.do(world.place(two))
    await world.do(world.place(one, HOST_B, read_generation=3))
    assert set(await held(world, HOST_B)) == {"one"}


async def test_what_no_host_can_be_asked_for_is_refused(world: StoreWorld) -> None:
    await world.do(offers())
    odd = await world.server("odd", **await flavor(world, {"hw:numa_nodes": "3"}, vcpus=2))
    await world.refuse(world.place(odd), "no_capacity", "cannot be evenly distributed")


async def test_an_offer_that_shrank_gives_no_more(world: StoreWorld) -> None:
    await world.do(offers())
    gpu = await flavor(world, {"pci_passthrough:alias": "gpu:1"})
    await world.active("one", **gpu)
    await world.do(offers(facts=write_facts(HostTopology(cells=CELLS[1:], devices=GPUS[:1]))))
    two = await world.server("two", **gpu)
    await world.refuse(world.place(two), "no_capacity", "0 free")
    assert await devices(world) == {"one": ["0000:80:00.0"]}


async def test_below_level_three_nobody_is_told_of_any(bare: StoreWorld) -> None:
    if bare.engine.level > 1:
        pytest.skip("a shared database is made at the newest level")
    while bare.engine.level < level3.LEVEL - 1:
        await bare.engine.raise_level(bare.engine.level + 1)
    await bare.init()
    await bare.do(offers())
    assert [facts.told.facts for facts in await bare.ask(ListHostFacts())] == [{}, {}]
    pinned = await flavor(bare, {"hw:cpu_policy": "dedicated"}, vcpus=2)
    await bare.active("before", **pinned)
    assert await held(bare) == {}
    await raise_to_newest(bare.engine)
    (facts, _) = await bare.ask(ListHostFacts())
    assert [cell.dedicated for cell in facts.room.cells] == [0, 0]  # of those it has two: nobody knows where
    two = await bare.server("two", **pinned)
    await bare.refuse(bare.place(two), "no_capacity", "0 dedicated")


async def holders(world: StoreWorld) -> list[set[ServerId]]:
    """By host."""
    found = {facts.host.host_id: set(facts.held) for facts in await world.ask(ListHostFacts())}
    return [found[HOST_A], found[HOST_B]]


async def two_gpus(world: StoreWorld) -> dict[str, Any]:
    for host_id in (HOST_A, HOST_B):
        await world.do(offers(host_id))
    return await flavor(world, {"pci_passthrough:alias": "gpu:2"})


async def test_a_server_that_moves_has_some_at_both_ends_until_it_is_over(world: StoreWorld) -> None:
    wants = await two_gpus(world)
    one = await world.active("one", **wants)
    await world.do(moves.begin(one))
    assert await holders(world) == [{one}, set()]
    await world.do(await moves.place(world, one))
    assert await holders(world) == [{one}, {one}]
    two = await world.server("two", **wants)
    for host_id in (HOST_A, HOST_B):
        await world.refuse(world.place(two, host_id), "no_capacity", "2 PCI devices gpu wanted, 0 free")
    await moves.report(world, one, HOST_A, "shutdown")
    await moves.report(world, one, HOST_B, "running")
    assert set(await held(world, HOST_B)) == {one}
    await world.refuse(world.place(two), "no_capacity")  # it may come back yet
    (nowhere, _) = await world.ask(ListHostFacts(except_server=one))
    assert nowhere.held == {}
    await world.do(MoveConfirm(server_id=one, request_id=RequestId("confirm")))
    assert await holders(world) == [set(), {one}]
    await world.do(world.place(two))
    assert await holders(world) == [{two}, {one}]


async def test_one_that_comes_back_has_what_it_had(world: StoreWorld) -> None:
    wants = await two_gpus(world)
    one = await world.active("one", **wants)
    before = await held(world)
    await world.do(moves.begin(one))
    await world.do(await moves.place(world, one))
    await moves.report(world, one, HOST_A, "shutdown")
    await moves.report(world, one, HOST_B, "running")
    back = MoveRevert(server_id=one, request_id=RequestId("back"), deadline_ms=moves.LATER_MS)
    await world.do(back)
    assert await holders(world) == [{one}, {one}]
    await moves.report(world, one, HOST_B, "shutdown")
    await moves.report(world, one, HOST_A, "running")
    assert await holders(world) == [{one}, set()]
    assert await held(world) == before


async def test_a_move_that_failed_lets_go_and_can_be_tried_again(world: StoreWorld) -> None:
    wants = await two_gpus(world)
    one = await world.active("one", **wants)
    for number in (1, 2):
        await world.do(moves.begin(one, number=number))
        await world.do(await moves.place(world, one, number=number))
        await moves.report(world, one, HOST_A, "shutdown", fault_message="it would not leave")
        assert await holders(world) == [{one}, set()]
        await moves.report(world, one, HOST_A, "running")
    await world.do(world.act(one, "delete"))
    await world.do(ServerRemoved(server_id=one, host_id=HOST_A))
    assert await holders(world) == [set(), set()]


async def test_a_server_goes_nowhere_where_it_would_have_none(world: StoreWorld) -> None:
    wants = await two_gpus(world)
    one = await world.active("one", **wants)
    await world.active("two", HOST_B, **wants)
    await world.do(moves.begin(one))
    await world.refuse(await moves.place(world, one), "no_capacity", "2 PCI devices gpu wanted, 0 free")
    assert await holders(world) == [{one}, {"two"}]
