"""What a host does about its rows, from build to removal, in the good case and in every bad one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.contract import Power
from fabric.compute.notes import Note, Notes
from fabric.core.moves.model import MoveKind, MoveOfServer, ParkedServer
from fabric.core.placement.host_word import CPU_PERCENTS, is_among, short_address
from fabric.core.servers.states import Desired, PowerState, TaskState, Verb, VmState
from fabric.errors import RemoteError
from proto.commands.nodes import HostRegister
from proto.commands.servers import ServerObserved, ServerRemoved
from proto.errors import DriverError, HypervisorAwayError, NetPlugError, Outcome
from proto.ids import NetworkId, NodeId, ServerId
from tests.fixtures.compute_doubles import Gate
from tests.fixtures.compute_rows import HOST, assigned, group, image, network, placed, port, rule, uuid_of
from tests.unit.compute.world import World

ADDRESS = short_address(image().sha256)
BUILD_STEPS = [
    "fetch",
    "apply with ports",
    "apply with ports done",
    "ensure_running",
    "ensure_running disk",
    "ensure_running done",
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def reports(world: World) -> list[ServerObserved]:
    return [command for command in world.state.commands if isinstance(command, ServerObserved)]


async def test_builds_what_is_assigned(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        row = await world.until_active(server_id)
        assert row.power_state is PowerState.RUNNING
        assert world.runs(server_id)
        spec = world.machine.specs[server_id]
        assert [nic.device for nic in spec.nics] == ["tap" + port().port_id[:11]]
        assert Path(spec.root.base_path).read_bytes() == b"disk"
        assert spec.config_drive is None
        assert life.side.capacity().servers == 1
        assert life.side.capacity().memory_mb_used == 512
    (report,) = reports(world)
    assert report.generation == 2
    (register,) = [command for command in world.state.commands if isinstance(command, HostRegister)]
    assert (register.vcpus, register.memory_mb, register.hypervisor_type) == (8, 8192, "sim")


async def test_a_nudge_brings_new_rows_at_once(world: World) -> None:
    world.config = replace(world.config, reconcile=replace(world.config.reconcile, resync_ms=600_000))
    async with world.life() as life:
        await life.side.registered.wait()
        await world.settle(life)
        server_id = world.add()
        assert await life.rpc.handlers["host.nudge"](life.side._identity.node_id, {}) == {}
        await world.until_active(server_id)


async def test_without_any_nudge_the_resync_finds_them(world: World) -> None:
    async with world.life() as life:
        await world.settle(life)
        await world.until_active(world.add())


@pytest.mark.parametrize("step", BUILD_STEPS)
async def test_a_step_that_fails_leaves_nothing_and_a_fault(world: World, step: str) -> None:
    gate = Gate()
    error = NetPlugError("no bridge") if step.startswith("apply") else DriverError("no disk")
    gate.fail[step] = error
    server_id = world.add()
    async with world.life(gate):
        await world.until_state(server_id, VmState.ERROR)
        fault = world.row(server_id).fault
        assert fault is not None
        named = {"fetch": "images", "apply": "ports", "ensur": "domain"}[step[:5]]
        assert f"Build failed at step `{named}`" in fault.message
        assert str(error) in fault.message
        await world.until(lambda: world.machine.is_clean)
    note = await Notes(world.directory / "compute" / "servers").read(server_id)
    assert note == Note(given_up_generation=world.row(server_id).action_generation)
    (failure,) = reports(world)
    assert failure.left_nothing


async def test_a_host_says_how_many_builds_failed_in_a_row(world: World) -> None:
    gate = Gate()
    gate.fail["ensure_running"] = DriverError("no disk")
    async with world.life(gate) as life:
        for number in (1, 2):
            await world.until_state(world.add(f"bad-{number}"), VmState.ERROR)
            assert life.side.word().failed_builds == number
        gate.fail.clear()
        await world.until_active(world.add("good"))
        assert life.side.word().failed_builds == 0


async def test_a_host_says_which_images_it_has_here_since_an_earlier_life_too(world: World) -> None:
    async with world.life() as life:
        assert not life.side.word().images
        await world.until_active(world.add())
        assert is_among(life.side.word().images, ADDRESS)
    async with world.life() as life:
        await world.until(lambda: is_among(life.side.word().images, ADDRESS))


async def test_a_host_says_what_its_processors_do_where_its_operator_wants_it(world: World) -> None:
    async with world.life() as life:
        await world.until_active(world.add())
        assert life.side.word().metrics == {}
    world.config = replace(world.config, is_cpu_measured=True)
    async with world.life() as life:
        await world.until(lambda: life.side.word().metrics.keys() >= {*CPU_PERCENTS})


async def test_a_build_that_was_given_up_is_not_done_by_a_later_life(world: World) -> None:
    """The server may be elsewhere by now, whatever an answer from an old voter says."""
    gate = Gate()
    gate.fail["ensure_running"] = DriverError("no disk")
    server_id = world.add()
    async with world.life(gate):
        await world.until_state(server_id, VmState.ERROR)
    world.state.change(server_id, vm_state=VmState.BUILDING, task_state=TaskState.SPAWNING, fault=None)
    async with world.life(Gate()):
        await world.until_state(server_id, VmState.ERROR)
        fault = world.row(server_id).fault
        assert fault is not None
        assert "before the agent was restarted" in fault.message
        assert world.machine.is_clean


async def test_what_was_noted_of_a_build_given_up_goes_with_its_server(world: World) -> None:
    gate = Gate()
    gate.fail["ensure_running"] = DriverError("no disk")
    server_id = world.add()
    notes = world.directory / "compute" / "servers"
    async with world.life(gate):
        await world.until_state(server_id, VmState.ERROR)
    assert list(notes.glob("*"))
    del world.state.servers[server_id]
    async with world.life(Gate()):
        await world.until(lambda: not list(notes.glob("*")))


async def test_boot_files_are_noted_before_there_is_a_domain(world: World) -> None:
    gate = Gate()
    gate.stop.add("ensure_running")
    server_id = world.add()
    async with world.life(gate):
        async with asyncio.timeout(5):
            await gate.reached.wait()
        assert (await Notes(world.directory / "compute" / "servers").read(server_id)).boot is not None


async def test_a_note_that_cannot_be_kept_fails_the_build_and_unwires_its_ports(world: World) -> None:
    (world.directory / "compute").mkdir()
    (world.directory / "compute" / "servers").write_text("in the way")
    server_id = world.add()
    gate = Gate()
    async with world.life(gate):
        await world.until_state(server_id, VmState.ERROR)
        fault = world.row(server_id).fault
        assert fault is not None
        assert "Build failed at step `images`" in fault.message
        await world.until(lambda: world.machine.is_clean)
    assert "ensure_running" not in gate.calls


async def test_a_failed_build_is_not_tried_again(world: World) -> None:
    gate = Gate()
    gate.fail["ensure_running"] = DriverError("no disk")
    server_id = world.add()
    async with world.life(gate) as life:
        await world.until_state(server_id, VmState.ERROR)
        gate.fail.clear()
        await world.settle(life)
        assert gate.calls.count("ensure_running") == 1
        assert world.machine.is_clean
    assert len(reports(world)) == 1


@pytest.mark.parametrize("step", BUILD_STEPS)
async def test_killed_in_the_middle_of_a_step_the_next_life_finishes(world: World, step: str) -> None:
    server_id = world.add()
    gate = Gate()
    gate.stop.add(step)
    async with world.life(gate) as life:
        async with asyncio.timeout(5):
            await gate.reached.wait()
        await life.kill()
    pid = world.machine.pids.get(server_id)
    async with world.life() as life:
        await world.until_active(server_id)
        assert world.runs(server_id)
        assert pid is None or world.machine.pids[server_id] == pid
        await world.settle(life)
        assert len(world.machine.wires) == 1
    assert len(reports(world)) == 1


async def test_killed_before_the_report_arrived_the_next_life_reports_and_boots_nothing(
    world: World,
) -> None:
    server_id = world.add()
    world.state.refuse = lambda command: "busy" if isinstance(command, ServerObserved) else None
    async with world.life():
        await world.until(lambda: world.runs(server_id))
    pid = world.machine.pids[server_id]
    world.state.refuse = lambda command: None
    world.put(replace(world.state.servers[server_id], image=None))  # and the image is gone meanwhile
    async with world.life() as life:
        await world.until_active(server_id)
        assert "ensure_running" not in life.gate.calls
    assert world.machine.pids[server_id] == pid


async def test_a_running_guest_is_adopted_untouched(world: World) -> None:
    server_id = world.add_running()
    pid = world.machine.pids[server_id]
    async with world.life() as life:
        await world.settle(life)
        await world.until(lambda: life.plug.applied > 0)
        assert {call for call in life.gate.calls if call.startswith("ens")} == set()
    assert world.machine.pids[server_id] == pid
    assert world.machine.wires == {port().port_id}
    assert reports(world) == []


async def test_a_second_life_plans_the_same_network(world: World) -> None:
    server_id = world.add()
    async with world.life():
        await world.until_active(server_id)
    first = world.machine.plan
    async with world.life() as life:
        await world.until(lambda: life.plug.applied > 0)
        await world.settle(life)
    assert world.machine.plan == first  # metadata ports too: the redirects stay true


async def test_reports_survive_a_conductor_that_is_away(world: World) -> None:
    server_id = world.add()
    gate = Gate()
    gate.stop.add("ensure_running done")
    async with world.life(gate):
        await gate.reached.wait()
        world.state.is_away = True
        gate.opened.set()
        await asyncio.sleep(0.03)
        assert world.row(server_id).vm_state is VmState.BUILDING
        world.state.is_away = False
        await world.until_active(server_id)
    assert len(reports(world)) == 1


async def test_a_build_that_ends_after_its_deadline_heals_the_server(world: World) -> None:
    server_id = world.add()
    gate = Gate()
    gate.stop.add("ensure_running done")
    async with world.life(gate) as life:
        await gate.reached.wait()
        world.state.change(server_id, vm_state=VmState.ERROR, task_state=None)
        await world.settle_pull(life)
        gate.opened.set()
        await world.until_active(server_id)
    assert world.runs(server_id)


async def test_an_expired_build_that_never_ends_leaves_nothing_after_a_restart(world: World) -> None:
    server_id = world.add()
    gate = Gate()
    gate.stop.add("ensure_running disk")
    async with world.life(gate):
        await gate.reached.wait()
    world.state.change(server_id, vm_state=VmState.ERROR, task_state=None)
    assert world.machine.disks
    async with world.life():
        await world.until(lambda: world.machine.is_clean)
    assert world.row(server_id).vm_state is VmState.ERROR


async def test_delete_takes_everything_down_and_says_so(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        world.state.act(server_id, Verb.DELETE)
        life.side.nudge()
        await world.until_gone(server_id)
        assert world.machine.is_clean
        await world.settle(life)
        assert life.side.capacity().servers == 0
    assert not list((world.directory / "compute" / "servers").glob("*"))
    assert len([c for c in world.state.commands if isinstance(c, ServerRemoved)]) == 1
    assert life.gate.calls.index("ensure_absent") < len(life.gate.calls) - 1


async def test_the_guest_goes_before_its_port(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        gate = life.gate
        gate.stop.add("ensure_absent")
        gate.reached.clear()
        world.state.act(server_id, Verb.DELETE)
        life.side.nudge()
        await gate.reached.wait()
        assert world.machine.wires
        gate.opened.set()
        await world.until_gone(server_id)
        assert not world.machine.wires


@pytest.mark.parametrize("step", ["fetch", "apply with ports done", "ensure_running disk"])
async def test_delete_in_the_middle_of_a_build_wins(world: World, step: str) -> None:
    server_id = world.add()
    gate = Gate()
    gate.stop.add(step)
    async with world.life(gate) as life:
        await gate.reached.wait()
        gate.stop.clear()  # this one call hangs until it is cancelled; later ones do not
        world.state.act(server_id, Verb.DELETE)
        life.side.nudge()
        await world.until_gone(server_id)
        await world.until(lambda: world.machine.is_clean)
    assert reports(world) == []


async def test_a_driver_call_under_way_ends_before_the_delete_begins(world: World) -> None:
    world.config = replace(world.config, cancel_grace_s=5)
    server_id = world.add()
    gate = Gate()
    gate.stop.add("ensure_running disk")
    async with world.life(gate) as life:
        await gate.reached.wait()
        world.state.act(server_id, Verb.DELETE)
        await world.settle_pull(life)
        await world.settle_pull(life)
        assert "ensure_absent" not in gate.calls
        gate.opened.set()
        await world.until_gone(server_id)
    assert world.machine.is_clean


async def test_a_failed_removal_is_tried_until_it_works(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        life.gate.fail["ensure_absent"] = DriverError("busy")
        world.state.act(server_id, Verb.DELETE)
        await world.until(lambda: life.gate.calls.count("ensure_absent") >= 3)
        assert server_id in world.state.servers
        life.gate.fail.clear()
        await world.until_gone(server_id)
    assert world.machine.is_clean


async def test_stop_start_and_reboot(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        world.state.act(server_id, Verb.STOP)
        await world.until_state(server_id, VmState.STOPPED)
        assert world.machine.power[server_id] is Power.SHUTDOWN
        assert world.machine.wires
        assert not world.machine.specs[server_id].has_booted
        world.state.act(server_id, Verb.START)
        await world.until_active(server_id)
        assert world.machine.specs[server_id].has_booted
        pid = world.machine.pids[server_id]
        for verb, name in ((Verb.REBOOT_SOFT, "reboot soft"), (Verb.REBOOT_HARD, "reboot hard")):
            world.state.act(server_id, verb)
            await world.until_active(server_id)
            assert life.gate.calls.count(name) == 1
            assert world.machine.pids[server_id] != pid
            pid = world.machine.pids[server_id]
    assert all(report.fault_message is None for report in reports(world))


async def test_a_failed_start_keeps_the_disk(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        world.state.act(server_id, Verb.STOP)
        await world.until_state(server_id, VmState.STOPPED)
        life.gate.fail["ensure_running"] = DriverError("no memory")
        world.state.act(server_id, Verb.START)
        await world.until_state(server_id, VmState.ERROR)
        await world.settle(life)
        assert server_id in world.machine.disks
        assert world.machine.wires
        fault = world.row(server_id).fault
        assert fault is not None
        assert fault.message == "Start failed at step `domain`: no memory"
        assert fault.details == "DriverError: no memory"


async def test_a_stop_without_a_guest_is_a_fault(world: World) -> None:
    server_id = world.add(task_state=TaskState.POWERING_OFF, desired=Desired.STOPPED, launched_ms=1)
    async with world.life():
        await world.until_state(server_id, VmState.ERROR)


async def test_a_reboot_done_before_the_crash_is_not_done_again(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        world.state.refuse = lambda command: "busy" if isinstance(command, ServerObserved) else None
        world.state.act(server_id, Verb.REBOOT_HARD)
        await world.until(lambda: "reboot done" in life.gate.calls)
        await world.until(lambda: not life.side.is_busy)
    pid = world.machine.pids[server_id]
    world.state.refuse = lambda command: None
    async with world.life() as life:
        await world.until_active(server_id)
        assert not [call for call in life.gate.calls if call.startswith("reboot")]
    assert world.machine.pids[server_id] == pid


async def test_a_reboot_killed_halfway_is_done_again(world: World) -> None:
    """At least once: the user asked for a reboot and gets one."""
    server_id = world.add()
    gate = Gate()
    async with world.life(gate):
        await world.until_active(server_id)
        gate.stop.add("reboot soft")
        gate.reached.clear()
        world.state.act(server_id, Verb.REBOOT_SOFT)
        await gate.reached.wait()
    async with world.life() as life:
        await world.until_active(server_id)
        assert life.gate.calls.count("reboot soft") == 1


async def test_a_stopped_guest_starts_though_its_image_is_gone(world: World) -> None:
    server_id = world.add()
    async with world.life():
        await world.until_active(server_id)
        world.state.act(server_id, Verb.STOP)
        await world.until_state(server_id, VmState.STOPPED)
        base = world.machine.disks[server_id]
        world.put(replace(world.state.servers[server_id], image=None))
        for blob in (world.directory / "blobs").iterdir():
            blob.unlink()
        world.state.act(server_id, Verb.START)
        await world.until_active(server_id)
    assert Path(base).exists()


async def test_a_build_without_its_image_is_a_fault_that_says_so(world: World) -> None:
    row = placed()
    world.put(assigned(row, image=None))
    async with world.life():
        await world.until_state(row.server_id, VmState.ERROR)
    fault = world.row(row.server_id).fault
    assert fault is not None
    assert "does not exist any more" in fault.message


@pytest.mark.parametrize(
    ("power", "vm_state"),
    [(Power.SHUTDOWN, VmState.STOPPED), (Power.CRASHED, VmState.ACTIVE), (Power.PAUSED, VmState.ACTIVE)],
)
async def test_guests_that_move_by_themselves_are_reported_once(
    world: World, power: Power, vm_state: VmState
) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        world.machine.power[server_id] = power
        await world.state.until(lambda: world.row(server_id).power_state.value == power.value)
        await world.settle(life)
        assert world.row(server_id).vm_state is vm_state
        assert [report.generation for report in reports(world)] == [2, None]


async def test_a_guest_that_vanished_is_reported_and_not_made_anew(world: World) -> None:
    server_id = world.add_running()
    async with world.life() as life:
        await world.settle(life)
        world.machine.power.clear()
        world.machine.disks.clear()
        await world.state.until(lambda: world.row(server_id).power_state is PowerState.NOSTATE)
        await world.settle(life)
        assert "ensure_running" not in life.gate.calls


async def test_a_report_without_effect_is_not_repeated_for_ever(world: World) -> None:
    server_id = world.add_running()
    world.machine.power[server_id] = Power.PAUSED
    world.state.refuse = lambda command: "bad_state" if isinstance(command, ServerObserved) else None
    proposals = 0
    propose = world.state.propose

    async def counting(command, *, request_id):  # type: ignore[no-untyped-def]
        nonlocal proposals
        proposals += isinstance(command, ServerObserved)
        return await propose(command, request_id=request_id)

    world.state.propose = counting  # type: ignore[method-assign]
    async with world.life() as life:
        await world.until(lambda: proposals > 0)
        for _ in range(3):
            await world.settle(life)
    assert proposals == 1


async def test_unknown_guests_go_only_after_a_complete_pull(world: World) -> None:
    stranger = ServerId(uuid_of("stranger"))
    world.machine.boot(stranger)
    world.machine.disks[stranger] = "old"
    world.state.is_away = True
    async with world.life() as life:
        await asyncio.sleep(0.05)
        assert world.runs(stranger)
        assert "ensure_absent" not in life.gate.calls
        world.state.is_away = False
        await world.until(lambda: world.machine.is_clean)


async def test_a_guest_whose_row_went_elsewhere_is_stopped_and_its_disk_kept(world: World) -> None:
    """However it came to run again: an operator's hand, a host that was thought dead."""
    server_id = world.add_running()
    world.state.parked = (ParkedServer(server_id=server_id, to_host_id=NodeId("b" * 32)),)
    world.state.drop(server_id)
    async with world.life() as life:
        await world.until(lambda: world.machine.power.get(server_id) is Power.SHUTDOWN)
        await world.settle(life)
        assert server_id in world.machine.disks
        world.machine.boot(server_id)
        await world.until(lambda: world.machine.power.get(server_id) is Power.SHUTDOWN)
        world.state.parked = ()  # the move is over
        life.side.nudge()
        await world.until(lambda: world.machine.is_clean)
    assert reports(world) == []  # it is another host's to speak of


