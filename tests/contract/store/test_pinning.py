"""Servers bound to their zone and let go, on both engines: when it may be, and what obeys it later."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.placement.queries import GetPlacementRequest, ListPlacementRequests
from fabric.core.servers.model import Server
from fabric.core.servers.queries import GetServer
from fabric.core.servers.states import TaskState, VmState
from proto.commands.aggregates import AggregateAddHost, AggregateCreate
from proto.commands.moves import MoveBegin, MoveConfirm, MovePlace, MoveRevert, MoveUnplaceable
from proto.commands.servers import ServerPin, ServerUnplaceable
from proto.commands.shelving import ServerShelve, ServerShelved, ServerUnshelve
from proto.ids import ImageId, NodeId, RequestId, ServerId
from tests.fixtures.store_world import DEADLINE_MS, HOST_A, HOST_B, USER, StoreWorld, observed

MOVE = "00000000-0000-4000-8000-000000000001"
UNPIN_FIRST = "Unpin first by setting pinned_availability_zone to null."


async def get(world: StoreWorld, server_id: ServerId) -> Server:
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    return view.server


def pin(server_id: ServerId, zone: str | None, **changes: Any) -> ServerPin:
    return ServerPin(server_id=server_id, zone=zone, **changes)


async def west(world: StoreWorld, host_id: NodeId = HOST_A) -> None:
    """That host is in the zone `west`; all others are in `nova`."""
    await world.do(AggregateCreate(uuid="u-1", name="west", availability_zone="west"))
    await world.do(AggregateAddHost(aggregate_id=1, host_id=host_id))


def migration(world: StoreWorld, server_id: ServerId, kind: str = "migration", **changes: Any) -> MoveBegin:
    return MoveBegin(
        move_id=MOVE,
        server_id=server_id,
        kind=kind,
        source_host_id=HOST_A,
        user_id=USER,
        request_id=RequestId("move"),
        arrive_ms=1,
        deadline_ms=world.clock.now_ms + 10 * DEADLINE_MS,
        **changes,
    )


async def report(world: StoreWorld, server_id: ServerId, host_id: NodeId, power: str) -> None:
    generation = (await get(world, server_id)).action_generation
    await world.do(observed(server_id, generation, host_id=host_id, power_state=power))


async def moved(world: StoreWorld, server_id: ServerId) -> None:
    """To the other host, where its user has yet to say whether it stays."""
    await world.do(migration(world, server_id))
    generation = (await get(world, server_id)).generation
    await world.do(
        MovePlace(
            move_id=MOVE,
            server_id=server_id,
            host_id=HOST_B,
            fence=world.fence,
            read_generation=generation,
        )
    )
    await report(world, server_id, HOST_A, "shutdown")
    await report(world, server_id, HOST_B, "running")
    assert (await get(world, server_id)).vm_state is VmState.RESIZED


async def shelved(world: StoreWorld, server_id: ServerId) -> None:
    await world.do(
        ServerShelve(
            server_id=server_id,
            image_id=ImageId("shelf-1"),
            user_id=USER,
            request_id=RequestId("shelve"),
            deadline_ms=world.clock.now_ms + DEADLINE_MS,
        )
    )
    await report(world, server_id, HOST_A, "shutdown")
    generation = (await get(world, server_id)).action_generation
    sums = {"md5": "5" * 32, "sha256": "e" * 64, "sha512": "1" * 128}
    await world.do(
        ServerShelved(
            server_id=server_id,
            host_id=HOST_A,
            generation=generation,
            size_bytes=700,
            virtual_bytes=1 << 30,
            **sums,
        )
    )


async def test_pinned_to_where_it_is_and_let_go(world: StoreWorld) -> None:
    await west(world)
    server_id = await world.active("web")
    before = await get(world, server_id)
    applied = await world.do(pin(server_id, "west"))
    row = await get(world, server_id)
    assert applied.result == {"generation": row.generation, "host_id": HOST_A}
    assert (row.zone_wanted, row.generation) == ("west", before.generation + 1)
    assert (row.action_generation, row.task_state, row.vm_state) == (
        before.action_generation,  # its host has nothing to do
        None,
        VmState.ACTIVE,
    )
    await world.do(pin(server_id, None))
    assert (await get(world, server_id)).zone_wanted is None


async def test_only_to_the_zone_that_it_is_in(world: StoreWorld) -> None:
    await west(world)
    server_id = await world.active("web")
    for zone in ("nova", "mars", "WEST"):
        await world.refuse(
            pin(server_id, zone),
            "conflict",
            f"Server can only be pinned to its current availability zone 'west', but '{zone}' was requested.",
        )
    assert (await get(world, server_id)).zone_wanted is None
    here = await world.active("here", HOST_B)
    await world.do(pin(here, "nova"))  # of a host in no aggregate, its own


async def test_not_from_one_zone_to_another(world: StoreWorld) -> None:
    await west(world)
    server_id = await world.active("web", zone="nova")  # bound to one that it is not in
    for zone in ("west", "mars"):
        await world.refuse(pin(server_id, zone), "conflict", UNPIN_FIRST)
    await world.do(pin(server_id, None))
    await world.do(pin(server_id, "west"))


async def test_what_it_is_pinned_to_already_is_never_refused(world: StoreWorld) -> None:
    server_id = await world.active("web", zone="nova")
    await world.do(world.act(server_id, "stop"))
    await world.do(pin(server_id, "nova", name="new"))
    assert (await get(world, server_id)).name == "new"
    free = await world.server("free")
    await world.do(pin(free, None))


async def test_the_rest_of_the_update_is_made_with_it_or_not_at_all(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.refuse(pin(server_id, "mars", name="new", description="d"), "conflict")
    row = await get(world, server_id)
    assert (row.name, row.description) == ("web", None)
    await world.do(pin(server_id, "nova", name="new", description="d", hostname="h"))
    row = await get(world, server_id)
    assert (row.name, row.description, row.hostname, row.zone_wanted) == ("new", "d", "h", "nova")
    await world.refuse(pin(ServerId("nobody"), None), "not_found")


async def test_not_while_it_is_at_work(world: StoreWorld) -> None:
    new = await world.server("new", zone="nova")
    words = "Cannot change the pinned availability zone of instance new while it is in task_state scheduling"
    assert await world.refuse(pin(new, None), "busy") == words
    server_id = await world.active("web")
    await world.do(world.act(server_id, "stop"))
    await world.refuse(pin(server_id, "nova"), "busy", "in task_state powering-off")
    await report(world, server_id, HOST_A, "shutdown")
    await world.do(pin(server_id, "nova"))


async def test_not_while_its_move_is_not_over(world: StoreWorld) -> None:
    server_id = await world.active("web", zone="nova")
    await world.do(migration(world, server_id))
    await world.refuse(pin(server_id, None), "busy", "in task_state")
    generation = (await get(world, server_id)).generation
    why = {"fence": world.fence, "read_generation": generation, "message": "No valid host was found."}
    await world.do(MoveUnplaceable(move_id=MOVE, server_id=server_id, **why))
    await world.do(pin(server_id, None))


async def test_not_before_its_user_says_where_it_stays(world: StoreWorld) -> None:
    await west(world)  # it comes from there
    server_id = await world.active("web")
    await moved(world, server_id)
    for zone in ("nova", "west"):
        await world.refuse(pin(server_id, zone), "bad_state", "its move is not over: confirm it")
    await world.do(pin(server_id, None))  # as it is
    await world.do(MoveConfirm(server_id=server_id, request_id=RequestId("confirm")))
    await world.refuse(pin(server_id, "west"), "conflict", "current availability zone 'nova'")
    await world.do(pin(server_id, "nova"))


async def test_taken_back_it_is_where_it_was(world: StoreWorld) -> None:
    await west(world)
    server_id = await world.active("web")
    await moved(world, server_id)
    later_ms = world.clock.now_ms + DEADLINE_MS
    await world.do(MoveRevert(server_id=server_id, request_id=RequestId("revert"), deadline_ms=later_ms))
    await world.refuse(pin(server_id, "west"), "busy", "in task_state resize_reverting")
    await report(world, server_id, HOST_B, "shutdown")
    await report(world, server_id, HOST_A, "running")
    assert (await get(world, server_id)).vm_state is VmState.ACTIVE
    await world.refuse(pin(server_id, "nova"), "conflict", "current availability zone 'west'")
    await world.do(pin(server_id, "west"))


@pytest.mark.parametrize("kind", ["migration", "evacuation"])
async def test_a_move_goes_where_it_is_pinned(world: StoreWorld, kind: str) -> None:
    server_id = await world.active("web")
    await world.do(pin(server_id, "nova"))
    await world.do(migration(world, server_id, kind))
    (asked,) = await world.ask(ListPlacementRequests())
    assert (asked.server_id, asked.zone) == (server_id, "nova")


async def test_one_let_go_moves_anywhere(world: StoreWorld) -> None:
    server_id = await world.active("web", zone="nova")
    await world.do(pin(server_id, None))
    await world.do(migration(world, server_id))
    (asked,) = await world.ask(ListPlacementRequests())
    assert asked.zone is None


async def test_on_the_shelf_it_may_only_be_let_go(world: StoreWorld) -> None:
    server_id = await world.active("web", zone="nova")
    await shelved(world, server_id)
    await world.do(pin(server_id, None))
    await world.refuse(pin(server_id, "nova"), "conflict", "is on no host, so it is in no availability zone")
    unshelve = ServerUnshelve(
        server_id=server_id,
        request_id=RequestId("unshelve"),
        deadline_ms=world.clock.now_ms + DEADLINE_MS,
    )
    await world.do(unshelve)
    assert (await get(world, server_id)).task_state is TaskState.UNSHELVING
    asked = await world.ask(GetPlacementRequest(server_id=server_id))
    assert asked is not None
    assert asked.zone is None
    await world.refuse(pin(server_id, "nova"), "busy", "in task_state unshelving")


async def test_one_that_found_no_host_may_be_let_go(world: StoreWorld) -> None:
    server_id = await world.server("web", zone="nova")
    generation = (await get(world, server_id)).generation
    why = {"fence": world.fence, "read_generation": generation, "message": "No valid host was found."}
    await world.do(ServerUnplaceable(server_id=server_id, **why))
    await world.do(pin(server_id, None))
    await world.refuse(pin(server_id, "nova"), "conflict", "is on no host")


async def test_below_level_3_nobody_is_pinned(bare: StoreWorld) -> None:
    if bare.engine.level != 1:
        pytest.skip("a new database of this engine is made at the newest level")
    await bare.init()
    server_id = await bare.active("web")
    await bare.refuse(pin(server_id, "nova"), "bad_state", "This needs level 3")
    assert (await get(bare, server_id)).zone_wanted is None
