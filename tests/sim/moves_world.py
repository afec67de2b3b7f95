"""The control path at level 3: users who send servers from host to host while hosts and conductor die."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from random import Random

from sqlalchemy import select

from drivers.contract import Power
from fabric.compute.decide import is_written_off, power_state_of
from fabric.core.membership.model import MemberState
from fabric.core.moves.model import Move, MoveKind
from fabric.core.moves.queries import GetOpenMove
from fabric.core.servers.model import ServerView
from fabric.core.servers.states import Desired, TaskState, VmState
from fabric.errors import FabricError
from fabric.store.program import PROGRAM
from fabric.store.tables import level3
from proto.commands.moves import MoveAbort, MoveBegin, MoveConfirm, MoveForce, MoveRevert
from proto.ids import NodeId, RequestId, ServerId
from tests.fixtures import store_world as rows
from tests.sim.control_nodes import Host
from tests.sim.control_world import DEADLINE_MS, VERBS, ControlWorld, drawn_uuid
from tests.sim.stepped_state import SteppedState

MOVE_VERBS = ("migrate", "migrate", "live", "live", "live", "abort", "force", "confirm", "revert", "revert")
LIVE_VERBS = {"abort": MoveAbort, "force": MoveForce}


class MovesWorld(ControlWorld):
    """A guest that has run has written on its disk, and must find that wherever it goes; only an evacuated
    one has lost it with its host."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.written: set[ServerId] = set()
        self.evacuated: set[ServerId] = set()
        self.asked: Counter[str] = Counter()

    async def _make_rows(self) -> None:
        await super()._make_rows()
        raised = await self.do(PROGRAM.raise_to(level3.LEVEL), RequestId("init-level-3"))
        assert raised.is_accepted, raised.rejected

    async def _user(self, rng: Random) -> None:
        for number in range(30):
            await asyncio.sleep(rng.uniform(0.0, 4.0))
            known = self._accepted()
            draw = rng.random()
            if not known or draw < 0.25:
                await self._create(rng)
            elif draw < 0.4:
                await self._act(rng, rng.choice(known), rng.choice(VERBS), number)
            elif draw < 0.5:
                await self._evacuate(rng, number)
            else:
                verb = rng.choice(MOVE_VERBS)
                wanted = await self._waiting(verb) or known
                await self._move(rng, rng.choice(wanted), verb, number)

    async def _waiting(self, verb: str) -> list[ServerId]:
        """Those that the action is mostly for."""
        states = (VmState.ACTIVE, VmState.STOPPED) if verb == "migrate" else (VmState.RESIZED,)
        task = None
        if verb == "live":
            states = (VmState.ACTIVE,)
        elif verb in LIVE_VERBS:
            states, task = tuple(VmState), TaskState.MIGRATING
        return [
            view.server.server_id
            for view in await self._views_if_any()
            if view.server.vm_state in states and view.server.task_state is task
        ]

    async def _move(self, rng: Random, server_id: ServerId, verb: str, number: int) -> None:
        source = await self._host_of(server_id)
        if source is None:
            return
        request_id = RequestId(f"{verb}-{self._named(server_id)}-{number}-{rng.randrange(1 << 30)}")
        deadline_ms = self.conductor.clock.wall_ms() + DEADLINE_MS
        command: MoveBegin | MoveConfirm | MoveRevert | MoveAbort | MoveForce
        if verb in LIVE_VERBS:
            move = await self._open_move(server_id)
            if move is None:
                return
            command = LIVE_VERBS[verb](move_id=move.move_id, server_id=server_id, request_id=request_id)
        elif verb in ("migrate", "live"):
            wanted = rng.choice([None, None, rng.choice(self.hosts).name])
            command = MoveBegin(
                move_id=drawn_uuid(rng),
                server_id=server_id,
                kind=(MoveKind.LIVE if verb == "live" else MoveKind.MIGRATION).value,
                source_host_id=source.node_id,
                user_id=rows.USER,
                request_id=request_id,
                host_name=wanted,
                deadline_ms=deadline_ms,
                arrive_ms=DEADLINE_MS,
            )
        elif verb == "confirm":
            command = MoveConfirm(server_id=server_id, request_id=request_id)
        else:
            command = MoveRevert(
                server_id=server_id,
                request_id=request_id,
                is_dest_gone=self._is_off(source),
                deadline_ms=deadline_ms,
            )
        wish = await self.do(command, request_id)
        self.asked[f"{verb} {'done' if wish.is_accepted else wish.rejected}"] += 1
        self.tell(f"{verb} {self._named(server_id)}: {wish.rejected or wish.index}")

    async def _open_move(self, server_id: ServerId) -> Move | None:
        state = self.conductor.state
        if state is None:
            return None
        try:
            return await state.read(GetOpenMove(server_id=server_id))
        except FabricError:
            return None

    async def _evacuate(self, rng: Random, number: int) -> None:
        """Of a host whose machine is off, as everybody knows; one that only seems dead is left alone."""
        for host in self.hosts:
            if not self._is_off(host):
                continue
            for view in await self._views_if_any():
                if view.server.host_id != host.node_id:
                    continue
                server_id = view.server.server_id
                request_id = RequestId(f"evacuate-{self._named(server_id)}-{number}-{rng.randrange(1 << 30)}")
                command = MoveBegin(
                    move_id=drawn_uuid(rng),
                    server_id=server_id,
                    kind=MoveKind.EVACUATION.value,
                    source_host_id=host.node_id,
                    user_id=rows.USER,
                    request_id=request_id,
                    stays_off=rng.random() < 0.3,
                    deadline_ms=self.conductor.clock.wall_ms() + DEADLINE_MS,
                    arrive_ms=DEADLINE_MS,
                )
                wish = await self.do(command, request_id)
                if wish.is_accepted:
                    self.evacuated.add(server_id)
                self.asked[f"evacuate {'done' if wish.is_accepted else wish.rejected}"] += 1
                self.tell(f"evacuate {self._named(server_id)}: {wish.rejected or wish.index}")

    def _is_off(self, host: Host) -> bool:
        is_believed = self.fleet.states.get(host.node_id) is MemberState.HOST_DOWN
        return host.process is None and host.is_off and is_believed

    def _named(self, server_id: ServerId) -> str:
        return f"s{self._servers.index(server_id) + 1}"

    async def _views_if_any(self) -> list[ServerView]:
        if self.conductor.state is None:
            return []
        try:
            return await self.views()
        except FabricError:
            return []

    async def _host_of(self, server_id: ServerId) -> Host | None:
        for view in await self._views_if_any():
            if view.server.server_id == server_id:
                return next((host for host in self.hosts if host.node_id == view.server.host_id), None)
        return None

    # What must hold.

    async def _watch(self) -> None:
        while True:
            running: Counter[ServerId] = Counter()
            for host in self.hosts:
                for guest in await host.guests():
                    if guest.power in (Power.RUNNING, Power.PAUSED):
                        running[guest.server_id] += 1
                        self._write(host, guest.server_id)
            twice = [self._named(server_id) for server_id, count in running.items() if count > 1]
            assert not twice, f"running on two hosts: {twice}"
            state = self.conductor.state
            if state is not None:
                with contextlib.suppress(FabricError):  # it stops right now
                    await self._check_limits(state)
            await asyncio.sleep(0.5)

    def _write(self, host: Host, server_id: ServerId) -> None:
        """What its user does on it."""
        disk = host.directory / "sim" / server_id / "root.disk"
        held = json.loads(disk.read_text())
        if "user" not in held:
            assert server_id not in self.written - self.evacuated, f"{self._named(server_id)} lost its disk"
            disk.write_text(json.dumps({**held, "user": server_id}))
            self.written.add(server_id)


