"""Hosts as Placement shows them: what they offer, what servers hold of it, and that nobody else writes it."""

from __future__ import annotations

from typing import Any

from proto.commands.nodes import HostUpdate
from proto.commands.providers import ClassInventory, HostOffers
from tests.api.compute.world import HOSTS, World
from tests.api.placement.client import CARD, CONSUMER, HOST_IDS, Placement

FPGA = "CUSTOM_FPGA"


async def offer(world: World, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "inventories": {FPGA: ClassInventory(total=4, max_unit=2)},
        "traits": ("CUSTOM_SSD",),
    }
    await world.do(HostOffers(host_id=HOSTS[0], **fields | changes))


async def test_each_host_is_a_root_provider_with_its_hypervisors_id(world: World) -> None:
    placement = Placement(world.admin)
    listed = (await placement.get("/resource_providers"))["resource_providers"]
    assert [each["name"] for each in listed] == ["h1", "h2", "h3"]
    hypervisors = (await world.admin.at("2.88").get("/os-hypervisors")).json["hypervisors"]
    assert [each["uuid"] for each in listed] == [each["id"] for each in hypervisors] == list(HOST_IDS)
    shown = await placement.get(f"/resource_providers/{HOST_IDS[0]}")
    assert shown == listed[0]
    assert (shown["parent_provider_uuid"], shown["root_provider_uuid"]) == (None, HOST_IDS[0])
    path = f"/placement/resource_providers/{HOST_IDS[0]}"
    parts = ("inventories", "usages", "aggregates", "traits", "allocations")
    links = [{"rel": "self", "href": path}, *({"rel": part, "href": f"{path}/{part}"} for part in parts)]
    assert shown["links"] == links
    for part in parts:
        await placement.get(f"/resource_providers/{HOST_IDS[0]}/{part}")


async def test_what_a_host_has_is_its_row_and_its_offer(world: World) -> None:
    placement = Placement(world.admin)
    path = f"/resource_providers/{HOST_IDS[0]}"
    before = await placement.get(f"{path}/inventories")
    assert before["inventories"] == {
        "DISK_GB": inventory(100, 1.0), "MEMORY_MB": inventory(16_384, 1.5), "VCPU": inventory(8, 16.0),
    }  # fmt: skip
    await offer(world)
    after = await placement.get(f"{path}/inventories")
    assert after["inventories"] == {**before["inventories"], FPGA: inventory(4, 1.0, max_unit=2)}
    assert after["resource_provider_generation"] != before["resource_provider_generation"]
    one = await placement.get(f"{path}/inventories/{FPGA}")
    assert one == {**inventory(4, 1.0, max_unit=2), **generation(after)}
    await placement.get(f"{path}/inventories/CUSTOM_OTHER", 404)
    assert (await placement.get(f"{path}/traits"))["traits"] == ["COMPUTE_NODE", "CUSTOM_SSD"]
    assert FPGA in {each["name"] for each in (await placement.get("/resource_classes"))["resource_classes"]}
    await world.do(HostUpdate(host_id=HOSTS[0], enabled=False))
    traits = await placement.get(f"{path}/traits")
    assert traits["traits"] == ["COMPUTE_NODE", "COMPUTE_STATUS_DISABLED", "CUSTOM_SSD"]
    assert traits["resource_provider_generation"] != after["resource_provider_generation"]


async def test_servers_hold_what_their_rows_say(world: World) -> None:
    await offer(world)
    await world.admin.post("/flavors/1/os-extra_specs", {"extra_specs": {f"resources:{FPGA}": "1"}})
    one = await world.active(world.alice, "one")
    two = await world.boot(world.bob, "two")
    placement = Placement(world.admin)
    path, held = f"/resource_providers/{HOST_IDS[0]}", {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1, FPGA: 1}
    assert (await placement.get(f"/allocations/{two}")) == {"allocations": {}}  # no host yet
    await world.place(two)
    usages = await placement.get(f"{path}/usages")
    assert usages["usages"] == {name: 2 * amount for name, amount in held.items()}
    allocations = (await placement.get(f"{path}/allocations"))["allocations"]
    assert {key: each["resources"] for key, each in allocations.items()} == {one: held, two: held}
    shown = await placement.get(f"/allocations/{one}")
    assert shown["allocations"] == {
        HOST_IDS[0]: {"resources": held, "generation": usages["resource_provider_generation"]}
    }
    assert (shown["project_id"], shown["consumer_type"]) == (world.alice.project_id, "INSTANCE")
    assert (await placement.get(f"/resource_providers/{HOST_IDS[1]}/usages"))["usages"]["VCPU"] == 0
    mine = Placement(world.alice)
    query = f"/usages?project_id={world.alice.project_id}"
    assert (await mine.get(query))["usages"] == {"INSTANCE": {**held, "consumer_count": 1}}
    assert (await mine.at("1.37").get(query))["usages"] == held
    await mine.get(f"/usages?project_id={world.bob.project_id}", 403)


