"""Providers and consumers from outside: made, filled, held, moved, and each way refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute.world import World
from tests.api.placement.client import CARD, CARD_2, CONSUMER, HOST_IDS, Placement

PATH = f"/resource_providers/{CARD}"
NOBODY = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
AGGREGATE = "0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a"


async def test_a_provider_below_a_host(world: World) -> None:
    placement = Placement(world.admin)
    body = {"name": "card", "uuid": CARD, "parent_provider_uuid": HOST_IDS[1]}
    made = await placement.post("/resource_providers", body)
    assert (made["generation"], made["root_provider_uuid"]) == (0, HOST_IDS[1])
    listed = await placement.get(f"/resource_providers?in_tree={CARD}")
    assert [each["name"] for each in listed["resource_providers"]] == ["h2", "card"]
    renamed = await placement.put(PATH, {"name": "board"})
    assert (renamed["name"], renamed["parent_provider_uuid"]) == ("board", HOST_IDS[1])
    old = placement.at("1.36")
    _, detail = await old.refused(
        "PUT", PATH, {"name": "board", "parent_provider_uuid": HOST_IDS[0]}, status=400
    )
    assert "re-parenting" in detail
    moved = await placement.put(PATH, {"name": "board", "parent_provider_uuid": None})
    assert (moved["parent_provider_uuid"], moved["root_provider_uuid"]) == (None, CARD)
    await placement.delete(PATH)
    await placement.get(PATH, 404)


async def test_answers_to_a_create_by_version(world: World) -> None:
    placement = Placement(world.admin)
    old = await placement.at("1.19").ask("POST", "/resource_providers", {"name": "one", "uuid": CARD})
    assert (old.status, old.data) == (201, b"")
    assert old.headers["location"].endswith(f"/placement{PATH}")
    new = await placement.at("1.20").ask("POST", "/resource_providers", {"name": "two"})
    assert (new.status, new.json["name"]) == (200, "two")
    first = await placement.at(None).get(PATH)
    assert set(first) == {"uuid", "name", "generation", "links"}
    assert [link["rel"] for link in first["links"]] == ["self", "inventories", "usages"]
    _, detail = await placement.at("1.13").refused(
        "POST", "/resource_providers", {"name": "x", "parent_provider_uuid": CARD}, status=400
    )
    assert "parent_provider_uuid" in detail


async def test_names_and_ids_are_one_providers_alone(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card()
    for body in ({"name": "card-0c0c"}, {"name": "h2"}, {"name": "x", "uuid": CARD},
                 {"name": "x", "uuid": HOST_IDS[0]}):  # fmt: skip
        code, detail = await placement.refused("POST", "/resource_providers", body, status=409)
        assert (code, "already exists" in detail) == ("placement.duplicate_name", True)
    _, detail = await placement.refused(
        "POST", "/resource_providers", {"name": "x", "parent_provider_uuid": NOBODY}, status=400
    )
    assert "does not exist" in detail
    await placement.card(CARD_2, parent=CARD)
    body = {"name": "card-0c0c", "parent_provider_uuid": CARD_2}
    assert "loop" in (await placement.refused("PUT", PATH, body, status=400))[1]
    code, _ = await placement.refused("DELETE", PATH, status=409)
    assert code == "placement.resource_provider.cannot_delete_parent"


async def test_generations_keep_two_writers_apart(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card()
    old = {"resource_provider_generation": 0}
    for where, body in (
        ("inventories", {"inventories": {}, **old}),
        ("inventories/VGPU", {"total": 2, **old}),
        ("traits", {"traits": [], **old}),
        ("aggregates", {"aggregates": [], **old}),
    ):
        code, _ = await placement.refused("PUT", f"{PATH}/{where}", body, status=409)
        assert code == "placement.concurrent_update", where
    changed = await placement.put(f"{PATH}/inventories/VGPU", {"total": 2, "resource_provider_generation": 1})
    assert (changed["total"], changed["max_unit"], changed["resource_provider_generation"]) == (
        2,
        (1 << 31) - 1,
        2,
    )


async def test_inventories_one_by_one(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card()
    body = {"resource_class": "PGPU", "total": 3, "reserved": 1, "allocation_ratio": 1.5}
    made = await placement.post(f"{PATH}/inventories", body, 201)
    assert (made["total"], made["allocation_ratio"], made["resource_provider_generation"]) == (3, 1.5, 2)
    await placement.post(f"{PATH}/inventories", body, 409)
    await placement.post(f"{PATH}/inventories", {**body, "resource_class": "CUSTOM_NONE"}, 400)
    await placement.post(f"{PATH}/inventories", {**body, "resource_class": "FPGA", "reserved": 4}, 400)
    await placement.put(f"{PATH}/inventories/FPGA", {"total": 1, "resource_provider_generation": 2}, 400)
    await placement.delete(f"{PATH}/inventories/PGPU")
    await placement.delete(f"{PATH}/inventories/PGPU", 404)
    await placement.at("1.4").delete(f"{PATH}/inventories", 404)
    await placement.delete(f"{PATH}/inventories")
    assert (await placement.get(f"{PATH}/inventories"))["inventories"] == {}


async def test_traits_and_aggregates(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card()
    at = {"resource_provider_generation": 1}
    assert "No such trait" in (await placement.refused(
        "PUT", f"{PATH}/traits", {"traits": ["CUSTOM_NEW"], **at}, status=400))[1]  # fmt: skip
    await placement.put("/traits/CUSTOM_NEW", status=201)
    await placement.put("/traits/CUSTOM_NEW", status=204)
    await placement.put("/traits/NEW", status=400)
    shown = await placement.put(f"{PATH}/traits", {"traits": ["CUSTOM_NEW"], **at})
    assert shown == {"traits": ["CUSTOM_NEW"], "resource_provider_generation": 2}
    await placement.get("/traits/CUSTOM_NEW", 204)
    await placement.get("/traits/CUSTOM_OLD", 404)
    assert (await placement.refused("DELETE", "/traits/CUSTOM_NEW", status=409))[0] == "placement.trait.inuse"
    await placement.delete("/traits/HW_CPU_X86_AVX", 400)
    for query, names in (
        ("?name=startswith:CUSTOM_", ["CUSTOM_NEW"]), ("?name=in:CUSTOM_NEW,HW_CPU_X86_AVX,NONE",
         ["CUSTOM_NEW", "HW_CPU_X86_AVX"]), ("?associated=true", ["COMPUTE_NODE", "CUSTOM_NEW"]),
        ("?associated=false&name=startswith:CUSTOM_", []),
    ):  # fmt: skip
        assert (await placement.get(f"/traits{query}"))["traits"] == names
    await placement.get("/traits?name=CUSTOM", 400)
    await placement.delete(f"{PATH}/traits")
    await placement.delete("/traits/CUSTOM_NEW")
    old = placement.at("1.18")
    assert await old.put(f"{PATH}/aggregates", [AGGREGATE]) == {"aggregates": [AGGREGATE]}
    shown = await placement.get(f"{PATH}/aggregates")
    assert shown == {"aggregates": [AGGREGATE], "resource_provider_generation": 4}
    listed = await placement.get(f"/resource_providers?member_of=in:{NOBODY},{AGGREGATE}")
    assert [each["uuid"] for each in listed["resource_providers"]] == [CARD]
    listed = await placement.get(f"/resource_providers?member_of=!{AGGREGATE}")
    assert CARD not in [each["uuid"] for each in listed["resource_providers"]]


async def test_resource_classes(world: World) -> None:
    placement = Placement(world.admin)
    await placement.post("/resource_classes", {"name": "CUSTOM_A"}, 201)
    await placement.post("/resource_classes", {"name": "CUSTOM_A"}, 409)
    await placement.post("/resource_classes", {"name": "GOLD"}, 400)
    assert (await placement.get("/resource_classes/CUSTOM_A"))["name"] == "CUSTOM_A"
    await placement.get("/resource_classes/CUSTOM_B", 404)
    await placement.put("/resource_classes/CUSTOM_B", status=201)
    await placement.put("/resource_classes/CUSTOM_B", status=204)
    await placement.put("/resource_classes/gold", status=400)
    renamed = await placement.at("1.6").put("/resource_classes/CUSTOM_A", {"name": "CUSTOM_C"})
    assert renamed["name"] == "CUSTOM_C"
    await placement.at("1.6").put("/resource_classes/CUSTOM_C", {"name": "CUSTOM_B"}, 409)
    await placement.at("1.1").get("/resource_classes", 404)
    await placement.delete("/resource_classes/VCPU", 400)
    await placement.post("/resource_providers", {"name": "p", "uuid": CARD})
    await placement.post(f"{PATH}/inventories", {"resource_class": "CUSTOM_B", "total": 1}, 201)
    await placement.delete("/resource_classes/CUSTOM_B", 409)
    await placement.delete("/resource_classes/CUSTOM_C")


async def test_consumers_hold_what_fits(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card(total=4, max_unit=3)
    await placement.hold(of_0c=3)
    shown = await placement.get(f"/allocations/{CONSUMER}")
    assert shown["allocations"] == {CARD: {"resources": {"VGPU": 3}, "generation": 2}}
    assert (shown["consumer_generation"], shown["consumer_type"], shown["project_id"]) == (1, "MACHINE", "p")
    assert (await placement.get(f"{PATH}/usages"))["usages"] == {"VGPU": 3}
    for amount, words in ((4, "violate inventory constraints"), (2, "exceed the capacity")):
        body = holding({CARD: {"VGPU": amount}})
        assert words in (await placement.refused("PUT", f"/allocations/{NOBODY}", body, status=409))[1]
    await placement.hold(of_0c=2)
    await placement.hold(NOBODY, of_0c=2)
    code, _ = await placement.refused("DELETE", PATH, status=409)
    assert code == "placement.resource_provider.inuse"
    code, _ = await placement.refused("DELETE", f"{PATH}/inventories/VGPU", status=409)
    assert code == "placement.inventory.inuse"
    usages = (await placement.get("/usages?project_id=p&consumer_type=MACHINE"))["usages"]
    assert usages == {"MACHINE": {"VGPU": 4, "consumer_count": 2}}
    assert set((await placement.get("/usages?project_id=p&consumer_type=all"))["usages"]) == {"all"}
    await placement.delete(f"/allocations/{CONSUMER}")
    await placement.delete(f"/allocations/{CONSUMER}", 404)
    await placement.hold(NOBODY)
    assert (await placement.get(f"/allocations/{NOBODY}")) == {"allocations": {}}
    await placement.delete(PATH)


async def test_a_consumers_generation_is_checked(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card()
    for generation, status in ((3, 409), (None, 204), (None, 409), (0, 409), (1, 204)):
        body = holding({CARD: {"VGPU": 1}}, consumer_generation=generation)
        answer = await placement.ask("PUT", f"/allocations/{CONSUMER}", body)
        assert answer.status == status, (generation, answer.data)
        if status == 409:
            assert answer.json["errors"][0]["code"] == "placement.concurrent_update"


async def test_things_change_hands_all_or_nothing(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card(total=1)
    await placement.card(CARD_2, total=1)
    await placement.hold(of_0c=1)
    await placement.hold(NOBODY, of_0d=1)
    swap = {
        CONSUMER: holding({CARD_2: {"VGPU": 1}}, consumer_generation=1),
        NOBODY: holding({CARD: {"VGPU": 1}}, consumer_generation=1),
    }
    bad = {**swap, NOBODY: holding({CARD_2: {"VGPU": 1}}, consumer_generation=1)}
    await placement.post("/allocations", bad, 409)
    assert CARD in (await placement.get(f"/allocations/{CONSUMER}"))["allocations"]
    await placement.post("/allocations", swap, 204)
    assert CARD_2 in (await placement.get(f"/allocations/{CONSUMER}"))["allocations"]
    assert CARD in (await placement.get(f"/allocations/{NOBODY}"))["allocations"]


async def test_a_reshape_moves_stock_and_what_is_held_of_it(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card(total=2)
    await placement.post(
        "/resource_providers", {"name": "child", "uuid": CARD_2, "parent_provider_uuid": CARD}
    )
    await placement.hold(of_0c=2)
    generation = (await placement.get(PATH))["generation"]
    stock = {
        CARD: {"inventories": {}, "resource_provider_generation": generation},
        CARD_2: {"inventories": {"VGPU": {"total": 2}}, "resource_provider_generation": 0},
    }
    stays = {"inventories": stock, "allocations": {}}
    assert (await placement.refused("POST", "/reshaper", stays, status=409))[0] == "placement.inventory.inuse"
    moves = {
        "inventories": stock,
        "allocations": {CONSUMER: holding({CARD_2: {"VGPU": 2}}, consumer_generation=1)},
    }
    await placement.at("1.29").post("/reshaper", moves, 404)
    await placement.post("/reshaper", moves, 204)
    assert set((await placement.get(f"/allocations/{CONSUMER}"))["allocations"]) == {CARD_2}
    assert (await placement.get(f"{PATH}/inventories"))["inventories"] == {}


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (None, {"allocations": [{"resource_provider": {"uuid": CARD}, "resources": {"VGPU": 1}}]}),
        ("1.8", {"allocations": [{"resource_provider": {"uuid": CARD}, "resources": {"VGPU": 1}}],
                 "project_id": "p", "user_id": "u"}),
        ("1.12", {"allocations": {CARD: {"resources": {"VGPU": 1}}}, "project_id": "p", "user_id": "u"}),
        ("1.28", {"allocations": {CARD: {"resources": {"VGPU": 1}}}, "project_id": "p", "user_id": "u",
                  "consumer_generation": None}),
        ("1.34", {"allocations": {CARD: {"resources": {"VGPU": 1}, "generation": 7}}, "project_id": "p",
                  "user_id": "u", "consumer_generation": None, "mappings": {"": [CARD]}}),
    ],
)  # fmt: skip
async def test_bodies_of_each_version(world: World, version: str | None, body: dict[str, Any]) -> None:
    placement = Placement(world.admin)
    await placement.card()
    await placement.at(version).put(f"/allocations/{CONSUMER}", body, 204)
    shown = await placement.get(f"/allocations/{CONSUMER}")
    assert shown["consumer_type"] == "unknown"
    assert shown["project_id"] == body.get("project_id", "00000000-0000-0000-0000-000000000000")
    if version is not None:  # the first form was another one
        await placement.at(None).put(f"/allocations/{CONSUMER}", {**body, "extra": 1}, 400)


async def test_bad_input_is_named(world: World) -> None:
    placement = Placement(world.admin)
    await placement.card()
    for method, path, body, words in (
        ("POST", "/resource_providers", {}, "'name' is a required property"),
        ("POST", "/resource_providers", {"name": "x", "uuid": "7"}, "uuid"),
        ("POST", "/resource_providers", {"name": "x", "colour": 1}, "colour"),
        ("PUT", f"{PATH}/inventories", {"inventories": {"vgpu": {"total": 1}},
                                        "resource_provider_generation": 1}, "vgpu"),
        ("PUT", f"{PATH}/inventories/VGPU", {"total": 0, "resource_provider_generation": 1}, "total"),
        ("PUT", "/allocations/seven", holding({CARD: {"VGPU": 1}}), "seven"),
        ("PUT", f"/allocations/{CONSUMER}", holding({CARD: {"VGPU": 0}}), "VGPU"),
        ("PUT", f"/allocations/{CONSUMER}", holding({NOBODY: {"VGPU": 1}}), "does not exist"),
        ("PUT", f"/allocations/{CONSUMER}", holding({CARD: {"CUSTOM_NONE": 1}}), "CUSTOM_NONE"),
        ("GET", "/resource_providers?colour=red", None, "colour"),
        ("GET", "/resource_providers?member_of=red", None, "Invalid uuid value: red"),
        ("GET", "/resource_providers?resources=VCPU", None, "?resources=VCPU:2,MEMORY_MB:1024"),
        ("GET", "/resource_providers?resources=CUSTOM_NONE:1", None, "CUSTOM_NONE"),
        ("GET", "/resource_providers?required=CUSTOM_NONE", None, "No such trait(s): CUSTOM_NONE"),
    ):  # fmt: skip
        _, detail = await placement.refused(method, path, body, status=400)
        assert words in detail, (method, path, detail)
    for path in ("/resource_providers/seven", f"/resource_providers/{NOBODY}/usages"):
        _, detail = await placement.refused("GET", path, status=404)
        assert "No resource provider with uuid" in detail


async def test_versions_are_told(world: World) -> None:
    placement = Placement(world.admin)
    answer = await placement.at("1.14").ask("GET", "/resource_providers")
    assert answer.headers["openstack-api-version"] == "placement 1.14"
    assert "openstack-api-version" in answer.headers["vary"].lower()
    assert "x-openstack-nova-api-version" not in answer.headers
    assert "last-modified" not in answer.headers
    answer = await placement.at("latest").ask("GET", "/resource_providers")
    assert answer.headers["openstack-api-version"] == "placement 1.39"
    assert (answer.headers["cache-control"], answer.headers["last-modified"][-3:]) == ("no-cache", "GMT")
    answer = await placement.at("1.40").ask("GET", "/resource_providers")
    (error,) = answer.json["errors"]
    assert (answer.status, error["max_version"], error["min_version"]) == (406, "1.39", "1.0")
    assert (await placement.at("one").ask("GET", "/resource_providers")).status == 400
    (document,) = (await placement.get("/"))["versions"]
    assert (document["id"], document["max_version"], document["min_version"]) == ("v1.0", "1.39", "1.0")


def holding(held: dict[str, dict[str, int]], **changes: Any) -> dict[str, Any]:
    allocations = {key: {"resources": amounts} for key, amounts in held.items()}
    owner = {"project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "MACHINE"}
    return {"allocations": allocations, **owner, **changes}
