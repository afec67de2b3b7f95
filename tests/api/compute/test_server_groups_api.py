"""Server groups by their API, and hints that come with a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute.world import IMAGE, Answer, Person, World
from tests.fixtures.hint_rows import hint_rows

GROUPS = "/os-server-groups"
MISSING = "99999999-9999-4999-8999-999999999999"
OLD = {"id", "name", "members", "policies", "metadata"}
NEW = {"id", "name", "members", "policy", "rules", "project_id", "user_id"}


async def made(who: Person, name: str = "g", policy: str = "anti-affinity") -> str:
    answer = await who.at("2.64").post(GROUPS, {"server_group": {"name": name, "policy": policy}})
    assert answer.status == 200, answer.data
    return str(answer.json["server_group"]["id"])


async def create(who: Person, hints: Any, *, key: str = "os:scheduler_hints", **fields: Any) -> Answer:
    wanted = {"name": "web", "imageRef": IMAGE, "flavorRef": "1", **fields}
    return await who.post("/servers", {"server": wanted, key: hints})


async def test_a_groups_life_at_each_version(world: World) -> None:
    owner = {"project_id": world.alice.project_id, "user_id": world.alice.user_id}
    for version, keys in (
        ("2.1", OLD),
        ("2.12", OLD),
        ("2.13", OLD | set(owner)),
        ("2.63", OLD | set(owner)),
    ):
        alice = world.alice.at(version)
        body = {"server_group": {"name": "g", "policies": ["affinity"]}}
        answer = await alice.post(GROUPS, body)
        assert answer.status == 200
        group = answer.json["server_group"]
        assert set(group) == keys
        assert (group["policies"], group["members"], group["metadata"]) == (["affinity"], [], {})
        path = f"{GROUPS}/{group['id']}"
        assert (await alice.get(path)).json["server_group"] == group
        assert (await alice.get(GROUPS)).json["server_groups"] == [group]
        assert (await alice.delete(path)).status == 204
        assert (await alice.get(path)).fault == (
            "itemNotFound",
            f"Instance group {group['id']} could not be found.",
        )
    for version in ("2.64", "2.104"):
        alice = world.alice.at(version)
        wanted = {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": "3"}}
        group = (await alice.post(GROUPS, {"server_group": wanted})).json["server_group"]
        assert set(group) == NEW
        assert (group["policy"], group["rules"]) == ("anti-affinity", {"max_server_per_host": 3})
        assert {name: group[name] for name in owner} == owner
        assert (await alice.get(f"{GROUPS}/{group['id']}")).json["server_group"] == group
        assert (await alice.delete(f"{GROUPS}/{group['id']}")).status == 204


BAD: list[tuple[str, dict[str, Any]]] = [
    ("2.1", {"name": "g"}),
    ("2.1", {"policies": ["affinity"]}),
    ("2.1", {"name": "g", "policies": []}),
    ("2.1", {"name": "g", "policies": ["affinity", "anti-affinity"]}),
    ("2.1", {"name": "g", "policies": ["legacy"]}),
    ("2.1", {"name": "g", "policy": "affinity"}),
    ("2.14", {"name": "g", "policies": ["soft-affinity"]}),
    ("2.64", {"name": "g", "policies": ["affinity"]}),
    ("2.64", {"name": "g", "policy": "legacy"}),
    ("2.64", {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}),
    ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}),
    ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": "0"}}),
    ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": "x"}}),
    ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"more": 2}}),
    ("2.64", {"name": "", "policy": "affinity"}),
]


async def test_bodies_that_cannot_be(world: World) -> None:
    for version, group in BAD:
        answer = await world.alice.at(version).post(GROUPS, {"server_group": group})
        assert answer.status == 400, (version, group)
    rules = {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}
    answer = await world.alice.at("2.64").post(GROUPS, {"server_group": rules})
    assert answer.fault == ("badRequest", "Only anti-affinity policy supports rules.")
    soft = {"name": "g", "policies": ["soft-anti-affinity"]}
    assert (await world.alice.at("2.15").post(GROUPS, {"server_group": soft})).status == 200


async def test_whose_groups_are_seen(world: World) -> None:
    mine, theirs = await made(world.alice, "mine"), await made(world.bob, "theirs")
    assert (await world.reader.get(f"{GROUPS}/{mine}")).status == 200
    assert (await world.alice.get(f"{GROUPS}/{theirs}")).status == 404
    assert (await world.alice.delete(f"{GROUPS}/{theirs}")).status == 404
    assert (await world.reader.delete(f"{GROUPS}/{mine}")).status == 403
    body = {"server_group": {"name": "g", "policies": ["affinity"]}}
    assert (await world.reader.post(GROUPS, body)).status == 403
    assert (await world.admin.get(f"{GROUPS}/{theirs}")).status == 200
    for path in ("/os-server-groups/x", f"{GROUPS}/{MISSING}"):
        assert (await world.alice.get(path)).status == 404
        assert (await world.alice.delete(path)).status == 404
    for who, query, names in (
        (world.alice, "", ["mine"]),
        (world.alice, "?all_projects=true", ["mine"]),  # as if it had not asked
        (world.admin, "", []),
        (world.admin, "?all_projects=true", ["mine", "theirs"]),
        (world.admin, "?all_projects", ["mine", "theirs"]),
    ):
        groups = (await who.get(GROUPS + query)).json["server_groups"]
        assert [group["name"] for group in groups] == names, (query, names)


async def test_pages_by_number(world: World) -> None:
    for name in "abc":
        await made(world.alice, name)
    for query, names in (
        ("?limit=2", "ab"),
        ("?limit=2&offset=2", "c"),
        ("?offset=1", "bc"),
        ("?limit=0", "abc"),  # Nova: as many as there may be
        ("?offset=9", ""),
        ("?limit=5000", "abc"),
        ("?unknown=1", "abc"),
    ):
        groups = (await world.alice.get(GROUPS + query)).json["server_groups"]
        assert "".join(group["name"] for group in groups) == names, query
    for query in ("?limit=x", "?limit=-1", "?offset=-1"):
        assert (await world.alice.get(GROUPS + query)).status == 400
    for name in ("unknown", "marker"):
        assert (await world.alice.at("2.75").get(f"{GROUPS}?{name}=1")).status == 400
    first = (await world.alice.get(f"{GROUPS}?limit=1")).json["server_groups"][0]["id"]
    groups = (await world.alice.get(f"{GROUPS}?limit=2&marker={first}")).json["server_groups"]
    assert "".join(group["name"] for group in groups) == "bc"
    answer = await world.bob.get(f"{GROUPS}?marker={first}")
    assert answer.fault == ("badRequest", f"marker [{first}] not found")


async def test_quotas_are_403_in_novas_words(world: World) -> None:
    path = f"/os-quota-sets/{world.alice.project_id}"
    limits = {"quota_set": {"server_groups": 1, "server_group_members": 1}}
    assert (await world.admin.put(path, limits)).status == 200
    group = await made(world.alice)
    body = {"server_group": {"name": "h", "policies": ["affinity"]}}
    answer = await world.alice.post(GROUPS, body)
    assert (answer.status, answer.fault) == (403, ("forbidden", "Quota exceeded, too many server groups."))
    assert (await create(world.alice, {"group": group})).status == 202
    answer = await create(world.alice, {"group": group})
    assert answer.fault == ("forbidden", "Quota exceeded, too many servers in group")
    answer = await create(world.alice, {"group": group}, min_count=2)
    assert answer.status == 403
    assert len((await world.alice.get("/servers")).json["servers"]) == 1


async def test_a_server_shows_its_group_from_2_71(world: World) -> None:
    group = await made(world.alice)
    answer = await create(world.alice, {"group": group}, min_count=2, name="many")
    assert answer.status == 202
    server_id = answer.json["server"]["id"]
    path = f"/servers/{server_id}"
    alice = world.alice.at("2.71")
    assert (await alice.get(path)).json["server"]["server_groups"] == [group]
    assert (await alice.put(path, {"server": {"name": "x"}})).json["server"]["server_groups"] == [group]
    assert "server_groups" not in (await world.alice.at("2.70").get(path)).json["server"]
    listed = (await alice.get("/servers/detail")).json["servers"]
    assert all("server_groups" not in each for each in listed)
    members = (await alice.get(f"{GROUPS}/{group}")).json["server_group"]["members"]
    assert sorted(members) == sorted(each["id"] for each in listed)
    assert len(members) == 2
    assert (await alice.delete(path)).status == 204
    assert server_id not in (await alice.get(f"{GROUPS}/{group}")).json["server_group"]["members"]
    plain = await world.boot(world.alice)
    assert (await alice.get(f"/servers/{plain}")).json["server"]["server_groups"] == []
    assert (await alice.delete(f"{GROUPS}/{group}")).status == 204
    remaining = next(each for each in members if each != server_id)
    assert (await alice.get(f"/servers/{remaining}")).json["server"]["server_groups"] == []


async def test_a_group_must_be_the_projects_own(world: World) -> None:
    theirs = await made(world.bob)
    for group in (theirs, MISSING):
        answer = await create(world.alice, {"group": group})
        assert answer.fault == ("badRequest", f"Instance group {group} could not be found.")
        assert (await create(world.admin, {"group": group})).status == 400
    assert (await create(world.alice, {"group": "web"})).status == 400
    assert (await create(world.bob, {"group": [theirs]})).status == 202  # osc sends a list for two
    assert (await create(world.bob, {"group": [theirs, theirs]})).status == 400


KEPT: list[tuple[Any, Any]] = [
    ({"same_host": MISSING}, {"same_host": [MISSING]}),
    ({"different_host": [MISSING, MISSING.upper()]}, {"different_host": [MISSING, MISSING]}),
    ({"query": '[">=","$free_ram_mb",1024]'}, {"query": '[">=","$free_ram_mb",1024]'}),
    ({"query": {"a": 1}}, {"query": '{"a": 1}'}),
    ({"build_near_host_ip": "192.0.2.7", "cidr": "/28"}, {"build_near_host_ip": "192.0.2.7", "cidr": "/28"}),
    (
        {"target_cell": "cell1", "own": True, "many": [1, "x"]},
        {"target_cell": "cell1", "own": "true", "many": ["1", "x"]},
    ),
    ({"_nova_check_type": ["rebuild"]}, None),
    ({}, None),
]


@pytest.mark.parametrize(("given", "kept"), KEPT)
async def test_hints_are_kept_in_one_form(world: World, given: Any, kept: Any) -> None:
    for key in ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"):
        answer = await create(world.alice, given, key=key)
        assert answer.status == 202, answer.data
        assert hint_rows(world.cloud.state).get(answer.json["server"]["id"]) == kept


async def test_of_two_names_for_hints_novas_own_counts(world: World) -> None:
    wanted = {"name": "web", "imageRef": IMAGE, "flavorRef": "1"}
    body = {"server": wanted, "os:scheduler_hints": {"a": "1"}, "OS-SCH-HNT:scheduler_hints": {"b": "2"}}
    answer = await world.alice.post("/servers", body)
    assert hint_rows(world.cloud.state) == {answer.json["server"]["id"]: {"a": "1"}}


async def test_hints_that_cannot_be_meant(world: World) -> None:
    for hints, name in (
        ({"same_host": "web"}, "same_host"),
        ({"different_host": ["web"]}, "different_host"),
        ({"query": "[unclosed"}, "query"),
        ({"query": 7}, "query"),
        ({"query": '["=","$host","' + "x" * 5_000 + '"]'}, "query"),
        ({"query": "[" * 4_000}, "query"),
        ({"build_near_host_ip": "here"}, "build_near_host_ip"),
        ({"build_near_host_ip": "192.0.2.7", "cidr": "/99"}, "cidr"),
        ({"cidr": "24"}, "cidr"),
        ({"target_cell": ""}, "target_cell"),
        ({"big": "x" * 20_000}, "os:scheduler_hints"),
        ({f"k{number}": "x" for number in range(65)}, "os:scheduler_hints"),
        ([], "os:scheduler_hints"),
    ):
        answer = await create(world.alice, hints)
        assert answer.status == 400, hints
        assert name in answer.fault[1], answer.fault
