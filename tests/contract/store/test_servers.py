"""A server's life: made, placed, run, acted on, gone. Accepted and each way rejected, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from fabric.core.networks.queries import GetPort, ListPorts, UsedAddresses
from fabric.core.servers.model import Server
from fabric.core.servers.queries import GetServer, ListServers
from fabric.core.servers.states import Desired, PowerState, TaskState, VmState
from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from fabric.store.postgres import PostgresState
from fabric.store.voter_engine import VoterEngine
from proto.commands.catalog import FlavorDelete
from proto.commands.networks import PortCreate
from proto.commands.nodes import HostUpdate, RoleHold
from proto.commands.quotas import QuotaSet
from proto.commands.servers import (
    ServerExpire,
    ServerRemoved,
    ServerUnplaceable,
    ServerUpdate,
)
from proto.ids import Fence, FlavorId, ImageId, NodeId, PortId, ProjectId, ServerId
from tests.fixtures.store_world import (
    DEADLINE_MS,
    FLAVOR,
    HOST_A,
    HOST_B,
    NODE,
    PROJECT,
    SUBNET,
    StoreWorld,
    flavor_create,
    host_register,
    observed,
)

NONE = ServerId("none")


async def get(world: StoreWorld, server_id: ServerId) -> Server:
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    return view.server


async def states(
    world: StoreWorld, server_id: ServerId
) -> tuple[VmState, TaskState | None, Desired, PowerState]:
    server = await get(world, server_id)
    return server.vm_state, server.task_state, server.desired, server.power_state


class TestCreate:
    async def test_makes_row_and_ports_in_nic_order(self, world: StoreWorld) -> None:
        await world.do(PortCreate(port=world.port("mine")))
        one, two = world.port("p1"), world.port("p2")
        command = world.server_create(
            "web",
            new_ports=(one, two),
            existing_port_ids=(PortId("mine"),),
            port_order=("p2", "mine", "p1"),
            metadata={"b": "2", "a": "1"},
            tags=("t2", "t1"),
            user_data=b"\x00\xff",
            admin_pass="secret",
        )
        await world.do(command)
        await world.do(FlavorDelete(flavor_id=FLAVOR))  # the row keeps its own numbers
        view = await world.ask(GetServer(server_id=ServerId("web")))
        assert view is not None
        server = view.server
        assert [port.port_id for port in view.ports] == ["p2", "mine", "p1"]
        assert [port.made_for_server for port in view.ports] == [True, False, True]
        assert {port.device_id for port in view.ports} == {"web"}
        assert view.security_groups == ("web",)
        assert (server.flavor.name, server.flavor.vcpus, server.flavor.memory_mb) == (FLAVOR, 1, 512)
        assert (server.metadata, server.tags, server.user_data) == (
            {"a": "1", "b": "2"},
            ("t2", "t1"),
            b"\x00\xff",
        )
        assert (server.generation, server.action_generation) == (1, 1)
        assert server.deadline_ms == world.clock.now_ms + DEADLINE_MS
        assert await states(world, ServerId("web")) == (
            VmState.BUILDING,
            TaskState.SCHEDULING,
            Desired.RUNNING,
            PowerState.NOSTATE,
        )

    async def test_is_all_or_nothing(self, world: StoreWorld) -> None:
        await world.do(PortCreate(port=world.port("mine")))
        await world.server("other", ports=())
        good = world.port("p1")
        for changes, reason, words in (
            ({"flavor_id": FlavorId("none")}, "not_found", "Flavor none could not be found."),
            ({"image_id": ImageId("none")}, "not_found", "Image none could not be found."),
            ({"project_id": ProjectId("none")}, "not_found", "project: none"),
            ({"server_id": ServerId("other")}, "conflict", "other already exists"),
            ({"existing_port_ids": (PortId("none"),)}, "not_found", "Port none"),
            ({"new_ports": (good, replace(world.port("p2"), fixed_ips=good.fixed_ips))}, "address_taken", ""),
            ({"new_ports": (good, replace(world.port("p2"), mac=good.mac))}, "mac_taken", "mac address"),
            ({"new_ports": (good,), "port_order": ("p9",)}, "invalid", "port_order"),
            ({"existing_port_ids": (PortId("mine"), PortId("mine"))}, "invalid", "only once"),
            (
                {"new_ports": (good, replace(world.port("p2"), security_group_ids=("none",)))},
                "not_found",
                "Security group none",
            ),
        ):
            await world.refuse(world.server_create("web", **changes), reason, words)
        assert await world.ask(GetServer(server_id=ServerId("web"))) is None
        assert [port.port_id for port in await world.ask(ListPorts())] == ["mine"]
        assert len(await world.ask(UsedAddresses(subnet_id=SUBNET))) == 1

    async def test_a_port_in_use_is_not_taken(self, world: StoreWorld) -> None:
        await world.server("one")
        command = world.server_create("two", existing_port_ids=(PortId("one-port"),))
        await world.refuse(command, "in_use", "Port one-port is still in use.")

    async def test_quota_in_novas_words(self, world: StoreWorld) -> None:
        await world.do(flavor_create("big", vcpus=2, memory_mb=1_000))
        for number in range(10):
            await world.server(f"s{number}", ports=(), flavor_id=FlavorId("big"))
        message = await world.refuse(world.server_create("one-more"), "quota")
        assert message == (
            "Quota exceeded for cores, instances: Requested 1, 1, but already used 20, 10 of 20, 10 "
            "cores, instances"
        )
        limits = {"cores": -1, "instances": -1, "ram": 10_001}
        await world.do(QuotaSet(project_id=PROJECT, limits=limits))
        message = await world.refuse(world.server_create("one-more"), "quota")
        assert message == "Quota exceeded for ram: Requested 512, but already used 10000 of 10001 ram"
        await world.do(QuotaSet(project_id=PROJECT, limits={"ram": -1, "port": 1, "metadata_items": 1}))
        ports = (world.port("p1"), world.port("p2"))
        command = world.server_create("one-more", new_ports=ports)
        await world.refuse(command, "quota", "Maximum number of ports exceeded")
        command = world.server_create("one-more", metadata={"a": "", "b": ""})
        await world.refuse(command, "quota", "Maximum number of metadata items exceeds 1")
        await world.do(world.server_create("one-more", new_ports=ports[:1]))
        more = ServerUpdate(server_id=ServerId("one-more"), metadata={"a": "", "b": ""})
        await world.refuse(more, "quota", "metadata items")


class TestPlace:
    async def test_sets_host_and_spawns(self, world: StoreWorld) -> None:
        server_id = await world.server("web")
        await world.do(world.place(server_id))
        server = await get(world, server_id)
        assert (server.host_id, server.host_name, server.zone) == (HOST_A, "host-a", "nova")
        assert (server.task_state, server.generation, server.action_generation) == (TaskState.SPAWNING, 2, 2)
        port = await world.ask(GetPort(port_id=PortId("web-port")))
        assert port is not None
        assert (port.host_id, port.status, port.device_owner) == (HOST_A, "BUILD", "compute:nova")

    async def test_refusals(self, world: StoreWorld) -> None:
        server_id = await world.server("web")
        place = world.place(server_id)
        await world.refuse(replace(place, server_id=NONE), "not_found", "Instance none could not be found.")
        await world.refuse(replace(place, read_generation=7), "stale")
        await world.refuse(replace(place, host_id=NodeId("none")), "not_found", "Compute host none")
        await world.do(HostUpdate(host_id=HOST_A, enabled=False))
        await world.refuse(place, "host_disabled", "host-a is disabled")
        await world.do(HostUpdate(host_id=HOST_A, enabled=True, forced_down=True))
        await world.refuse(place, "host_disabled", "forced down")
        await world.do(HostUpdate(host_id=HOST_A, forced_down=False))
        held = await world.do(RoleHold(role="scheduler", node_id=NODE))
        await world.refuse(place, "fenced", "newer scheduler")
        place = replace(place, fence=Fence(held.index))
        await world.do(place)
        await world.refuse(place, "stale")
        await world.refuse(replace(place, read_generation=2), "bad_state", "not waiting")

    @pytest.mark.parametrize(
        ("offer", "words"),
        [
            ({"vcpus": 1, "cpu_ratio_milli": 2_000}, "1 vCPUs wanted, 0 of 2 free"),
            ({"memory_mb": 1_124, "reserved_memory_mb": 100, "memory_ratio_milli": 1_000}, "512 MB memory"),
            ({"disk_gb": 4, "disk_ratio_milli": 500}, "1 GB disk wanted, 0 of 2 free"),
        ],
    )
    async def test_capacity_with_ratios(self, world: StoreWorld, offer: dict[str, int], words: str) -> None:
        await world.do(host_register(HOST_A, "host-a", **offer))
        await world.active("one")
        await world.active("two")
        server_id = await world.server("three")
        await world.refuse(world.place(server_id), "no_capacity", words)
        await world.do(world.place(server_id, HOST_B))

    async def test_swap_counts_as_disk(self, world: StoreWorld) -> None:
        await world.do(host_register(HOST_A, "host-a", disk_gb=2))
        await world.do(flavor_create("swappy", swap_mb=1_025))
        server_id = await world.server("web", flavor_id=FlavorId("swappy"))
        await world.refuse(world.place(server_id), "no_capacity", "3 GB disk wanted, 2 of 2 free")

    async def test_unplaceable_is_an_error_with_a_reason(self, world: StoreWorld) -> None:
        server_id = await world.server("web")
        command = ServerUnplaceable(
            server_id=server_id, fence=world.fence, read_generation=1, message="No valid host", details="d"
        )
        await world.refuse(replace(command, fence=Fence(0)), "fenced")
        await world.refuse(replace(command, read_generation=2), "stale")
        await world.refuse(replace(command, server_id=NONE), "not_found")
        await world.do(command)
        server = await get(world, server_id)
        assert (server.vm_state, server.task_state, server.deadline_ms) == (VmState.ERROR, None, None)
        assert server.fault is not None
        assert (server.fault.code, server.fault.message, server.fault.details) == (500, "No valid host", "d")
        await world.refuse(replace(command, read_generation=2), "bad_state")
        await world.refuse(world.act(server_id, "reboot_hard"), "bad_state", "no host ever had it")
        assert (await world.do(world.act(server_id, "delete"))).result["removed"] is True


class TestAct:
    async def test_stop_start_reboot(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        for verb, task, power, after in (
            ("stop", TaskState.POWERING_OFF, "shutdown", VmState.STOPPED),
            ("start", TaskState.POWERING_ON, "running", VmState.ACTIVE),
            ("reboot_soft", TaskState.REBOOTING, "running", VmState.ACTIVE),
            ("reboot_hard", TaskState.REBOOTING_HARD, "running", VmState.ACTIVE),
        ):
            applied = await world.do(world.act(server_id, verb))
            server = await get(world, server_id)
            assert applied.result["host_id"] == HOST_A
            assert server.task_state is task
            assert server.action_generation == server.generation == applied.result["generation"]
            assert server.deadline_ms == world.clock.now_ms + DEADLINE_MS
            await world.do(observed(server_id, server.generation, power_state=power))
            server = await get(world, server_id)
            assert (server.vm_state, server.task_state, server.deadline_ms) == (after, None, None)

    async def test_states_that_do_not_allow_it(self, world: StoreWorld) -> None:
        await world.refuse(world.act(NONE, "stop"), "not_found")
        server_id = await world.server("web")
        await world.refuse(world.act(server_id, "dance"), "invalid", "dance")
        message = await world.refuse(world.act(server_id, "stop"), "bad_state")
        assert message == "Cannot 'stop' instance web while it is in vm_state building"
        await world.do(world.place(server_id))
        await world.do(observed(server_id, 2))
        message = await world.refuse(world.act(server_id, "start"), "bad_state")
        assert message == "Cannot 'start' instance web while it is in vm_state active"
        await world.do(world.act(server_id, "stop"))
        message = await world.refuse(world.act(server_id, "reboot_hard"), "busy")
        assert message == "Cannot 'reboot' instance web while it is in task_state powering-off"
        await world.do(observed(server_id, 4, power_state="shutdown"))
        message = await world.refuse(world.act(server_id, "stop"), "bad_state")
        assert message == "Cannot 'stop' instance web while it is in vm_state stopped"

    async def test_delete_before_a_host_has_it_removes_at_once(self, world: StoreWorld) -> None:
        await world.do(PortCreate(port=world.port("mine")))
        command = world.server_create(
            "web", new_ports=(world.port("p1"),), existing_port_ids=(PortId("mine"),)
        )
        await world.do(command)
        assert (await world.do(world.act(ServerId("web"), "delete"))).result["removed"] is True
        assert await world.ask(GetServer(server_id=ServerId("web"))) is None
        (port,) = await world.ask(ListPorts())
        assert (port.port_id, port.device_id, port.device_owner, port.status) == ("mine", "", "", "DOWN")

    async def test_delete_is_allowed_in_any_state_and_again(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.do(world.act(server_id, "stop"))
        applied = await world.do(world.act(server_id, "delete"))
        assert applied.result["removed"] is False
        assert await states(world, server_id) == (
            VmState.ACTIVE,
            TaskState.DELETING,
            Desired.ABSENT,
            PowerState.RUNNING,
        )
        before = await get(world, server_id)
        await world.do(world.act(server_id, "delete"))
        assert await get(world, server_id) == before
        await world.do(ServerRemoved(server_id=server_id, host_id=HOST_A))
        assert await world.ask(GetServer(server_id=server_id)) is None
        assert await world.ask(ListPorts()) == ()

    async def test_removed_only_by_its_host_and_only_when_asked(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.refuse(ServerRemoved(server_id=server_id, host_id=HOST_B), "forbidden")
        await world.refuse(ServerRemoved(server_id=server_id, host_id=HOST_A), "bad_state")
        await world.refuse(ServerRemoved(server_id=NONE, host_id=HOST_A), "not_found")

    async def test_update(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.refuse(ServerUpdate(server_id=NONE, name="x"), "not_found")
        before = await get(world, server_id)
        await world.do(
            ServerUpdate(
                server_id=server_id,
                name="new",
                tags=("a",),
                metadata={"k": "v"},
                locked=True,
                locked_reason="r",
            )
        )
        server = await get(world, server_id)
        assert (server.name, server.tags, server.metadata) == ("new", ("a",), {"k": "v"})
        assert (server.locked, server.locked_reason, server.hostname) == (True, "r", "web")
        assert server.generation == before.generation + 1
        assert server.action_generation == before.action_generation
        await world.do(ServerUpdate(server_id=server_id, locked=False))
        assert (await get(world, server_id)).locked_reason is None


class TestObserved:
    async def test_first_active(self, world: StoreWorld) -> None:
        server_id = await world.server("web", admin_pass="secret")
        await world.do(world.place(server_id))
        world.clock.advance(500)
        await world.do(observed(server_id, 2))
        server = await get(world, server_id)
        assert await states(world, server_id) == (VmState.ACTIVE, None, Desired.RUNNING, PowerState.RUNNING)
        assert (server.launched_ms, server.admin_pass, server.deadline_ms) == (world.clock.now_ms, None, None)
        port = await world.ask(GetPort(port_id=PortId("web-port")))
        assert port is not None
        assert port.status == "ACTIVE"

    async def test_refusals(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.refuse(observed(NONE, 2), "not_found")
        await world.refuse(observed(server_id, 2, host_id=HOST_B), "forbidden", "not on host")
        await world.refuse(observed(server_id, 2, power_state="dreaming"), "invalid", "dreaming")
        await world.do(world.act(server_id, "stop"))
        await world.refuse(observed(server_id, 2), "stale", "newer work")
        await world.refuse(observed(server_id, None, power_state="shutdown"), "stale", "task under way")

    async def test_repeating_oneself_moves_nothing(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        before = await get(world, server_id)
        world.clock.advance(1_000)
        applied = await world.do(observed(server_id, 2))
        assert applied.result["changed"] is False
        assert await get(world, server_id) == before

    async def test_failed_work_is_an_error_with_a_reason(self, world: StoreWorld) -> None:
        await world.do(HostUpdate(host_id=HOST_B, enabled=False))  # nobody else could try
        server_id = await world.server("web")
        await world.do(world.place(server_id))
        failed = observed(server_id, 2, power_state="nostate", fault_message="no disk", fault_details="trace")
        await world.do(failed)
        server = await get(world, server_id)
        assert (server.vm_state, server.task_state, server.deadline_ms) == (VmState.ERROR, None, None)
        assert server.fault is not None
        assert (server.fault.code, server.fault.message, server.fault.details) == (500, "no disk", "trace")
        await world.do(observed(server_id, 2))  # the host made it after all
        server = await get(world, server_id)
        assert (server.vm_state, server.fault) == (VmState.ACTIVE, None)

    async def test_a_guest_that_does_not_stay_up_is_an_error(self, world: StoreWorld) -> None:
        server_id = await world.server("web")
        await world.do(world.place(server_id))
        await world.do(observed(server_id, 2, power_state="shutdown"))
        server = await get(world, server_id)
        assert server.vm_state is VmState.ERROR
        assert server.fault is not None
        assert "did not stay up" in server.fault.message

    async def test_stop_that_left_it_running_is_an_error(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.do(world.act(server_id, "stop"))
        await world.do(observed(server_id, 4, power_state="running"))
        assert (await get(world, server_id)).vm_state is VmState.ERROR

    async def test_the_guest_moves_by_itself(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.do(observed(server_id, None, power_state="shutdown"))
        assert await states(world, server_id) == (VmState.STOPPED, None, Desired.STOPPED, PowerState.SHUTDOWN)
        port = await world.ask(GetPort(port_id=PortId("web-port")))
        assert port is not None
        assert port.status == "DOWN"
        await world.do(observed(server_id, None, power_state="running"))
        assert await states(world, server_id) == (VmState.ACTIVE, None, Desired.RUNNING, PowerState.RUNNING)
        await world.do(observed(server_id, None, power_state="paused"))
        assert await states(world, server_id) == (VmState.ACTIVE, None, Desired.RUNNING, PowerState.PAUSED)
        await world.do(observed(server_id, None, power_state="crashed", fault_message="qemu died"))
        assert (await get(world, server_id)).vm_state is VmState.ERROR

    async def test_failed_deletion_can_be_asked_again(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.do(world.act(server_id, "delete"))
        await world.do(observed(server_id, 4, fault_message="busy disk"))
        assert await states(world, server_id) == (VmState.ERROR, None, Desired.ABSENT, PowerState.RUNNING)
        await world.refuse(world.act(server_id, "reboot_hard"), "bad_state", "Delete it again")
        await world.do(world.act(server_id, "delete"))
        await world.do(ServerRemoved(server_id=server_id, host_id=HOST_A))


class TestExpire:
    async def test_refusals(self, world: StoreWorld) -> None:
        server_id = await world.server("web")
        command = ServerExpire(server_id=server_id, generation=1, reason="too slow")
        await world.refuse(command, "not_due")
        world.clock.advance(DEADLINE_MS)
        await world.refuse(replace(command, generation=2), "stale")
        await world.refuse(replace(command, server_id=NONE), "not_found")

    async def test_building_becomes_an_error_and_late_success_heals_it(self, world: StoreWorld) -> None:
        server_id = await world.server("web")
        await world.do(world.place(server_id))
        world.clock.advance(DEADLINE_MS)
        await world.do(ServerExpire(server_id=server_id, generation=2, reason="too slow"))
        server = await get(world, server_id)
        assert (server.vm_state, server.task_state) == (VmState.ERROR, None)
        assert server.fault is not None
        assert server.fault.message == "too slow"
        await world.refuse(ServerExpire(server_id=server_id, generation=3, reason="x"), "not_due")
        await world.do(observed(server_id, 2))
        assert (await get(world, server_id)).vm_state is VmState.ACTIVE

    async def test_a_task_on_a_live_server_becomes_an_error(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.do(world.act(server_id, "stop"))
        world.clock.advance(DEADLINE_MS)
        await world.do(ServerExpire(server_id=server_id, generation=4, reason="too slow"))
        server = await get(world, server_id)
        assert (server.vm_state, server.task_state, server.desired) == (VmState.ERROR, None, Desired.STOPPED)

    async def test_deleting_is_removed(self, world: StoreWorld) -> None:
        server_id = await world.active("web")
        await world.do(world.act(server_id, "delete"))
        world.clock.advance(DEADLINE_MS)
        applied = await world.do(ServerExpire(server_id=server_id, generation=4, reason="host is away"))
        assert applied.result == {"removed": True, "host_id": HOST_A}
        assert await world.ask(ListServers()) == ()


async def test_nothing_is_left_of_a_deleted_server_but_audit_and_requests(world: StoreWorld) -> None:
    server_id = await world.active("gone", metadata={"a": "b"}, tags=("x",), admin_pass="secret")
    await world.do(world.act(server_id, "delete"))
    await world.do(ServerRemoved(server_id=server_id, host_id=HOST_A))
    engine = world.engine
    if isinstance(engine, VoterEngine):
        connect = engine._rows.engine.connect
    else:
        assert isinstance(engine, PostgresState)
        connect = engine._database._snapshot.connect
    with connect() as connection:
        for table in t.metadata.sorted_tables:
            if table.name in ("audit", "requests"):
                continue
            for row in connection.execute(select(table)):
                words = [str(value) for value in row]
                assert not {"gone", "gone-port"} & set(words), (table.name, row)
        told = connection.execute(
            select(t.audit.c.kind, t.audit.c.outcome, t.audit.c.project_id)
            .where(t.audit.c.object_id == "gone")
            .order_by(t.audit.c.log_index)
        ).all()
        requests = connection.execute(select(func.count()).select_from(t.requests)).scalar_one()
    kinds = ["server.create", "server.place", "server.observed", "server.act", "server.removed"]
    assert [tuple(row) for row in told] == [(kind, "accepted", PROJECT) for kind in kinds]
    assert requests > 5


async def test_refusals_are_audited_too(world: StoreWorld) -> None:
    with pytest.raises(CommandRejectedError):
        await world.do(world.act(NONE, "stop"), request="req-refused")
    engine = world.engine
    connect = (
        engine._rows.engine.connect if isinstance(engine, VoterEngine) else engine._database._snapshot.connect  # type: ignore[attr-defined]
    )
    with connect() as connection:
        row = connection.execute(select(t.audit).where(t.audit.c.request_id == "req-refused")).one()
    assert (row.kind, row.object_id, row.outcome) == ("server.act", "none", "not_found")
