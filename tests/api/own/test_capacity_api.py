"""`GET /fabric/v1/capacity`: from rows, by host, zone and aggregate."""

from __future__ import annotations

from typing import Any

from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.nodes import HostUpdate
from proto.commands.providers import ClassInventory, HostOffers
from proto.ids import FlavorId
from tests.api.compute.world import HOSTS, World
from tests.api.placement.client import HOST_IDS, Placement

ROOT = "/fabric/v1"


async def capacity(world: World, query: str = "") -> Any:
    answer = await world.admin.get(f"/capacity{query}", root=ROOT)
    assert answer.status == 200, answer.data
    return answer.json


async def test_used_free_reserved_and_ratios_of_every_host(world: World) -> None:
    await world.active(world.alice, host=1)
    found = await capacity(world)
    assert [room["host"] for room in found["rooms"]] == ["h1", "h2", "h3"]
    room = found["rooms"][1]
    assert (room["servers"], room["zone"], room["enabled"], room["state"]) == (1, "nova", True, "alive")
    assert room["resources"]["MEMORY_MB"] == {
        "total": 16_384,
        "reserved": 0,
        "ratio": 1.5,
        "capacity": 24_576,
        "used": 512,
        "free": 24_064,
        "overcommit": 0.031,
    }
    assert (found["flavor"], room["fits"]) == (None, None)
    assert found["total"]["resources"]["VCPU"]["used"] == 1


async def test_by_zone_and_how_many_more_fit(world: World) -> None:
    await world.do(HostUpdate(host_id=HOSTS[1], enabled=False))
    found = await capacity(world, "?by=zone&flavor=m1.tiny")
    shown = [(room["zone"], room["hosts"], room["taking"], room["fits"]) for room in found["rooms"]]
    assert shown == [("nova", 2, 1, 48), ("rack2", 1, 1, 48)]
    assert (found["flavor"], found["total"]["fits"]) == ("m1.tiny", 96)
    await world.active(world.alice, host=0)
    assert (await capacity(world, "?by=zone&flavor=1"))["rooms"][0]["fits"] == 47


async def test_hosts_of_no_aggregate_stand_together(world: World) -> None:
    (room,) = (await capacity(world, "?by=aggregate"))["rooms"]
    assert (room["aggregate"], room["hosts"]) == (None, 3)


async def test_by_aggregate_a_host_counts_in_each_of_its_own(world: World) -> None:
    made = await world.admin.post(
        "/os-aggregates", {"aggregate": {"name": "fast", "availability_zone": "az1"}}
    )
    for name in ("h1", "h2"):
        path = f"/os-aggregates/{made.json['aggregate']['id']}/action"
        assert (await world.admin.post(path, {"add_host": {"host": name}})).status == 200
    found = await capacity(world, "?by=aggregate")
    assert [(room["aggregate"], room["hosts"]) for room in found["rooms"]] == [("fast", 2), (None, 1)]
    assert found["total"]["hosts"] == 3
    by_zone = await capacity(world, "?by=zone&flavor=1")
    assert [(room["zone"], room["fits"]) for room in by_zone["rooms"]] == [("az1", 96), ("rack2", 48)]
    by_host = await capacity(world)
    assert [(room["zone"], room["aggregates"]) for room in by_host["rooms"]][1:] == [
        ("az1", ["fast"]),
        ("rack2", []),
    ]


async def test_it_is_for_admins_and_bad_questions_are_named(world: World) -> None:
    assert (await world.alice.get("/capacity", root=ROOT)).status == 403
    for query, named in (("?by=rack", "by"), ("?flavor=m9", "flavor"), ("?surprise=1", "surprise")):
        answer = await world.admin.get(f"/capacity{query}", root=ROOT)
        assert (answer.status, named in answer.json["error"]["message"]) == (400, True), answer.data


async def test_the_numbers_are_those_of_the_placement_api(world: World) -> None:
    """Two views of the same rows: own classes, one that a host offers, and what servers hold of each."""
    fpga = ClassInventory(total=4, reserved=1, max_unit=2)
    await world.do(HostOffers(host_id=HOSTS[0], inventories={"CUSTOM_FPGA": fpga}))
    await world.do(FlavorCreate(flavor_id=FlavorId("9"), name="m1.card", vcpus=2, memory_mb=512, root_gb=1))
    await world.do(FlavorUpdate(flavor_id=FlavorId("9"), extra_specs_set={"resources:CUSTOM_FPGA": "1"}))
    await world.active(world.alice, host=0, flavorRef="9")
    await world.active(world.alice, host=1)
    found = await capacity(world, "?flavor=m1.card")
    assert [room["fits"] for room in found["rooms"]] == [2, 0, 0]
    placement = Placement(world.admin)
    for room, uuid in zip(found["rooms"], HOST_IDS, strict=True):
        path = f"/resource_providers/{uuid}"
        inventories = (await placement.get(f"{path}/inventories"))["inventories"]
        usages = (await placement.get(f"{path}/usages"))["usages"]
        assert room["resources"].keys() == inventories.keys() == usages.keys()
        for name, told in room["resources"].items():
            there = inventories[name]
            assert (told["total"], told["reserved"]) == (there["total"], there["reserved"])
            assert told["ratio"] == there["allocation_ratio"]
            assert told["used"] == usages[name]
    assert found["rooms"][0]["resources"]["CUSTOM_FPGA"]["free"] == 2
