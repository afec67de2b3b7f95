"""One host's world for tests: a conductor, a machine that outlives agents, and lives of the agent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from drivers.contract import Power
from fabric.compute.capacity import HostIdentity
from fabric.compute.host_side import HostSide, HostSideConfig
from fabric.compute.observe import ReportConfig
from fabric.compute.reconcile import ReconcileConfig
from fabric.core.servers.model import AssignedServer, ImageSource, Server
from fabric.core.servers.states import PowerState, VmState
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.clock import SystemClock
from proto.ids import ServerId
from tests.fixtures.compute_doubles import DriverDouble, Gate, Machine, PlugDouble, RpcDouble, StateDouble
from tests.fixtures.compute_rows import HOST, assigned, placed

CONFIG = HostSideConfig(
    build_concurrency=4,
    stop_grace_ms=10,
    metadata_address="127.0.0.1",
    reconcile=ReconcileConfig(resync_ms=200, watch_ms=20, heal_ms=60_000, retry_ms=5, retry_ms_max=20),
    report=ReportConfig(retry_ms=2, retry_ms_max=10),
    cancel_grace_s=0.02,
    image_retry_s=0.001,
    plug_retry_s=0.001,
    open_retry_s=0.005,
)


@dataclass
class Life:
    """One life of the agent's host side, from its start to its end or its death."""

    side: HostSide
    driver: DriverDouble
    plug: PlugDouble
    rpc: RpcDouble
    gate: Gate
    task: asyncio.Task[None]

    async def kill(self) -> None:
        """Nothing more of this life touches the machine."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@dataclass
class World:
    directory: Path
    state: StateDouble = field(default_factory=StateDouble)
    machine: Machine = field(default_factory=Machine)
    config: HostSideConfig = CONFIG

    def add(self, name: str = "web-1", address: str = "10.0.0.5", **changes: object) -> ServerId:
        """A server placed here, to be built."""
        row = placed(name, **changes)
        self.state.put(assigned(row, address=address))
        return row.server_id

    def add_running(self, name: str = "web-1", **changes: object) -> ServerId:
        """A server that has been running here since before this test."""
        fields = {
            "task_state": None,
            "vm_state": VmState.ACTIVE,
            "power_state": PowerState.RUNNING,
            "launched_ms": 1,
            **changes,
        }
        server_id = self.add(name, **fields)
        self.machine.boot(server_id)
        self.machine.disks[server_id] = "old"
        return server_id

    def put(self, row: AssignedServer) -> None:
        self.state.put(row)

    def row(self, server_id: ServerId) -> Server:
        return self.state.row(server_id)

    @contextlib.asynccontextmanager
    async def life(self, gate: Gate | None = None, driver: DriverDouble | None = None) -> AsyncIterator[Life]:
        gate = gate or (driver.gate if driver is not None else Gate())
        driver = driver or DriverDouble(self.machine, gate)
        plug = PlugDouble(self.machine, gate)
        rpc = RpcDouble()

        async def fetch(source: ImageSource) -> str:
            await gate.enter("fetch")
            path = self.directory / "blobs" / source.sha256
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"disk")
            return str(path)

        side = HostSide(
            state=self.state,
            rpc=rpc,
            driver=driver,
            plug=plug,
            fetch=fetch,
            keep=FileBlobStore(self.directory / "kept").put,
            directory=self.directory / "compute",
            identity=HostIdentity(node_id=HOST, name="h1", address="127.0.0.1", zone="nova", version="0"),
            clock=SystemClock(),
            may_ask=lambda node_id: node_id == HOST,
            config=self.config,
        )
        life = Life(side, driver, plug, rpc, gate, asyncio.create_task(side.run()))
        try:
            yield life
        finally:
            await life.kill()

    async def until_active(self, server_id: ServerId) -> Server:
        await self.until_state(server_id, VmState.ACTIVE)
        return self.row(server_id)

    async def until_state(self, server_id: ServerId, vm_state: VmState) -> None:
        await self.state.until(
            lambda: self.row(server_id).vm_state is vm_state and self.row(server_id).task_state is None
        )

    async def until_gone(self, server_id: ServerId) -> None:
        await self.state.until(lambda: server_id not in self.state.servers)

    async def until(self, is_true, timeout_s: float = 10) -> None:  # type: ignore[no-untyped-def]
        """Waits for something on the machine: nothing tells of it, so it is looked at often."""
        async with asyncio.timeout(timeout_s):
            while not is_true():
                await asyncio.sleep(0.002)

    async def settle(self, life: Life) -> None:
        """Two complete passes after now."""
        for _ in range(2):
            before = len(self.state.reads)
            life.side.nudge()
            await self.until(lambda before=before: len(self.state.reads) > before)
            await self.until(lambda: not life.side.is_busy)
        await asyncio.sleep(0)

    async def settle_pull(self, life: Life) -> None:
        """The rows as they are now have been looked at, whoever is at work."""
        for _ in range(2):
            before = len(self.state.reads)
            life.side.nudge()
            await self.until(lambda before=before: len(self.state.reads) > before)

    def runs(self, server_id: ServerId) -> bool:
        return self.machine.power.get(server_id) is Power.RUNNING
