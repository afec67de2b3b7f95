"""Quota sets, quota classes and limits, and what happens when very many ask at once for the last of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from fabric.core.networks.queries import UsedAddresses
from proto.commands.catalog import FlavorCreate
from proto.ids import FlavorId
from tests.api.compute.world import FLAVOR, IMAGE, SUBNET, Answer, Person, World, member_of_new

ALWAYS = {"instances", "cores", "ram", "metadata_items", "key_pairs"}
GROUPS = {"server_groups", "server_group_members"}
NET = {"fixed_ips", "floating_ips", "security_groups", "security_group_rules"}
FILES = {"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}
ROOMY = dict.fromkeys(("instances", "cores", "ram"), -1)
CROWD = 500


def path_of(person: Person) -> str:
    return f"/os-quota-sets/{person.project_id}"


async def set_quota(world: World, query: str = "", who: Person | None = None, /, **limits: Any) -> Answer:
    path = path_of(who or world.alice) + query
    return await world.admin.put(path, {"quota_set": limits})


async def quota(world: World, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = (await world.admin.get(path_of(world.alice) + query)).json["quota_set"]
    return found


def refused(answer: Answer, words: str) -> None:
    assert answer.status == 400, answer.data
    assert words in answer.fault[1]


class TestOfUsers:
    async def test_a_user_gets_a_part_of_the_project(self, world: World) -> None:
        of_alice = f"?user_id={world.alice.user_id}"
        answer = await set_quota(world, of_alice, instances=3, cores="4")
        assert answer.status == 200
        assert "id" not in answer.json["quota_set"]
        own = await quota(world, of_alice)
        assert (own["instances"], own["cores"], own["ram"]) == (3, 4, 51_200)
        assert (await quota(world))["instances"] == 10
        await world.boot(world.alice)
        detail = (await world.admin.get(f"{path_of(world.alice)}/detail{of_alice}")).json["quota_set"]
        assert detail["instances"] == {"limit": 3, "in_use": 1, "reserved": 0}
        of_reader = f"?user_id={world.reader.user_id}"
        detail = (await world.admin.get(f"{path_of(world.alice)}/detail{of_reader}")).json["quota_set"]
        assert detail["instances"] == {"limit": 10, "in_use": 0, "reserved": 0}

    async def test_not_more_than_the_project_has_left_nor_less_than_is_used(self, world: World) -> None:
        of_alice, of_reader = (f"?user_id={who.user_id}" for who in (world.alice, world.reader))
        assert (await set_quota(world, of_reader, instances=4)).status == 200
        refused(
            await set_quota(world, of_alice, instances=7),
            "Quota limit 7 for instances must be less than or equal to 6.",
        )
        refused(await set_quota(world, of_alice, instances=-1), "less than or equal to 6.")
        assert (await set_quota(world, of_alice, instances=6)).status == 200
        assert (await set_quota(world, of_alice, instances=5)).status == 200  # its own part is not in its way
        refused(
            await set_quota(world, instances=8),
            "Quota limit 8 for instances must be greater than or equal to already used and reserved 9.",
        )
        await world.boot(world.alice)
        refused(await set_quota(world, of_alice, instances=0), "already used and reserved 1.")
        assert (await set_quota(world, of_alice, instances=0, force=True)).status == 200
        assert (await set_quota(world, of_alice, instances=70, force="True")).status == 200
        assert (await set_quota(world, instances=-1)).status == 200
        assert (await set_quota(world, of_alice, instances=-1)).status == 200

    async def test_it_holds_for_that_user_alone(self, world: World) -> None:
        of_alice = f"?user_id={world.alice.user_id}"
        await set_quota(world, of_alice, instances=1)
        await world.boot(world.alice)
        answer = await create(world.alice)
        assert answer.status == 403
        assert answer.fault == (
            "forbidden",
            "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances",
        )
        assert (await create(world.alice, min_count=1, max_count=2)).fault[1] == answer.fault[1]
        assert (await world.admin.delete(path_of(world.alice) + of_alice)).status == 202
        assert (await create(world.alice)).status == 202

    async def test_resets(self, world: World) -> None:
        of_alice = f"?user_id={world.alice.user_id}"
        await set_quota(world, instances=9)
        await set_quota(world, of_alice, instances=3)
        await world.admin.delete(path_of(world.alice) + of_alice)
        assert (await quota(world, of_alice))["instances"] == 9
        await set_quota(world, of_alice, instances=3)
        assert (await world.admin.delete(path_of(world.alice))).status == 202
        assert (await quota(world, of_alice))["instances"] == 10

    async def test_what_cannot_be(self, world: World) -> None:
        refused(await set_quota(world, "?user_id=nobody", instances=1), "nobody is not a valid user")
        of_alice = f"?user_id={world.alice.user_id}"
        refused(await set_quota(world, of_alice, security_groups=1), "only the whole project")
        answer = await world.alice.put(path_of(world.alice) + of_alice, {"quota_set": {"instances": 1}})
        assert answer.status == 403
        strict = world.admin.at("2.75")
        assert (await strict.get(path_of(world.alice) + "?who=me")).status == 400


class TestSets:
    async def test_an_unknown_project_is_400_in_every_way(self, world: World) -> None:
        for answer in (
            await world.admin.get("/os-quota-sets/nobody"),
            await world.admin.get("/os-quota-sets/nobody/detail"),
            await world.admin.get("/os-quota-sets/nobody/defaults"),
            await world.admin.put("/os-quota-sets/nobody", {"quota_set": {}}),
            await world.admin.delete("/os-quota-sets/nobody"),
        ):
            refused(answer, "Project ID nobody is not a valid project.")

    async def test_what_older_versions_have_is_kept(self, world: World) -> None:
        old = {"injected_files": 7, "injected_file_content_bytes": 9, "injected_file_path_bytes": 8}
        net = {"fixed_ips": 5, "floating_ips": 6, "security_groups": 3, "security_group_rules": 4}
        answer = await set_quota(world, **old, **net)
        assert answer.status == 200
        assert answer.json["quota_set"].items() >= (old | net).items()
        assert (await quota(world)).items() >= (old | net).items()
        limits = (await world.alice.get("/limits")).json["limits"]["absolute"]
        assert (limits["maxPersonality"], limits["maxPersonalitySize"]) == (7, 9)
        assert (limits["maxSecurityGroups"], limits["maxTotalFloatingIps"]) == (3, 6)

    async def test_limits_are_the_projects_whoever_looks(self, world: World) -> None:
        await set_quota(world, f"?user_id={world.alice.user_id}", instances=2)
        absolute = (await world.alice.get("/limits")).json["limits"]["absolute"]
        assert absolute["maxTotalInstances"] == 10


class TestClasses:
    async def test_fields_by_version(self, world: World) -> None:
        for version, expected in (
            ("2.1", ALWAYS | NET | FILES),
            ("2.49", ALWAYS | NET | FILES),
            ("2.50", ALWAYS | GROUPS | FILES),
            ("2.57", ALWAYS | GROUPS),
        ):
            person = world.admin.at(version)
            shown = (await person.get("/os-quota-class-sets/default")).json["quota_class_set"]
            assert set(shown) == expected | {"id"}
            assert shown["id"] == "default"
            body = {"quota_class_set": {"instances": 11}}
            changed = (await person.put("/os-quota-class-sets/default", body)).json["quota_class_set"]
            assert set(changed) == expected
            assert changed["instances"] == 11

    async def test_the_default_class_is_what_projects_have(self, world: World) -> None:
        body = {"quota_class_set": {"instances": 1, "security_groups": 3}}
        assert (await world.admin.put("/os-quota-class-sets/default", body)).status == 200
        own = (await world.alice.get(path_of(world.alice))).json["quota_set"]
        assert (own["instances"], own["security_groups"]) == (1, 3)
        defaults = (await world.alice.get(f"{path_of(world.alice)}/defaults")).json["quota_set"]
        assert defaults["instances"] == 1
        await world.boot(world.alice)
        assert (await create(world.alice)).fault[1].endswith("1 of 1 instances")
        await set_quota(world, instances=2)
        assert (await create(world.alice)).status == 202

    async def test_others_are_kept_apart(self, world: World) -> None:
        gold = "/os-quota-class-sets/gold"
        assert (await world.admin.put(gold, {"quota_class_set": {"cores": 99}})).status == 200
        assert (await world.admin.get(gold)).json["quota_class_set"]["cores"] == 99
        assert (await quota(world))["cores"] == 20

    async def test_what_cannot_be(self, world: World) -> None:
        path = "/os-quota-class-sets/default"
        for version, limits in (
            ("2.1", {"instances": -2}),
            ("2.1", {"wishes": 1}),
            ("2.1", {"force": True}),
            ("2.50", {"floating_ips": 1}),
            ("2.57", {"injected_files": 1}),
        ):
            refused(await world.admin.at(version).put(path, {"quota_class_set": limits}), next(iter(limits)))
        refused(await world.admin.put(f"/os-quota-class-sets/{'x' * 256}", {"quota_class_set": {}}), "255")
        refused(await world.admin.put(path, {}), "quota_class_set")
        for answer in (await world.alice.get(path), await world.alice.put(path, {"quota_class_set": {}})):
            assert answer.status == 403


# ---- very many at once


def wanted(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": f"s{number}", "imageRef": IMAGE, "flavorRef": FLAVOR, "networks": "none", **more}


async def create(who: Person, number: int = 0, **more: Any) -> Answer:
    return await who.at("2.90").post("/servers", {"server": wanted(number, **more)})


async def crowd(*people: Person, each: int, **more: Any) -> list[tuple[Person, Answer]]:
    """So many creates of each, all on their way before the first is answered."""
    asking = [(who, create(who, number, **more)) for number in range(each) for who in people]
    answers = await asyncio.gather(*(request for _, request in asking))
    return [(who, answer) for (who, _), answer in zip(asking, answers, strict=True)]


def told(answers: list[tuple[Person, Answer]]) -> Counter[tuple[int, str]]:
    return Counter(
        (answer.status, "" if answer.status == 202 else ": ".join(answer.fault)) for _, answer in answers
    )


async def servers_of(who: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = f"&marker={found[-1]['id']}" if found else ""
        page = (await who.at("2.90").get(f"/servers/detail?limit=200{after}")).json["servers"]
        found += page
        if len(page) < 200:
            return found


async def check_recount(who: Person, count: int) -> None:
    """What is said to be used is what there is."""
    servers = await servers_of(who)
    assert len(servers) == count
    used = (await who.get(f"{path_of(who)}/detail")).json["quota_set"]
    assert used["instances"]["in_use"] == count
    assert used["cores"]["in_use"] == sum(each["flavor"]["vcpus"] for each in servers)
    assert used["ram"]["in_use"] == sum(each["flavor"]["ram"] for each in servers)


@pytest.mark.timeout(600)
class TestManyAtOnce:
    async def test_500_creates_give_exactly_the_limit(self, world: World) -> None:
        await set_quota(world, **{**ROOMY, "instances": 20})
        answers = await crowd(world.alice, each=CROWD)
        words = "Quota exceeded for instances: Requested 1, but already used 20 of 20 instances"
        assert told(answers) == {(202, ""): 20, (403, f"forbidden: {words}"): CROWD - 20}
        await check_recount(world.alice, 20)

    @pytest.mark.parametrize(("resource", "each"), [("cores", 2), ("ram", 700)])
    async def test_of_cores_and_ram_too(self, world: World, resource: str, each: int) -> None:
        await world.do(FlavorCreate(flavor_id=FlavorId("2"), name="m2", vcpus=2, memory_mb=700, root_gb=1))
        await set_quota(world, **{**ROOMY, resource: each * 15 + 1})
        answers = await crowd(world.alice, each=CROWD // 2, flavorRef="2")
        used, limit = each * 15, each * 15 + 1
        words = (
            f"Quota exceeded for {resource}: Requested {each}, but already used {used} of {limit} {resource}"
        )
        assert told(answers) == {(202, ""): 15, (403, f"forbidden: {words}"): CROWD // 2 - 15}
        await check_recount(world.alice, 15)

    async def test_of_several_projects_each_gets_its_own(self, world: World) -> None:
        people = [
            world.alice,
            world.bob,
            await member_of_new(world, "three"),
            await member_of_new(world, "four"),
        ]
        for limit, who in enumerate(people, 3):
            await set_quota(world, "", who, **{**ROOMY, "instances": limit})
        answers = await crowd(*people, each=CROWD // 4)
        for limit, who in enumerate(people, 3):
            mine = told([(asker, answer) for asker, answer in answers if asker is who])
            assert mine[(202, "")] == limit
            assert sum(mine.values()) - limit == sum(n for (status, _), n in mine.items() if status == 403)
            await check_recount(who, limit)

    async def test_of_many_in_one_request(self, world: World) -> None:
        """From one to three each: all of the quota is given, and nobody who was told no has any."""
        await set_quota(world, **{**ROOMY, "instances": 20})
        answers = await crowd(world.alice, each=60, min_count=1, max_count=3)
        said = told(answers)
        assert {status for status, _ in said} == {202, 403}
        assert all("Quota exceeded for instances" in words for status, words in said if status == 403)
        await check_recount(world.alice, 20)
        made = Counter(each["name"].partition("-")[0] for each in await servers_of(world.alice))
        assert sum(made.values()) == 20
        assert len(made) == said[(202, "")]

    async def test_at_least_three_or_none(self, world: World) -> None:
        """Who cannot have three leaves none behind. Nothing above the limit, ever."""
        await set_quota(world, **{**ROOMY, "instances": 20})
        answers = await crowd(world.alice, each=30, min_count=3, max_count=3)
        said = told(answers)
        assert {status for status, _ in said} <= {202, 403}
        count = 3 * said[(202, "")]
        assert count <= 20
        await check_recount(world.alice, count)

    async def test_with_ports_no_address_is_left_of_those_refused(self, world: World) -> None:
        await set_quota(world, **{**ROOMY, "instances": 10})
        answers = await crowd(world.alice, each=60, networks="auto")
        assert told(answers)[(202, "")] == 10
        await check_recount(world.alice, 10)
        assert len(await world.cloud.state.read(UsedAddresses(subnet_id=SUBNET))) == 10
