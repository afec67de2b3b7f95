"""NUMA nodes and PCI devices as clients meet them: what is refused, where servers may go, and why nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.topology.facts import write_facts
from fabric.core.topology.model import Affinity, HostCell, HostDevice, HostTopology
from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.providers import HostOffers
from proto.ids import FlavorId
from tests.api.compute.world import HOST_NAMES, HOSTS, IMAGE, World

CELLS = tuple(HostCell(cell_id=number, memory_mb=1_024, shared=2) for number in range(2))
GPU = HostDevice(address="0000:81:00.0", aliases={"gpu": Affinity.REQUIRED}, cell_id=1)


async def flavor(
    world: World, specs: dict[str, str], *, flavor_id: str = "9", **sizes: int
) -> dict[str, str]:
    """Of two vCPUs, as a field of a server."""
    made = FlavorId(flavor_id)
    fields: dict[str, Any] = {"vcpus": 2, "memory_mb": 512, "root_gb": 1, **sizes}
    await world.do(FlavorCreate(flavor_id=made, name=f"m{flavor_id}", **fields))
    await world.do(FlavorUpdate(flavor_id=made, extra_specs_set=specs))
    return {"flavorRef": flavor_id}


async def offer(world: World, host: int = 0, **told: Any) -> None:
    await world.do(HostOffers(host_id=HOSTS[host], facts=write_facts(HostTopology(**told))))


async def why(world: World, server_id: str) -> Any:
    return (await world.admin.get(f"/servers/{server_id}/why", root="/fabric/v1")).json


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"hw:numa_nodes": "3"}, "cannot be evenly distributed across instance NUMA nodes."),
        ({"hw:numa_nodes": "none"}, "The property 'numa_nodes' cannot be 'none'."),
        (
            {"hw:numa_nodes": "2", "hw:numa_cpus.0": "0"},
            "CPU and memory allocation must be provided for all NUMA nodes",
        ),
        ({"hw:mem_page_size": "tiny"}, "Invalid memory page size 'tiny'"),
        ({"pci_passthrough:alias": "gpu"}, "write name:count, such as gpu:1"),
        ({"hw:pci_numa_affinity_policy": "near", "pci_passthrough:alias": "gpu:1"}, "it may be legacy,"),
    ],
)
async def test_what_makes_no_sense_is_a_bad_request(world: World, specs: dict[str, str], words: str) -> None:
    body = {"name": "s", "imageRef": IMAGE, "networks": "none", **(await flavor(world, specs))}
    answer = await world.alice.at("2.37").post("/servers", {"server": body})
    assert answer.status == 400, answer.data
    assert words in answer.json["badRequest"]["message"]


async def test_a_server_with_nodes_goes_where_there_are_cells(world: World) -> None:
    await offer(world, 1, cells=CELLS)
    await offer(world, 2, cells=CELLS[:1])
    wants = await flavor(world, {"hw:numa_nodes": "2"})
    server_id = await world.boot(world.alice, **wants)
    found = await why(world, server_id)
    assert found["chosen"] == "h2"
    told = {each["host"]: each["refusals"][0]["remark"] for each in found["verdicts"] if each["refusals"]}
    assert told == {
        "h1": "NUMA nodes wanted, and it says nothing of its own",
        "h3": "2 NUMA nodes of 1 CPUs and 256 MB wanted, free are 32 CPUs, 0 dedicated, 1536 MB at cell 0",
    }
    await world.place(server_id, HOST_NAMES.index("h2"))
    rooms: Any = (await world.admin.get("/capacity?flavor=m9", root="/fabric/v1")).json
    assert [room["fits"] for room in rooms["rooms"]] == [0, 5, 0]  # by memory: 6 of 256 MB in each cell


async def test_a_device_is_one_servers_and_the_next_is_told_there_is_none(world: World) -> None:
    await offer(world, 2, cells=CELLS, devices=(GPU,))
    wants = await flavor(world, {"pci_passthrough:alias": "gpu:1"})
    one = await world.boot(world.alice, "one", **wants)
    assert (await why(world, one))["chosen"] == "h3"
    await world.place(one, 2)
    two = await world.boot(world.alice, "two", **wants)
    await world.fail_placement(two)
    found = await why(world, two)
    assert found["chosen"] is None
    assert found["summary"] == (
        "No valid host was found. Asked for 2 vCPUs, 512 MB of memory, 1 GB of disk: 3 hosts: not enough PCI "
        "devices gpu (needs 1 devices gpu, at most 0 free). It would fit if the flavor had no "
        "pci_passthrough:alias."
    )
    assert (await world.alice.delete(f"/servers/{one}")).status == 204
    assert (await why(world, two))["chosen"] is None  # its host still has it


async def test_a_device_must_be_near(world: World) -> None:
    await offer(world, 0, cells=(CELLS[0], HostCell(cell_id=1, memory_mb=64, shared=1)), devices=(GPU,))
    wants = await flavor(world, {"hw:numa_nodes": "1", "pci_passthrough:alias": "gpu:1"})
    server_id = await world.boot(world.alice, **wants)
    await world.fail_placement(server_id)
    found = await why(world, server_id)
    (first,) = [each for each in found["verdicts"] if each["host"] == "h1"]
    assert [each["remark"] for each in first["refusals"]] == [
        "PCI devices wanted, and those that are free are not where its NUMA nodes have room"
    ]
    assert "no hw:numa_nodes" in found["summary"]
