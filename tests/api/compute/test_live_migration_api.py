"""os-migrateLive and the migrations of a server under way, at every microversion that changed them."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.moves.queries import GetOpenMove
from fabric.runtime.hosts import MigrationView
from proto.commands.moves import MoveArrived, MovePlace, MoveRunning
from proto.commands.servers import ServerObserved
from proto.ids import ServerId
from tests.api.compute.world import HOSTS, Answer, Person, World

BODIES: dict[str, dict[str, Any]] = {
    "2.1": {"host": None, "block_migration": True, "disk_over_commit": False},
    "2.24": {"host": None, "block_migration": "True", "disk_over_commit": "false"},
    "2.25": {"host": None, "block_migration": "auto"},
    "2.30": {"host": None, "block_migration": False, "force": False},
    "2.34": {"host": None, "block_migration": "auto", "force": True},
    "2.67": {"host": None, "block_migration": "auto", "force": "yes"},
    "2.68": {"host": None, "block_migration": "auto"},
    "2.104": {"host": None, "block_migration": True},
}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("2.1", {"host": None, "block_migration": True}),
    ("2.1", {"host": None, "block_migration": "auto", "disk_over_commit": False}),
    ("2.25", {"host": None, "block_migration": "auto", "disk_over_commit": False}),
    ("2.25", {"host": None, "block_migration": "maybe"}),
    ("2.29", {"host": None, "block_migration": "auto", "force": True}),
    ("2.68", {"host": None, "block_migration": "auto", "force": True}),
    ("2.104", {"block_migration": "auto"}),
    ("2.104", {"host": ""} | {"block_migration": "auto"}),
    ("2.104", {"host": 7, "block_migration": "auto"}),
]
FIELDS = {
    *("id", "status", "server_uuid", "created_at", "updated_at"),
    *("source_compute", "source_node", "dest_compute", "dest_node", "dest_host"),
    *("memory_total_bytes", "memory_processed_bytes", "memory_remaining_bytes"),
    *("disk_total_bytes", "disk_processed_bytes", "disk_remaining_bytes"),
}


async def migrate(who: Person, server_id: str, wanted: dict[str, Any] | None = None) -> Answer:
    body = wanted if wanted is not None else {"host": None, "block_migration": "auto"}
    return await who.post(f"/servers/{server_id}/action", {"os-migrateLive": body})


async def place(world: World, server_id: str, host: int = 1) -> str:
    """What the scheduler would do. Returns the move's id."""
    server = await world.server(server_id)
    move = await world.cloud.state.read(GetOpenMove(server_id=server.server_id))
    assert move is not None
    await world.do(
        MovePlace(
            move_id=move.move_id,
            server_id=server.server_id,
            host_id=HOSTS[host],
            fence=await world.scheduler_fence(),
            read_generation=server.generation,
        )
    )
    return move.move_id


async def run(world: World, server_id: str) -> str:
    """It is being sent from h1 to h2."""
    move_id = await place(world, server_id)
    await world.do(MoveRunning(move_id=move_id, server_id=ServerId(server_id), host_id=HOSTS[0]))
    return move_id


async def fail(world: World, server_id: str) -> None:
    server = await world.server(server_id)
    await world.do(
        ServerObserved(
            server_id=server.server_id,
            host_id=HOSTS[0],
            generation=server.action_generation,
            power_state="running",
            fault_message="it was aborted",
        )
    )


async def the_migration(world: World, server_id: str, version: str = "2.104") -> dict[str, Any]:
    answer = await world.admin.at(version).get(f"/servers/{server_id}/migrations")
    (found,) = answer.json["migrations"]
    return dict(found)