async def test_what_hosts_and_servers_say_nobody_else_writes(world: World) -> None:
    placement = Placement(world.admin)
    server = await world.active(world.alice)
    path = f"/resource_providers/{HOST_IDS[0]}"
    at = generation(await placement.get(path + "/inventories"))
    stock = {"inventories": {"VCPU": {"total": 99}}, **at}
    allocations = {
        "allocations": {HOST_IDS[0]: {"resources": {"VCPU": 1}}},
        "project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "X",
    }  # fmt: skip
    for method, where, body in (
        ("PUT", f"{path}/inventories", stock),
        ("POST", f"{path}/inventories", {"resource_class": "VGPU", "total": 1}),
        ("PUT", f"{path}/inventories/VCPU", {"total": 99, **at}),
        ("DELETE", f"{path}/inventories/VCPU", None),
        ("DELETE", f"{path}/inventories", None),
        ("PUT", f"{path}/traits", {"traits": [], **at}),
        ("DELETE", f"{path}/traits", None),
        ("PUT", f"{path}/aggregates", {"aggregates": [], **at}),
        ("PUT", path, {"name": "other"}),
        ("DELETE", path, None),
        ("PUT", f"/allocations/{CONSUMER}", allocations),
        ("POST", "/allocations", {CONSUMER: allocations}),
        ("POST", "/reshaper", {"inventories": {HOST_IDS[0]: stock}, "allocations": {}}),
    ):
        _, detail = await placement.refused(method, where, body, status=409)
        assert "is compute host h1" in detail, (method, where)
        assert "provider.yaml" in detail
    await placement.card()
    allocations["allocations"] = {CARD: {"resources": {"VGPU": 1}}}
    for method, where, body in (
        ("PUT", f"/allocations/{server}", allocations),
        ("DELETE", f"/allocations/{server}", None),
    ):
        _, detail = await placement.refused(method, where, body, status=409)
        assert f"{server} is a server" in detail
    assert (await placement.get(f"{path}/usages"))["usages"]["VCPU"] == 1


async def test_a_hosts_aggregates_are_computes(world: World) -> None:
    placement, admin = Placement(world.admin), world.admin.at("2.41")
    path = f"/resource_providers/{HOST_IDS[0]}/aggregates"
    before = await placement.get(path)
    made = (await admin.post("/os-aggregates", {"aggregate": {"name": "fast"}})).json["aggregate"]
    assert (await placement.get(path)) == before
    added = await admin.post(f"/os-aggregates/{made['id']}/action", {"add_host": {"host": "h1"}})
    assert added.status == 200, added.data
    after = await placement.get(path)
    assert (before["aggregates"], after["aggregates"]) == ([], [made["uuid"]])
    assert after["resource_provider_generation"] != before["resource_provider_generation"]
    query = f"/allocation_candidates?resources=VCPU:1&member_of={made['uuid']}"
    (only,) = (await placement.get(query))["allocation_requests"]
    assert set(only["allocations"]) == {HOST_IDS[0]}
    listed = await placement.get(f"/resource_providers?member_of={made['uuid']}")
    assert [each["name"] for each in listed["resource_providers"]] == ["h1"]


async def test_only_admins_see_hosts_here_as_elsewhere(world: World) -> None:
    for person in (world.alice, world.reader):
        placement = Placement(person)
        for path in (
            "/resource_providers", f"/resource_providers/{HOST_IDS[0]}", f"/allocations/{CONSUMER}",
            f"/resource_providers/{HOST_IDS[0]}/allocations", "/allocation_candidates?resources=VCPU:1",
            f"/resource_providers/{HOST_IDS[0]}/usages",
        ):  # fmt: skip
            await placement.get(path, 403)
        await placement.post("/resource_providers", {"name": "x"}, 403)
        await placement.put("/traits/CUSTOM_X", status=403)
        assert "VCPU" in {
            each["name"] for each in (await placement.get("/resource_classes"))["resource_classes"]
        }
        assert "HW_CPU_X86_AVX2" in (await placement.get("/traits"))["traits"]


def inventory(total: int, ratio: float, **changes: Any) -> dict[str, Any]:
    fields = {"total": total, "reserved": 0, "min_unit": 1, "max_unit": total, "step_size": 1}
    return {**fields, "allocation_ratio": ratio, **changes}


def generation(answer: dict[str, Any]) -> dict[str, Any]:
    return {"resource_provider_generation": answer["resource_provider_generation"]}