async def test_a_parked_guest_that_does_not_stop_is_tried_again(world: World) -> None:
    server_id = world.add_running()
    world.state.parked = (ParkedServer(server_id=server_id, to_host_id=NodeId("b" * 32)),)
    world.state.drop(server_id)
    gate = Gate()
    gate.fail["ensure_stopped"] = DriverError("busy")
    async with world.life(gate) as life:
        await world.settle(life)
        assert world.runs(server_id)
        gate.fail.clear()
        await world.until(lambda: world.machine.power.get(server_id) is Power.SHUTDOWN)


async def test_rows_older_than_those_acted_on_are_refused(world: World) -> None:
    world.state.index = 50
    server_id = world.add()
    async with world.life():
        await world.until_active(server_id)
    world.state.servers.clear()  # a conductor restored from an old copy: it knows nothing of the server
    world.state.index = 1
    async with world.life() as life:
        await asyncio.sleep(0.05)
        assert world.runs(server_id)
        assert "ensure_absent" not in life.gate.calls
        assert world.state.commands[-1].KIND == "host.register" or len(reports(world)) == 1
        world.state.index = 1_000
        life.side.nudge()
        await world.until(lambda: world.machine.is_clean)


async def test_pages_are_put_together_before_anything_is_judged(world: World) -> None:
    world.state.page_size = 1
    ids = [world.add_running(f"s{number}", address=f"10.0.0.{number + 10}") for number in range(4)]
    async with world.life() as life:
        await world.until(lambda: set(life.side.assigned) == set(ids))
        await world.settle(life)
        assert all(world.runs(server_id) for server_id in ids)


