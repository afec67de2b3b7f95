"""/flavors: fields by version, creating, extra specs, who may use private ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.api.compute.world import FLAVOR, World

BASE = {
    "id",
    "name",
    "links",
    "ram",
    "disk",
    "swap",
    "vcpus",
    "OS-FLV-EXT-DATA:ephemeral",
    "OS-FLV-DISABLED:disabled",
    "os-flavor-access:is_public",
    "rxtx_factor",
}


async def make(world: World, **fields: Any) -> str:
    wanted = {"name": "big", "ram": 4_096, "vcpus": 4, "disk": 40} | fields
    answer = await world.admin.post("/flavors", {"flavor": wanted})
    assert answer.status == 200, answer.data
    return str(answer.json["flavor"]["id"])


async def test_fields_by_version(world: World) -> None:
    for minor in (1, 54, 55, 60, 61, 74, 75, 101, 102, 104):
        person = world.alice.at(f"2.{minor}")
        expected = set(BASE)
        expected |= {"description"} if minor >= 55 else set()
        expected |= {"extra_specs"} if minor >= 61 else set()
        expected -= {"rxtx_factor", "OS-FLV-DISABLED:disabled"} if minor >= 102 else set()
        shown = (await person.get(f"/flavors/{FLAVOR}")).json["flavor"]
        assert set(shown) == expected, minor
        assert shown["swap"] == (0 if minor >= 75 else "")
        assert set((await person.get("/flavors/detail")).json["flavors"][0]) == expected
        brief = (await person.get("/flavors")).json["flavors"][0]
        assert set(brief) == {"id", "name", "links"} | ({"description"} if minor >= 55 else set())
        if minor < 102:
            assert (shown["rxtx_factor"], shown["OS-FLV-DISABLED:disabled"]) == (1.0, False)
    assert (shown["ram"], shown["description"]) == (512, "small")


async def test_create_show_delete(world: World) -> None:
    flavor_id = await make(
        world,
        id="f-1",
        swap="512",
        rxtx_factor=1.5,
        **{"OS-FLV-EXT-DATA:ephemeral": 10, "os-flavor-access:is_public": "false"},
    )
    assert flavor_id == "f-1"
    shown = (await world.admin.get("/flavors/f-1")).json["flavor"]
    assert (shown["swap"], shown["rxtx_factor"], shown["OS-FLV-EXT-DATA:ephemeral"]) == (512, 1.5, 10)
    assert shown["os-flavor-access:is_public"] is False
    assert (await world.alice.get("/flavors/f-1")).status == 404
    for again in ({"id": "f-1", "name": "other"}, {"name": "big"}):
        answer = await world.admin.post(
            "/flavors", {"flavor": {"ram": 1, "vcpus": 1, "disk": 0, "name": "big"} | again}
        )
        assert answer.status == 409
    assert (await world.admin.delete("/flavors/f-1")).status == 202
    assert (await world.admin.delete("/flavors/f-1")).status == 404
    assert len(await make(world, id=None)) == 36


async def test_no_rxtx_factor_is_given_from_2_102_on(world: World) -> None:
    flavor = {"name": "big", "ram": 1, "vcpus": 1, "disk": 0}
    answer = await world.admin.at("2.102").post("/flavors", {"flavor": flavor | {"rxtx_factor": 1.5}})
    assert answer.status == 400
    assert "rxtx_factor" in answer.fault[1]
    assert (
        await world.admin.at("2.101").post("/flavors", {"flavor": flavor | {"rxtx_factor": 1.5}})
    ).status == 200
    answer = await world.admin.at("2.102").post("/flavors", {"flavor": flavor | {"name": "bigger"}})
    assert answer.status == 200
    assert "rxtx_factor" not in answer.json["flavor"]


async def test_by_name_from_2_102_on(world: World) -> None:
    for number, name in enumerate(("m1.small", "m1.large", "c1.small"), start=2):
        await make(world, id=str(number), name=name)

    async def ids(query: str, version: str = "2.102") -> list[str]:
        answer = await world.alice.at(version).get(f"/flavors{query}")
        assert answer.status == 200, answer.data
        return [each["id"] for each in answer.json["flavors"]]

    assert await ids("?name=m1.small") == ["2"]
    assert await ids("/detail?name=^m1") == ["1", "2", "3"]  # m1.tiny is the first
    assert await ids("?name=small$&sort_key=name") == ["4", "2"]
    assert await ids("?name=^m1&limit=2&marker=1") == ["2", "3"]
    assert await ids("?name=nothing") == []
    assert await ids("?name=") == ["1", "2", "3", "4"]
    assert await ids("?name=small", "2.74") == ["1", "2", "3", "4"]  # and means nothing
    assert (await world.alice.at("2.101").get("/flavors?name=small")).status == 400
    listed = (await world.alice.at("2.102").get("/flavors?name=^m1&limit=2")).json
    assert "name=%5Em1" in listed["flavors_links"][0]["href"]
    for bad in ("(", "(a*)*", "a" * 256):
        answer = await world.alice.at("2.102").get(f"/flavors?name={quote(bad)}")
        assert answer.status == 400
        assert "name" in answer.fault[1]


async def test_description_from_2_55(world: World) -> None:
    body = {"flavor": {"description": "new words"}}
    assert (await world.admin.at("2.54").put(f"/flavors/{FLAVOR}", body)).status == 404
    answer = await world.admin.at("2.55").put(f"/flavors/{FLAVOR}", body)
    assert (answer.status, answer.json["flavor"]["description"]) == (200, "new words")
    answer = await world.admin.at("2.55").put(f"/flavors/{FLAVOR}", {"flavor": {"description": None}})
    assert answer.json["flavor"]["description"] is None


BAD_FLAVORS: list[dict[str, Any]] = [
    {"ram": 0},
    {"ram": "0"},
    {"ram": "many"},
    {"ram": 1.5},
    {"ram": True},
    {"ram": 2**31},
    {"ram": str(2**31)},
    {"vcpus": -1},
    {"disk": -1},
    {"swap": -1},
    {"name": ""},
    {"name": " big"},
    {"name": "n" * 256},
    {"name": "n" * 10_000},
    {"id": "no/slash"},
    {"rxtx_factor": 0},
    {"rxtx_factor": "0.0000001"},
    {"rxtx_factor": -1},
    {"description": "too early"},
    {"unknown": 1},
    {"name": ...},
]


async def test_flavors_that_cannot_be(world: World) -> None:
    for change in BAD_FLAVORS:
        wanted = {"name": "x", "ram": 1, "vcpus": 1, "disk": 0} | change
        body = {"flavor": {key: value for key, value in wanted.items() if value is not ...}}
        answer = await world.admin.post("/flavors", body)
        assert answer.status == 400, answer.data
        assert next(iter(change)) in answer.fault[1]
        assert len((await world.admin.get("/flavors")).json["flavors"]) == 1


async def test_only_admins_change_flavors(world: World) -> None:
    body = {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 0}}
    specs = {"extra_specs": {"a": "b"}}
    for answer in (
        await world.alice.post("/flavors", body),
        await world.alice.delete(f"/flavors/{FLAVOR}"),
        await world.alice.at("2.55").put(f"/flavors/{FLAVOR}", {"flavor": {"description": "x"}}),
        await world.alice.post(f"/flavors/{FLAVOR}/os-extra_specs", specs),
        await world.alice.delete(f"/flavors/{FLAVOR}/os-extra_specs/a"),
        await world.alice.get(f"/flavors/{FLAVOR}/os-flavor-access"),
        await world.alice.post(f"/flavors/{FLAVOR}/action", {"addTenantAccess": {"tenant": "t"}}),
    ):
        assert answer.status == 403
        assert answer.fault[0] == "forbidden"


async def test_lists(world: World) -> None:
    await make(world, id="2", name="big")
    await make(world, id="3", name="secret", **{"os-flavor-access:is_public": False})

    async def ids(person: Any, query: str) -> list[str]:
        answer = await person.get(f"/flavors{query}")
        assert answer.status == 200, answer.data
        return [each["id"] for each in answer.json["flavors"]]

    assert await ids(world.alice, "") == ["1", "2"]
    assert await ids(world.alice, "/detail?is_public=None") == ["1", "2"]
    assert await ids(world.alice, "?is_public=False") == ["1", "2"]
    assert await ids(world.admin, "") == ["1", "2"]
    assert await ids(world.admin, "?is_public=None") == ["1", "2", "3"]
    assert await ids(world.admin, "?is_public=False") == ["3"]
    assert await ids(world.alice, "?minRam=1000") == ["2"]
    assert await ids(world.alice, "?minDisk=2") == ["2"]
    assert await ids(world.alice, "?sort_key=memory_mb&sort_dir=desc") == ["2", "1"]
    assert await ids(world.alice, "?sort_key=name") == ["2", "1"]
    assert await ids(world.alice, "?sort_dir=desc") == ["2", "1"]
    first = (await world.alice.get("/flavors?limit=1")).json
    assert [each["id"] for each in first["flavors"]] == ["1"]
    assert first["flavors_links"] == [
        {"rel": "next", "href": f"{world.alice.url}/compute/v2.1/flavors?limit=1&marker=1"}
    ]
    assert await ids(world.alice, "?limit=1&marker=1") == ["2"]
    for query in (
        "marker=nope",
        "limit=-1",
        "minRam=x",
        "minDisk=-1",
        "is_public=maybe",
        "sort_key=x",
        "sort_dir=x",
    ):
        assert (await world.alice.get(f"/flavors?{query}")).status == 400, query
    assert (await world.alice.at("2.75").get("/flavors?unknown=1")).status == 400
    assert (await world.alice.at("2.74").get("/flavors?unknown=1")).status == 200


async def test_a_private_flavor_and_its_guests(world: World) -> None:
    flavor_id = await make(world, **{"os-flavor-access:is_public": False})
    tenant = world.alice.project_id
    path = f"/flavors/{flavor_id}"
    answer = await world.admin.post(f"{path}/action", {"addTenantAccess": {"tenant": tenant}})
    assert answer.status == 200
    assert answer.json == {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": tenant}]}
    assert (await world.admin.get(f"{path}/os-flavor-access")).json == answer.json
    assert (await world.alice.get(path)).status == 200
    assert (await world.bob.get(path)).status == 404
    assert (await world.admin.post(f"{path}/action", {"addTenantAccess": {"tenant": tenant}})).status == 409
    answer = await world.admin.post(f"{path}/action", {"removeTenantAccess": {"tenant": tenant}})
    assert answer.json == {"flavor_access": []}
    assert (
        await world.admin.post(f"{path}/action", {"removeTenantAccess": {"tenant": tenant}})
    ).status == 404
    assert (await world.alice.get(path)).status == 404
    public = f"/flavors/{FLAVOR}"
    assert (await world.admin.get(f"{public}/os-flavor-access")).status == 404
    answer = await world.admin.at("2.7").post(f"{public}/action", {"addTenantAccess": {"tenant": tenant}})
    assert answer.status == 409
    for bad in ({"dance": {}}, {}, {"addTenantAccess": {}}, {"addTenantAccess": {"tenant": "a/b"}}):
        assert (await world.admin.post(f"{path}/action", bad)).status == 400


async def test_extra_specs(world: World) -> None:
    path = f"/flavors/{FLAVOR}/os-extra_specs"
    assert (await world.alice.get(path)).json == {"extra_specs": {}}
    answer = await world.admin.post(path, {"extra_specs": {"hw:cpu_policy": "dedicated", "rack": "7"}})
    assert (answer.status, answer.json) == (
        200,
        {"extra_specs": {"hw:cpu_policy": "dedicated", "rack": "7"}},
    )
    assert (await world.alice.get(f"{path}/rack")).json == {"rack": "7"}
    assert (await world.admin.put(f"{path}/rack", {"rack": "8"})).json == {"rack": "8"}
    assert (await world.admin.put(f"{path}/rack", {"row": "8"})).status == 400
    assert (await world.alice.get(path)).json["extra_specs"] == {"hw:cpu_policy": "dedicated", "rack": "8"}
    shown = (await world.alice.at("2.61").get(f"/flavors/{FLAVOR}")).json["flavor"]
    assert shown["extra_specs"]["rack"] == "8"
    answer = await world.admin.delete(f"{path}/rack")
    assert (answer.status, answer.data) == (200, b"")
    assert (await world.admin.delete(f"{path}/rack")).status == 404
    assert (await world.alice.get(f"{path}/rack")).status == 404
    for bad in ({"extra_specs": {"a/b": "c"}}, {"extra_specs": {"a": None}}, {"extra_specs": []}, {}):
        assert (await world.admin.post(path, bad)).status == 400


async def test_extra_specs_are_checked_from_2_86(world: World) -> None:
    path = f"/flavors/{FLAVOR}/os-extra_specs"
    for name, value in (("hw:cpu_polic", "dedicated"), ("hw:cpu_policy", "often"), ("quota:cpu_quota", "x")):
        body = {"extra_specs": {name: value}}
        answer = await world.admin.at("2.86").post(path, body)
        assert answer.status == 400
        assert name in answer.fault[1]
        assert (await world.admin.at("2.85").post(path, body)).status == 200
    for name, value in (("hw:cpu_policy", "shared"), ("mine:own", "x"), ("resources:CUSTOM_GOLD", "1")):
        assert (await world.admin.at("2.86").post(path, {"extra_specs": {name: value}})).status == 200
