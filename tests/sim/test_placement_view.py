"""What Placement shows cannot drift: nothing of it is stored. Shown by killing everybody at every step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from fabric.core.providers.queries import ListHostOffers
from fabric.core.queries import Applied
from fabric.core.servers.states import VmState
from fabric.errors import FabricError
from proto.commands import Command
from proto.commands.servers import ServerAct, ServerCreate
from proto.ids import RequestId, ServerId
from tests.fixtures import store_world as rows
from tests.sim.control_checks import CHECKS
from tests.sim.control_world import DEADLINE_MS, LARGE, LIFE_S, ControlWorld
from tests.sim.placement_world import (
    DedicatedWorld,
    PlacementWorld,
    TopologyWorld,
    guests_have_what_they_were_given,
    view_is_the_hosts_truth,
)
from tests.sim.seeds import seeds
from tests.sim.stepped_state import CrashPoint, SteppedState, no_flushes
from tests.sim.virtual_loop import run_virtual

STEPS = ("server.create", "server.place", "server.observed", "server.act", "server.removed")
AWAY_S = 1.0
SETTLE_S = 15.0  # hosts resync, and report what they have
SERVER = ServerId("5e5e5e5e-5e5e-4e5e-8e5e-5e5e5e5e5e5e")


def lived(world: ControlWorld, *more: Callable[[ControlWorld], Awaitable[None]]) -> None:
    async def live() -> None:
        try:
            async with asyncio.timeout(LIFE_S):
                await world.run()
            for check in (*CHECKS, view_is_the_hosts_truth, *more):
                await check(world)
        finally:
            print("\n".join(world.story))
            await world.close()

    with no_flushes():
        run_virtual(live(), Random(f"{world.seed}/threads"))


@pytest.mark.parametrize("seed", seeds(2))
def test_the_view_is_the_truth_in_trouble_and_in_peace(seed: int, tmp_path: Path) -> None:
    lived(PlacementWorld(seed, tmp_path))


@pytest.mark.parametrize("seed", seeds(2))
def test_dedicated_processors_are_one_guests_alone_in_trouble_too(seed: int, tmp_path: Path) -> None:
    lived(DedicatedWorld(seed, tmp_path))


@pytest.mark.parametrize("seed", seeds(2))
def test_cells_and_devices_are_one_guests_alone_in_trouble_too(seed: int, tmp_path: Path) -> None:
    lived(TopologyWorld(seed, tmp_path), guests_have_what_they_were_given)


@dataclass
class OneServer(PlacementWorld):
    """A server is made, placed, built and deleted. When the step comes, its proposer's conductor dies at the
    point, and the host with it; both come back."""

    step: str = ""
    point: CrashPoint = CrashPoint.BEFORE_LOG
    struck: list[str] = field(default_factory=list)

    async def run(self) -> None:
        for node in (self.conductor, *self.hosts):
            node.directory.mkdir(parents=True)
        await self.start(self.conductor)
        await self._make_rows()
        for host in self.hosts:
            await self.start(host)
        watch, medic = asyncio.create_task(self._watch()), asyncio.create_task(self._bring_back())
        await self._until_offered()
        rng = Random(self.seed)
        await self._create(rng)
        await self._until_state(VmState.ACTIVE)
        deadline_ms = self.conductor.clock.wall_ms() + DEADLINE_MS
        act = ServerAct(
            server_id=SERVER, verb="delete", request_id=RequestId("delete"), deadline_ms=deadline_ms
        )
        await self.do(act, act.request_id)
        await self._until_state(None)
        await asyncio.sleep(SETTLE_S)
        for task in (watch, medic):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _create(self, rng: Random) -> None:
        command = ServerCreate(
            server_id=SERVER, project_id=rows.PROJECT, user_id=rows.USER,
            request_id=RequestId("create"), name="s1", hostname="s1", flavor_id=LARGE, image_id=rows.IMAGE,
            new_ports=(self._port(rng),), deadline_ms=self.conductor.clock.wall_ms() + DEADLINE_MS,
        )  # fmt: skip
        wish = await self.do(command, command.request_id)
        assert wish.is_accepted, wish.rejected

    async def _until_offered(self) -> None:
        """By every host: a server that came earlier would find none."""
        state = self.conductor.state
        assert state is not None
        while len(await state.read(ListHostOffers())) < len(self.hosts):
            await asyncio.sleep(0.5)

    async def _until_state(self, wanted: VmState | None) -> None:
        """Of the one server; None: until it is gone."""
        while True:
            await asyncio.sleep(0.5)
            if self.conductor.state is None:
                continue
            with contextlib.suppress(FabricError):
                found = [view.server.vm_state for view in await self.views()]
                if found == ([] if wanted is None else [wanted]):
                    return

    async def _bring_back(self) -> None:
        while True:
            await asyncio.sleep(AWAY_S)
            for node in (self.conductor, *self.hosts):
                if node.process is None:
                    await self.start(node)

    async def strike(self, state: SteppedState, command: Command) -> None:
        if self.step != command.KIND or self.struck or state is not self.conductor.state:
            return
        self.struck.append(command.KIND)
        state.crash_at = self.point
        for host in self.hosts:
            if host.process is not None and host.side is not None:
                self.kill(host)
        self.tell(f"struck at {command.KIND}: {self.point}")


@pytest.mark.parametrize("point", list(CrashPoint))
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_every_step_leaves_no_allocation_too_many_or_too_few(
    step: str, point: CrashPoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = OneServer(7, tmp_path, step=step, point=point)
    propose = SteppedState.propose

    async def struck(self: SteppedState, command: Command, *, request_id: RequestId) -> Applied:
        await world.strike(self, command)
        return await propose(self, command, request_id=request_id)

    monkeypatch.setattr(SteppedState, "propose", struck)
    lived(world)
    assert world.struck == [step]
