"""`POST /fabric/v1/explain`: where servers would go that nobody has asked for yet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proto.commands.catalog import FlavorCreate
from proto.ids import FlavorId
from tests.api.compute.world import HOST_NAMES, IMAGE, Person, World

ROOT = "/fabric/v1"


async def explain(who: Person, **body: Any) -> Any:
    answer = await who.post("/explain", body, root=ROOT)
    assert answer.status == 200, answer.data
    return answer.json


async def refusal(who: Person, status: int, **body: Any) -> str:
    answer = await who.post("/explain", body, root=ROOT)
    assert answer.status == status, answer.data
    return str(answer.json["error"]["message"])


async def test_by_id_by_name_and_by_size(world: World) -> None:
    size = {"vcpus": 1, "ram": 512, "disk": 1}
    for flavor in ("1", "m1.tiny", size):
        for image in (IMAGE, "guest"):
            found = await explain(world.admin, flavor=flavor, image=image)
            assert found["chosen"] == "h1"  # which holds the image
            assert found["request"]["resources"] == {"DISK_GB": 1, "MEMORY_MB": 512, "VCPU": 1}
            assert found["count"] == {"asked": 1, "fit": 1, "hosts": {"h1": 1}}
            assert "server" not in found


async def test_nothing_is_made(world: World) -> None:
    before = world.cloud.state.applied_index
    await explain(world.alice, flavor="1", count=5)
    assert world.cloud.state.applied_index == before
    assert (await world.alice.get("/servers")).json["servers"] == []


async def test_how_many_of_them_fit_together(world: World) -> None:
    await world.do(
        FlavorCreate(flavor_id=FlavorId("9"), name="m1.half", vcpus=8, memory_mb=12_288, root_gb=1)
    )
    found = await explain(world.admin, flavor="m1.half", count=10, availability_zone="nova")
    assert found["count"] == {"asked": 10, "fit": 4, "hosts": {"h1": 2, "h2": 2}}
    told = await explain(world.alice, flavor="m1.half", count=10)
    assert told["count"] == {"asked": 10, "fit": 6}
    told = await explain(world.alice, flavor="m1.half", count=3)
    assert told["count"] == {"asked": 3, "fit": 3}, "no more is told than was asked"


async def test_a_size_that_fits_nowhere_is_explained_as_the_fault_would(world: World) -> None:
    found = await explain(world.alice, flavor={"vcpus": 9, "ram": 20_000}, count=2)
    assert found["summary"].startswith("No valid host was found. Asked for 9 vCPUs, 20000 MB of memory")
    assert found["count"] == {"asked": 2, "fit": 0}
    text = json.dumps(found)
    assert not [name for name in HOST_NAMES if f'"{name}"' in text or f" {name}" in text]
    seen = await explain(world.admin, flavor={"vcpus": 9, "ram": 20_000})
    assert {each["filter"] for each in seen["refused"]} == {"RamFilter", "CoreFilter"}
    assert len(seen["verdicts"]) == 3


async def test_a_host_and_extra_specs_of_ones_own_are_for_admins(world: World) -> None:
    found = await explain(world.admin, flavor="1", host="h3")
    assert (found["chosen"], found["request"]["host"]) == ("h3", "h3")
    assert "create_forced_host" in await refusal(world.alice, 403, flavor="1", host="h3")
    asking = {"vcpus": 1, "ram": 1, "extra_specs": {"capabilities:free_ram_mb": ">= 9000"}}
    assert (await explain(world.admin, flavor=asking))["fits"]
    assert "flavor.extra_specs" in await refusal(world.alice, 403, flavor=asking)
    assert "project_id" in await refusal(world.alice, 403, flavor="1", project_id=world.bob.project_id)
    found = await explain(world.admin, flavor="1", project_id=world.bob.project_id)
    assert found["request"]["project_id"] == world.bob.project_id


async def test_hints_decide(world: World) -> None:
    beside = await world.active(world.alice, host=1)
    found = await explain(world.admin, flavor="1", scheduler_hints={"same_host": [beside]})
    assert (found["chosen"], found["fitting"]) == ("h2", 1)
    found = await explain(world.admin, flavor="1", scheduler_hints={"different_host": beside})
    assert (found["chosen"], found["fitting"]) == ("h1", 2) or found["chosen"] == "h3"
    assert found["refused"][0]["filter"] == "DifferentHostFilter"


async def test_a_group_decides(world: World) -> None:
    made = await world.alice.at("2.64").post(
        "/os-server-groups", {"server_group": {"name": "apart", "policy": "anti-affinity"}}
    )
    group_id = made.json["server_group"]["id"]
    found = await explain(world.alice, flavor="1", group=group_id, count=5)
    assert found["count"] == {"asked": 5, "fit": 3}
    assert found["request"]["group"] == {"id": group_id, "policy": "anti-affinity"}
    wanted = {"name": "one", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}
    made = await world.alice.at("2.90").post(
        "/servers", {"server": wanted, "os:scheduler_hints": {"group": group_id}}
    )
    await world.place(made.json["server"]["id"], 1)
    found = await explain(
        world.admin,
        flavor="1",
        scheduler_hints={"group": group_id},
        count=5,
        project_id=world.alice.project_id,
    )
    assert found["count"]["hosts"] == {"h1": 1, "h3": 1}
    assert [(each["filter"], each["nearest"][0]["host"]) for each in found["refused"]] == [
        ("ServerGroupAntiAffinityFilter", "h2")
    ]
    assert "Instance group" in await refusal(world.bob, 400, flavor="1", group=group_id)


async def test_a_reader_makes_no_servers_and_asks_for_none(world: World) -> None:
    await refusal(world.reader, 403, flavor="1")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "'flavor' is a required property"),
        ({"flavor": 1}, "flavor"),
        ({"flavor": "m1.absent"}, "flavor: Flavor m1.absent could not be found."),
        ({"flavor": {"vcpus": 1}}, "'ram' is a required property"),
        ({"flavor": {"vcpus": 0, "ram": 1}}, "vcpus"),
        ({"flavor": {"vcpus": 1 << 31, "ram": 1}}, "vcpus"),
        ({"flavor": {"vcpus": 1, "ram": 1, "extra_specs": {"a": 1}}}, "extra_specs.a"),
        ({"flavor": "1", "image": "absent"}, "image: Image absent could not be found."),
        ({"flavor": "1", "image": "44444444-4444-4444-8444-444444444444"}, "image: Image"),
        ({"flavor": "1", "availability_zone": "mars"}, "availability_zone: The requested availability zone"),
        ({"flavor": "1", "host": "h9"}, "host: Compute host h9 could not be found."),
        ({"flavor": "1", "count": 0}, "count"),
        ({"flavor": "1", "count": 1_001}, "count"),
        ({"flavor": "1", "scheduler_hints": {"query": None}}, "query"),
        ({"flavor": "1", "surprise": 1}, "'surprise' was unexpected"),
    ],
)
async def test_bad_input_is_named(world: World, body: dict[str, Any], named: str) -> None:
    assert named in await refusal(world.admin, 400, **body)


async def test_what_a_create_refuses_is_refused_in_the_same_words(world: World) -> None:
    for hints in (
        {"different_host": "nosuch"},
        {"same_host": "x"},
        {"same_host": ""},
        {"build_near_host_ip": "garbage"},
        {"cidr": "24"},
        {"group": "nosuch"},
    ):
        (name,) = hints
        wanted = {"name": "one", "imageRef": IMAGE, "flavorRef": "1", "networks": "auto"}
        made = await world.alice.at("2.90").post("/servers", {"server": wanted, "os:scheduler_hints": hints})
        said = await refusal(world.alice, 400, flavor="1", scheduler_hints=hints)
        assert made.status == 400
        assert name in said
        assert said.split("Value:")[-1] == made.fault[1].split("Value:")[-1]
    bogus = {"vcpus": 1, "ram": 64, "extra_specs": {"hw:cpu_policy": "bogus"}}
    assert "hw:cpu_policy=bogus is invalid" in await refusal(world.admin, 400, flavor=bogus)
    assert "Project ID nosuch" in await refusal(world.admin, 400, flavor="1", project_id="nosuch")


async def test_a_hint_that_no_filter_reads_is_named(world: World) -> None:
    hints = {"query": '[">=","$free_ram_mb",1]', "same_host": [], "mine": "x"}
    found = await explain(world.alice, flavor="1", scheduler_hints=hints)
    assert found["hints_not_in_force"] == ["mine", "query"]
    assert (await explain(world.alice, flavor="1"))["hints_not_in_force"] == []


async def test_unknown_parameters_are_refused(world: World) -> None:
    server_id = await world.active(world.alice, host=1)
    for path in (f"/servers/{server_id}/why", f"/servers/{server_id}/why-not/h1", "/capacity"):
        answer = await world.admin.get(f"{path}?bogus=1", root=ROOT)
        assert answer.status == 400, path
        assert "bogus" in answer.json["error"]["message"]
    answer = await world.admin.post("/explain?bogus=1", {"flavor": "1"}, root=ROOT)
    assert (answer.status, "bogus" in answer.json["error"]["message"]) == (400, True)


async def test_a_value_that_is_not_understood_is_remarked(world: World) -> None:
    specs = {"trait:CUSTOM_Z": "requird", "resources:CUSTOM_Q": "two", "resources:VCPU": "1"}
    found = await explain(world.admin, flavor={"vcpus": 1, "ram": 64, "extra_specs": specs})
    assert found["fits"], "as in Nova, which passes over it"
    assert found["extra_specs_not_understood"] == ["resources:CUSTOM_Q=two", "trait:CUSTOM_Z=requird"]
