"""Servers that go to another host, as users ask for it and as /os-migrations tells it."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.moves.queries import GetOpenMove
from fabric.core.servers.states import PowerState
from proto.commands.moves import MovePlace
from proto.ids import ServerId, new_uuid
from tests.api.compute.world import HOSTS, Answer, Person, World

NOBODY = "99999999-9999-4999-8999-999999999999"
HELD_BACK = {"uuid", "user_id", "project_id", "migration_type"}  # at 2.1
ALWAYS = {
    "id",
    "status",
    "instance_uuid",
    "source_compute",
    "source_node",
    "dest_compute",
    "dest_node",
    "dest_host",
    "old_instance_type_id",
    "new_instance_type_id",
    "created_at",
    "updated_at",
}


async def act(who: Person, server_id: str, action: str, argument: Any = None, *, at: str = "2.1") -> Answer:
    return await who.at(at).post(f"/servers/{server_id}/action", {action: argument})


async def place(world: World, server_id: str, host: int) -> None:
    """What the scheduler would do of a move."""
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


async def moved(world: World, name: str = "web-1") -> str:
    """Alice's, from h1 to h2, and not confirmed."""
    server_id = await world.active(world.alice, name)
    assert (await act(world.admin, server_id, "migrate")).status == 202
    await place(world, server_id, 1)
    await world.settle(server_id, PowerState.SHUTDOWN)
    await world.settle(server_id)
    return server_id


async def shown(world: World, server_id: str) -> dict[str, Any]:
    """`status`, `task_state` and `host`."""
    found = (await world.admin.get(f"/servers/{server_id}")).json["server"]
    return {
        "status": found["status"],
        "task_state": found["OS-EXT-STS:task_state"],
        "host": found["OS-EXT-SRV-ATTR:host"],
    }


async def listed(world: World, query: str = "", *, at: str = "2.80") -> list[dict[str, Any]]:
    answer = await world.admin.at(at).get(f"/os-migrations{query}")
    assert answer.status == 200, answer.data
    found: list[dict[str, Any]] = answer.json["migrations"]
    return found


async def test_a_server_is_moved_seen_on_its_way_and_confirmed(world: World) -> None:
    server_id = await world.active(world.alice)
    answer = await act(world.admin, server_id, "migrate")
    assert (answer.status, answer.data) == (202, b"")
    assert await shown(world, server_id) == {"status": "RESIZE", "task_state": "resize_prep", "host": "h1"}
    await place(world, server_id, 1)
    assert (await shown(world, server_id))["task_state"] == "resize_migrating"
    await world.settle(server_id, PowerState.SHUTDOWN)
    assert await shown(world, server_id) == {"status": "RESIZE", "task_state": "resize_finish", "host": "h2"}
    await world.settle(server_id)
    assert await shown(world, server_id) == {"status": "VERIFY_RESIZE", "task_state": None, "host": "h2"}
    answer = await act(world.alice, server_id, "confirmResize")
    assert (answer.status, answer.data) == (204, b"")
    assert await shown(world, server_id) == {"status": "ACTIVE", "task_state": None, "host": "h2"}
    (move,) = await listed(world)
    assert (move["status"], move["source_compute"], move["dest_compute"]) == ("confirmed", "h1", "h2")


async def test_servers_are_found_by_where_their_moves_are(world: World) -> None:
    resting = await moved(world, "resting")
    going = await world.active(world.alice, "going")
    await act(world.admin, going, "migrate")
    back = await moved(world, "back")
    await act(world.alice, back, "revertResize")
    for status, expected in (("VERIFY_RESIZE", resting), ("RESIZE", going), ("REVERT_RESIZE", back)):
        found = (await world.alice.get(f"/servers?status={status}")).json["servers"]
        assert [server["id"] for server in found] == [expected]
    assert (await world.alice.get("/servers?status=ACTIVE")).json["servers"] == []


async def test_a_move_is_taken_back_by_the_servers_user(world: World) -> None:
    server_id = await moved(world)
    answer = await act(world.alice, server_id, "revertResize")
    assert (answer.status, answer.data) == (202, b"")
    going = {"status": "REVERT_RESIZE", "task_state": "resize_reverting", "host": "h2"}
    assert await shown(world, server_id) == going
    await world.settle(server_id, PowerState.SHUTDOWN)
    assert (await shown(world, server_id))["host"] == "h1"
    await world.settle(server_id)
    assert await shown(world, server_id) == {"status": "ACTIVE", "task_state": None, "host": "h1"}
    assert [move["status"] for move in await listed(world)] == ["reverted"]


