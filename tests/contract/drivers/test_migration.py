"""Live migration between two hosts, asked of every driver. Real guests boot, so it takes a while."""

from __future__ import annotations

import asyncio
import dataclasses
import pwd
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.contract import ComputeDriver, DomainSpec, MigrationProgress, Power
from drivers.sim import SimDriver
from fabric.compute.live_link import LiveLink
from fabric.dev.guest_image import GuestImage
from proto.errors import DriverError
from proto.ids import ServerId, new_uuid
from tests.contract.drivers.beds import opened
from tests.contract.drivers.migration_beds import KEPT, NAMES, LibvirtPair, PairBed
from tests.fixtures.driver_pipes import JoinedHost, LocalPipe
from tests.fixtures.mesh_nodes import rpc_ends, zmq_transports
from tests.fixtures.simulated_hosts import simulated_set

pytestmark = pytest.mark.timeout(600)
WAIT_S = 180.0
QEMU_USER = "libvirt-qemu"
SLOW_MIB_S = 4  # so that there is a middle to fail in: memory in use is some 100 MiB


@dataclass(slots=True)
class Pair:
    bed: PairBed
    here: ComputeDriver
    there: ComputeDriver
    told: list[MigrationProgress] = field(default_factory=list)

    @property
    def is_real(self) -> bool:
        return isinstance(self.bed, LibvirtPair)

    async def running(self) -> DomainSpec:
        """A guest that runs here; a real one has booted and says so."""
        spec = self.bed.spec()
        await self.here.ensure_running(spec)
        if self.is_real:
            await self.until(lambda: self.last_tick(self.here, spec.server_id))
        return dataclasses.replace(spec, has_booted=True)

    async def migrate(
        self, spec: DomainSpec, other: JoinedHost, landing: bytes, *, slow: bool = False
    ) -> None:
        await self.here.migrate(
            spec.server_id,
            landing,
            other,
            bandwidth_mib_s=SLOW_MIB_S if slow else 0,
            on_progress=self.told.append,
        )

    async def last_tick(self, driver: ComputeDriver, server_id: ServerId) -> list[str]:
        """Uptime and sum of the disk, as last said on the console."""
        console = (await driver.console_log(server_id, bytes_max=1 << 20)).decode(errors="replace")
        ticks = [line.split() for line in console.splitlines() if line.startswith("tick ")]
        whole = [tick for tick in ticks if len(tick) == 4]
        return whole[-1][1:3] if whole else []

    async def until(self, question) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + WAIT_S
        while not await question():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    async def is_under_way(self) -> bool:
        return any(progress.memory_processed > 0 for progress in self.told)


@pytest.fixture
async def two(pair: PairBed) -> AsyncIterator[Pair]:
    async with opened(pair.driver("h1")) as here, opened(pair.driver("h2")) as there:
        yield Pair(pair, here, there)


async def power_of(driver: ComputeDriver, server_id: ServerId) -> Power | None:
    states = {state.server_id: state for state in await driver.list_domains()}
    return states[server_id].power if server_id in states else None


async def test_a_running_guest_moves_and_does_not_notice(two: Pair) -> None:
    spec = await two.running()
    before = await two.last_tick(two.here, spec.server_id)
    other = JoinedHost(two.there, spec.server_id)
    landing = await two.there.prepare_incoming(spec)
    await two.migrate(spec, other, landing)
    arrived = await two.there.finish_incoming(spec.server_id)
    assert (arrived.server_id, arrived.power) == (spec.server_id, Power.RUNNING)
    assert await two.there.finish_incoming(spec.server_id) == arrived
    assert await two.there.ensure_running(spec) == arrived
    assert two.bed.disk_limits("h2", spec.server_id) == KEPT
    assert other.refusals == []
    await other.close()
    assert await power_of(two.here, spec.server_id) is Power.SHUTDOWN  # files without a domain
    assert await two.here.has_left(spec.server_id)
    assert not await two.there.has_left(spec.server_id)
    with pytest.raises(DriverError, match="has left"):
        await two.here.ensure_running(spec)
    with pytest.raises(DriverError, match="has left"):
        await two.here.reboot(spec, hard=True, grace_ms=0)
    await two.here.ensure_absent(spec.server_id)
    assert two.bed.traces("h1", spec.server_id) == []
    assert all(each.memory_total > 0 for each in two.told)  # a quick one may be over before it is asked
    if two.is_real:
        await two.until(lambda: two.last_tick(two.there, spec.server_id))
        after = await two.last_tick(two.there, spec.server_id)
        assert float(after[0]) > float(before[0])
        assert after[1] == before[1]
    else:
        console = await two.there.console_log(spec.server_id, bytes_max=1 << 20)
        assert console.count(b"guest: booted") == 1
    await two.there.reboot(spec, hard=True, grace_ms=0)
    await two.there.ensure_absent(spec.server_id)
    assert two.bed.traces("h2", spec.server_id) == []


