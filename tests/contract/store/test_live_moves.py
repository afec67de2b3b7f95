"""Live moves on both engines: what each word of a host or user makes of server, ports and move."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.moves.model import MoveStatus
from fabric.core.moves.queries import GetOpenMove
from fabric.core.networks.queries import ListPorts
from fabric.core.servers.states import TaskState, VmState, api_status
from fabric.errors import CommandRejectedError
from proto.commands.moves import MoveAbort, MoveArrived, MoveForce, MoveRunning
from proto.commands.servers import ServerAct, ServerExpire
from proto.ids import NodeId, RequestId, ServerId
from tests.contract.store.test_moves import (
    EVACUATION,
    LATER_MS,
    assignments,
    begin,
    get,
    move_id,
    place,
    report,
    the_move,
    used,
)
from tests.fixtures.store_world import HOST_A, HOST_B, StoreWorld

LIVE = "live-migration"
REQUEST = RequestId("user-1")


def running(server_id: ServerId, host_id: NodeId = HOST_A) -> MoveRunning:
    return MoveRunning(move_id=move_id(), server_id=server_id, host_id=host_id)


def arrived(server_id: ServerId, host_id: NodeId = HOST_B) -> MoveArrived:
    return MoveArrived(move_id=move_id(), server_id=server_id, host_id=host_id)


def abort(server_id: ServerId) -> MoveAbort:
    return MoveAbort(move_id=move_id(), server_id=server_id, request_id=REQUEST)


def force(server_id: ServerId) -> MoveForce:
    return MoveForce(move_id=move_id(), server_id=server_id, request_id=REQUEST)


async def under_way(world: StoreWorld) -> ServerId:
    """A server that is being sent from A to B."""
    server_id = await world.active("web")
    await world.do(begin(server_id, LIVE))
    await world.do(await place(world, server_id))
    await world.do(running(server_id))
    return server_id


async def expire(world: StoreWorld, server_id: ServerId) -> Any:
    row = await get(world, server_id)
    world.clock.now_ms = row.deadline_ms or 0
    command = ServerExpire(server_id=server_id, generation=row.generation, reason="too late")
    return await world.do(command)


async def as_it_was(world: StoreWorld, server_id: ServerId, host_id: NodeId = HOST_A) -> None:
    row = await get(world, server_id)
    assert (row.host_id, row.vm_state, row.task_state) == (host_id, VmState.ACTIVE, None)
    assert (row.deadline_ms, row.fault) == (None, None)
    assert await world.ask(GetOpenMove(server_id=server_id)) is None
    size = row.flavor.vcpus
    here = "host-a" if host_id == HOST_A else "host-b"
    assert {name: each for name, each in (await used(world)).items() if each != (0, 0)} == {here: (size, 1)}
    for host in (HOST_A, HOST_B):
        told = await assignments(world, host)
        assert (told.arriving_ids, told.arriving, told.parked) == ((), (), ())


async def test_a_live_move_step_by_step(world: StoreWorld) -> None:
    server_id = await world.active("web")
    size = (await get(world, server_id)).flavor.vcpus
    await world.do(begin(server_id, LIVE))
    row = await get(world, server_id)
    assert (row.task_state, api_status(row.vm_state, row.task_state)) == (TaskState.MIGRATING, "MIGRATING")
    assert (await the_move(world)).status is MoveStatus.QUEUED

    applied = await world.do(await place(world, server_id))
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    assert (await the_move(world)).status is MoveStatus.PREPARING
    assert await used(world) == {"host-a": (size, 1), "host-b": (size, 0)}
    (told,) = (await assignments(world, HOST_A)).servers
    assert told.move is not None
    assert (told.move.dest_host_id, told.move.status) == (HOST_B, "preparing")
    there = await assignments(world, HOST_B)
    assert (there.server_ids, there.arriving_ids) == ((), (server_id,))
    (comes,) = there.arriving
    assert comes.server.server_id == server_id
    assert comes.ports
    assert {group.security_group_id for group in there.security_groups} == {
        group for port in comes.ports for group in port.security_group_ids
    }

    await world.do(running(server_id))
    await world.do(running(server_id))
    assert (await the_move(world)).status is MoveStatus.RUNNING

    applied = await report(world, server_id, HOST_A, "running")
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    assert (await the_move(world)).status is MoveStatus.POST_MIGRATING
    row = await get(world, server_id)
    assert (row.host_id, row.task_state, row.power_state.value) == (HOST_A, TaskState.MIGRATING, "running")

    applied = await world.do(arrived(server_id))
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    assert (await the_move(world)).status is MoveStatus.COMPLETED
    await as_it_was(world, server_id, HOST_B)
    ports = await world.ask(ListPorts())
    assert {(port.host_id, port.status) for port in ports} == {(HOST_B, "ACTIVE")}
    await world.refuse(arrived(server_id), "bad_state")
    with pytest.raises(CommandRejectedError, match="is not on host"):
        await report(world, server_id, HOST_A, "running", fault_message="late")


async def test_the_other_host_may_say_so_first(world: StoreWorld) -> None:
    """The source dies just when its guest has left: nothing is lost."""
    server_id = await under_way(world)
    await world.refuse(arrived(server_id, HOST_A), "forbidden")
    await world.do(arrived(server_id))
    await as_it_was(world, server_id, HOST_B)


async def test_one_that_fails_is_as_it_was(world: StoreWorld) -> None:
    server_id = await under_way(world)
    applied = await report(world, server_id, HOST_A, "running", fault_message="no way")
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    move = await the_move(world)
    assert (move.status, move.message) == (MoveStatus.ERROR, "no way")
    await as_it_was(world, server_id)
    await world.refuse(arrived(server_id), "bad_state")


async def test_an_abort_is_a_wish_until_its_host_says_so(world: StoreWorld) -> None:
    server_id = await under_way(world)
    generation = (await get(world, server_id)).action_generation
    await world.do(abort(server_id))
    (told,) = (await assignments(world, HOST_A)).servers
    assert told.move is not None
    assert (told.move.status, told.server.action_generation) == ("aborting", generation)
    await world.do(abort(server_id))
    await world.refuse(force(server_id), "bad_state")
    await report(world, server_id, HOST_A, "running", fault_message="aborted")
    assert (await the_move(world)).status is MoveStatus.CANCELLED
    await as_it_was(world, server_id)


async def test_an_abort_that_comes_too_late_changes_nothing(world: StoreWorld) -> None:
    server_id = await under_way(world)
    await world.do(abort(server_id))
    await report(world, server_id, HOST_A, "running")
    assert (await the_move(world)).status is MoveStatus.POST_MIGRATING
    await world.refuse(abort(server_id), "bad_state")
    await world.do(arrived(server_id))
    assert (await the_move(world)).status is MoveStatus.COMPLETED


async def test_one_that_waits_for_a_host_is_aborted_at_once(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id, LIVE))
    await world.do(abort(server_id))
    assert (await the_move(world)).status is MoveStatus.CANCELLED
    await as_it_was(world, server_id)
    await world.refuse(abort(server_id), "bad_state")


async def test_a_force_is_told_to_its_host(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(begin(server_id, LIVE))
    await world.do(await place(world, server_id))
    await world.refuse(force(server_id), "bad_state")
    await world.do(running(server_id))
    for _ in range(2):
        await world.do(force(server_id))
    (told,) = (await assignments(world, HOST_A)).servers
    assert told.move is not None
    assert told.move.status == "forcing"


async def test_a_deadline_ends_it_as_it_was(world: StoreWorld) -> None:
    server_id = await under_way(world)
    await expire(world, server_id)
    assert (await the_move(world)).status is MoveStatus.ABORTING
    await report(world, server_id, HOST_A, "running", fault_message="aborted")
    move = await the_move(world)
    assert (move.status, move.message) == (MoveStatus.ERROR, "too late")
    await as_it_was(world, server_id)


@pytest.mark.parametrize("who", ["source", "destination"])
async def test_when_nobody_answers_the_first_that_is_back_tells(world: StoreWorld, who: str) -> None:
    server_id = await under_way(world)
    await expire(world, server_id)
    await expire(world, server_id)
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state, row.host_id) == (VmState.ERROR, None, HOST_A)
    assert row.fault is not None
    assert "host-b" in row.fault.message
    if who == "source":
        await report(world, server_id, HOST_A, "running", fault_message="it is here")
        await as_it_was(world, server_id)
    else:
        await world.do(arrived(server_id))
        await as_it_was(world, server_id, HOST_B)


async def test_when_nobody_answers_its_end_may_be_asked_for(world: StoreWorld) -> None:
    server_id = await under_way(world)
    await expire(world, server_id)
    await expire(world, server_id)
    await world.do(abort(server_id))
    assert (await the_move(world)).status is MoveStatus.CANCELLED
    await as_it_was(world, server_id)


async def test_one_that_left_and_was_not_heard_of_is_the_other_hosts(world: StoreWorld) -> None:
    server_id = await under_way(world)
    await report(world, server_id, HOST_A, "running")
    await expire(world, server_id)
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ERROR, HOST_B)
    assert (await the_move(world)).status is MoveStatus.ERROR


async def test_a_delete_ends_it(world: StoreWorld) -> None:
    server_id = await under_way(world)
    act = ServerAct(server_id=server_id, verb="delete", request_id=REQUEST, deadline_ms=LATER_MS)
    applied = await world.do(act)
    assert applied.result["hosts"] == [HOST_B]
    assert (await the_move(world)).status is MoveStatus.ERROR
    assert (await assignments(world, HOST_B)).arriving_ids == ()
    await world.refuse(arrived(server_id), "bad_state")


async def test_an_evacuation_ends_it(world: StoreWorld) -> None:
    server_id = await under_way(world)
    applied = await world.do(begin(server_id, EVACUATION, 2))
    assert applied.result["hosts"] == [HOST_A, HOST_B]
    await world.refuse(arrived(server_id), "bad_state")
    assert (await assignments(world, HOST_B)).arriving_ids == ()


async def test_only_one_that_runs_goes_live(world: StoreWorld) -> None:
    server_id = await under_way(world)
    await world.refuse(begin(server_id, LIVE, 2), "busy")
    act = ServerAct(server_id=server_id, verb="stop", request_id=REQUEST, deadline_ms=LATER_MS)
    await world.refuse(act, "busy")
    await world.do(arrived(server_id))
    await world.do(act)
    await report(world, server_id, HOST_B, "shutdown")
    await world.refuse(begin(server_id, LIVE, 3, source_host_id=HOST_B), "bad_state")
