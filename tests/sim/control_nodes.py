"""The processes of a simulated fabric: one conductor and its hosts, made of the product's own parts."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from drivers.contract import DomainState, PciDevice, Pins
from drivers.sim import SimDriver, SimFaults
from fabric.compute.capacity import Allocation, HostIdentity
from fabric.compute.host_side import HostSide, HostSideConfig
from fabric.compute.processors import HostProcessors
from fabric.compute.supplement import Supplement
from fabric.core.membership.record import node_id_of
from fabric.core.servers.model import ImageSource
from fabric.core.topology.pci_config import PciConfig
from fabric.errors import PeerUnreachableError
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.host_calls import HostNudger
from fabric.runtime.reaper import Reaper
from fabric.runtime.remote_state import RemoteState
from fabric.runtime.scheduler_loop import SchedulerLoop
from fabric.runtime.state_service import StateService
from netplug.fake import FakeNetPlug
from proto.commands.nodes import RoleHold
from proto.ids import FabricId, Fence, NodeId, RequestId, ServerId
from tests.fixtures.compute_doubles import FleetDouble
from tests.sim.lossy_network import LossyNetwork, LossyTransport
from tests.sim.raft_files import SimFiles
from tests.sim.stepped_state import SEGMENT_BYTES, SteppedState
from tests.sim.virtual_loop import Process

FABRIC = FabricId("sim")
WALL_MS = 1_800_000_000_000
HOST_OFFER = {"vcpus": 4, "memory_mb": 4_096, "disk_gb": 40}
ALLOCATION = Allocation(cpu_ratio_milli=2_000, memory_ratio_milli=1_000)
FETCH_S = 0.5


class SimClock:
    """The loop's time; a wall clock may be wrong by `skew_ms`."""

    def __init__(self) -> None:
        self.skew_ms = 0

    def monotonic_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1_000)

    def wall_ms(self) -> int:
        return WALL_MS + self.monotonic_ms() + self.skew_ms


class SimNode:
    """A machine: its name, key and disk outlive its processes."""

    def __init__(self, name: str, network: LossyNetwork, directory: Path) -> None:
        self.name = name
        self.public = name.encode().ljust(32, b".")
        self.node_id: NodeId = node_id_of(self.public)
        self.directory = directory
        self.clock = SimClock()
        self.process: Process | None = None
        self.board: Switchboard
        self.transport: LossyTransport
        self._network = network

    async def _boot(self) -> MeshRpc:
        """A new process with its mesh end."""
        process = self.process = Process(self.name)
        self.transport = self._network.wired(self.node_id, self.public, process)
        self.board = process.run(Switchboard, self.transport, FABRIC)
        rpc: MeshRpc = process.run(MeshRpc, self.node_id, self.board)
        await process.start(self.board.start())
        return rpc

    def _die(self) -> Process:
        process, self.process = self.process, None
        assert process is not None
        process.kill()
        self._network.unplug(self.transport)
        return process


class Conductor(SimNode):
    def __init__(
        self,
        network: LossyNetwork,
        directory: Path,
        rng: Random,
        fleet: FleetDouble,
        names: dict[NodeId, str],
    ) -> None:
        super().__init__("conductor", network, directory)
        self._rng = rng
        self._fleet = fleet
        self._names = names
        self._life = 0
        self._files = SimFiles()  # of the log; its machine's, through all lives
        self._segment_bytes = rng.choice(SEGMENT_BYTES)
        self._fence: Fence | None = None
        self._states: list[SteppedState] = []
        self.state: SteppedState | None = None  # None: nobody can be asked
        self.on_crash: Callable[[], None] = lambda: None

    @property
    def _state_directory(self) -> Path:
        return self.directory / f"state-{self._life}"

    async def start(self) -> None:
        rpc = await self._boot()
        assert self.process is not None
        await self.process.start(self._serve(rpc))

    async def _serve(self, rpc: MeshRpc) -> None:
        state = SteppedState(
            self._state_directory,
            self._files,
            rng=self._rng,
            on_crash=self.on_crash,
            clock=self.clock,
            segment_bytes=self._segment_bytes,
        )
        await state.open()
        self._states.append(state)
        StateService(state, rpc, self._names.get, lambda peer, process: None)
        self._fence = None
        loop = asyncio.get_running_loop()
        held = loop.create_task(self._hold(state))
        loops: tuple[Any, ...] = (
            SchedulerLoop(state, self._fleet, lambda: self._fence, self.clock),
            Reaper(state, self._fleet, self.clock),
            HostNudger(state, rpc, self._fleet),
        )
        self._work = [held, *(loop.create_task(each.run()) for each in loops)]
        self._rpc = rpc
        self.state = state

    async def _hold(self, state: SteppedState) -> None:
        command = RoleHold(role="scheduler", node_id=self.node_id)
        request_id = RequestId(f"hold-{len(self._states)}-{self._rng.random()}")
        self._fence = Fence((await state.propose(command, request_id=request_id)).index)

    async def stop(self) -> None:
        """The ordinary end: everything is closed."""
        assert self.process is not None
        await self.process.start(self._close())
        self._die()

    async def _close(self) -> None:
        state, self.state = self.state, None
        assert state is not None
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._rpc.close()
        await state.close()
        self._states.remove(state)

    def crash(self) -> Process:
        """Killed. The next life opens what is on the disk at this moment."""
        state, self.state = self.state, None
        assert state is not None
        self._life += 1
        state.as_the_crash_left_it(self._state_directory)
        return self._die()

    async def replayed(self) -> SteppedState | None:
        """The same log in empty tables. None when its beginning is gone. The caller closes it."""
        assert self.state is not None
        files = self.state.whole_log()
        if files is None:
            return None
        state = SteppedState(
            self.directory / "replayed",
            files,
            rng=self._rng,
            on_crash=self.on_crash,
            clock=self.clock,
            segment_bytes=self._segment_bytes,
        )
        await state.open()
        return state

    async def let_go(self) -> None:
        for state in self._states:
            await state.let_go()
        shutil.rmtree(self.directory)