def held_by(state: SteppedState) -> dict[ServerId, NodeId]:
    """server -> the host that holds its disks for a move."""
    columns = level3.moves.c
    held = select(columns.server_id, columns.source_host_id).where(columns.held_host_id.is_not(None))
    with state._rows.engine.connect() as connection, connection.begin():
        return {row.server_id: row.source_host_id for row in connection.execute(held)}


async def moves_are_at_rest(world: MovesWorld) -> None:
    """Nothing under way; what waits to be confirmed is held where it came from, and nothing else is."""
    state = world.conductor.state
    assert state is not None
    parked = held_by(state)
    for view in await world.views():
        server = view.server
        assert server.task_state is None, server
        assert server.deadline_ms is None, server
        if server.vm_state is VmState.RESIZED:
            assert server.server_id in parked, server
        elif server.vm_state is not VmState.ERROR:
            assert server.server_id not in parked, server
        if server.vm_state is VmState.ACTIVE:
            assert server.desired is Desired.RUNNING, server
    present = {view.server.server_id for view in await world.views()}
    assert parked.keys() <= present


async def guests_are_where_rows_say(world: MovesWorld) -> None:
    state = world.conductor.state
    assert state is not None
    parked = held_by(state)
    views = await world.views()
    for host in world.hosts:
        guests = {guest.server_id: guest for guest in await host.guests()}
        here = {view.server.server_id: view for view in views if view.server.host_id == host.node_id}
        kept = {server for server, host_id in parked.items() if host_id == host.node_id} - here.keys()
        meant = {server_id for server_id, view in here.items() if not is_written_off(view.server)}
        assert set(guests) <= meant | kept, f"{host.name} has guests of no row"
        for server_id in kept & guests.keys():
            assert guests[server_id].power not in (Power.RUNNING, Power.PAUSED), server_id
        for server_id in meant:
            server, guest = here[server_id].server, guests.get(server_id)
            assert server.power_state is power_state_of(guest), (host.name, server, guest)
            if server.vm_state is VmState.ACTIVE:
                assert guest is not None, server
        notes = {path.stem for path in (host.directory / "host" / "servers").glob("*.json")}
        assert notes <= here.keys() | kept, f"{host.name} has notes of no row"


async def nothing_written_is_lost(world: MovesWorld) -> None:
    """It is where the guest is; of one that never arrived, where it came from."""
    state = world.conductor.state
    assert state is not None
    parked = held_by(state)
    for view in await world.views():
        server = view.server
        if server.server_id not in world.written - world.evacuated or server.host_id is None:
            continue
        has_arrived = server.vm_state is not VmState.ERROR
        holder = server.host_id if has_arrived else parked.get(server.server_id, server.host_id)
        (host,) = (host for host in world.hosts if host.node_id == holder)
        disk = host.directory / "sim" / server.server_id / "root.disk"
        assert disk.exists(), (host.name, server)
        assert json.loads(disk.read_text()).get("user") == server.server_id, (host.name, server)
