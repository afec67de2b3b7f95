"""A build that failed goes on elsewhere, a few times, and what is known of it leaves with the server."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.networks.queries import ListPorts
from fabric.core.placement.queries import GetPlacementRequest, ListPlacementRequests
from fabric.core.queries import Page
from fabric.core.servers.model import Server
from fabric.core.servers.queries import GetServer, ListServers
from fabric.core.servers.states import PowerState, TaskState, VmState
from proto.commands.nodes import HostUpdate
from proto.ids import NodeId, ServerId
from tests.fixtures.store_world import HOST_A, HOST_B, StoreWorld, host_register, observed

HOSTS = (HOST_A, HOST_B, NodeId("c" * 32), NodeId("d" * 32))


async def get(world: StoreWorld, server_id: ServerId) -> Server:
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    return view.server


async def fail(
    world: StoreWorld,
    server_id: ServerId,
    host_id: NodeId,
    message: str = "no disk",
    *,
    left_nothing: bool = True,
) -> Any:
    """It is placed there, and cannot be built."""
    row = await get(world, server_id)
    await world.do(world.place(server_id, host_id, read_generation=row.generation))
    generation = (await get(world, server_id)).action_generation
    return await world.do(
        observed(
            server_id,
            generation,
            host_id=host_id,
            power_state="nostate",
            fault_message=message,
            left_nothing=left_nothing,
        )
    )


async def test_it_waits_for_another_host_and_names_those_that_failed(world: StoreWorld) -> None:
    server_id = await world.server("web")
    applied = await fail(world, server_id, HOST_A)
    assert applied.result["unplaced"] is True
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state, row.host_id) == (VmState.BUILDING, TaskState.SCHEDULING, None)
    assert (row.power_state, row.fault) == (PowerState.NOSTATE, None)
    (port,) = await world.ask(ListPorts(device_id=server_id))
    assert (port.host_id, port.status) == (None, "DOWN")
    (asked,) = await world.ask(ListPlacementRequests())
    assert asked.ignored_hosts == {HOST_A}
    assert asked.failures == (("host-a", "no disk"),)
    await world.do(world.place(server_id, HOST_B, read_generation=row.generation))
    generation = (await get(world, server_id)).action_generation
    await world.refuse(observed(server_id, generation), "forbidden", "not on host")  # the first one is late
    await world.do(observed(server_id, generation, host_id=HOST_B))
    assert (await get(world, server_id)).vm_state is VmState.ACTIVE
    asked_again = await world.ask(GetPlacementRequest(server_id=server_id))
    assert asked_again is not None
    assert asked_again.failures == ()


async def test_three_hosts_are_enough(world: StoreWorld) -> None:
    for host_id, name in zip(HOSTS[2:], ("host-c", "host-d"), strict=True):
        await world.do(host_register(host_id, name))
    server_id = await world.server("web")
    for host_id in HOSTS[:2]:
        await fail(world, server_id, host_id)
        assert (await get(world, server_id)).vm_state is VmState.BUILDING
    await fail(world, server_id, HOSTS[2], "the third says no")
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ERROR, HOSTS[2])
    assert row.fault is not None
    assert row.fault.message == "the third says no"


@pytest.mark.parametrize("change", [{"enabled": False}, {"forced_down": True}])
async def test_without_another_host_it_is_an_error_at_once(world: StoreWorld, change: dict[str, Any]) -> None:
    await world.do(HostUpdate(host_id=HOST_B, **change))
    server_id = await world.server("web")
    await fail(world, server_id, HOST_A)
    row = await get(world, server_id)
    assert (row.vm_state, row.task_state, row.deadline_ms) == (VmState.ERROR, None, None)


async def test_while_something_of_it_may_be_left_it_goes_nowhere_else(world: StoreWorld) -> None:
    server_id = await world.server("web")
    await fail(world, server_id, HOST_A, left_nothing=False)
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ERROR, HOST_A)


async def test_who_named_a_host_gets_no_other(world: StoreWorld) -> None:
    server_id = await world.server("web", host_name="host-a")
    await fail(world, server_id, HOST_A)
    assert (await get(world, server_id)).vm_state is VmState.ERROR


async def test_work_on_a_server_that_runs_is_not_moved(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(world.act(server_id, "reboot_hard"))
    await world.do(observed(server_id, 4, power_state="nostate", fault_message="no"))
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ERROR, HOST_A)


async def test_a_server_that_is_deleted_meanwhile_goes(world: StoreWorld) -> None:
    server_id = await world.server("web")
    await fail(world, server_id, HOST_A)
    applied = await world.do(world.act(server_id, "delete"))
    assert applied.result["removed"] is True
    assert await world.ask(ListServers(page=Page())) == ()
    assert await world.ask(ListPlacementRequests()) == ()


async def test_at_level_1_it_is_an_error_at_once(bare: StoreWorld) -> None:
    if bare.engine.level > 1:
        pytest.skip("a shared database is made at the newest level")
    await bare.init()
    server_id = await bare.server("web")
    await fail(bare, server_id, HOST_A)
    assert (await get(bare, server_id)).vm_state is VmState.ERROR