class Host(SimNode):
    """`faults` and guests belong to the machine, the host side to its process."""

    def __init__(self, name: str, network: LossyNetwork, directory: Path, seed: int) -> None:
        super().__init__(name, network, directory)
        self.faults = SimFaults(fail_after_disks=True)
        self.supplement = Supplement()
        self.processors = HostProcessors()
        self.cells = 0
        self.devices: tuple[PciDevice, ...] = ()
        self.pci = PciConfig()
        self._seed = seed
        self.peers: Mapping[NodeId, Host] = {}  # who may hold images
        self.is_off = False  # the machine has no power, and so no guest
        self.side: HostSide | None = None

    def driver(self) -> SimDriver:
        return SimDriver(
            self.directory / "sim",
            **HOST_OFFER,
            hostname=self.name,
            cells=self.cells,
            devices=self.devices,
            build_ms=300,
            jitter_ms=1_200,
            shutdown_ms=400,
            faults=self.faults,
            rng=Random(f"{self._seed}/{self.name}"),
        )

    def plug(self) -> FakeNetPlug:
        return FakeNetPlug(self.directory / "plug")

    async def start(self, conductor: NodeId) -> None:
        self.is_off = False
        rpc = await self._boot()
        assert self.process is not None
        self.process.start(self._serve(rpc, conductor))

    async def _serve(self, rpc: MeshRpc, conductor: NodeId) -> None:
        self._rpc = rpc
        self.side = HostSide(
            state=RemoteState(rpc, lambda: conductor, self.clock),
            rpc=rpc,
            driver=self.driver(),
            plug=self.plug(),
            fetch=self._fetch,
            keep=FileBlobStore(self.directory / "kept").put,
            directory=self.directory / "host",
            identity=HostIdentity(
                node_id=self.node_id, name=self.name, address="127.0.0.1", zone="nova", version="0"
            ),
            clock=self.clock,
            may_ask=lambda node_id: node_id == conductor,
            config=HostSideConfig(
                build_concurrency=2,
                stop_grace_ms=2_000,
                allocation=ALLOCATION,
                metadata_address="127.0.0.1",
                supplement=self.supplement,
                processors=self.processors,
                pci=self.pci,
            ),
        )
        await self.side.run()

    async def _fetch(self, source: ImageSource) -> str:
        await asyncio.sleep(FETCH_S)
        holder = self.peers.get(source.node_id)
        if holder is not None:  # one that a server was shelved to
            if holder.process is None:
                raise PeerUnreachableError(f"{holder.name} does not answer")
            return str(holder.directory / "kept" / source.sha256[:2] / source.sha256)
        path = self.directory / f"blob-{source.sha256}"
        path.write_bytes(b"image")
        return str(path)

    async def guests(self) -> tuple[DomainState, ...]:
        """What is on this machine, seen without its agent."""
        driver = SimDriver(self.directory / "sim")
        await driver.open()
        return await driver.list_domains()

    async def pinned(self) -> Mapping[ServerId, Pins]:
        """Whose processors are whose, seen without its agent."""
        driver = SimDriver(self.directory / "sim")
        await driver.open()
        return await driver.pinned()

    def given_devices(self) -> dict[ServerId, list[str]]:
        """Which devices of the machine whose guest has, running or not."""
        found = {}
        for path in sorted((self.directory / "sim").glob("*/domain.json")):
            found[ServerId(path.parent.name)] = json.loads(path.read_text()).get("devices", [])
        return found

    async def stop(self) -> None:
        assert self.process is not None
        side, self.side = self.side, None
        await self.process.start(self._close(side))
        self._die()

    async def _close(self, side: HostSide | None) -> None:
        if side is not None:
            await side.close()
        await self._rpc.close()

    def kill(self) -> Process:
        self.side = None
        return self._die()
