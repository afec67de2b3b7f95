"""PUT of `pinned_availability_zone`, from 2.104 on: who may, when, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.placement.queries import GetPlacementRequest
from proto.ids import ServerId
from tests.api.compute.world import Answer, Person, World


async def pin(who: Person, server_id: str, zone: Any, version: str = "2.104", **fields: Any) -> Answer:
    wanted = {"pinned_availability_zone": zone, **fields}
    return await who.at(version).put(f"/servers/{server_id}", {"server": wanted})


async def pinned(world: World, server_id: str) -> str | None:
    shown = (await world.alice.at("2.96").get(f"/servers/{server_id}")).json["server"]
    zone: str | None = shown["pinned_availability_zone"]
    return zone


async def west(world: World, host: str = "h3") -> None:
    await world.admin.post("/os-aggregates", {"aggregate": {"name": "w", "availability_zone": "west"}})
    await world.admin.post("/os-aggregates/1/action", {"add_host": {"host": host}})


async def test_unpinned_and_pinned_again(world: World) -> None:
    server_id = await world.active(world.alice, availability_zone="nova")
    for zone in (None, None, "nova", "nova"):
        answer = await pin(world.alice, server_id, zone)
        assert (answer.status, answer.json["server"]["pinned_availability_zone"]) == (200, zone)
        assert answer.json["server"]["OS-EXT-AZ:availability_zone"] == "nova"
        assert await pinned(world, server_id) == zone
        listed = (await world.alice.at("2.104").get("/servers/detail")).json["servers"]
        assert [each["pinned_availability_zone"] for each in listed] == [zone]


async def test_what_is_refused(world: World) -> None:
    await west(world)
    server_id = await world.active(world.alice)
    answer = await pin(world.alice, server_id, "west", name="new")
    words = "Server can only be pinned to its current availability zone 'nova', but 'west' was requested."
    assert (answer.status, answer.fault) == (409, ("conflictingRequest", words))
    assert (await world.server(server_id)).name == "web-1"
    assert (await pin(world.alice, server_id, "nova", name="new")).status == 200
    assert (await world.server(server_id)).name == "new"
    answer = await pin(world.alice, server_id, "west")
    words = "Cannot change pinned availability zone directly. "
    words += "Unpin first by setting pinned_availability_zone to null."
    assert (answer.status, answer.fault) == (409, ("conflictingRequest", words))
    assert await pinned(world, server_id) == "nova"


async def test_the_zone_is_that_of_its_hosts_aggregate(world: World) -> None:
    await west(world)
    server_id = await world.active(world.alice, host=2)
    assert (await pin(world.alice, server_id, "rack2")).status == 409  # what the host says of itself
    assert (await pin(world.alice, server_id, "west")).status == 200
    answer = await world.admin.post("/os-aggregates/1/action", {"remove_host": {"host": "h3"}})
    assert answer.status == 409  # the zone of a server never changes under it


async def test_not_while_it_is_busy(world: World) -> None:
    building = await world.boot(world.alice, availability_zone="nova")
    answer = await pin(world.alice, building, None)
    assert (answer.status, answer.fault[0]) == (409, "conflictingRequest")
    assert "while it is in task_state scheduling" in answer.fault[1]
    server_id = await world.active(world.alice, "moving", availability_zone="nova")
    assert (await world.admin.post(f"/servers/{server_id}/action", {"migrate": None})).status == 202
    answer = await pin(world.alice, server_id, None)
    assert answer.status == 409
    assert "while it is in task_state resize_prep" in answer.fault[1]
    assert (await pin(world.alice, server_id, "nova", name="new")).status == 200  # as it is


async def test_later_moves_obey(world: World) -> None:
    server_id = await world.active(world.alice)
    assert (await pin(world.alice, server_id, "nova")).status == 200
    await world.admin.post(f"/servers/{server_id}/action", {"migrate": None})
    asked = await world.cloud.state.read(GetPlacementRequest(server_id=ServerId(server_id)))
    assert asked is not None
    assert asked.zone == "nova"


async def test_who_may(world: World) -> None:
    server_id = await world.active(world.alice, availability_zone="nova")
    assert (await pin(world.bob, server_id, None)).status == 404
    assert (await pin(world.reader, server_id, None)).status == 403
    assert (await world.alice.post(f"/servers/{server_id}/action", {"lock": None})).status == 202
    answer = await pin(world.alice, server_id, None)
    assert (answer.status, answer.fault[1]) == (409, f"Instance {server_id} is locked")
    assert (await pin(world.admin, server_id, None)).status == 200


@pytest.mark.parametrize(
    ("version", "fields", "named"),
    [
        ("2.103", {"pinned_availability_zone": None}, "pinned_availability_zone"),
        ("2.1", {"pinned_availability_zone": "nova"}, "pinned_availability_zone"),
        ("2.104", {"pinned_availability_zone": ""}, "pinned_availability_zone"),
        ("2.104", {"pinned_availability_zone": "z" * 256}, "pinned_availability_zone"),
        ("2.104", {"pinned_availability_zone": 1}, "pinned_availability_zone"),
        ("2.104", {"pinned_availability_zone": ["nova"]}, "pinned_availability_zone"),
        ("2.104", {"availability_zone": "nova"}, "availability_zone"),
    ],
)
async def test_bad_bodies(world: World, version: str, fields: dict[str, Any], named: str) -> None:
    server_id = await world.active(world.alice, availability_zone="nova")
    answer = await world.alice.at(version).put(f"/servers/{server_id}", {"server": fields})
    assert (answer.status, answer.fault[0]) == (400, "badRequest")
    assert named in answer.fault[1]
    assert await pinned(world, server_id) == "nova"
