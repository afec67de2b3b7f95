"""Unified limits over HTTP, beside Compute: two dialects of the same numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from fabric.control.unified_limits import service_id_of
from tests.api.compute.world import FLAVOR, IMAGE, Answer, Person, World, open_world

NOVA, GLANCE = service_id_of("compute"), service_id_of("image")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


async def ask(who: Person, method: str, path: str, body: Any = None) -> Answer:
    return await who.ask(method, path, body, root="/identity/v3")


def fault(answer: Answer, status: int, words: str = "") -> None:
    assert answer.status == status, answer.data
    error = answer.json["error"]
    assert error["code"] == status
    assert words in error["message"]


def new(name: str = "servers", limit: int = 5, **more: Any) -> dict[str, Any]:
    return {"service_id": NOVA, "resource_name": name, "default_limit": limit, **more}


def given(owner: str | None, name: str = "servers", limit: int = 5, **more: Any) -> dict[str, Any]:
    """`owner` None: no project is named."""
    body = {"service_id": NOVA, "resource_name": name, "resource_limit": limit, **more}
    return body if owner is None else {"project_id": owner, **body}


async def register(world: World, *limits: dict[str, Any]) -> Answer:
    return await ask(world.admin, "POST", "/registered_limits", {"registered_limits": list(limits)})


async def give(world: World, *limits: dict[str, Any]) -> Answer:
    return await ask(world.admin, "POST", "/limits", {"limits": list(limits)})


async def listed(who: Person, path: str) -> list[dict[str, Any]]:
    answer = await ask(who, "GET", path)
    assert answer.status == 200, answer.data
    key = path.partition("?")[0].strip("/")
    assert set(answer.json) == {key, "links"}
    found: list[dict[str, Any]] = answer.json[key]
    return found


async def instances(world: World) -> int:
    answer = await world.admin.get(f"/os-quota-sets/{world.alice.project_id}")
    found: int = answer.json["quota_set"]["instances"]
    return found


async def set_instances(world: World, number: int) -> None:
    path = f"/os-quota-sets/{world.alice.project_id}"
    assert (await world.admin.put(path, {"quota_set": {"instances": number}})).status == 200


async def test_the_model(world: World) -> None:
    for who in (world.admin, world.reader):
        answer = await ask(who, "GET", "/limits/model")
        assert answer.json["model"]["name"] == "flat"
        assert set(answer.json["model"]) == {"name", "description"}


class TestRegistered:
    async def test_a_life(self, world: World) -> None:
        answer = await register(world, new("class:DISK_GB", 40), new("servers", 7, description="ours"))
        assert answer.status == 201
        assert set(answer.json) == {"registered_limits"}
        disk, servers = answer.json["registered_limits"]
        assert disk.items() >= {"resource_name": "class:DISK_GB", "default_limit": 40}.items()
        assert set(servers) == {
            *("id", "service_id", "region_id", "resource_name", "default_limit", "description", "links")
        }
        assert (servers["description"], servers["region_id"], servers["service_id"]) == ("ours", None, NOVA)
        path = f"/registered_limits/{servers['id']}"
        assert servers["links"]["self"].endswith(f"/identity/v3{path}")
        assert (await ask(world.reader, "GET", path)).json["registered_limit"] == servers
        change = {"registered_limit": {"default_limit": 8, "region_id": "RegionOne"}}
        changed = (await ask(world.admin, "PATCH", path, change)).json["registered_limit"]
        assert changed == {**servers, "default_limit": 8, "region_id": "RegionOne"}
        assert await instances(world) == 8
        change = {"registered_limit": {"description": None, "region_id": None}}
        assert (await ask(world.admin, "PATCH", path, change)).json["registered_limit"]["description"] is None
        assert (await ask(world.admin, "DELETE", path)).status == 204
        fault(await ask(world.admin, "GET", path), 404, servers["id"])
        fault(await ask(world.admin, "PATCH", path, change), 404)
        fault(await ask(world.admin, "DELETE", path), 404)
        assert await instances(world) == 10

    async def test_lists(self, world: World) -> None:
        await register(world, new("class:A", 1, region_id="RegionOne"), new("a", 2, service_id=GLANCE))
        every = {
            (each["service_id"], each["resource_name"])
            for each in await listed(world.reader, "/registered_limits")
        }
        assert {(NOVA, "servers"), (NOVA, "class:VCPU"), (NOVA, "class:A"), (GLANCE, "a")} <= every
        for query, expected in (
            ("resource_name=class:A", ["class:A"]),
            ("region_id=RegionOne", ["class:A"]),
            (f"service_id={GLANCE}", ["a"]),
            (f"service_id={NOVA}&resource_name=a", []),
            ("resource_name=servers&ignored=1", ["servers"]),
        ):
            found = await listed(world.admin, f"/registered_limits?{query}")
            assert [each["resource_name"] for each in found] == expected

    async def test_faults(self, world: World) -> None:
        assert (await register(world, new("class:A", 1))).status == 201
        fault(await register(world, new("class:B"), new("class:A")), 409, "Duplicate entry")
        assert await listed(world.admin, "/registered_limits?resource_name=class:B") == []
        for bad, words in (
            (new(limit=-2), "default_limit"),
            (new(limit=2**31), "default_limit"),
            (new(default_limit="5"), "default_limit"),
            (new(""), "resource_name"),
            (new(service_id="nobody"), "service_id"),
            (new(region_id="Mars"), "region_id"),
            (new(surprise=1), "surprise"),
            ({"service_id": NOVA, "resource_name": "x"}, "default_limit"),
        ):
            fault(await register(world, bad), 400, words)
        fault(await register(world), 400, "registered_limits")
        fault(await ask(world.admin, "POST", "/registered_limits", {}), 400, "registered_limits")
        (mine,) = await listed(world.admin, "/registered_limits?resource_name=class:A")
        path = f"/registered_limits/{mine['id']}"
        for who in (world.alice, world.reader):
            fault(await ask(who, "POST", "/registered_limits", {"registered_limits": [new("x")]}), 403)
            fault(await ask(who, "PATCH", path, {"registered_limit": {"default_limit": 1}}), 403)
            fault(await ask(who, "DELETE", path), 403)
        fault(await ask(world.admin, "PATCH", path, {"registered_limit": {"id": "x"}}), 400, "id")
        fault(
            await ask(
                world.admin,
                "PATCH",
                path,
                {"registered_limit": {"resource_name": "servers2", "service_id": "x"}},
            ),
            400,
            "service_id",
        )
        assert (await give(world, given(world.alice.project_id, "class:A"))).status == 201
        fault(
            await ask(world.admin, "PATCH", path, {"registered_limit": {"default_limit": 2}}),
            403,
            "project limits",
        )
        fault(await ask(world.admin, "DELETE", path), 403, "project limits")
        (own,) = await listed(world.admin, "/registered_limits?resource_name=servers")
        fault(await ask(world.admin, "DELETE", f"/registered_limits/{own['id']}"), 403, "fabric's own")


class TestLimits:
    async def test_a_life(self, world: World) -> None:
        project = world.alice.project_id
        answer = await give(world, given(project, description="few"), given(project, "class:VCPU", 9))
        assert answer.status == 201
        assert set(answer.json) == {"limits"}
        servers, cores = answer.json["limits"]
        assert (servers["project_id"], servers["domain_id"], servers["resource_limit"]) == (project, None, 5)
        assert (servers["description"], cores["description"]) == ("few", None)
        assert await instances(world) == 5
        path = f"/limits/{servers['id']}"
        assert (await ask(world.alice, "GET", path)).json["limit"] == servers
        fault(await ask(world.bob, "GET", path), 404)
        changed = await ask(world.admin, "PATCH", path, {"limit": {"resource_limit": 0}})
        assert changed.json["limit"] == {**servers, "resource_limit": 0}
        answer = await world.alice.at("2.90").post("/servers", {"server": wanted()})
        assert (
            answer.fault[1] == "Quota exceeded for instances: Requested 1, but already used 0 of 0 instances"
        )
        await ask(world.admin, "PATCH", path, {"limit": {"description": None}})
        assert (await ask(world.admin, "GET", path)).json["limit"]["description"] is None
        assert (await ask(world.admin, "DELETE", path)).status == 204
        fault(await ask(world.admin, "GET", path), 404)
        fault(await ask(world.admin, "PATCH", path, {"limit": {}}), 404)
        fault(await ask(world.admin, "DELETE", path), 404)
        assert await instances(world) == 10

    async def test_what_a_quota_set_says_is_a_limit(self, world: World) -> None:
        await set_instances(world, 6)
        (found,) = await listed(world.alice, "/limits")
        assert found.items() >= {"resource_name": "servers", "resource_limit": 6, "service_id": NOVA}.items()
        fault(await give(world, given(world.alice.project_id)), 409, "Duplicate entry")
        path = f"/limits/{found['id']}"
        await ask(world.admin, "PATCH", path, {"limit": {"resource_limit": 4}})
        assert await instances(world) == 4
        assert (await world.admin.delete(f"/os-quota-sets/{world.alice.project_id}")).status == 202
        assert await listed(world.alice, "/limits") == []

    async def test_a_default_is_one_in_every_dialect(self, world: World) -> None:
        await world.admin.put("/os-quota-class-sets/default", {"quota_class_set": {"instances": 2}})
        (found,) = await listed(world.admin, "/registered_limits?resource_name=servers")
        assert found["default_limit"] == 2
        change = {"registered_limit": {"default_limit": 3}}
        await ask(world.admin, "PATCH", f"/registered_limits/{found['id']}", change)
        assert await instances(world) == 3

    async def test_lists(self, world: World) -> None:
        one, two = world.alice.project_id, world.bob.project_id
        await register(world, new("class:A", 1, region_id="RegionOne"))
        await give(
            world,
            given(one, limit=1),
            given(two, limit=2),
            given(two, "class:A", 3, region_id="RegionOne"),
            given(None, domain_id="default", limit=4),
        )
        for query, expected in (
            ("", {1, 2, 3, 4}),
            (f"project_id={two}", {2, 3}),
            ("domain_id=default", {4}),
            ("region_id=RegionOne", {3}),
            (f"service_id={NOVA}&resource_name=servers", {1, 2, 4}),
            ("project_id=nobody", set()),
        ):
            found = await listed(world.admin, f"/limits?{query}")
            assert {each["resource_limit"] for each in found} == expected, query
        assert {each["resource_limit"] for each in await listed(world.alice, "/limits")} == {1}
        assert await listed(world.alice, f"/limits?project_id={two}") == []
        (of_domain,) = await listed(world.admin, "/limits?domain_id=default")
        assert (of_domain["project_id"], of_domain["domain_id"]) == (None, "default")

    async def test_faults(self, world: World) -> None:
        project = world.alice.project_id
        for bad, words in (
            (given(project, limit=-2), "resource_limit"),
            (given(project, resource_limit="5"), "resource_limit"),
            (given(project, service_id="nobody"), "service_id"),
            (given(project, region_id="Mars"), "region_id"),
            (given("nobody"), "project_id"),
            (given(None, domain_id="nobody"), "domain_id"),
            (given(project, domain_id="default"), ""),
            (given(None), ""),
            (given(project, surprise=1), "surprise"),
        ):
            fault(await give(world, bad), 400, words)
        fault(await give(world, given(project, "class:NONE")), 403, "no corresponding registered limit")
        fault(await give(world, given(project), given(project)), 409, "Duplicate entry")
        assert await listed(world.admin, "/limits") == []
        (made,) = (await give(world, given(project))).json["limits"]
        path = f"/limits/{made['id']}"
        for who in (world.alice, world.reader):
            fault(await ask(who, "POST", "/limits", {"limits": [given(project, "class:VCPU")]}), 403)
            fault(await ask(who, "PATCH", path, {"limit": {"resource_limit": 99}}), 403)
            fault(await ask(who, "DELETE", path), 403)
        fault(await ask(world.admin, "PATCH", path, {"limit": {"resource_name": "x"}}), 400, "resource_name")
        fault(await ask(world.admin, "PATCH", path, {}), 400, "limit")

    async def test_disk_is_counted_where_it_is_limited(self, world: World) -> None:
        await register(world, new("class:DISK_GB", 2))
        for expected in (202, 202, 403):
            answer = await world.alice.at("2.90").post("/servers", {"server": wanted()})
            assert answer.status == expected
        assert answer.fault[1] == (
            "Quota exceeded for class:DISK_GB: Requested 1, but already used 2 of 2 class:DISK_GB"
        )
        many = {**wanted(), "min_count": 2, "max_count": 3}
        answer = await world.bob.at("2.90").post("/servers", {"server": many})
        assert answer.status == 202
        assert len((await world.bob.get("/servers")).json["servers"]) == 2


def wanted() -> dict[str, Any]:
    return {"name": "s", "imageRef": IMAGE, "flavorRef": FLAVOR, "networks": "none"}
