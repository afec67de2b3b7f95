"""`/fabric/v1/servers/{id}/why` and `why-not`: what an admin sees, and what nobody else does."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

from fabric.control import explanation_view, explanations
from fabric.control.context import Caller
from fabric.control.policy import implied_roles
from fabric.core.images.queries import ListImages
from fabric.core.placement.host_word import HostWord, packed, write_word
from fabric.core.queries import Page
from proto.commands.catalog import FlavorCreate
from proto.commands.nodes import HostUpdate
from proto.ids import DomainId, FlavorId, new_request_id
from tests.api.compute.world import HOST_NAMES, HOSTS, Answer, Person, World

ROOT = "/fabric/v1"


async def why(who: Person, server_id: str) -> Any:
    answer = await who.get(f"/servers/{server_id}/why", root=ROOT)
    assert answer.status == 200, answer.data
    return answer.json


async def too_large(world: World) -> str:
    """A server of alice's that no host can take, as the scheduler leaves it."""
    await world.do(FlavorCreate(flavor_id=FlavorId("9"), name="m1.huge", vcpus=9, memory_mb=512, root_gb=1))
    server_id = await world.boot(world.alice, "huge", flavorRef="9")
    await world.fail_placement(server_id)
    return server_id


def refuses_to(answer: Answer, status: int) -> str:
    assert answer.status == status, answer.data
    fault = answer.json["error"]
    assert fault["code"] == status
    assert fault["request_id"].startswith("req-")
    return str(fault["message"])


async def test_where_it_is_and_why_there(world: World) -> None:
    server_id = await world.active(world.alice, host=0)
    found = await why(world.admin, server_id)
    server = found["server"]
    assert (server["host"], server["status"], server["fault"]) == ("h1", "ACTIVE", None)
    assert (found["chosen"], found["would_move"]) == ("h1", False)  # the image is there
    assert (found["fits"], found["hosts"], found["fitting"]) == (True, 3, 3)
    best = found["verdicts"][0]
    assert (best["host"], best["weights"]["ImageLocalityWeigher"], best["refusals"]) == ("h1", 0.01, [])
    assert best["weight"] == 3.01  # all the room that the most free host has, and the image
    assert found["index"] <= world.cloud.state.applied_index
    assert found["request"]["resources"] == {"DISK_GB": 1, "MEMORY_MB": 512, "VCPU": 1}


async def test_what_hosts_say_of_themselves_counts_here_too(world: World) -> None:
    """The one that holds the image fails its builds; another has the image in its cache."""
    server_id = await world.active(world.alice, host=0)
    (row,) = await world.cloud.state.read(ListImages(page=Page()))
    assert row.sha256 is not None
    world.fleet.words[HOSTS[0]] = write_word(HostWord(failed_builds=2))
    world.fleet.words[HOSTS[2]] = write_word(HostWord(images=packed([row.sha256])))
    found = await why(world.admin, server_id)
    assert (found["chosen"], found["would_move"]) == ("h3", True)
    weights = {each["host"]: each["weights"] for each in found["verdicts"]}
    assert [weights[name]["ImageLocalityWeigher"] for name in HOST_NAMES] == [0.01, 0.0, 0.01]
    assert [weights[name]["BuildFailureWeigher"] for name in HOST_NAMES] == [-1_000_000.0, 0.0, 0.0]


async def test_its_own_claim_does_not_stand_in_its_way(world: World) -> None:
    """It fills its host, and would still go there again."""
    await world.do(
        FlavorCreate(flavor_id=FlavorId("9"), name="m1.all", vcpus=8, memory_mb=16_384, root_gb=100)
    )
    server_id = await world.active(world.alice, flavorRef="9", host=0)
    for name in ("h2", "h3"):
        await world.do(HostUpdate(host_id=HOSTS[HOST_NAMES.index(name)], enabled=False))
    found = await why(world.admin, server_id)
    assert (found["chosen"], found["fitting"]) == ("h1", 1)