@pytest.mark.parametrize("argument", [None, {}, {"host": None}, {"host": "h3"}])
async def test_from_2_56_a_host_may_be_named(world: World, argument: Any) -> None:
    server_id = await world.active(world.alice)
    assert (await act(world.admin, server_id, "migrate", argument, at="2.56")).status == 202
    move = await world.cloud.state.read(GetOpenMove(server_id=ServerId(server_id)))
    assert move is not None
    assert move.host_wanted == (argument or {}).get("host")


async def test_before_2_56_nothing_beside_the_action_is_looked_at(world: World) -> None:
    """As Nova: no schema until then, so clients send what they like."""
    for number, argument in enumerate((None, {}, "", {"host": "h3"}, {"host": "nowhere"})):
        server_id = await world.active(world.alice, f"web-{number}")
        assert (await act(world.admin, server_id, "migrate", argument, at="2.55")).status == 202
        move = await world.cloud.state.read(GetOpenMove(server_id=ServerId(server_id)))
        assert move is not None
        assert move.host_wanted is None


async def test_where_a_server_cannot_be_moved_to(world: World) -> None:
    server_id = await world.active(world.alice)
    for argument, said in (
        ({"host": "nowhere"}, "Compute host nowhere could not be found."),
        ({"host": "h1"}, "Cannot migrate to the host where the server exists."),
        ({"host": 7}, "host"),
        ({"host": "under the bridge"}, "host"),
        ({"hots": "h2"}, "hots"),
        ("h2", "migrate"),
    ):
        answer = await act(world.admin, server_id, "migrate", argument, at="2.56")
        assert answer.status == 400, argument
        assert answer.fault[0] == "badRequest"
        assert said in answer.fault[1]
    assert (await shown(world, server_id))["task_state"] is None
    assert await listed(world) == []


async def test_servers_that_cannot_be_moved_now(world: World) -> None:
    for body in ("migrate", "confirmResize", "revertResize"):
        assert (await act(world.admin, NOBODY, body)).status == 404
    building = await world.boot(world.alice, "building")
    assert (await act(world.admin, building, "migrate")).status == 409
    server_id = await world.active(world.alice)
    for action in ("confirmResize", "revertResize"):
        answer = await act(world.alice, server_id, action)
        assert answer.status == 409
        said = f"Cannot '{action}' instance {server_id} while it is in vm_state active"
        assert answer.fault == ("conflictingRequest", said)
    assert (await act(world.admin, server_id, "migrate")).status == 202
    answer = await act(world.admin, server_id, "migrate")
    assert answer.status == 409
    assert answer.fault[1] == f"Cannot 'migrate' instance {server_id} while it is in task_state resize_prep"
    assert (await act(world.alice, server_id, "os-stop")).status == 409


async def test_a_server_that_waits_to_be_confirmed_does_nothing_else(world: World) -> None:
    server_id = await moved(world)
    for action, argument in (("migrate", None), ("os-stop", None), ("reboot", {"type": "HARD"})):
        answer = await act(world.admin, server_id, action, argument)
        assert answer.status == 409
        assert "vm_state resized" in answer.fault[1]
    assert (await world.alice.delete(f"/servers/{server_id}")).status == 204
    assert [move["status"] for move in await listed(world)] == ["confirmed"]


async def test_a_source_that_is_down_or_too_old_gives_no_disks(world: World) -> None:
    server_id = await world.active(world.alice)
    world.fleet.silent.add(HOSTS[0])
    answer = await act(world.admin, server_id, "migrate")
    assert (answer.status, "evacuate" in answer.fault[1]) == (409, True)
    world.fleet.silent.clear()
    world.fleet.old.add(HOSTS[0])
    answer = await act(world.admin, server_id, "migrate")
    assert (answer.status, "upgrade it" in answer.fault[1]) == (409, True)


async def test_nothing_goes_back_to_a_host_that_is_down(world: World) -> None:
    server_id = await moved(world)
    world.fleet.silent.add(HOSTS[0])
    answer = await act(world.alice, server_id, "revertResize")
    assert (answer.status, "h1 is down" in answer.fault[1]) == (409, True)
    world.fleet.silent = {HOSTS[1]}  # where it went: it is not waited for
    assert (await act(world.alice, server_id, "revertResize")).status == 202
    assert (await shown(world, server_id))["host"] == "h1"