async def test_many_builds_share_network_changes_and_are_bounded(world: World) -> None:
    world.config = replace(world.config, build_concurrency=3)
    ids = [world.add(f"s{number}", address=f"10.0.0.{number + 10}") for number in range(20)]
    async with world.life() as life:
        for server_id in ids:
            await world.until_active(server_id)
        assert life.gate.peak["ensure_running"] <= 3
        assert life.gate.peak["apply with ports"] == 1
        assert len(world.machine.wires) == 20


async def test_a_refused_port_fails_its_own_server_only(world: World) -> None:
    bad = world.add("bad", address="10.0.0.66")
    good = world.add("good", address="10.0.0.67")
    async with world.life() as life:
        life.plug.refuse[port("bad", "10.0.0.66").port_id] = "its range overlaps the host's own"
        await world.until_active(good)
        await world.until_state(bad, VmState.ERROR)
        fault = world.row(bad).fault
        assert fault is not None
        assert "overlaps the host's own" in fault.message
        await world.settle(life)
        assert world.machine.wires == {port("good", "10.0.0.67").port_id}


async def test_a_plug_that_fails_once_is_asked_again(world: World) -> None:
    server_id = world.add()
    gate = Gate()
    gate.fail["apply with ports"] = NetPlugError("device busy")
    async with world.life(gate):
        await world.until(lambda: gate.calls.count("apply with ports") >= 1)
        gate.fail.clear()
        await world.until_active(server_id)