@pytest.mark.parametrize("version", BODIES)
async def test_each_version_takes_its_body(world: World, version: str) -> None:
    server_id = await world.active(world.alice)
    answer = await migrate(world.admin.at(version), server_id, BODIES[version])
    assert (answer.status, answer.data) == (202, b"")
    shown = (await world.admin.at(version).get(f"/servers/{server_id}")).json["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("MIGRATING", "migrating")


@pytest.mark.parametrize(("version", "wanted"), BAD)
async def test_what_a_version_does_not_know_is_refused(
    world: World, version: str, wanted: dict[str, Any]
) -> None:
    server_id = await world.active(world.alice)
    answer = await migrate(world.admin.at(version), server_id, wanted)
    assert (answer.status, answer.fault[0]) == (400, "badRequest")
    assert (await world.server(server_id)).task_state is None


async def test_only_admins_move_servers(world: World) -> None:
    server_id = await world.active(world.alice)
    alice, admin = world.alice.at("2.104"), world.admin.at("2.104")
    assert (await migrate(alice, server_id)).status == 403
    await migrate(admin, server_id)
    for path in ("", "/1"):
        assert (await alice.get(f"/servers/{server_id}/migrations{path}")).status == 403
    assert (await alice.delete(f"/servers/{server_id}/migrations/1")).status == 403
    force = await alice.post(f"/servers/{server_id}/migrations/1/action", {"force_complete": None})
    assert force.status == 403


async def test_hosts_that_will_not_do(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.104")
    for host, said in (("h9", "could not be found"), ("h1", "to current host")):
        answer = await migrate(admin, server_id, {"host": host, "block_migration": "auto"})
        assert answer.status == 400
        assert said in answer.fault[1]
    world.fleet.silent.add(HOSTS[1])
    answer = await migrate(admin, server_id, {"host": "h2", "block_migration": "auto"})
    assert (answer.status, answer.fault[1]) == (400, "Compute service of h2 is unavailable at this time.")
    world.fleet.silent.add(HOSTS[0])
    answer = await migrate(admin, server_id)
    assert (answer.status, answer.fault[1]) == (400, "Compute service of h1 is unavailable at this time.")


async def test_states_in_which_none_goes(world: World) -> None:
    admin = world.admin.at("2.104")
    building = await world.boot(world.alice, "building")
    assert (await migrate(admin, building)).status == 409
    server_id = await world.active(world.alice)
    assert (await migrate(admin, server_id)).status == 202
    again = await migrate(admin, server_id)
    assert (again.status, again.fault[0]) == (409, "conflictingRequest")
    assert "task_state migrating" in again.fault[1]
    assert (await migrate(admin, "99999999-9999-4999-8999-999999999999")).status == 404


async def test_one_under_way_is_shown_with_how_far_it_is(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.104")
    assert (await admin.get(f"/servers/{server_id}/migrations")).json == {"migrations": []}
    await migrate(admin, server_id)
    queued = await the_migration(world, server_id)
    assert (queued["status"], queued["source_compute"], queued["dest_compute"]) == ("queued", "h1", None)
    await run(world, server_id)
    world.hosts.progress = MigrationView(
        memory_total=100, memory_processed=60, memory_remaining=40, disk_total=7
    )
    for version, more in (
        ("2.23", set()),
        ("2.58", set()),
        ("2.59", {"uuid"}),
        ("2.80", {"uuid", "user_id", "project_id"}),
    ):
        shown = await the_migration(world, server_id, version)
        assert set(shown) == FIELDS | more
        assert (shown["status"], shown["dest_compute"], shown["server_uuid"]) == ("running", "h2", server_id)
        assert (shown["memory_total_bytes"], shown["memory_remaining_bytes"]) == (100, 40)
        assert shown["disk_total_bytes"] == 7
        one = await world.admin.at(version).get(f"/servers/{server_id}/migrations/{shown['id']}")
        assert one.json == {"migration": shown}
    listed = (await admin.get("/os-migrations?migration_type=live-migration")).json["migrations"]
    assert [(each["status"], each["migration_type"]) for each in listed] == [("running", "live-migration")]
    assert listed[0]["links"][0]["href"].endswith(f"/servers/{server_id}/migrations/{listed[0]['id']}")
    world.hosts.fall_silent()
    assert (await the_migration(world, server_id))["memory_total_bytes"] == 0
    assert (await world.admin.at("2.22").get(f"/servers/{server_id}/migrations")).status == 404


async def test_one_that_is_over_is_history_only(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.104")
    await migrate(admin, server_id)
    move_id = await run(world, server_id)
    number = (await the_migration(world, server_id))["id"]
    await world.do(MoveArrived(move_id=move_id, server_id=ServerId(server_id), host_id=HOSTS[1]))
    shown = (await admin.get(f"/servers/{server_id}")).json["server"]
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "h2")
    assert (await admin.get(f"/servers/{server_id}/migrations")).json == {"migrations": []}
    path = f"/servers/{server_id}/migrations/{number}"
    for answer in (await admin.get(path), await admin.delete(path)):
        assert answer.status == 404
        assert "not in progress" in answer.fault[1]
    (listed,) = (await admin.get("/os-migrations")).json["migrations"]
    assert (listed["status"], listed["dest_compute"]) == ("completed", "h2")
    assert "links" not in listed
    for number in ("999", "x", "1x"):
        assert (await admin.get(f"/servers/{server_id}/migrations/{number}")).status == 404


async def test_a_cold_move_is_no_live_one(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.104")
    assert (await admin.post(f"/servers/{server_id}/action", {"migrate": None})).status == 202
    assert (await admin.get(f"/servers/{server_id}/migrations")).json == {"migrations": []}
    (listed,) = (await admin.get("/os-migrations")).json["migrations"]
    answer = await admin.get(f"/servers/{server_id}/migrations/{listed['id']}")
    assert answer.status == 404
    assert "is not live-migration" in answer.fault[1]


async def test_an_abort_and_what_it_takes(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.104")
    await migrate(admin, server_id)
    number = (await the_migration(world, server_id))["id"]
    path = f"/servers/{server_id}/migrations/{number}"
    early = await world.admin.at("2.64").delete(path)
    assert early.status == 400
    assert "is queued. Cannot abort" in early.fault[1]
    await run(world, server_id)
    assert (await world.admin.at("2.23").delete(path)).status == 404
    assert (await world.admin.at("2.24").delete(path)).status == 202
    assert (await admin.delete(path)).status == 202
    assert (await the_migration(world, server_id))["status"] == "running"  # until its host says so
    await fail(world, server_id)
    (listed,) = (await admin.get("/os-migrations")).json["migrations"]
    assert listed["status"] == "cancelled"
    shown = (await admin.get(f"/servers/{server_id}")).json["server"]
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "h1")


async def test_one_that_waits_is_aborted_from_2_65_on(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.65")
    await migrate(admin, server_id)
    number = (await the_migration(world, server_id))["id"]
    assert (await admin.delete(f"/servers/{server_id}/migrations/{number}")).status == 202
    (listed,) = (await admin.get("/os-migrations")).json["migrations"]
    assert listed["status"] == "cancelled"


async def test_force_complete(world: World) -> None:
    server_id = await world.active(world.alice)
    admin = world.admin.at("2.104")
    await migrate(admin, server_id)
    number = (await the_migration(world, server_id))["id"]
    path = f"/servers/{server_id}/migrations/{number}/action"
    early = await admin.post(path, {"force_complete": None})
    assert early.status == 400
    assert "Cannot force_complete" in early.fault[1]
    await run(world, server_id)
    for body in ({}, {"force_complete": True}, {"other": None}, {"force_complete": None, "other": None}):
        assert (await admin.post(path, body)).status == 400
    assert (await world.admin.at("2.21").post(path, {"force_complete": None})).status == 404
    assert (await world.admin.at("2.22").post(path, {"force_complete": None})).status == 202
    assert (await the_migration(world, server_id))["status"] == "running"


async def test_a_locked_server_is_its_admins(world: World) -> None:
    """Admins may change locked servers, as everywhere."""
    server_id = await world.active(world.alice)
    await world.alice.post(f"/servers/{server_id}/action", {"lock": None})
    assert (await migrate(world.admin.at("2.104"), server_id)).status == 202
