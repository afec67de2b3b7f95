"""Scheduler, reaper and host side on the real store, the sim driver and the fake plug: from the create
command to a running guest and back to nothing, with no double between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drivers.contract import Power
from drivers.sim import SimDriver
from fabric.compute.capacity import Allocation, HostIdentity
from fabric.compute.host_side import HostSide, HostSideConfig
from fabric.compute.reconcile import ReconcileConfig
from fabric.core.membership.model import MemberState
from fabric.core.servers.model import ImageSource, Server
from fabric.core.servers.queries import GetServer
from fabric.core.servers.states import PowerState, VmState
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.clock import SystemClock
from fabric.runtime.host_calls import HostNudger
from fabric.runtime.reaper import Reaper, ReaperConfig
from fabric.runtime.scheduler_loop import SchedulerLoop
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from netplug.contract import Leftovers
from netplug.fake import FakeNetPlug
from proto.commands.catalog import ImageActivate
from proto.commands.quotas import QuotaSet
from proto.commands.servers import ServerAct
from proto.ids import RequestId, ServerId, new_request_id, new_uuid
from tests.fixtures import store_world
from tests.fixtures.compute_doubles import FleetDouble, RpcDouble
from tests.fixtures.compute_rows import HOST
from tests.fixtures.store_world import IMAGE, NODE, PROJECT, StoreWorld

SHA256 = "7" * 64
CONFIG = HostSideConfig(
    build_concurrency=4,
    stop_grace_ms=10,
    allocation=Allocation(cpu_ratio_milli=16_000),
    metadata_address="127.0.0.1",
    reconcile=ReconcileConfig(resync_ms=60_000, watch_ms=200, retry_ms=10),
)


@dataclass
class Cloud:
    world: StoreWorld
    state: VoterEngine
    directory: Path
    rpc: RpcDouble
    fleet: FleetDouble
    fetched: list[str]

    def side(self) -> tuple[HostSide, SimDriver, FakeNetPlug]:
        driver = SimDriver(self.directory / "sim", vcpus=320, memory_mb=655_360, disk_gb=1_000)
        plug = FakeNetPlug(self.directory / "plug")

        async def fetch(source: ImageSource) -> str:
            self.fetched.append(source.sha256)
            path = self.directory / source.sha256
            path.write_bytes(b"image")
            return str(path)

        side = HostSide(
            state=self.state,
            rpc=self.rpc,
            driver=driver,
            plug=plug,
            fetch=fetch,
            keep=FileBlobStore(self.directory / "kept").put,
            directory=self.directory / "host",
            identity=HostIdentity(node_id=NODE, name="host-a", address="127.0.0.1", zone="nova", version="0"),
            clock=SystemClock(),
            may_ask=lambda node_id: node_id == HOST,
            config=CONFIG,
        )
        return side, driver, plug

    async def create(self, number: int) -> ServerId:
        server_id = ServerId(new_uuid())
        port = self.world.port(new_uuid())
        command = self.world.server_create(
            server_id,
            hostname=f"s{number}",
            new_ports=(port,),
            port_order=(port.port_id,),
            request_id=new_request_id(),
            config_drive=number % 2 == 0,
        )
        await self.world.do(replace(command, name=f"s{number}"))
        return server_id

    async def act(self, server_id: ServerId, verb: str, deadline_ms: int | None = None) -> None:
        if deadline_ms is None:
            deadline_ms = SystemClock().wall_ms() + 60_000
        request_id = RequestId(new_request_id())
        await self.world.do(
            ServerAct(server_id=server_id, verb=verb, request_id=request_id, deadline_ms=deadline_ms)
        )

    async def row(self, server_id: ServerId) -> Server | None:
        view = await self.state.read(GetServer(server_id=server_id))
        return view.server if view is not None else None

    async def until(self, server_id: ServerId, is_so: Callable[[Server | None], bool]) -> Server | None:
        """Waits for the row to be so, looking at each applied entry."""
        news = asyncio.Event()
        unsubscribe = self.state.subscribe(lambda entry: news.set())
        try:
            async with asyncio.timeout(20):
                while not is_so(row := await self.row(server_id)):
                    news.clear()
                    if is_so(row := await self.row(server_id)):
                        break
                    await news.wait()
            return row
        finally:
            unsubscribe()

    async def until_state(self, server_id: ServerId, vm_state: VmState) -> Server:
        row = await self.until(
            server_id,
            lambda row: row is not None and row.vm_state is vm_state and row.task_state is None,
        )
        assert row is not None
        return row


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    state = lone_voter(tmp_path / "state", clock=SystemClock())
    await state.open()
    world = StoreWorld(state, SystemClock())  # type: ignore[arg-type]
    world.clock = store_world.ManualClock(SystemClock().wall_ms())
    original = store_world.image_activate

    def activated(image_id: str = IMAGE, **changes: object) -> ImageActivate:
        return original(image_id, **{"sha256": SHA256, **changes})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_world, "image_activate", activated)
        await world.init()
    await world.do(QuotaSet(project_id=PROJECT, limits={"instances": -1, "cores": -1, "ram": -1}))
    cloud = Cloud(world, state, tmp_path, RpcDouble(), FleetDouble({NODE: MemberState.ALIVE}), [])
    tasks = [
        asyncio.create_task(work())
        for work in (
            SchedulerLoop(state, cloud.fleet, lambda: world.fence, SystemClock()).run,
            Reaper(state, cloud.fleet, SystemClock(), ReaperConfig(interval_ms=20)).run,
            HostNudger(state, cloud.rpc, cloud.fleet).run,
        )
    ]
    yield cloud
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await state.close()


Running = Callable[[], Awaitable[tuple[SimDriver, FakeNetPlug]]]


@pytest.fixture
async def host(cloud: Cloud) -> AsyncIterator[Callable[[], Awaitable[tuple[SimDriver, FakeNetPlug]]]]:
    """Starts a life of the host side; the one before it dies."""
    lives: list[asyncio.Task[None]] = []

    async def start() -> tuple[SimDriver, FakeNetPlug]:
        await stop()
        side, driver, plug = cloud.side()
        lives.append(asyncio.create_task(side.run()))
        await asyncio.wait_for(side.registered.wait(), 10)
        return driver, plug

    async def stop() -> None:
        for task in lives:
            task.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        lives.clear()

    yield start
    await stop()


async def test_create_stop_start_reboot_delete(cloud: Cloud, host: Running) -> None:
    driver, plug = await host()
    server_id = await cloud.create(2)
    row = await cloud.until_state(server_id, VmState.ACTIVE)
    assert (row.host_id, row.power_state) == (NODE, PowerState.RUNNING)
    assert row.launched_ms is not None
    for verb, vm_state in [
        ("stop", VmState.STOPPED),
        ("start", VmState.ACTIVE),
        ("reboot_soft", VmState.ACTIVE),
        ("reboot_hard", VmState.ACTIVE),
    ]:
        await cloud.act(server_id, verb)
        row = await cloud.until_state(server_id, vm_state)
        assert row.fault is None
    await cloud.act(server_id, "delete")
    await cloud.until(server_id, lambda row: row is None)
    assert await driver.list_domains() == ()
    assert await plug.leftovers() == Leftovers()


async def test_forty_at_once_end_active_and_a_restart_keeps_every_pid(cloud: Cloud, host: Running) -> None:
    driver, _ = await host()
    ids = [await cloud.create(number) for number in range(40)]
    for server_id in ids:
        await cloud.until_state(server_id, VmState.ACTIVE)
    pids = {state.server_id: state.pid for state in await driver.list_domains()}
    assert set(pids) == set(ids)
    fetched = len(cloud.fetched)  # builds that begin at once may each ask: the fetcher joins them
    driver, plug = await host()
    last = await cloud.create(100)
    await cloud.until_state(last, VmState.ACTIVE)
    after = {state.server_id: state.pid for state in await driver.list_domains()}
    assert {server_id: after[server_id] for server_id in ids} == pids
    assert len((await plug.leftovers()).taps) == 41
    assert len(cloud.fetched) == fetched, "the image was on this host"


async def test_nothing_fits_is_an_error_with_reasons(cloud: Cloud, host: Running) -> None:
    await host()
    cloud.fleet.states[NODE] = MemberState.HOST_DOWN
    server_id = await cloud.create(1)
    row = await cloud.until_state(server_id, VmState.ERROR)
    assert row.fault is not None
    assert row.fault.message.startswith("No valid host was found.")
    assert "host-a: is not alive: host_down" in row.fault.details


async def test_a_host_that_never_reports_is_named_when_the_deadline_passes(cloud: Cloud) -> None:
    """The row says host-a is there, but no agent runs: the reaper ends the wait."""
    cloud.world.clock.now_ms = SystemClock().wall_ms() - store_world.DEADLINE_MS + 300
    server_id = await cloud.create(1)
    row = await cloud.until_state(server_id, VmState.ERROR)
    assert row.fault is not None
    assert "did not report within" in row.fault.message or "no scheduler" in row.fault.message


async def test_a_guest_that_powers_off_is_seen(cloud: Cloud, host: Running) -> None:
    driver, _ = await host()
    server_id = await cloud.create(1)
    await cloud.until_state(server_id, VmState.ACTIVE)
    await driver.ensure_stopped(server_id, grace_ms=0)
    row = await cloud.until_state(server_id, VmState.STOPPED)
    assert row.power_state is PowerState.SHUTDOWN
    (state,) = await driver.list_domains()
    assert state.power is Power.SHUTDOWN