async def test_new_rules_reach_the_plug_without_touching_the_guest(world: World) -> None:
    server_id = world.add_running()
    async with world.life() as life:
        await world.until(lambda: life.plug.applied > 0)
        await world.settle(life)
        world.state.security_groups = (group(rule()),)
        world.state.index += 1
        life.side.nudge()
        await world.until(
            lambda: world.machine.plan is not None and len(world.machine.plan.ports[0].rules) == 1
        )
        assert "ensure_running" not in life.gate.calls
    assert world.runs(server_id)


async def test_the_image_is_fetched_once_for_all_and_again_after_a_failure(world: World) -> None:
    gate = Gate()
    gate.fail["fetch"] = OSError(5, "I/O error")
    first = world.add("a", address="10.0.0.10")
    async with world.life(gate):
        await world.until_state(first, VmState.ERROR)
        assert gate.calls.count("fetch") == 3
        gate.fail.clear()
        await world.until_active(world.add("b", address="10.0.0.11"))
        await world.until_active(world.add("c", address="10.0.0.12"))
        assert gate.calls.count("fetch") == 4


async def test_an_image_format_nobody_boots_is_named(world: World) -> None:
    row = placed()
    world.put(assigned(row, image=image(disk_format="vmdk")))
    async with world.life():
        await world.until_state(row.server_id, VmState.ERROR)
    fault = world.row(row.server_id).fault
    assert fault is not None
    assert "'vmdk'" in fault.message
    assert "qcow2" in fault.message


