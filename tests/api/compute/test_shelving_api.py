"""shelve, shelveOffload, unshelve: who may, in which state, and what each microversion takes."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.images.queries import ImageFilter, ListImages
from fabric.core.placement.queries import GetPlacementRequest
from fabric.core.servers.states import PowerState, VmState
from proto.commands.nodes import HostUpdate
from proto.commands.shelving import ServerShelved
from tests.api.compute.world import HOSTS, Answer, Person, World

SHELVE, UNSHELVE, OFFLOAD = {"shelve": None}, {"unshelve": None}, {"shelveOffload": None}


async def act(who: Person, server_id: str, body: Any, version: str | None = None) -> Answer:
    return await who.at(version).post(f"/servers/{server_id}/action", body)


async def shown(world: World, server_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await world.admin.get(f"/servers/{server_id}")).json["server"]
    return found


async def shelved(world: World, who: Person, name: str = "web-1", **fields: Any) -> str:
    """What its host would do of it is done."""
    server_id = await world.active(who, name, **fields)
    assert (await act(who, server_id, SHELVE)).status == 202
    await save(world, server_id)
    return server_id


async def save(world: World, server_id: str) -> None:
    await world.settle(server_id, PowerState.SHUTDOWN)
    server = await world.server(server_id)
    assert server.host_id is not None
    digests = {"md5": "5" * 32, "sha256": "6" * 64, "sha512": "7" * 128}
    await world.do(
        ServerShelved(
            server_id=server.server_id,
            host_id=server.host_id,
            generation=server.action_generation,
            size_bytes=1_000,
            virtual_bytes=1 << 30,
            **digests,
        )
    )


async def test_there_and_back(world: World) -> None:
    server_id = await world.active(world.alice, host=1)
    before = await shown(world, server_id)
    answer = await act(world.alice, server_id, SHELVE)
    assert (answer.status, answer.data) == (202, b"")
    now = await shown(world, server_id)
    assert (now["status"], now["OS-EXT-STS:task_state"]) == ("ACTIVE", "shelving")
    await save(world, server_id)
    now = await shown(world, server_id)
    assert (now["status"], now["OS-EXT-STS:vm_state"]) == ("SHELVED_OFFLOADED", "shelved_offloaded")
    assert (now["OS-EXT-STS:task_state"], now["OS-EXT-STS:power_state"]) == (None, 4)
    assert (now["OS-EXT-SRV-ATTR:host"], now["hostId"]) == (None, "")
    assert (now["image"], now["addresses"]) == (before["image"], before["addresses"])
    (image,) = [
        each
        for each in await world.cloud.state.read(ListImages(filter=ImageFilter()))
        if each.name == "web-1-shelved"
    ]
    assert (image.project_id, image.visibility) == (world.alice.project_id, "private")
    for query in ("status=SHELVED_OFFLOADED", "status=shelved_offloaded"):
        listed = await world.alice.get(f"/servers?{query}")
        assert [each["id"] for each in listed.json["servers"]] == [server_id]

    answer = await act(world.alice, server_id, UNSHELVE)
    assert (answer.status, answer.data) == (202, b"")
    now = await shown(world, server_id)
    assert (now["status"], now["OS-EXT-STS:task_state"]) == ("SHELVED_OFFLOADED", "unshelving")
    await world.place(server_id, 2)
    assert (await shown(world, server_id))["OS-EXT-STS:task_state"] == "spawning"
    await world.settle(server_id)
    now = await shown(world, server_id)
    assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "h3")
    assert len(await world.cloud.state.read(ListImages(filter=ImageFilter()))) == 1


async def test_what_it_refuses_is_said_in_novas_words(world: World) -> None:
    server_id = await world.active(world.alice)
    for body, verb in ((UNSHELVE, "unshelve"), (OFFLOAD, "shelveOffload")):
        answer = await act(world.admin, server_id, body)
        words = f"Cannot '{verb}' instance {server_id} while it is in vm_state active"
        assert (answer.status, answer.fault) == (409, ("conflictingRequest", words))
    assert (await act(world.alice, server_id, SHELVE)).status == 202
    answer = await act(world.alice, server_id, SHELVE)
    assert (answer.status, answer.fault[1]) == (
        409,
        f"Cannot 'shelve' instance {server_id} while it is in task_state shelving",
    )
    await save(world, server_id)
    for body, verb in (
        (SHELVE, "shelve"),
        (OFFLOAD, "shelveOffload"),
        ({"os-start": None}, "start"),
        ({"os-stop": None}, "stop"),
        ({"reboot": {"type": "SOFT"}}, "reboot"),
        ({"reboot": {"type": "HARD"}}, "reboot"),
        ({"migrate": None}, "migrate"),
        ({"evacuate": {}}, "evacuate"),
        ({"os-migrateLive": {"host": None, "block_migration": "auto"}}, "os-migrateLive"),
    ):
        answer = await act(world.admin, server_id, body, "2.90")
        words = f"Cannot '{verb}' instance {server_id} while it is in vm_state shelved_offloaded"
        assert (answer.status, answer.fault[1]) == (409, words), verb


async def test_who_may(world: World) -> None:
    server_id = await shelved(world, world.alice)
    assert (await act(world.bob, server_id, UNSHELVE)).status == 404
    assert (await act(world.reader, server_id, UNSHELVE)).status == 403
    assert (await act(world.reader, server_id, SHELVE)).status == 403
    assert (await act(world.alice, server_id, OFFLOAD)).status == 403
    answer = await act(world.alice, server_id, {"unshelve": {"host": "h2"}}, "2.91")
    assert (answer.status, answer.fault[1]) == (
        403,
        "Policy doesn't allow compute:servers:unshelve_to_host to be performed.",
    )
    assert (await act(world.alice, server_id, {"lock": None})).status == 202
    answer = await act(world.alice, server_id, UNSHELVE)
    assert (answer.status, answer.fault[1]) == (409, f"Instance {server_id} is locked")
    assert (await act(world.admin, server_id, UNSHELVE)).status == 202


@pytest.mark.parametrize(
    ("version", "wish", "status"),
    [
        ("2.1", {"availability_zone": "nova"}, 202),  # anything goes, and is not looked at
        ("2.76", {"host": "h2"}, 202),
        ("2.77", {"availability_zone": "nova"}, 202),
        ("2.77", {}, 400),
        ("2.77", {"availability_zone": None}, 400),
        ("2.90", {"availability_zone": "nova", "host": "h2"}, 400),
        ("2.91", {"availability_zone": None}, 202),
        ("2.91", {"host": "h2"}, 202),
        ("2.91", {"availability_zone": None, "host": "h2"}, 202),
        ("2.91", {"availability_zone": "nova", "host": "h2"}, 202),
        ("2.91", {"host": None}, 400),
        ("2.91", {"az": "nova"}, 400),
        ("2.91", "nova", 400),
        ("2.104", {"host": "h2"}, 202),
    ],
)
async def test_what_each_microversion_takes(world: World, version: str, wish: Any, status: int) -> None:
    server_id = await shelved(world, world.alice)
    answer = await act(world.admin, server_id, {"unshelve": wish}, version)
    assert answer.status == status, answer.data
    if status == 400:
        assert (await world.server(server_id)).task_state is None


async def test_where_to(world: World) -> None:
    server_id = await shelved(world, world.alice, availability_zone="nova")
    for wish, status, words in (
        ({"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
        ({"host": "h9"}, 400, "Compute host h9 could not be found."),
    ):
        answer = await act(world.admin, server_id, {"unshelve": wish}, "2.91")
        assert (answer.status, answer.fault[1]) == (status, words)
    await world.admin.post("/os-aggregates", {"aggregate": {"name": "w", "availability_zone": "west"}})
    await world.admin.post("/os-aggregates/1/action", {"add_host": {"host": "h3"}})
    for wish in ({"host": "h3"}, {"availability_zone": "nova", "host": "h3"}):
        answer = await act(world.admin, server_id, {"unshelve": wish}, "2.91")
        assert (answer.status, answer.fault[1]) == (409, 'Host "h3" is not in the availability zone "nova".')
    to = {"availability_zone": "west", "host": "h3"}
    assert (await act(world.admin, server_id, {"unshelve": to}, "2.91")).status == 202
    server = await world.server(server_id)
    asked = await world.cloud.state.read(GetPlacementRequest(server_id=server.server_id))
    assert asked is not None
    assert (asked.zone, asked.host_name) == ("west", "h3")
    await world.fail_placement(server_id)
    null = {"availability_zone": None}
    assert (await act(world.alice, server_id, {"unshelve": null}, "2.91")).status == 202
    assert (await world.server(server_id)).zone_wanted is None


async def test_where_no_host_fits(world: World) -> None:
    server_id = await shelved(world, world.alice)
    for host_id in HOSTS:
        await world.do(HostUpdate(host_id=host_id, enabled=False))
    assert (await act(world.alice, server_id, UNSHELVE)).status == 202
    await world.fail_placement(server_id)
    now = await shown(world, server_id)
    assert (now["status"], now["OS-EXT-STS:task_state"]) == ("SHELVED_OFFLOADED", None)
    assert "fault" not in now
    why = (await world.admin.get(f"/servers/{server_id}/why", root="/fabric/v1")).json
    assert why["server"]["fault"]["message"] == "No valid host was found."


async def test_an_older_host_is_not_asked(world: World) -> None:
    server_id = await world.active(world.alice, host=1)
    world.fleet.old.add(HOSTS[1])
    answer = await act(world.alice, server_id, SHELVE)
    assert answer.status == 409
    assert "a host whose program is from before shelving" in answer.fault[1]
    assert (await world.server(server_id)).task_state is None


async def test_deleted_from_the_shelf(world: World) -> None:
    server_id = await shelved(world, world.alice)
    assert (await world.server(server_id)).vm_state is VmState.SHELVED_OFFLOADED
    assert (await world.alice.delete(f"/servers/{server_id}")).status == 204
    assert (await world.alice.get(f"/servers/{server_id}")).status == 404
    assert len(await world.cloud.state.read(ListImages(filter=ImageFilter()))) == 1