async def test_it_comes_back_to_where_it_was(two: Pair) -> None:
    spec = await two.running()
    before = await two.last_tick(two.here, spec.server_id)
    there = JoinedHost(two.there, spec.server_id)
    await two.migrate(spec, there, await two.there.prepare_incoming(spec))
    await two.there.finish_incoming(spec.server_id)
    landing = await two.here.prepare_incoming(spec)
    with pytest.raises(DriverError, match="has not arrived"):
        await two.here.ensure_running(spec)
    back = JoinedHost(two.here, spec.server_id)
    await two.there.migrate(spec.server_id, landing, back, bandwidth_mib_s=0, on_progress=two.told.append)
    arrived = await two.here.finish_incoming(spec.server_id)
    assert await two.here.ensure_running(spec) == arrived
    if two.is_real:
        await two.until(lambda: two.last_tick(two.here, spec.server_id))
        after = await two.last_tick(two.here, spec.server_id)
        assert float(after[0]) > float(before[0])
        assert after[1] == before[1]
    await two.there.ensure_absent(spec.server_id)
    await two.here.ensure_absent(spec.server_id)
    for host in ("h1", "h2"):
        assert two.bed.traces(host, spec.server_id) == []
    for other in (there, back):
        await other.close()


async def test_aborted_it_stays_and_nothing_is_left_there(two: Pair) -> None:
    spec = await two.running()
    before = await power_of(two.here, spec.server_id)
    other = JoinedHost(two.there, spec.server_id)
    landing = await two.there.prepare_incoming(spec)
    moving = asyncio.create_task(two.migrate(spec, other, landing, slow=True))
    await two.until(two.is_under_way)
    await two.here.abort_migration(spec.server_id)
    with pytest.raises(DriverError, match="did not leave"):
        await moving
    await two.here.abort_migration(spec.server_id)
    await two.there.cancel_incoming(spec.server_id)
    await two.there.cancel_incoming(spec.server_id)
    await other.close()
    assert await power_of(two.here, spec.server_id) is before is Power.RUNNING
    assert (await two.here.ensure_running(spec)).power is Power.RUNNING
    assert two.bed.traces("h2", spec.server_id) == []
    await two.here.ensure_absent(spec.server_id)
    assert two.bed.traces("h1", spec.server_id) == []


async def test_a_cancelled_caller_leaves_it_where_it_was(two: Pair) -> None:
    spec = await two.running()
    other = JoinedHost(two.there, spec.server_id)
    landing = await two.there.prepare_incoming(spec)
    moving = asyncio.create_task(two.migrate(spec, other, landing, slow=True))
    await two.until(two.is_under_way)
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert (await two.here.ensure_running(spec)).power is Power.RUNNING
    await two.there.ensure_absent(spec.server_id)
    assert two.bed.traces("h2", spec.server_id) == []
    await other.close()


async def test_a_destination_that_dies_leaves_it_on_the_source(two: Pair) -> None:
    spec = await two.running()
    first = {state.server_id: state for state in await two.here.list_domains()}
    other = JoinedHost(two.there, spec.server_id, break_after=8 << 20 if two.is_real else 4)
    landing = await two.there.prepare_incoming(spec)
    with pytest.raises(DriverError, match="did not leave"):
        await two.migrate(spec, other, landing)
    assert other.is_dead
    assert await two.here.ensure_running(spec) == first[spec.server_id]
    # Its next life tries again, from the beginning.
    landing = await two.there.prepare_incoming(spec)
    again = JoinedHost(two.there, spec.server_id)
    await two.migrate(spec, again, landing)
    assert (await two.there.finish_incoming(spec.server_id)).power is Power.RUNNING
    await two.there.ensure_absent(spec.server_id)
    await two.here.ensure_absent(spec.server_id)
    await again.close()
    await other.close()


async def test_forced_it_goes_however_slow_the_way(two: Pair) -> None:
    spec = await two.running()
    with pytest.raises(DriverError, match="under way"):
        await two.here.force_migration(spec.server_id)
    other = JoinedHost(two.there, spec.server_id)
    landing = await two.there.prepare_incoming(spec)
    moving = asyncio.create_task(two.migrate(spec, other, landing, slow=True))
    await two.until(two.is_under_way)
    await two.here.force_migration(spec.server_id)
    await moving
    assert (await two.there.finish_incoming(spec.server_id)).power is Power.RUNNING
    await other.close()


