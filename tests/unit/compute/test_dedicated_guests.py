"""A host whose processors are divided: what it says it has, and who gets which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drivers.contract import Pins
from fabric.compute.processors import HostProcessors
from fabric.core.servers.states import TaskState, Verb, VmState
from proto.commands.nodes import HostRegister
from proto.commands.providers import ClassInventory, HostOffers
from proto.errors import DriverError, HypervisorAwayError
from proto.ids import ServerId
from tests.fixtures.compute_rows import placed
from tests.unit.compute.world import CONFIG, World

DIVIDED = replace(CONFIG, processors=HostProcessors(shared=frozenset({0, 1, 4}), dedicated=frozenset({2, 3})))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, config=DIVIDED)


def add_dedicated(world: World, name: str, address: str, vcpus: int = 2) -> ServerId:
    plain = placed(name).flavor
    flavor = replace(plain, vcpus=vcpus, extra_specs={"hw:cpu_policy": "dedicated"})
    return world.add(name, address, flavor=flavor)


async def test_it_offers_each_kind_for_itself(world: World) -> None:
    server_id = world.add()
    async with world.life() as life:
        await world.until_active(server_id)
        await world.state.until(lambda: any(isinstance(each, HostOffers) for each in world.state.commands))
        assert (life.side.capacity().vcpus, life.side.capacity().vcpus_used) == (3, 1)
        other = add_dedicated(world, "web-2", "10.0.0.6")
        life.side.nudge()
        await world.until_active(other)
        assert (life.side.capacity().vcpus_used, life.side.capacity().servers) == (1, 2)
    (register,) = [each for each in world.state.commands if isinstance(each, HostRegister)]
    (offers,) = [each for each in world.state.commands if isinstance(each, HostOffers)]
    assert register.vcpus == 3
    assert offers.inventories == {"PCPU": ClassInventory(total=2, max_unit=2)}
    assert world.machine.specs[server_id].cpu_set == (0, 1, 4)
    assert world.machine.specs[server_id].pins is None
    assert world.machine.specs[other].pins == Pins(vcpus=(2, 3), emulator=(2, 3))


async def test_pins_survive_lives_and_reboots_and_are_freed_by_a_delete(world: World) -> None:
    one = add_dedicated(world, "web-1", "10.0.0.5", vcpus=1)
    async with world.life():
        await world.until_active(one)
    two = add_dedicated(world, "web-2", "10.0.0.6", vcpus=1)
    async with world.life() as life:
        await world.until_active(two)
        assert world.machine.specs[two].pins == Pins(vcpus=(3,), emulator=(3,))
        world.state.act(one, Verb.DELETE)
        life.side.nudge()
        await world.until_gone(one)
        world.state.act(two, Verb.REBOOT_HARD)
        life.side.nudge()
        await world.until_active(two)
        assert world.machine.specs[two].pins == Pins(vcpus=(3,), emulator=(3,))
        three = add_dedicated(world, "web-3", "10.0.0.7", vcpus=1)
        life.side.nudge()
        await world.until_active(three)
        assert world.machine.specs[three].pins == Pins(vcpus=(2,), emulator=(2,))


async def test_a_hypervisor_that_restarts_is_waited_for(world: World) -> None:
    one = add_dedicated(world, "web-1", "10.0.0.5")
    async with world.life() as life:
        life.gate.fail["pinned"] = HypervisorAwayError("it restarts")
        await world.until(lambda: life.gate.calls.count("pinned") > 1)
        del life.gate.fail["pinned"]
        await world.until_active(one)


async def test_a_failed_build_gives_them_back(world: World) -> None:
    one = add_dedicated(world, "web-1", "10.0.0.5")
    async with world.life() as life:
        life.gate.fail["ensure_running"] = DriverError("no such machine")
        await world.until_state(one, VmState.ERROR)
        del life.gate.fail["ensure_running"]
        two = add_dedicated(world, "web-2", "10.0.0.6")
        life.side.nudge()
        await world.until_active(two)
        assert world.machine.specs[two].pins == Pins(vcpus=(2, 3), emulator=(2, 3))
        world.state.drop(one)
        too_many = add_dedicated(world, "web-3", "10.0.0.7", vcpus=1)
        life.side.nudge()
        await world.until_state(too_many, VmState.ERROR)
    fault = world.row(too_many).fault
    assert fault is not None
    assert "`processors`: 1 dedicated processors wanted, 0 of the host's 2 free" in fault.message
    assert world.row(too_many).task_state is not TaskState.SPAWNING