async def test_a_move_without_a_host_leaves_the_server_as_it_was(world: World) -> None:
    server_id = await world.active(world.alice)
    await act(world.admin, server_id, "migrate")
    await world.fail_move(server_id)
    assert await shown(world, server_id) == {"status": "ACTIVE", "task_state": None, "host": "h1"}
    (move,) = await listed(world)
    assert (move["status"], move["dest_compute"], move["dest_host"]) == ("error", None, None)


async def test_who_may_ask(world: World) -> None:
    server_id = await world.active(world.alice)
    world.fleet.silent.add(HOSTS[0])
    for action, argument in (("migrate", None), ("evacuate", {"onSharedStorage": False})):
        answer = await act(world.alice, server_id, action, argument)
        assert (answer.status, answer.fault[0]) == (403, "forbidden")
    assert (await world.alice.get("/os-migrations")).status == 403
    world.fleet.silent.clear()
    other = await moved(world, "web-2")
    for action in ("confirmResize", "revertResize"):
        assert (await act(world.reader, other, action)).status == 403
        assert (await act(world.bob, other, action)).status == 404
    assert (await act(world.admin, other, "lock")).status == 202
    assert (await act(world.alice, other, "confirmResize")).status == 409


async def test_evacuation_before_2_14_answers_a_password(world: World) -> None:
    world.fleet.silent.add(HOSTS[0])
    for number, (argument, password) in enumerate(
        (
            ({"onSharedStorage": False, "adminPass": "s3cret"}, "s3cret"),
            ({"onSharedStorage": "True", "host": "h3"}, None),
        )
    ):
        server_id = await world.active(world.alice, f"web-{number}")
        answer = await act(world.admin, server_id, "evacuate", argument)
        assert (answer.status, answer.json) == (200, {"adminPass": password})
        expected = {"status": "REBUILD", "task_state": "rebuilding", "host": "h1"}
        assert await shown(world, server_id) == expected
    server_id = await world.active(world.alice, "web-2")
    answer = await act(world.admin, server_id, "evacuate", {"onSharedStorage": False}, at="2.13")
    assert len(answer.json["adminPass"]) == 12


async def test_evacuation_from_2_14_answers_nothing(world: World) -> None:
    world.fleet.silent.add(HOSTS[0])
    for version, argument in (
        ("2.14", {}),
        ("2.14", {"adminPass": "s3cret"}),
        ("2.29", {"force": False}),
        ("2.29", {"force": True, "host": "h2"}),
        ("2.67", {"host": "h2"}),
        ("2.68", {"host": "h2"}),
        ("2.95", {"host": "h2"}),
    ):
        server_id = await world.active(world.alice, f"web-{version}")
        answer = await act(world.admin, server_id, "evacuate", argument, at=version)
        assert (answer.status, answer.data) == (200, b""), version
        assert (await world.alice.delete(f"/servers/{server_id}")).status == 204


async def test_evacuations_that_cannot_be(world: World) -> None:
    server_id = await world.active(world.alice)
    world.fleet.silent.add(HOSTS[0])
    for version, argument, status, said in (
        ("2.1", {}, 400, "onSharedStorage"),
        ("2.1", {"onSharedStorage": "perhaps"}, 400, "onSharedStorage"),
        (
            *("2.13", {"onSharedStorage": True, "adminPass": "s3cret"}, 400),
            "admin password can't be changed on existing disk",
        ),
        ("2.13", {"onSharedStorage": False, "force": True}, 400, "force"),
        ("2.14", {"onSharedStorage": False}, 400, "onSharedStorage"),
        ("2.14", {"adminPass": None}, 400, "adminPass"),
        ("2.28", {"force": True, "host": "h2"}, 400, "force"),
        ("2.29", {"force": True}, 400, "Can't force to a non-provided destination"),
        ("2.68", {"force": True, "host": "h2"}, 400, "force"),
        ("2.68", {"host": "nowhere"}, 404, "Compute host nowhere not found."),
        ("2.68", {"host": "h1"}, 400, "The target host can't be the same one."),
        ("2.68", {"host": None}, 400, "host"),
    ):
        answer = await act(world.admin, server_id, "evacuate", argument, at=version)
        assert answer.status == status, (version, argument)
        assert said in answer.fault[1]
    assert (await act(world.admin, NOBODY, "evacuate", {}, at="2.14")).status == 404
    assert await listed(world) == []