async def test_config_drive_and_boot_files_reach_the_driver(world: World) -> None:
    row = placed(config_drive=True)
    kernel = image(sha256="6" * 64, disk_format="aki")
    world.put(assigned(row, kernel=kernel, kernel_args="console=ttyS0"))
    async with world.life():
        await world.until_active(row.server_id)
    spec = world.machine.specs[row.server_id]
    assert spec.config_drive is not None
    assert b"config-2" in spec.config_drive
    assert spec.kernel_path is not None
    assert spec.kernel_path.endswith("6" * 64)
    assert spec.kernel_args == "console=ttyS0"


async def test_a_server_without_ports_needs_no_network(world: World) -> None:
    row = placed()
    world.put(assigned(row, ports=(), networks=()))
    async with world.life():
        await world.until_active(row.server_id)


async def test_metadata_listeners_open_with_the_network_and_close_with_it(world: World) -> None:
    async with world.life() as life:
        await world.settle(life)
        assert life.side._metadata._runners == {}
        server_id = world.add()
        await world.until_active(server_id)
        assert set(life.side._metadata._runners) == {NetworkId(network().network_id)}
        world.state.act(server_id, Verb.DELETE)
        await world.until_gone(server_id)
        assert life.side._metadata._runners == {}


async def test_a_driver_that_does_not_open_is_tried_again(world: World) -> None:
    server_id = world.add()
    gate = Gate()
    gate.fail["open"] = DriverError("libvirtd is not up")
    async with world.life(gate) as life:
        await world.until(lambda: gate.calls.count("open") >= 2)
        assert life.side.capacity().vcpus == 0
        gate.fail.clear()
        await world.until_active(server_id)


