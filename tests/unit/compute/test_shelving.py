"""What a host does about servers that are shelved, and that come back from the shelf."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.contract import Power
from fabric.compute.notes import BootFiles, Notes
from fabric.core.servers.states import PowerState, TaskState, VmState
from proto.commands.servers import ServerObserved
from proto.commands.shelving import ServerShelved
from proto.errors import DriverError
from proto.ids import ServerId
from tests.fixtures.compute_doubles import Gate
from tests.fixtures.compute_rows import assigned, image, placed
from tests.unit.compute.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def off(world: World) -> ServerId:
    """A guest that was stopped, and is to become an image."""
    server_id = world.add_running(
        task_state=TaskState.SHELVING_IMAGE_UPLOADING, power_state=PowerState.SHUTDOWN
    )
    world.machine.power[server_id] = Power.SHUTDOWN
    return server_id


def copies(world: World) -> list[Path]:
    return list((world.directory / "compute" / "saved").glob("*"))


async def test_its_disk_is_kept_by_its_hash_before_anything_is_said_or_removed(world: World) -> None:
    server_id = off(world)
    async with world.life():
        await world.until_gone(server_id)
        data = f"disk of {server_id}".encode()
        (said,) = [each for each in world.state.commands if isinstance(each, ServerShelved)]
        assert (said.sha256, said.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (said.md5, said.virtual_bytes) == (hashlib.md5(data).hexdigest(), 1 << 30)
        kept = world.directory / "kept" / said.sha256[:2] / said.sha256
        assert kept.read_bytes() == data
        await world.until(lambda: server_id not in world.machine.disks)  # and now it goes
    assert copies(world) == []


async def test_a_disk_that_cannot_be_copied_is_a_fault_and_stays(world: World) -> None:
    server_id = off(world)
    gate = Gate()
    gate.fail["export_root"] = DriverError("disk full")
    async with world.life(gate):
        await world.until_state(server_id, VmState.ERROR)
        (said,) = [each for each in world.state.commands if isinstance(each, ServerObserved)]
        assert said.fault_message == "Save failed at step `image`: disk full"
        assert server_id in world.machine.disks
    assert copies(world) == []


async def test_killed_while_it_copied_the_next_life_does_it_again(world: World) -> None:
    server_id = off(world)
    gate = Gate()
    gate.stop.add("export_root")
    async with world.life(gate):
        await gate.reached.wait()
    left = world.directory / "compute" / "saved" / "left by a kill"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    async with world.life():
        await world.until_gone(server_id)
    assert copies(world) == []


@pytest.mark.parametrize("is_of_this_shelf", [True, False])
async def test_files_of_a_former_stay_do_not_come_back(world: World, is_of_this_shelf: bool) -> None:
    """A host that missed that its server went and came back has a disk of before; one that was killed while
    it built it has one of this shelf."""
    row = placed()
    server_id = row.server_id
    world.machine.disks[server_id] = "found"
    notes = Notes(world.directory / "compute" / "servers")
    name = image().sha256 if is_of_this_shelf else "f" * 64
    base = world.directory / "compute" / "images" / name
    base.parent.mkdir(parents=True)
    base.write_bytes(b"base")
    await notes.write_boot(server_id, BootFiles(base_path=str(base), base_format="qcow2"))
    world.put(replace(assigned(row), is_from_shelf=True))
    async with world.life() as life:
        await world.until_active(server_id)
        assert ("ensure_absent" in life.gate.calls) is not is_of_this_shelf
    shelf = str(world.directory / "compute" / "images" / image().sha256)
    assert world.machine.disks[server_id] == ("found" if is_of_this_shelf else shelf)