async def test_when_the_core_would_choose_another_host_it_says_so(world: World) -> None:
    server_id = await world.active(world.alice, host=2)
    await world.do(HostUpdate(host_id=HOSTS[2], enabled=False, disabled_reason="new disk"))
    found = await why(world.admin, server_id)
    assert (found["server"]["host"], found["chosen"], found["would_move"]) == ("h3", "h1", True)
    (refusal,) = found["verdicts"][-1]["refusals"]
    assert (refusal["filter"], refusal["remark"]) == ("ComputeFilter", "is disabled: new disk")
    (counted,) = found["refused"]
    assert (counted["hosts"], counted["nearest"][0]["host"]) == (1, "h3")


async def test_a_server_that_fits_nowhere_shows_its_fault_beside_what_is_known_now(world: World) -> None:
    server_id = await too_large(world)
    found = await why(world.admin, server_id)
    assert found["server"]["status"] == "ERROR"
    assert found["server"]["host"] is None
    assert found["server"]["fault"]["details"] == "h1: 512 MB of RAM missing"
    assert (found["chosen"], found["fitting"], found["would_move"]) == (None, 0, False)
    (counted,) = found["refused"]
    assert (counted["filter"], counted["hosts"], counted["needed"], counted["most_free"]) == (
        "CoreFilter",
        3,
        9,
        8,
    )
    change, *of_operators = found["would_fit_if"]
    assert (change["text"], change["changes"][0]["value"]) == (
        "would fit if the flavor had 8 vCPUs",
        {"vcpus": 8},
    )
    assert change["host"] in HOST_NAMES
    assert [each["text"] for each in of_operators] == [
        f"would fit if {name} had 1 more vCPUs" for name in HOST_NAMES
    ]


async def test_a_member_is_told_counts_and_what_to_ask_for_and_no_host(world: World) -> None:
    placed, unplaced = await world.active(world.alice, host=1), await too_large(world)
    for who in (world.alice, world.reader):
        for server_id in (placed, unplaced):
            found = await why(who, server_id)
            text = json.dumps(found)
            for name, host_id in zip(HOST_NAMES, HOSTS, strict=True):
                assert f'"{name}"' not in text
                assert f"{name}:" not in text
                assert f" {name}" not in text
                assert host_id not in text
            assert found.keys().isdisjoint({"verdicts", "chosen", "would_move"})
            assert "nearest" not in text
            assert "details" not in text
    assert found["refused"] == [
        {
            "filter": "CoreFilter",
            "reason": "not enough vCPUs",
            "hosts": 3,
            "needed": 9,
            "most_free": 8,
            "unit": "vCPUs",
        }
    ]
    assert "3 hosts: not enough vCPUs (needs 9 vCPUs, at most 8 free)" in found["summary"]
    assert [each["text"] for each in found["would_fit_if"]] == ["would fit if the flavor had 8 vCPUs"]


async def test_what_only_an_operator_could_change_is_told_to_operators(world: World) -> None:
    server_id = await world.boot(world.alice)
    for host_id in HOSTS:
        await world.do(HostUpdate(host_id=host_id, enabled=False, disabled_reason="secret plans"))
    seen = await why(world.admin, server_id)
    assert seen["would_fit_if"][0]["changes"][0]["text"] == "h1 was enabled"
    told = await why(world.alice, server_id)
    assert told["would_fit_if"] == []
    assert told["summary"].endswith("3 hosts: disabled.")
    assert "secret" not in json.dumps(told)


async def test_a_host_that_an_admin_named_is_hidden_from_members_of_the_project(world: World) -> None:
    server_id = await world.boot(world.admin, availability_zone="nova:h2")
    assert (await why(world.admin, server_id))["request"]["host"] == "h2"
    member = Caller(
        user_id=world.alice.user_id,
        user_name="ada",
        domain_id=DomainId("default"),
        project_id=world.admin.project_id,
        project_name="admin",
        roles=implied_roles(["member"]),
        request_id=new_request_id(),
    )
    told = explanation_view.explanation(
        await explanations.why(world.cloud, member, server_id), is_admin=member.is_admin
    )
    assert {each["reason"] for each in told["refused"]} == {"not the host asked for"}
    assert "h2" not in json.dumps(told)