async def test_a_driver_that_cannot_list_destroys_nothing(world: World) -> None:
    world.add_running()
    gate = Gate()
    gate.fail["list_domains"] = DriverError("libvirtd is restarting")
    async with world.life(gate):
        await world.until(lambda: gate.calls.count("list_domains") >= 2)
        gate.fail.clear()
        await asyncio.sleep(0.03)
    assert reports(world) == []


@pytest.mark.parametrize(
    ("verb", "step", "rests"),
    [
        (Verb.STOP, "ensure_stopped", VmState.STOPPED),
        (Verb.REBOOT_HARD, "reboot hard", VmState.ACTIVE),
        (None, "ensure_running", VmState.ACTIVE),
    ],
)
async def test_work_waits_for_a_hypervisor_that_restarts(
    world: World, verb: Verb | None, step: str, rests: VmState
) -> None:
    server_id = world.add() if verb is None else world.add_running()
    away = HypervisorAwayError("connection refused")
    gate = Gate()
    gate.fail = {step: away, "ensure_absent": away}
    async with world.life(gate):
        if verb is not None:
            world.state.act(server_id, verb)
        await world.until(lambda: gate.calls.count(step) >= 2)
        gate.fail["list_domains"] = away
        await world.until(lambda: gate.calls.count("list_domains") >= 2)
        assert world.row(server_id).task_state is not None
        assert world.row(server_id).fault is None
        gate.fail = {}
        await world.until_state(server_id, rests)