@pytest.mark.parametrize("state", [MemberState.ALIVE, MemberState.SUSPECT])
async def test_nothing_is_evacuated_from_a_host_that_is_up(world: World, state: MemberState) -> None:
    server_id = await world.active(world.alice)
    world.fleet.states[HOSTS[0]] = state
    answer = await act(world.admin, server_id, "evacuate", {}, at="2.14")
    assert answer.status == 400
    assert answer.fault == ("badRequest", "Compute service of h1 is still in use.")
    down = {"forced_down": True}
    services = (await world.admin.at("2.53").get("/os-services?host=h1&binary=nova-compute")).json["services"]
    path = f"/os-services/{services[0]['id']}"
    assert (await world.admin.at("2.53").put(path, down)).status == 200
    assert (await act(world.admin, server_id, "evacuate", {}, at="2.14")).status == 200


async def test_what_waits_for_confirmation_is_not_evacuated(world: World) -> None:
    """In Nova's order: what state it is in comes before whether its host is up."""
    server_id = await moved(world)
    for silent in (set(), {HOSTS[1]}):
        world.fleet.silent = silent
        answer = await act(world.admin, server_id, "evacuate", {}, at="2.14")
        assert answer.status == 409
        assert answer.fault[1] == f"Cannot 'evacuate' instance {server_id} while it is in vm_state resized"


@pytest.mark.parametrize(("version", "status"), [("2.94", "ACTIVE"), ("2.95", "SHUTOFF")])
async def test_from_2_95_an_evacuated_guest_stays_off(world: World, version: str, status: str) -> None:
    server_id = await world.active(world.alice)
    world.fleet.silent.add(HOSTS[0])
    await act(world.admin, server_id, "evacuate", {}, at=version)
    await place(world, server_id, 2)
    building = {"status": "REBUILD", "task_state": "rebuild_spawning", "host": "h3"}
    assert await shown(world, server_id) == building
    await world.settle(server_id)
    if status == "SHUTOFF":
        await world.settle(server_id, PowerState.SHUTDOWN)
    assert await shown(world, server_id) == {"status": status, "task_state": None, "host": "h3"}
    (move,) = await listed(world)
    assert (move["status"], move["migration_type"], move["dest_compute"]) == ("done", "evacuation", "h3")


async def test_an_evacuation_without_a_host_is_an_error_and_may_be_asked_again(world: World) -> None:
    server_id = await world.active(world.alice)
    world.fleet.silent.add(HOSTS[0])
    await act(world.admin, server_id, "evacuate", {}, at="2.14")
    await world.fail_move(server_id)
    assert await shown(world, server_id) == {"status": "ERROR", "task_state": None, "host": "h1"}
    assert (await act(world.admin, server_id, "evacuate", {}, at="2.14")).status == 200
    assert [move["status"] for move in await listed(world)] == ["accepted", "failed"]


async def test_a_move_as_each_version_tells_it(world: World) -> None:
    server_id = await moved(world)
    for version, added in (
        ("2.1", set()),
        ("2.22", set()),
        ("2.23", {"migration_type"}),
        ("2.58", {"migration_type"}),
        ("2.59", {"migration_type", "uuid"}),
        ("2.66", {"migration_type", "uuid"}),
        ("2.79", {"migration_type", "uuid"}),
        ("2.80", HELD_BACK),
    ):
        answer = await world.admin.at(version).get("/os-migrations")
        assert answer.status == 200
        assert set(answer.json) == {"migrations"}
        (move,) = answer.json["migrations"]
        assert set(move) == ALWAYS | added, version
    assert move["instance_uuid"] == server_id
    assert (move["status"], move["migration_type"]) == ("finished", "migration")
    assert (move["source_node"], move["dest_node"]) == ("h1", "h2")
    assert (move["old_instance_type_id"], move["new_instance_type_id"]) == (1, 1)
    assert (move["user_id"], move["project_id"]) == (world.admin.user_id, world.alice.project_id)
    assert isinstance(move["id"], int)


