"""Moves on both engines: what each step makes of the server, and what both hosts hold meanwhile."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from fabric.core.moves.model import Move, MoveStatus
from fabric.core.moves.queries import GetOpenMove, ListMoves, MoveFilter
from fabric.core.networks.queries import ListPorts
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.queries import ListPlacementRequests
from fabric.core.providers.model import provider_id_of
from fabric.core.providers.queries import ListConsumers
from fabric.core.queries import BadFilterError
from fabric.core.servers.model import HostAssignments, Server
from fabric.core.servers.queries import GetAssignments, GetServer
from fabric.core.servers.states import Desired, TaskState, VmState, api_status
from proto.commands.moves import MoveBegin, MoveConfirm, MovePlace, MoveRevert, MoveUnplaceable
from proto.commands.nodes import HostUpdate, NodeRemove
from proto.commands.server_groups import ServerGroupCreate
from proto.commands.servers import ServerCreateHinted, ServerExpire
from proto.ids import NodeId, RequestId, ServerGroupId, ServerId
from tests.fixtures.store_world import (
    HOST_A,
    HOST_B,
    PROJECT,
    USER,
    StoreWorld,
    host_register,
    observed,
)

HOST_C = NodeId("c" * 32)
LATER_MS = 9_000_000_000_000
MIGRATION, EVACUATION = "migration", "evacuation"


def move_id(number: int = 1) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


async def get(world: StoreWorld, server_id: ServerId) -> Server:
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    return view.server


def begin(server_id: ServerId, kind: str = MIGRATION, number: int = 1, **changes: Any) -> MoveBegin:
    values: dict[str, Any] = {
        "move_id": move_id(number),
        "server_id": server_id,
        "kind": kind,
        "source_host_id": HOST_A,
        "user_id": USER,
        "request_id": RequestId(f"move-{number}"),
        "deadline_ms": LATER_MS,
        "arrive_ms": 1,
    }
    return MoveBegin(**values | changes)


async def place(world: StoreWorld, server_id: ServerId, host_id: NodeId = HOST_B, number: int = 1) -> Any:
    row = await get(world, server_id)
    return MovePlace(
        move_id=move_id(number),
        server_id=server_id,
        host_id=host_id,
        fence=world.fence,
        read_generation=row.generation,
    )


async def report(world: StoreWorld, server_id: ServerId, host_id: NodeId, power: str, **changes: Any) -> Any:
    generation = (await get(world, server_id)).action_generation
    return await world.do(observed(server_id, generation, host_id=host_id, power_state=power, **changes))


async def moved(world: StoreWorld) -> ServerId:
    """A server that went from A to B, and waits to be confirmed."""
    server_id = await world.active("web")
    await world.do(begin(server_id))
    await world.do(await place(world, server_id))
    await report(world, server_id, HOST_A, "shutdown")
    await report(world, server_id, HOST_B, "running")
    return server_id


async def member(world: StoreWorld, name: str, group_id: ServerGroupId) -> ServerId:
    """Of a server group; it waits for a host."""
    made = world.server_create(name)
    same = {each.name: getattr(made, each.name) for each in fields(made)}
    await world.do(ServerCreateHinted(**same | {"group_id": group_id}))
    return made.server_id


async def the_move(world: StoreWorld) -> Move:
    (found,) = await world.ask(ListMoves())
    return found


async def used(world: StoreWorld) -> dict[str, tuple[int, int]]:
    """vCPUs and servers, by host."""
    usages = await world.ask(ListHosts())
    return {usage.host.name: (usage.vcpus_used, usage.servers) for usage in usages}


async def assignments(world: StoreWorld, host_id: NodeId) -> HostAssignments:
    return await world.ask(GetAssignments(host_id=host_id))


async def test_a_cold_move_step_by_step(world: StoreWorld) -> None:
    server_id = await world.active("web")
    size = (await get(world, server_id)).flavor.vcpus
    assert (await world.do(begin(server_id))).result == {"number": 1, "hosts": [HOST_A]}
    row = await get(world, server_id)
    assert (row.task_state, api_status(row.vm_state, row.task_state)) == (TaskState.RESIZE_PREP, "RESIZE")
    (asked,) = await world.ask(ListPlacementRequests())
    assert (asked.move_id, asked.moves_from, asked.ignored_hosts) == (move_id(), HOST_A, {HOST_A})
    assert await used(world) == {"host-a": (size, 1), "host-b": (0, 0)}

    applied = await world.do(await place(world, server_id))
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    row = await get(world, server_id)
    assert (row.host_id, row.task_state) == (HOST_A, TaskState.RESIZE_MIGRATING)
    assert await used(world) == {"host-a": (size, 1), "host-b": (size, 0)}  # its room there is sure
    assert await world.ask(ListPlacementRequests()) == ()
    (told,) = (await assignments(world, HOST_A)).servers
    assert told.move is not None
    assert told.move.dest_host_id == HOST_B

    applied = await report(world, server_id, HOST_A, "shutdown")
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    assert "move" not in applied.result
    row = await get(world, server_id)
    assert (row.host_id, row.task_state, row.desired) == (HOST_B, TaskState.RESIZE_FINISH, Desired.RUNNING)
    assert await used(world) == {"host-a": (size, 0), "host-b": (size, 1)}
    left = await assignments(world, HOST_A)
    assert left.server_ids == ()
    assert [(each.server_id, each.to_host_id) for each in left.parked] == [(server_id, HOST_B)]
    ports = await world.ask(ListPorts(device_id=server_id))
    assert {port.host_id for port in ports} == {HOST_B}

    applied = await report(world, server_id, HOST_B, "running")
    assert (applied.result["hosts"], applied.result["move"]) == ([HOST_A, HOST_B], "arrived")
    row = await get(world, server_id)
    assert api_status(row.vm_state, row.task_state) == "VERIFY_RESIZE"
    assert (row.deadline_ms, (await the_move(world)).status) == (None, MoveStatus.FINISHED)

    await world.do(MoveConfirm(server_id=server_id, request_id=RequestId("confirm")))
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ACTIVE, HOST_B)
    assert await used(world) == {"host-a": (0, 0), "host-b": (size, 1)}
    assert (await assignments(world, HOST_A)).parked == ()
    assert (await the_move(world)).status is MoveStatus.CONFIRMED


async def test_it_is_taken_back_to_the_disks_it_left(world: StoreWorld) -> None:
    server_id = await moved(world)
    await world.do(MoveRevert(server_id=server_id, request_id=RequestId("r"), deadline_ms=LATER_MS))
    row = await get(world, server_id)
    assert (row.host_id, api_status(row.vm_state, row.task_state)) == (HOST_B, "REVERT_RESIZE")
    await report(world, server_id, HOST_B, "shutdown")
    row = await get(world, server_id)
    assert (row.host_id, row.task_state) == (HOST_A, TaskState.RESIZE_REVERTING)
    assert (await assignments(world, HOST_B)).server_ids == ()  # which drops what it had
    await report(world, server_id, HOST_A, "running")
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state, row.host_id) == (VmState.ACTIVE, None, HOST_A)
    assert (await the_move(world)).status is MoveStatus.REVERTED
    assert (await used(world))["host-b"] == (0, 0)


async def test_it_comes_back_though_the_host_it_went_to_is_dead(world: StoreWorld) -> None:
    server_id = await moved(world)
    back = MoveRevert(server_id=server_id, request_id=RequestId("r"), is_dest_gone=True, deadline_ms=LATER_MS)
    await world.do(back)
    assert (await get(world, server_id)).host_id == HOST_A
    await report(world, server_id, HOST_A, "running")
    assert (await get(world, server_id)).vm_state is VmState.ACTIVE


async def test_a_stopped_server_moves_and_stays_stopped(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(world.act(server_id, "stop"))
    await report(world, server_id, HOST_A, "shutdown")
    await world.do(begin(server_id))
    await world.do(await place(world, server_id))
    await report(world, server_id, HOST_A, "shutdown")
    await report(world, server_id, HOST_B, "shutdown")
    assert (await get(world, server_id)).vm_state is VmState.RESIZED
    await world.do(MoveConfirm(server_id=server_id, request_id=RequestId("confirm")))
    row = await get(world, server_id)
    assert (row.vm_state, row.desired) == (VmState.STOPPED, Desired.STOPPED)


async def test_one_that_does_not_arrive_starts_again_where_it_was(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id))
    await world.do(await place(world, server_id))
    await report(world, server_id, HOST_A, "shutdown")
    await report(world, server_id, HOST_B, "nostate", fault_message="Arrive failed at step `disks`: no room")
    row = await get(world, server_id)
    assert (row.host_id, row.task_state, row.vm_state) == (HOST_A, TaskState.POWERING_ON, VmState.ACTIVE)
    assert row.deadline_ms is not None
    found = await the_move(world)
    assert (found.status, found.message) == (MoveStatus.ERROR, "Arrive failed at step `disks`: no room")
    await report(world, server_id, HOST_A, "running")
    assert (await get(world, server_id)).vm_state is VmState.ACTIVE
    assert (await used(world))["host-b"] == (0, 0)


async def test_no_host_leaves_it_as_it_was(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id))
    row = await get(world, server_id)
    refusal = MoveUnplaceable(
        move_id=move_id(),
        server_id=server_id,
        fence=world.fence,
        read_generation=row.generation,
        message="No valid host was found.",
    )
    await world.do(refusal)
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state, row.deadline_ms, row.fault) == (VmState.ACTIVE, None, None, None)
    assert (await the_move(world)).message == "No valid host was found."
    await world.refuse(refusal, "stale", "changed meanwhile")


async def test_an_evacuated_server_is_built_anew_and_its_old_host_keeps_what_it_had_until_then(
    world: StoreWorld,
) -> None:
    server_id = await world.active("web")
    launched = (await get(world, server_id)).launched_ms
    await world.do(begin(server_id, EVACUATION))
    assert (await the_move(world)).status is MoveStatus.ACCEPTED
    await world.do(await place(world, server_id))
    row = await get(world, server_id)
    assert (row.host_id, row.task_state) == (HOST_B, TaskState.REBUILD_SPAWNING)
    assert api_status(row.vm_state, row.task_state) == "REBUILD"
    assert [each.server_id for each in (await assignments(world, HOST_A)).parked] == [server_id]
    await report(world, server_id, HOST_B, "running")
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state) == (VmState.ACTIVE, None)
    assert row.launched_ms is not None
    assert launched is not None
    assert row.launched_ms >= launched
    gone = await assignments(world, HOST_A)
    assert (gone.parked, gone.server_ids) == ((), ())
    assert (await the_move(world)).status is MoveStatus.DONE


async def test_an_evacuation_that_fails_gives_it_back_to_its_dead_host(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id, EVACUATION))
    await world.do(await place(world, server_id))
    await report(world, server_id, HOST_B, "nostate", fault_message="no image")
    row = await get(world, server_id)
    assert (row.host_id, row.vm_state, row.task_state) == (HOST_A, VmState.ERROR, None)
    assert row.fault is not None
    assert row.fault.message == "no image"
    await world.do(begin(server_id, EVACUATION, 2))  # and may be asked for again
    await world.do(await place(world, server_id, number=2))
    await report(world, server_id, HOST_B, "running")
    assert (await get(world, server_id)).fault is None


async def test_an_evacuated_server_that_was_off_is_off_again(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id, EVACUATION, stays_off=True))
    await world.do(await place(world, server_id))
    await report(world, server_id, HOST_B, "running")
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state, row.desired) == (
        VmState.ACTIVE,
        TaskState.POWERING_OFF,
        Desired.STOPPED,
    )
    await report(world, server_id, HOST_B, "shutdown")
    assert (await get(world, server_id)).vm_state is VmState.STOPPED


async def test_what_may_not_move(world: StoreWorld) -> None:
    server_id = await world.active("web")
    fresh = await world.server("fresh")
    await world.refuse(begin(fresh), "bad_state", "vm_state building")
    await world.refuse(begin(server_id, "flight"), "invalid", "no kind of move")
    await world.refuse(begin(server_id, source_host_id=HOST_B), "conflict", "on another host")
    await world.refuse(begin(ServerId("none")), "not_found", "could not be found")
    await world.do(begin(server_id))
    await world.refuse(begin(server_id, number=2), "busy", "resize_prep")
    await world.refuse(begin(server_id, EVACUATION, 2), "busy", "another move")
    await world.refuse(await place(world, server_id, HOST_A), "bad_state", "on host host-a already")
    await world.refuse(await place(world, server_id, number=2), "bad_state", "no such move")
    confirm = MoveConfirm(server_id=server_id, request_id=RequestId("c"))
    await world.refuse(confirm, "bad_state", "Cannot 'confirmResize'")
    await world.refuse(world.act(server_id, "stop"), "busy", "resize_prep")


async def test_room_that_is_held_is_nobody_elses(world: StoreWorld) -> None:
    """Both ends of a move are full for others, at apply, until it is over."""
    await world.do(host_register(HOST_B, "host-b", vcpus=1, cpu_ratio_milli=1_000))
    server_id = await world.active("web")
    size = (await get(world, server_id)).flavor.vcpus
    await world.do(host_register(HOST_B, "host-b", vcpus=size, cpu_ratio_milli=1_000))
    await world.do(begin(server_id))
    await world.do(await place(world, server_id))
    other = await world.server("other")
    row = await get(world, other)
    there = world.place(other, HOST_B, read_generation=row.generation)
    await world.refuse(there, "no_capacity", "vCPUs wanted, 0 of")
    await report(world, server_id, HOST_A, "shutdown")
    await world.refuse(there, "no_capacity", "vCPUs wanted, 0 of")
    await world.do(host_register(HOST_A, "host-a", vcpus=size, cpu_ratio_milli=1_000))
    here = world.place(other, HOST_A, read_generation=row.generation)
    await world.refuse(here, "no_capacity", "vCPUs wanted, 0 of")
    await report(world, server_id, HOST_B, "running")
    await world.do(MoveConfirm(server_id=server_id, request_id=RequestId("confirm")))
    await world.do(here)


async def test_the_move_is_the_consumer_of_what_is_held(world: StoreWorld) -> None:
    server_id = await moved(world)
    (held,) = await world.ask(ListConsumers(provider_id=provider_id_of(HOST_A)))
    assert (held.consumer_id, held.consumer_type) == (move_id(), "MIGRATION")
    (own,) = await world.ask(ListConsumers(provider_id=provider_id_of(HOST_B)))
    assert own.consumer_id == server_id
    assert own.allocations[provider_id_of(HOST_B)] == held.allocations[provider_id_of(HOST_A)]


async def test_a_deleted_server_ends_its_move(world: StoreWorld) -> None:
    server_id = await moved(world)
    applied = await world.do(world.act(server_id, "delete"))
    assert (applied.result["host_id"], applied.result["hosts"]) == (HOST_B, [HOST_A])
    assert (await assignments(world, HOST_A)).parked == ()
    assert (await the_move(world)).status is MoveStatus.CONFIRMED
    assert await world.ask(GetOpenMove(server_id=server_id)) is None


async def test_a_deadline_ends_each_step_on_firm_ground(world: StoreWorld) -> None:
    async def expire() -> Server:
        world.clock.advance(1)
        row = await get(world, server_id)
        await world.do(ServerExpire(server_id=server_id, generation=row.generation, reason="too late"))
        return await get(world, server_id)

    server_id = await world.active("web")
    await world.do(begin(server_id, deadline_ms=1))
    row = await expire()
    assert (row.vm_state, row.task_state, row.host_id) == (VmState.ACTIVE, None, HOST_A)

    await world.do(begin(server_id, number=2, deadline_ms=1))
    await world.do(await place(world, server_id, number=2))
    await report(world, server_id, HOST_A, "shutdown")
    row = await expire()  # whether it runs at B nobody knows
    assert (row.vm_state, row.task_state, row.host_id) == (VmState.ERROR, None, HOST_B)
    assert row.fault is not None
    assert "revertResize" in row.fault.message
    assert [each.server_id for each in (await assignments(world, HOST_A)).parked] == [server_id]
    await world.refuse(world.act(server_id, "reboot_hard"), "bad_state", "revertResize")
    await world.do(MoveRevert(server_id=server_id, request_id=RequestId("r"), deadline_ms=1))
    row = await expire()  # B does not answer
    assert (row.task_state, row.host_id) == (None, HOST_B)
    back = MoveRevert(
        server_id=server_id, request_id=RequestId("r2"), is_dest_gone=True, deadline_ms=LATER_MS
    )
    await world.do(back)
    await report(world, server_id, HOST_A, "running")
    row = await get(world, server_id)
    assert (row.vm_state, row.fault) == (VmState.ACTIVE, None)


async def test_one_that_arrives_late_has_arrived(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id, deadline_ms=1))
    await world.do(await place(world, server_id))
    await report(world, server_id, HOST_A, "shutdown")
    world.clock.advance(1)
    row = await get(world, server_id)
    await world.do(ServerExpire(server_id=server_id, generation=row.generation, reason="too late"))
    await report(world, server_id, HOST_B, "running")
    row = await get(world, server_id)
    assert (row.vm_state, row.fault) == (VmState.RESIZED, None)


async def test_a_host_that_keeps_something_cannot_be_removed(world: StoreWorld) -> None:
    server_id = await moved(world)
    removal = NodeRemove(node_id=HOST_A, removal_body=b"b", removal_signature=b"s")
    await world.refuse(removal, "in_use", "still has servers")
    await world.do(MoveConfirm(server_id=server_id, request_id=RequestId("confirm")))
    assert (await used(world))["host-a"][1] == 0


async def test_a_group_counts_those_on_their_way(world: StoreWorld) -> None:
    """Anti-affinity holds at both ends of a move."""
    group = ServerGroupId("99999999-9999-4999-8999-999999999999")
    made = ServerGroupCreate(
        group_id=group, project_id=PROJECT, user_id=USER, name="apart", policy="anti-affinity"
    )
    await world.do(made)
    await world.do(host_register(HOST_C, "host-c"))
    one = await member(world, "one", group)
    await world.do(world.place(one))
    await world.do(observed(one, 2))
    await world.do(begin(one))
    await world.do(await place(world, one))
    two = await member(world, "two", group)
    row = await get(world, two)
    for host_id in (HOST_A, HOST_B):
        await world.refuse(world.place(two, host_id, read_generation=row.generation), "policy_violated")
    await world.do(world.place(two, HOST_C, read_generation=row.generation))


async def test_disabled_hosts_take_nobody_in(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(HostUpdate(host_id=HOST_B, enabled=False))
    await world.do(begin(server_id))
    await world.refuse(await place(world, server_id), "host_disabled", "disabled")


async def test_moves_are_listed_newest_first_by_what_is_asked(world: StoreWorld) -> None:
    server_id = await moved(world)
    await world.do(MoveConfirm(server_id=server_id, request_id=RequestId("confirm")))
    await world.do(begin(server_id, number=2, source_host_id=HOST_B))

    async def numbers(**wanted: Any) -> list[int]:
        return [move.number for move in await world.ask(ListMoves(filter=MoveFilter(**wanted)))]

    assert await numbers() == [2, 1]
    assert await numbers(statuses=("confirmed",)) == [1]
    assert await numbers(source_name="host-b") == [2]
    assert await numbers(host="host-b") == [2, 1]
    assert await numbers(kind="evacuation") == []
    assert await numbers(server_id=server_id, user_id=USER, project_id=PROJECT) == [2, 1]
    assert await numbers(changed_before_ms=0) == []
    assert [move.number for move in await world.ask(ListMoves(limit=1))] == [2]
    assert [move.number for move in await world.ask(ListMoves(marker=move_id(2)))] == [1]
    with pytest.raises(BadFilterError):
        await world.ask(ListMoves(marker="none"))