async def test_what_cannot_be_prepared_or_served(two: Pair) -> None:
    spec = await two.running()
    with pytest.raises(DriverError, match="already"):
        await two.here.prepare_incoming(spec)
    pipe, far = LocalPipe(), LocalPipe()
    pipe.other, far.other = far, pipe
    with pytest.raises(DriverError, match=r"nothing is prepared|no such door"):
        await two.there.serve_incoming(spec.server_id, "memory", far)
    assert pipe.is_closed
    with pytest.raises(DriverError, match="has not arrived"):
        await two.there.finish_incoming(spec.server_id)
    absent = ServerId(new_uuid())
    other = JoinedHost(two.there, absent)
    landing = await two.there.prepare_incoming(spec)
    with pytest.raises(DriverError, match="does not run here"):
        await two.here.migrate(absent, landing, other, bandwidth_mib_s=0, on_progress=two.told.append)
    with pytest.raises(DriverError, match="another kind"):
        await two.here.migrate(spec.server_id, b"?", other, bandwidth_mib_s=0, on_progress=two.told.append)
    assert await power_of(two.here, spec.server_id) is Power.RUNNING
    await two.there.cancel_incoming(spec.server_id)
    assert two.bed.traces("h2", spec.server_id) == []
    await two.there.cancel_incoming(absent)


async def test_through_two_agents_meshes(two: Pair) -> None:
    """As in production: by streams over ZeroMQ, encrypted."""
    spec = await two.running()
    near, far = await rpc_ends(zmq_transports(), 2)
    here, there = LiveLink(near.rpc, two.here), LiveLink(far.rpc, two.there)
    try:
        there.expect(spec.server_id, near.node_id, await two.there.prepare_incoming(spec))
        landing = await here.landing(far.node_id, spec.server_id)
        other = here.other_host(far.node_id, spec.server_id)
        await two.here.migrate(spec.server_id, landing, other, bandwidth_mib_s=0, on_progress=two.told.append)
        assert (await two.there.finish_incoming(spec.server_id)).power is Power.RUNNING
    finally:
        for link, end in ((here, near), (there, far)):
            await link.close()
            await end.close()


async def test_another_life_of_the_destination_finishes_it(two: Pair) -> None:
    spec = await two.running()
    other = JoinedHost(two.there, spec.server_id)
    await two.migrate(spec, other, await two.there.prepare_incoming(spec))
    async with opened(two.bed.driver("h2")) as next_life:
        await next_life.cancel_incoming(spec.server_id)  # it has arrived: left alone
        assert (await next_life.finish_incoming(spec.server_id)).power is Power.RUNNING
    await other.close()


@pytest.mark.root
@pytest.mark.libvirt
@pytest.mark.slow
async def test_where_qemu_runs_as_a_user_of_its_own(guest_image: GuestImage) -> None:
    """As Debian's libvirt has it: sockets and disks are that user's, and nobody else's."""
    try:
        pwd.getpwnam(QEMU_USER)
    except KeyError:
        pytest.skip(f"no user {QEMU_USER} on this machine")
    for hosts in simulated_set(*NAMES):
        for name in NAMES:
            settings = hosts.directory / name / "etc-libvirt" / "qemu.conf"
            text = settings.read_text().replace("dynamic_ownership = 0", "dynamic_ownership = 1")
            for key in ("user", "group"):
                text = text.replace(f'{key} = "root"', f'{key} = "{QEMU_USER}"')
            settings.write_text(text)
            hosts.kill_libvirtd(name)
            hosts.start_libvirtd(name)
        hosts.directory.parent.chmod(0o711)
        image = hosts.directory / "guest"  # where that user may read it
        shutil.copytree(guest_image.directory, image)
        image.chmod(0o755)
        bed = LibvirtPair(hosts.directory / "drivers", hosts, GuestImage(image))
        async with opened(bed.driver("h1")) as here, opened(bed.driver("h2")) as there:
            two = Pair(bed, here, there)
            spec = await two.running()
            other = JoinedHost(there, spec.server_id)
            landing = await there.prepare_incoming(spec)
            await two.migrate(spec, other, landing)
            arrived = await there.finish_incoming(spec.server_id)
            assert Path(f"/proc/{arrived.pid}").stat().st_uid == pwd.getpwnam(QEMU_USER).pw_uid
            await other.close()
            await here.ensure_absent(spec.server_id)
            await there.ensure_absent(spec.server_id)
        for name in NAMES:
            assert bed.traces(name, spec.server_id) == []


def test_the_simulated_driver_takes_its_time(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="negative"):
        SimDriver(tmp_path, migrate_ms=-1)