async def test_close_leaves_guests_and_network(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        await asyncio.wait_for(life.side.close(), 5)
        await asyncio.wait_for(life.task, 5)
        assert not life.driver.is_open
    assert world.runs(server_id)
    assert world.machine.wires


async def test_console_log_is_served_and_checked(world: World) -> None:
    server_id = world.add_running()
    async with world.life() as life:
        await world.settle(life)
        life.driver.console[server_id] = b"hello"
        serve = life.rpc.handlers["host.console_log"]
        sender = life.side._identity.node_id
        assert await serve(sender, {"server_id": server_id, "bytes_max": 3}) == {"data": b"llo"}
        for body in ({"server_id": "../etc", "bytes_max": 3}, {"server_id": server_id, "bytes_max": 1 << 40}):
            with pytest.raises(Exception, match="must be"):
                await serve(sender, body)
        with pytest.raises(Exception, match="no such domain"):
            await serve(sender, {"server_id": uuid_of("nobody"), "bytes_max": 3})


async def test_a_stolen_host_neither_reads_consoles_nor_nudges(world: World) -> None:
    server_id, thief = world.add_running(), NodeId("b" * 32)
    async with world.life() as life:
        await world.settle(life)
        life.driver.console[server_id] = b"secret"
        for method, body in (
            ("host.console_log", {"server_id": server_id, "bytes_max": 3}),
            ("host.nudge", {}),
        ):
            with pytest.raises(RemoteError) as caught:
                await life.rpc.handlers[method](thief, body)
            assert caught.value.remote_code == "fabric.host.forbidden"
            assert caught.value.outcome is Outcome.NOT_DONE


@pytest.mark.parametrize("task", [TaskState.RESIZE_FINISH, TaskState.REBUILD_SPAWNING])
@pytest.mark.parametrize("came_by", ["this move", "another", "none"])
async def test_what_is_here_of_a_former_stay_is_not_taken_for_what_is_to_come(
    world: World, task: TaskState, came_by: str
) -> None:
    """A host that missed that its server went has its old disk, when that comes back. One that was killed
    while it brought it has what came."""
    row = placed(task_state=task, vm_state=VmState.ACTIVE, launched_ms=1)
    notes = Notes(world.directory / "compute" / "servers")
    world.machine.disks[row.server_id] = "found"
    if came_by != "none":
        await notes.write_move(row.server_id, came_by)
    move = MoveOfServer(
        move_id="this move", kind=MoveKind.EVACUATION, source_host_id=NodeId("5" * 32), dest_host_id=HOST
    )
    world.put(replace(assigned(row), move=move))
    async with world.life() as life:
        await world.until(lambda: bool(life.rpc.calls) or row.server_id in world.machine.power)
        kept = world.machine.disks.get(row.server_id) == "found"
        assert kept is (came_by == "this move")