async def test_a_move_that_found_no_host_is_told_with_its_reason(world: World) -> None:
    """Its owner has no other place to hear it: the API it was asked by answered before."""
    server_id = await world.active(world.alice, host=0)
    assert (await why(world.alice, server_id))["failed_move"] is None
    for words in ("No valid host was found. 2 hosts: in another zone.", "it broke\n/var/secret: no space"):
        asked = await world.admin.post(f"/servers/{server_id}/action", {"migrate": None})
        assert asked.status == 202
        assert (await why(world.alice, server_id))["failed_move"] is None  # under way
        await world.fail_move(server_id, words)
        told = (await why(world.alice, server_id))["failed_move"]
        assert (told.pop("created"), told) == (
            ANY,
            {"kind": "migration", "status": "error", "message": words.partition("\n")[0]},
        )
        told = (await why(world.admin, server_id))["failed_move"]
        assert (told["message"], told["from"], told["to"]) == (words, "h1", None)


async def test_other_projects_servers_are_not_found(world: World) -> None:
    server_id = await world.boot(world.alice)
    for path in (f"/servers/{server_id}/why", f"/servers/{server_id}/why-not/h1"):
        assert server_id in refuses_to(await world.bob.get(path, root=ROOT), 404)
    refuses_to(await world.admin.get("/servers/nonsense/why", root=ROOT), 404)
    missing = "00000000-0000-4000-8000-000000000000"
    refuses_to(await world.admin.get(f"/servers/{missing}/why", root=ROOT), 404)


async def test_without_a_token_nothing_is_told(world: World) -> None:
    stranger = Person(world.alice.session, world.alice.url, "", world.alice.user_id, world.alice.project_id)
    refuses_to(await stranger.get("/capacity", root=ROOT), 401)
    answer = await stranger.get("", root="/fabric/")
    assert (answer.status, answer.json["versions"][0]["id"]) == (200, "v1")
    answer = await stranger.get("v1/", root="/fabric/")  # where its link points
    assert (answer.status, answer.json["version"]["id"]) == (200, "v1")


async def test_why_not_there(world: World) -> None:
    server_id = await world.active(world.alice, host=0, availability_zone="nova")
    answer = await world.admin.get(f"/servers/{server_id}/why-not/h3", root=ROOT)
    found = answer.json
    assert (answer.status, found["host"], found["fits"], found["is_there"]) == (200, "h3", False, False)
    (refusal,) = found["refusals"]
    assert (refusal["filter"], refusal["remark"]) == ("AvailabilityZoneFilter", "is in zone rack2, not nova")
    assert found["would_fit_if"][0]["text"] == "would fit if it was asked for in zone rack2"
    assert found["chosen"] == "h1"
    by_id = await world.admin.get(f"/servers/{server_id}/why-not/{HOSTS[2]}", root=ROOT)
    assert by_id.json["refusals"] == found["refusals"]
    there = (await world.admin.get(f"/servers/{server_id}/why-not/h1", root=ROOT)).json
    assert (there["is_there"], there["fits"], there["weights"]["ImageLocalityWeigher"]) == (True, True, 0.01)
    refuses_to(await world.admin.get(f"/servers/{server_id}/why-not/h9", root=ROOT), 404)


async def test_the_host_that_a_create_named_does_not_bind_a_server_that_is_there(world: World) -> None:
    """It may be moved anywhere; one that has no host yet may go to that one only."""
    there = await world.active(world.admin, host=1, availability_zone="nova:h2")
    assert (await world.admin.get(f"/servers/{there}/why-not/h1", root=ROOT)).json["fits"] is True
    waiting = await world.boot(world.admin, availability_zone="nova:h2")
    (refusal,) = (await world.admin.get(f"/servers/{waiting}/why-not/h1", root=ROOT)).json["refusals"]
    assert refusal["remark"] == "is not h2"


async def test_who_is_no_admin_may_not_ask_about_hosts(world: World) -> None:
    """Not even whether one of that name is there."""
    server_id = await world.boot(world.alice)
    answers = [
        await world.alice.get(f"/servers/{server_id}/why-not/{name}", root=ROOT) for name in ("h1", "h9")
    ]
    assert len({refuses_to(answer, 403) for answer in answers}) == 1