async def test_moves_newest_first_in_pages(world: World) -> None:
    made = [await moved(world, f"web-{number}") for number in range(3)]
    newest_first = await listed(world)
    assert [move["instance_uuid"] for move in newest_first] == made[::-1]
    answer = await world.admin.at("2.59").get("/os-migrations?limit=2&host=h1")
    assert [move["instance_uuid"] for move in answer.json["migrations"]] == made[:0:-1]
    (link,) = answer.json["migrations_links"]
    assert link["rel"] == "next"
    rest = await world.admin.at("2.59").get(link["href"].partition("/compute/v2.1")[2])
    assert [move["instance_uuid"] for move in rest.json["migrations"]] == made[:1]
    assert "migrations_links" not in rest.json
    assert (await world.admin.at("2.59").get("/os-migrations?limit=0")).json == {"migrations": []}
    answer = await world.admin.at("2.59").get(f"/os-migrations?marker={NOBODY}")
    assert answer.status == 400
    assert answer.fault == ("badRequest", f"Marker {NOBODY} could not be found.")


@pytest.mark.parametrize("query", ["?limit=1", "?limit=x", f"?marker={NOBODY}", "?changes-since=x", "?a=b"])
async def test_before_2_59_there_are_no_pages_and_no_times(world: World, query: str) -> None:
    await moved(world, "web-1")
    await moved(world, "web-2")
    assert len(await listed(world, query, at="2.58")) == 2


async def test_filters(world: World) -> None:
    first = await moved(world, "web-1")
    await act(world.alice, first, "confirmResize")
    second = await world.active(world.bob, "web-2", host=2)
    world.fleet.silent.add(HOSTS[2])
    await act(world.admin, second, "evacuate", {}, at="2.14")
    both = [second, first]
    for query, expected in (
        ("", both),
        ("?host=h1", [first]),
        ("?host=h2", [first]),
        ("?host=h3", [second]),
        ("?source_compute=h2", []),
        ("?source_compute=h3", [second]),
        (f"?instance_uuid={first}", [first]),
        (f"?instance_uuid={NOBODY}", []),
        ("?status=confirmed", [first]),
        ("?status=finished", []),
        ("?migration_type=evacuation", [second]),
        ("?migration_type=resize", []),
        (f"?project_id={world.bob.project_id}", [second]),
        (f"?user_id={world.admin.user_id}", both),
        (f"?user_id={world.bob.user_id}", []),
        ("?changes-since=2000-01-01T00:00:00Z", both),
        ("?changes-since=2100-01-01T00:00:00Z", []),
        ("?changes-before=2000-01-01T00:00:00Z", []),
        ("?changes-since=2000-01-01T00:00:00Z&changes-before=2100-01-01T00:00:00Z&status=confirmed", [first]),
    ):
        assert [move["instance_uuid"] for move in await listed(world, query)] == expected, query
    for query in ("?host=h3", "?status=accepted", "?migration_type=evacuation", "?source_compute=h3"):
        assert [move["instance_uuid"] for move in await listed(world, query, at="2.1")] == [second]


@pytest.mark.parametrize(
    ("version", "query", "said"),
    [
        ("2.59", "limit=x", "limit"),
        ("2.59", "limit=-1", "limit"),
        ("2.59", "changes-since=yesterday", "changes-since"),
        ("2.59", "changes-before=2000-01-01T00:00:00Z", "changes-before"),
        ("2.66", "changes-before=tomorrow", "changes-before"),
        (
            *("2.66", "changes-since=2020-01-02T00:00:00Z&changes-before=2020-01-01T00:00:00Z"),
            "The value of changes-since must be less than or equal to changes-before.",
        ),
        ("2.79", "user_id=u", "user_id"),
        ("2.79", "project_id=p", "project_id"),
        ("2.80", "cell_name=c", "cell_name"),
        ("2.80", "nonsense=1", "nonsense"),
    ],
)
async def test_queries_that_cannot_be(world: World, version: str, query: str, said: str) -> None:
    answer = await world.admin.at(version).get(f"/os-migrations?{query}")
    assert answer.status == 400
    assert said in answer.fault[1]


async def test_a_flavor_without_a_number_is_not_told(world: World) -> None:
    """Clients want a number there (Nova's of its database)."""
    body = {"flavor": {"name": "odd", "ram": 64, "vcpus": 1, "disk": 1, "id": new_uuid()}}
    flavor = (await world.admin.post("/flavors", body)).json["flavor"]["id"]
    server_id = await world.active(world.alice, flavorRef=flavor)
    await act(world.admin, server_id, "migrate")
    (move,) = await listed(world)
    assert (move["old_instance_type_id"], move["new_instance_type_id"]) == (None, None)
