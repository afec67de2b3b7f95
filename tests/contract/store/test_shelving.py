"""Shelving on both engines: what each step makes of the server, its image, its ports and its host's room."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fabric.core.images.model import Image, ImageStatus
from fabric.core.images.queries import GetImage, ImageFilter, ListImages
from fabric.core.networks.queries import ListPorts
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.queries import ListHostFacts, ListPlacementRequests
from fabric.core.placement.request import PlacementRequest
from fabric.core.servers.model import AssignedServer, Server
from fabric.core.servers.queries import GetAssignments, GetServer, ListServers, ServerFilter
from fabric.core.servers.states import Desired, PowerState, TaskState, VmState, api_status
from proto.commands.catalog import ImageDelete, ImageUpdate
from proto.commands.moves import MoveBegin, MovePlace
from proto.commands.nodes import HostUpdate
from proto.commands.quotas import QuotaSet
from proto.commands.server_groups import ServerGroupCreate
from proto.commands.servers import ServerCreateHinted, ServerExpire, ServerUnplaceable
from proto.commands.shelving import ServerShelve, ServerShelved, ServerUnshelve
from proto.ids import ImageId, NodeId, RequestId, ServerGroupId, ServerId
from tests.fixtures.store_world import (
    DEADLINE_MS,
    HOST_A,
    HOST_B,
    IMAGE,
    PROJECT,
    USER,
    StoreWorld,
    image_create,
    observed,
)

SHELF = ImageId("shelf-1")
BYTES = {"size_bytes": 700, "virtual_bytes": 1 << 30}
SUMS = {"md5": "5" * 32, "sha256": "e" * 64, "sha512": "1" * 128}
LONG_MS = 10 * DEADLINE_MS


async def get(world: StoreWorld, server_id: ServerId) -> Server:
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    return view.server


def shelve(world: StoreWorld, server_id: ServerId) -> ServerShelve:
    return ServerShelve(
        server_id=server_id,
        image_id=SHELF,
        user_id=USER,
        request_id=RequestId("shelve"),
        deadline_ms=world.clock.now_ms + DEADLINE_MS,
    )


def unshelve(world: StoreWorld, server_id: ServerId, **changes: Any) -> ServerUnshelve:
    return ServerUnshelve(
        server_id=server_id,
        request_id=RequestId("unshelve"),
        deadline_ms=world.clock.now_ms + DEADLINE_MS,
        **changes,
    )


async def saved(world: StoreWorld, server_id: ServerId, **changes: Any) -> ServerShelved:
    generation = (await get(world, server_id)).action_generation
    of = {"server_id": server_id, "host_id": HOST_A, "generation": generation, **BYTES, **SUMS}
    return ServerShelved(**of | changes)


async def report(world: StoreWorld, server_id: ServerId, host_id: NodeId, power: str, **changes: Any) -> Any:
    generation = (await get(world, server_id)).action_generation
    return await world.do(observed(server_id, generation, host_id=host_id, power_state=power, **changes))


async def off(world: StoreWorld, server_id: ServerId) -> None:
    """It is being shelved, and its guest was stopped."""
    await world.do(shelve(world, server_id))
    await report(world, server_id, HOST_A, "shutdown")


async def shelved(world: StoreWorld, name: str = "web", **changes: Any) -> ServerId:
    server_id = await world.active(name, **changes)
    await off(world, server_id)
    await world.do(await saved(world, server_id))
    return server_id


async def placed(world: StoreWorld, server_id: ServerId, host_id: NodeId) -> Any:
    generation = (await get(world, server_id)).generation
    return await world.do(world.place(server_id, host_id, read_generation=generation))


async def unplaceable(world: StoreWorld, server_id: ServerId) -> ServerUnplaceable:
    generation = (await get(world, server_id)).generation
    why = {"fence": world.fence, "read_generation": generation, "message": "No valid host was found."}
    return ServerUnplaceable(server_id=server_id, **why)


async def expire(world: StoreWorld, server_id: ServerId) -> Any:
    world.clock.advance(LONG_MS)
    generation = (await get(world, server_id)).generation
    return await world.do(ServerExpire(server_id=server_id, generation=generation, reason="nobody came"))


async def image(world: StoreWorld, image_id: ImageId = SHELF) -> Image | None:
    return await world.ask(GetImage(image_id=image_id))


async def waiting(world: StoreWorld) -> tuple[PlacementRequest, ...]:
    return await world.ask(ListPlacementRequests())


async def told(world: StoreWorld, host_id: NodeId) -> AssignedServer:
    (assigned,) = (await world.ask(GetAssignments(host_id=host_id))).servers
    return assigned


async def used(world: StoreWorld) -> dict[str, int]:
    """Servers, by host."""
    return {usage.host.name: usage.servers for usage in await world.ask(ListHosts())}


def shown(row: Server) -> tuple[str, TaskState | None]:
    return api_status(row.vm_state, row.task_state), row.task_state


async def test_shelved_step_by_step(world: StoreWorld) -> None:
    server_id = await world.active("web", tags=("kept",))
    (port,) = await world.ask(ListPorts(device_id=server_id))
    applied = await world.do(shelve(world, server_id))
    assert applied.result == {"hosts": [HOST_A]}
    row = await get(world, server_id)
    assert shown(row) == ("ACTIVE", TaskState.SHELVING)
    assert (row.desired, await image(world)) == (Desired.RUNNING, None)
    assert (await told(world, HOST_A)).server.task_state is TaskState.SHELVING

    await report(world, server_id, HOST_A, "shutdown")
    row = await get(world, server_id)
    assert shown(row) == ("ACTIVE", TaskState.SHELVING_IMAGE_UPLOADING)
    assert (row.host_id, row.action_generation) == (HOST_A, row.generation)
    assert await used(world) == {"host-a": 1, "host-b": 0}

    assert (await world.do(await saved(world, server_id))).result == {"image_id": SHELF}
    row = await get(world, server_id)
    assert shown(row) == ("SHELVED_OFFLOADED", None)
    assert (row.host_id, row.deadline_ms, row.power_state) == (None, None, PowerState.SHUTDOWN)
    assert (row.image_id, row.tags) == (IMAGE, ("kept",))
    assert await used(world) == {"host-a": 0, "host-b": 0}
    assert (await world.ask(GetAssignments(host_id=HOST_A))).server_ids == ()
    (now,) = await world.ask(ListPorts(device_id=server_id))
    assert (now.host_id, now.status, now.fixed_ips) == (None, "DOWN", port.fixed_ips)
    assert await waiting(world) == ()


async def test_the_image_is_as_nova_makes_it(world: StoreWorld) -> None:
    base = image_create("base", min_ram_mb=64, properties={"hw_disk_bus": "scsi", "img_signature": "x"})
    await world.do(base)
    await shelved(world, image_id=ImageId("base"))
    made = await image(world)
    assert made is not None
    assert (made.name, made.project_id, made.visibility) == ("web-shelved", PROJECT, "private")
    assert (made.status, made.disk_format, made.container_format) == (ImageStatus.ACTIVE, "qcow2", "bare")
    assert (made.min_disk_gb, made.min_ram_mb) == (1, 64)
    assert (made.size_bytes, made.sha256, made.node_id) == (700, "e" * 64, HOST_A)
    assert made.properties == {
        "hw_disk_bus": "scsi",
        "base_image_ref": "base",
        "image_type": "snapshot",
        "instance_uuid": "web",
        "user_id": USER,
    }


async def test_unshelved_step_by_step(world: StoreWorld) -> None:
    server_id = await shelved(world)
    addresses = [port.fixed_ips for port in await world.ask(ListPorts(device_id=server_id))]
    assert (await world.do(unshelve(world, server_id))).result == {"unplaced": True}
    assert shown(await get(world, server_id)) == ("SHELVED_OFFLOADED", TaskState.UNSHELVING)
    (asked,) = await waiting(world)
    assert (asked.server_id, asked.image_id, asked.image_sha256) == (server_id, SHELF, "e" * 64)

    world.clock.advance(5_000)
    await placed(world, server_id, HOST_B)
    row = await get(world, server_id)
    assert (row.host_id, *shown(row)) == (HOST_B, "SHELVED_OFFLOADED", TaskState.SPAWNING)
    assigned = await told(world, HOST_B)
    assert assigned.image is not None
    assert (assigned.image.image_id, assigned.image.node_id) == (SHELF, HOST_A)
    # for its host it never ran: nothing that may lie there counts
    assert (assigned.is_from_shelf, assigned.server.launched_ms) == (True, None)
    assert assigned.server.vm_state is VmState.BUILDING
    (facts,) = [each for each in await world.ask(ListHostFacts()) if each.host.host_id == HOST_B]
    assert (facts.io_ops, facts.servers) == (1, 1)

    applied = await report(world, server_id, HOST_B, "running")
    assert applied.result["hosts"] == [HOST_A]  # which held the image
    row = await get(world, server_id)
    assert (*shown(row), row.deadline_ms) == ("ACTIVE", None, None)
    assert row.launched_ms == world.clock.now_ms
    assert await image(world) is None
    assert not (await told(world, HOST_B)).is_from_shelf
    ports = await world.ask(ListPorts(device_id=server_id))
    assert [(port.fixed_ips, port.host_id, port.status) for port in ports] == [
        (addresses[0], HOST_B, "ACTIVE")
    ]
    await world.do(shelve(world, server_id))  # and once more


async def test_a_stopped_server_is_shelved_and_comes_back_running(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(world.act(server_id, "stop"))
    await report(world, server_id, HOST_A, "shutdown")
    await off(world, server_id)
    assert shown(await get(world, server_id)) == ("SHUTOFF", TaskState.SHELVING_IMAGE_UPLOADING)
    await world.do(await saved(world, server_id))
    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_A)
    await report(world, server_id, HOST_A, "running")
    row = await get(world, server_id)
    assert (row.vm_state, row.desired) == (VmState.ACTIVE, Desired.RUNNING)


async def test_a_guest_that_is_not_saved_is_started_again(world: StoreWorld) -> None:
    server_id = await world.active("web")
    for says in ({"power": "running"}, {"power": "shutdown", "fault_message": "no room"}):
        await world.do(shelve(world, server_id))
        await report(world, server_id, HOST_A, **says)
        row = await get(world, server_id)
        assert (row.vm_state, row.task_state) == (VmState.ACTIVE, TaskState.POWERING_ON)
        assert row.action_generation == row.generation
        await report(world, server_id, HOST_A, "running")
        assert shown(await get(world, server_id)) == ("ACTIVE", None)
    await off(world, server_id)
    late = await saved(world, server_id)
    await report(world, server_id, HOST_A, "shutdown", fault_message="no room")
    assert (await get(world, server_id)).task_state is TaskState.POWERING_ON
    await world.refuse(late, "stale")
    assert await image(world) is None


async def test_a_stopped_one_that_is_not_saved_is_left_alone(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.do(world.act(server_id, "stop"))
    await report(world, server_id, HOST_A, "shutdown")
    await off(world, server_id)
    await report(world, server_id, HOST_A, "shutdown", fault_message="no room")
    row = await get(world, server_id)
    assert (*shown(row), row.deadline_ms, row.host_id) == ("SHUTOFF", None, None, HOST_A)


async def test_only_its_host_says_that_it_is_saved(world: StoreWorld) -> None:
    server_id = await world.active("web")
    await world.refuse(await saved(world, server_id), "bad_state")
    await world.do(shelve(world, server_id))
    await world.refuse(await saved(world, server_id), "bad_state")
    await report(world, server_id, HOST_A, "shutdown")
    await world.refuse(await saved(world, server_id, host_id=HOST_B), "forbidden")
    await world.refuse(await saved(world, server_id, generation=1), "stale")
    for lie in ({"sha256": "../" * 20 + "etc/"}, {"md5": "X" * 32}, {"sha512": ""}, {"size_bytes": -1}):
        await world.refuse(await saved(world, server_id, **lie), "invalid")
    await world.do(await saved(world, server_id))
    await world.refuse(await saved(world, server_id), "forbidden")


async def test_what_may_be_shelved_and_unshelved(world: StoreWorld) -> None:
    new = await world.server("new")
    await world.refuse(shelve(world, new), "bad_state", "in vm_state building")
    server_id = await world.active("web")
    await world.refuse(
        unshelve(world, server_id), "bad_state", "Cannot 'unshelve' instance web while it is in"
    )
    await world.do(shelve(world, server_id))
    await world.refuse(shelve(world, server_id), "busy", "in task_state shelving")
    await world.refuse(world.act(server_id, "stop"), "busy")
    await report(world, server_id, HOST_A, "shutdown")
    await world.do(await saved(world, server_id))
    await world.refuse(shelve(world, server_id), "bad_state", "vm_state shelved_offloaded")
    for verb in ("start", "stop", "reboot_soft", "reboot_hard"):
        await world.refuse(
            world.act(server_id, verb), "bad_state", "while it is in vm_state shelved_offloaded"
        )
    await world.refuse(move(world, server_id, "migration"), "bad_state", "vm_state shelved_offloaded")
    await world.do(unshelve(world, server_id))
    await world.refuse(unshelve(world, server_id), "busy", "in task_state unshelving")


def move(world: StoreWorld, server_id: ServerId, kind: str) -> MoveBegin:
    return MoveBegin(
        move_id="00000000-0000-4000-8000-000000000001",
        server_id=server_id,
        kind=kind,
        source_host_id=HOST_A,
        user_id=USER,
        request_id=RequestId("move"),
        arrive_ms=LONG_MS,
        deadline_ms=world.clock.now_ms + LONG_MS,
    )


async def test_where_no_host_fits_it_stays_shelved(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(unshelve(world, server_id))
    await world.do(await unplaceable(world, server_id))
    row = await get(world, server_id)
    assert (*shown(row), row.deadline_ms) == ("SHELVED_OFFLOADED", None, None)
    assert row.fault is not None
    assert row.fault.message == "No valid host was found."
    assert await waiting(world) == ()
    assert await image(world) is not None
    await world.do(unshelve(world, server_id))
    assert (await get(world, server_id)).fault is None


async def test_zone_and_host_that_it_is_unshelved_to(world: StoreWorld) -> None:
    server_id = await shelved(world, zone="nova", host_name="host-a")
    await world.do(unshelve(world, server_id))
    (asked,) = await waiting(world)
    assert (asked.zone, asked.host_name) == ("nova", None)  # the host of its create binds it no more
    await world.do(await unplaceable(world, server_id))
    await world.do(unshelve(world, server_id, changes_zone=True, zone="west", host_name="host-b"))
    (asked,) = await waiting(world)
    assert (asked.zone, asked.host_name) == ("west", "host-b")
    await world.do(await unplaceable(world, server_id))
    await world.do(unshelve(world, server_id, changes_zone=True))
    (asked,) = await waiting(world)
    assert (asked.zone, asked.host_name) == (None, None)


async def test_a_build_that_failed_is_tried_elsewhere_and_then_it_is_shelved_again(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_A)
    failed = {"fault_message": "no KVM here", "left_nothing": True}
    applied = await report(world, server_id, HOST_A, "nostate", **failed)
    assert applied.result["unplaced"]
    (asked,) = await waiting(world)
    assert (asked.ignored_hosts, asked.image_id) == ({HOST_A}, SHELF)
    await placed(world, server_id, HOST_B)
    await report(world, server_id, HOST_B, "nostate", **failed)
    row = await get(world, server_id)
    assert (*shown(row), row.host_id) == ("SHELVED_OFFLOADED", None, None)
    assert row.fault is not None
    assert row.fault.message == "no KVM here"
    await world.do(unshelve(world, server_id))
    assert (await waiting(world))[0].ignored_hosts == frozenset()
    await placed(world, server_id, HOST_B)
    await report(world, server_id, HOST_B, "running")
    assert await image(world) is None


async def test_one_that_must_go_to_a_host_is_tried_nowhere_else(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(unshelve(world, server_id, host_name="host-b"))
    await placed(world, server_id, HOST_B)
    await report(world, server_id, HOST_B, "nostate", fault_message="no", left_nothing=True)
    assert shown(await get(world, server_id)) == ("SHELVED_OFFLOADED", None)


async def test_a_build_that_left_something_keeps_its_host(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_B)
    await report(world, server_id, HOST_B, "nostate", fault_message="undo failed")
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ERROR, HOST_B)
    assert await image(world) is not None
    await world.refuse(world.act(server_id, "stop"), "bad_state", "Reboot it hard")
    await world.do(world.act(server_id, "reboot_hard"))
    assigned = await told(world, HOST_B)
    assert assigned.image is not None
    assert (assigned.image.image_id, assigned.is_from_shelf, assigned.server.launched_ms) == (
        SHELF,
        True,
        None,
    )
    await report(world, server_id, HOST_B, "running")
    assert (await get(world, server_id)).vm_state is VmState.ACTIVE
    assert await image(world) is None


async def test_deadlines(world: StoreWorld) -> None:
    server_id = await world.active("web")
    for step in (shelve(world, server_id), None):
        if step is not None:
            await world.do(step)
        else:
            await off(world, server_id)
        await expire(world, server_id)
        row = await get(world, server_id)
        assert (row.vm_state, row.task_state, row.host_id) == (VmState.ACTIVE, TaskState.POWERING_ON, HOST_A)
        assert await image(world) is None
        await report(world, server_id, HOST_A, "running")
    await off(world, server_id)
    await world.do(await saved(world, server_id))

    await world.do(unshelve(world, server_id))
    await expire(world, server_id)
    row = await get(world, server_id)
    assert (*shown(row), row.deadline_ms) == ("SHELVED_OFFLOADED", None, None)
    assert row.fault is not None
    assert row.fault.message == "nobody came"

    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_A)
    await expire(world, server_id)
    row = await get(world, server_id)
    assert (row.vm_state, row.host_id) == (VmState.ERROR, HOST_A)  # it may run there
    assert await image(world) is not None
    await report(world, server_id, HOST_A, "running")  # late, and heals
    assert shown(await get(world, server_id)) == ("ACTIVE", None)
    assert await image(world) is None


async def test_a_late_no_brings_it_back_to_the_shelf(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_A)
    await expire(world, server_id)
    await report(world, server_id, HOST_A, "nostate", fault_message="no", left_nothing=True)
    row = await get(world, server_id)
    assert (*shown(row), row.host_id) == ("SHELVED_OFFLOADED", None, None)


async def test_evacuated_from_a_host_that_died_over_it(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_A)
    await expire(world, server_id)
    begun = move(world, server_id, "evacuation")
    await world.do(begun)
    (asked,) = await waiting(world)
    assert asked.image_id == SHELF
    generation = (await get(world, server_id)).generation
    to = {"host_id": HOST_B, "fence": world.fence, "read_generation": generation}
    await world.do(MovePlace(move_id=begun.move_id, server_id=server_id, **to))
    assigned = await told(world, HOST_B)
    assert assigned.image is not None
    assert assigned.image.image_id == SHELF
    await report(world, server_id, HOST_B, "running")
    assert (await get(world, server_id)).vm_state is VmState.ACTIVE
    assert await image(world) is None


async def test_delete_at_each_step_leaves_nothing(world: StoreWorld) -> None:
    server_id = await shelved(world, "gone")
    applied = await world.do(world.act(server_id, "delete"))
    assert applied.result == {"removed": True, "host_id": None, "hosts": [HOST_A]}
    assert await image(world) is None
    assert await world.ask(ListPorts(device_id=server_id)) == ()

    server_id = await shelved(world, "built")
    await world.do(unshelve(world, server_id))
    await placed(world, server_id, HOST_B)
    applied = await world.do(world.act(server_id, "delete"))
    assert (applied.result["host_id"], applied.result["hosts"]) == (HOST_B, [HOST_A])
    assert await image(world) is None

    server_id = await world.active("saved")
    await off(world, server_id)
    late = await saved(world, server_id)
    await world.do(world.act(server_id, "delete"))
    await world.refuse(late, "stale")
    assert await image(world) is None
    await world.do(shelve(world, await world.active("saved-2")))  # and its row of shelving is gone, too


async def test_a_protected_image_outlives_its_server(world: StoreWorld) -> None:
    server_id = await shelved(world)
    made = await image(world)
    assert made is not None
    same = {"name": made.name, "visibility": made.visibility, "disk_format": made.disk_format}
    same |= {"container_format": made.container_format, "properties": made.properties}
    await world.do(ImageUpdate(image_id=SHELF, read_generation=made.generation, protected=True, **same))
    await world.do(world.act(server_id, "delete"))
    assert await image(world) is not None


async def test_without_its_image_it_can_only_be_deleted(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(ImageDelete(image_id=SHELF))
    await world.refuse(unshelve(world, server_id), "bad_state", "the image that it was shelved to is gone")
    await world.do(world.act(server_id, "delete"))


async def test_it_still_counts_in_the_quota(world: StoreWorld) -> None:
    await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 1}))
    await shelved(world)
    await world.refuse(world.server_create("more"), "quota")


async def test_lists_find_it_by_status(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.active("other")
    for wanted in (
        ServerFilter(statuses=("SHELVED_OFFLOADED",)),
        ServerFilter(vm_state="shelved_offloaded"),
    ):
        found = await world.ask(ListServers(filter=wanted))
        assert [view.server.server_id for view in found] == [server_id]
    assert await world.ask(ListServers(filter=ServerFilter(statuses=("SHELVED",)))) == ()
    assert len(await world.ask(ListImages(filter=ImageFilter()))) == 2


async def test_its_group_holds_for_where_it_comes_back_to(world: StoreWorld) -> None:
    group_id = ServerGroupId("group")
    await world.do(
        ServerGroupCreate(
            group_id=group_id, project_id=PROJECT, user_id=USER, name="apart", policy="anti-affinity"
        )
    )
    ids = []
    for name, host_id in (("one", HOST_A), ("two", HOST_B)):
        made = world.server_create(name)
        same = {each.name: getattr(made, each.name) for each in fields(made)}
        await world.do(ServerCreateHinted(**same | {"group_id": group_id}))
        await placed(world, made.server_id, host_id)
        await report(world, made.server_id, host_id, "running")
        ids.append(made.server_id)
    await off(world, ids[0])
    await world.do(await saved(world, ids[0]))
    await world.do(unshelve(world, ids[0]))
    (asked,) = await waiting(world)
    assert asked.group is not None
    generation = (await get(world, ids[0])).generation
    await world.refuse(world.place(ids[0], HOST_B, read_generation=generation), "policy_violated")
    await placed(world, ids[0], HOST_A)


async def test_a_disabled_host_is_refused_as_for_new_servers(world: StoreWorld) -> None:
    server_id = await shelved(world)
    await world.do(HostUpdate(host_id=HOST_B, enabled=False))
    await world.do(unshelve(world, server_id))
    generation = (await get(world, server_id)).generation
    await world.refuse(world.place(server_id, HOST_B, read_generation=generation), "host_disabled")
    await placed(world, server_id, HOST_A)
