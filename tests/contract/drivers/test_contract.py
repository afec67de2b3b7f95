"""What drivers/contract.py promises, asked of every driver."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from drivers.contract import ComputeDriver, DomainState, Power
from proto.errors import DriverError
from proto.ids import ServerId, new_uuid
from tests.contract.drivers.beds import Bed, opened

GRACE_MS = 300  # these guests have no operating system that could listen to a power button


async def states(driver: ComputeDriver) -> dict[ServerId, DomainState]:
    return {state.server_id: state for state in await driver.list_domains()}


async def test_capabilities_are_told_after_open(bed: Bed) -> None:
    with pytest.raises(DriverError):
        bed.driver().capabilities()
    async with opened(bed.driver()) as driver:
        told = driver.capabilities()
        assert told.vcpus > 0
        assert told.memory_mb > 0
        assert told.disk_gb > 0
        assert told.arch == "x86_64"
        assert told.hypervisor_version >= 1_000_000
        assert told.why
        assert told.hypervisor_hostname


async def test_verbs_before_open_are_refused(bed: Bed) -> None:
    driver = bed.driver()
    with pytest.raises(DriverError):
        await driver.ensure_absent(ServerId(new_uuid()))
    with pytest.raises(DriverError):
        await driver.list_domains()


async def test_running_twice_is_running_once(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    first = await driver.ensure_running(spec)
    assert first == DomainState(server_id=spec.server_id, power=Power.RUNNING, pid=first.pid)
    assert first.pid is not None
    assert bed.process_exists(first.pid)
    assert await driver.ensure_running(spec) == first
    assert (await states(driver))[spec.server_id] == first


async def test_two_at_once_make_one_domain(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    one, two = await asyncio.gather(driver.ensure_running(spec), driver.ensure_running(spec))
    assert one == two
    assert len(await driver.list_domains()) == 1


async def test_stop_start_keeps_the_disk_and_changes_the_pid(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    first = await driver.ensure_running(spec)
    disk = bed.root_disk(spec.server_id)
    inode = disk.stat().st_ino
    stopped = await driver.ensure_stopped(spec.server_id, grace_ms=GRACE_MS)
    assert stopped == DomainState(server_id=spec.server_id, power=Power.SHUTDOWN, pid=None)
    assert await driver.ensure_stopped(spec.server_id, grace_ms=GRACE_MS) == stopped
    assert (await states(driver))[spec.server_id] == stopped
    assert first.pid is not None
    assert not bed.process_exists(first.pid)
    second = await driver.ensure_running(spec)
    assert second.power is Power.RUNNING
    assert second.pid != first.pid
    assert disk.stat().st_ino == inode


async def test_a_disk_that_exists_is_never_overwritten(bed: Bed, driver: ComputeDriver) -> None:
    """Not even by a build that starts from the beginning because its domain is lost."""
    spec = bed.spec()
    await driver.ensure_running(spec)
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    kept = bed.root_disk(spec.server_id).read_bytes()
    inode = bed.root_disk(spec.server_id).stat().st_ino
    other_size = dataclasses.replace(spec, root=dataclasses.replace(spec.root, size_gb=2))
    await driver.ensure_running(other_size)
    assert bed.root_disk(spec.server_id).stat().st_ino == inode
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    assert bed.root_disk(spec.server_id).read_bytes() == kept


async def test_a_lost_disk_of_a_guest_that_has_booted_is_an_error(bed: Bed, driver: ComputeDriver) -> None:
    """Made anew it would be empty, and its user would not be told. A running guest keeps what it has open."""
    spec = bed.spec()
    first = await driver.ensure_running(spec)
    bed.root_disk(spec.server_id).unlink()
    spec = dataclasses.replace(spec, has_booted=True)
    assert (await driver.ensure_running(spec)).pid == first.pid
    with pytest.raises(DriverError, match="is gone"):
        await driver.reboot(spec, hard=True, grace_ms=0)
    assert [state.pid for state in await driver.list_domains()] == [first.pid]
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    with pytest.raises(DriverError, match="is gone"):
        await driver.ensure_running(spec)
    assert not bed.root_disk(spec.server_id).exists()
    await driver.ensure_absent(spec.server_id)


async def test_stopping_what_is_absent_is_an_error(driver: ComputeDriver) -> None:
    with pytest.raises(DriverError):
        await driver.ensure_stopped(ServerId(new_uuid()), grace_ms=0)


async def test_absent_leaves_no_trace_and_may_be_repeated(bed: Bed, driver: ComputeDriver) -> None:
    spec, other = bed.spec(), bed.spec()
    gone = await driver.ensure_running(spec)
    stays = await driver.ensure_running(other)
    await driver.ensure_absent(spec.server_id)
    await driver.ensure_absent(spec.server_id)
    assert bed.traces(spec.server_id) == []
    assert gone.pid is not None
    assert not bed.process_exists(gone.pid)
    assert await driver.list_domains() == (stays,)
    assert await driver.console_log(spec.server_id, bytes_max=100) == b""


async def test_absent_of_what_never_was_is_success(driver: ComputeDriver) -> None:
    await driver.ensure_absent(ServerId(new_uuid()))
    assert await driver.list_domains() == ()


async def test_absent_of_what_is_stopped(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    await driver.ensure_running(spec)
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    await driver.ensure_absent(spec.server_id)
    assert bed.traces(spec.server_id) == []


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
async def test_reboot_ends_running_with_a_new_pid_and_the_old_disk(
    bed: Bed, driver: ComputeDriver, hard: bool
) -> None:
    spec = bed.spec()
    first = await driver.ensure_running(spec)
    inode = bed.root_disk(spec.server_id).stat().st_ino
    second = await driver.reboot(spec, hard=hard, grace_ms=GRACE_MS)
    assert second.power is Power.RUNNING
    assert second.pid != first.pid
    assert bed.root_disk(spec.server_id).stat().st_ino == inode


async def test_reboot_starts_what_is_stopped_or_absent(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    assert (await driver.reboot(spec, hard=True, grace_ms=0)).power is Power.RUNNING
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    assert (await driver.reboot(spec, hard=False, grace_ms=0)).power is Power.RUNNING


async def test_guests_outlive_the_driver_and_are_found_again(bed: Bed) -> None:
    spec = bed.spec()
    async with opened(bed.driver()) as driver:
        first = await driver.ensure_running(spec)
    assert first.pid is not None
    assert bed.process_exists(first.pid)
    async with opened(bed.driver()) as driver:
        assert await driver.list_domains() == (first,)
        assert await driver.ensure_running(spec) == first


async def test_files_without_a_domain_are_listed_and_can_be_removed(bed: Bed, driver: ComputeDriver) -> None:
    server_id = ServerId(new_uuid())
    (bed.directory / server_id).mkdir()
    (bed.directory / server_id / "half").write_bytes(b"made")
    half_made = DomainState(server_id=server_id, power=Power.SHUTDOWN, pid=None)
    assert await driver.list_domains() == (half_made,)
    assert await driver.ensure_stopped(server_id, grace_ms=0) == half_made
    await driver.ensure_absent(server_id)
    assert await driver.list_domains() == ()
    assert bed.traces(server_id) == []


async def test_a_missing_base_image_fails_and_can_be_tried_again(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    lost = dataclasses.replace(spec.root, base_path=str(bed.directory / "nowhere.qcow2"))
    with pytest.raises(DriverError, match=r"nowhere\.qcow2"):
        await driver.ensure_running(dataclasses.replace(spec, root=lost))
    assert (await driver.ensure_running(spec)).power is Power.RUNNING


async def test_what_failed_can_be_removed(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    lost = dataclasses.replace(spec.root, base_path=str(bed.directory / "nowhere.qcow2"))
    with pytest.raises(DriverError):
        await driver.ensure_running(dataclasses.replace(spec, root=lost))
    await driver.ensure_absent(spec.server_id)
    assert bed.traces(spec.server_id) == []


@pytest.mark.parametrize("bad", ["", "..", "../../etc", "a/b", "x" * 10_000])
async def test_an_id_that_is_none_never_becomes_a_path(driver: ComputeDriver, bad: str) -> None:
    with pytest.raises(DriverError):
        await driver.ensure_absent(ServerId(bad))
    with pytest.raises(DriverError):
        await driver.console_log(ServerId(bad), bytes_max=10)


async def test_console_log_is_the_tail(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    assert await driver.console_log(spec.server_id, bytes_max=100) == b""
    await driver.ensure_running(spec)
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    with (bed.directory / spec.server_id / "console.log").open("ab") as log:
        log.write(b"guest: the end")
    assert await driver.console_log(spec.server_id, bytes_max=7) == b"the end"
    assert (await driver.console_log(spec.server_id, bytes_max=1 << 30)).endswith(b"guest: the end")
    assert await driver.console_log(spec.server_id, bytes_max=0) == b""


async def test_many_verbs_at_once_end_where_the_last_one_says(bed: Bed, driver: ComputeDriver) -> None:
    spec = bed.spec()
    await driver.ensure_running(spec)
    await asyncio.gather(
        driver.ensure_running(spec),
        driver.ensure_stopped(spec.server_id, grace_ms=0),
        driver.ensure_running(spec),
        driver.ensure_absent(spec.server_id),
    )
    assert bed.traces(spec.server_id) == []


async def test_an_exported_disk_is_one_file_with_all_that_it_was_built_on(
    bed: Bed, driver: ComputeDriver, tmp_path: Path
) -> None:
    spec = bed.spec()
    await driver.ensure_running(spec)
    target = tmp_path / "exported"
    with pytest.raises(DriverError, match="not off"):
        await driver.export_root(spec.server_id, target)
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    bed.write(spec.server_id, "one")
    assert await driver.export_root(spec.server_id, target) == 1 << 30
    bed.write(spec.server_id, "two")
    await driver.export_root(spec.server_id, target)  # again: what was there is written over
    await driver.ensure_absent(spec.server_id)
    again = bed.spec()
    again = dataclasses.replace(
        again, root=dataclasses.replace(again.root, base_path=str(target), base_format="qcow2")
    )
    await driver.ensure_running(again)
    await driver.ensure_stopped(again.server_id, grace_ms=0)
    assert bed.read(again.server_id) == "two"
    with pytest.raises(DriverError, match="no disk"):
        await driver.export_root(spec.server_id, target)
