"""What must be true when a simulated fabric has come to rest. Each raises AssertionError."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select

from drivers.contract import Power
from fabric.compute.decide import is_written_off, power_state_of
from fabric.core.servers.model import Server
from fabric.core.servers.states import Desired, VmState
from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from netplug.contract import tap_name
from proto.commands import Command
from proto.commands.servers import ServerAct, ServerCreate
from proto.ids import RequestId
from tests.sim.control_world import QUOTA, ControlWorld, is_moving
from tests.sim.stepped_state import SteppedState


async def promises_are_kept(world: ControlWorld) -> None:
    """An acknowledged create exists or was deleted; a refused one never happened; a delete did."""
    present = {view.server.server_id for view in await world.views()}
    deleted = {
        wish.command.server_id
        for wish in world.wishes
        if isinstance(wish.command, ServerAct) and wish.command.verb == "delete" and wish.is_accepted
    }
    creates = {
        wish.command.server_id: wish for wish in world.wishes if isinstance(wish.command, ServerCreate)
    }
    accepted = {server_id for server_id, wish in creates.items() if wish.is_accepted}
    assert present == accepted - deleted
    assert deleted <= accepted
    assert len(present) <= QUOTA


async def everything_happened_once(world: ControlWorld) -> None:
    """Asked once more under its id, every wish gets the very answer it got, and nothing new happens.
    Another command under a used id is refused."""
    state = world.conductor.state
    assert state is not None
    for wish in world.wishes:
        assert await _answer(state, wish.command, wish.request_id) == (wish.index, True, wish.rejected), wish
    first, last = world.wishes[0], world.wishes[-1]
    assert await _answer(state, last.command, first.request_id) == (0, True, "conflict")
    with state._rows.engine.connect() as connection, connection.begin():
        repeated = select(t.audit.c.request_id).group_by(t.audit.c.request_id).having(func.count() > 1)
        assert connection.execute(repeated).all() == []


async def _answer(
    state: SteppedState, command: Command, request_id: RequestId
) -> tuple[int, bool, str | None]:
    try:
        applied = await state.propose(command, request_id=request_id)
    except CommandRejectedError as error:
        return 0, True, error.reason
    return applied.index, applied.replayed, None


async def rows_are_what_the_log_says(world: ControlWorld) -> None:
    """Whatever crashed in between: replayed into empty tables, the log gives the same rows. Its time and
    its indices only grow."""
    state = world.conductor.state
    assert state is not None
    with state._rows.engine.connect() as connection, connection.begin():
        times = connection.execute(select(t.audit.c.time_ms).order_by(t.audit.c.log_index)).scalars().all()
    assert times == sorted(times)
    replayed = await world.conductor.replayed()
    if replayed is not None:
        try:
            assert replayed.dump() == state.dump()
        finally:
            await replayed.close()


async def servers_are_at_rest(world: ControlWorld) -> None:
    """Nothing in BUILD, nothing under way, no deadline left over; state and wish agree."""
    for view in await world.views():
        server = view.server
        assert not is_moving(view), server
        assert server.deadline_ms is None, server
        if server.vm_state is VmState.ACTIVE:
            assert server.desired is Desired.RUNNING, server
        elif server.vm_state is VmState.STOPPED:
            assert server.desired is Desired.STOPPED, server
        elif server.vm_state is VmState.SHELVED_OFFLOADED:
            assert server.host_id is None, server
        else:
            assert server.vm_state is VmState.ERROR, server
            assert server.fault is not None, server


async def hosts_hold_what_rows_say(world: ControlWorld) -> None:
    """Each guest where its row says, in the state it says; no guest, disk, note, tap or bridge beside."""
    views = await world.views()
    for host in world.hosts:
        here = {view.server.server_id: view for view in views if view.server.host_id == host.node_id}
        guests = {guest.server_id: guest for guest in await host.guests()}
        meant = {server_id for server_id, view in here.items() if not is_written_off(view.server)}
        assert set(guests) <= meant, f"{host.name} has guests of no row"
        for server_id in meant:
            server, guest = here[server_id].server, guests.get(server_id)
            assert server.power_state is power_state_of(guest), (host.name, server, guest)
            if server.vm_state is VmState.ACTIVE:
                assert guest is not None, server
                assert guest.power in (Power.RUNNING, Power.PAUSED), server
        wired = {server_id for server_id in meant if server_id in guests or _is_kept(here[server_id].server)}
        taps = {tap_name(port.port_id) for server_id in wired for port in here[server_id].ports}
        plug = host.plug()
        await plug.open()
        left = await plug.leftovers()
        assert set(left.taps) == taps, host.name
        assert bool(left.bridges) == bool(taps), host.name
        notes = {path.stem for path in (host.directory / "host" / "servers").glob("*.json")}
        assert notes <= set(here), f"{host.name} has notes of no row"


async def addresses_are_unique_and_freed(world: ControlWorld) -> None:
    """Ports are those of the servers there are, and no two share an address."""
    state = world.conductor.state
    assert state is not None
    listed = {port.port_id for view in await world.views() for port in view.ports}
    with state._rows.engine.connect() as connection, connection.begin():
        ports = set(connection.execute(select(t.ports.c.port_id)).scalars())
        held = list(connection.execute(select(t.fixed_ips.c.address, t.fixed_ips.c.port_id)))
    assert ports == listed
    assert {row.port_id for row in held} == ports
    assert max(Counter(row.address for row in held).values(), default=1) == 1


def _is_kept(server: Server) -> bool:
    return server.launched_ms is not None and server.desired is not Desired.ABSENT


CHECKS = (
    promises_are_kept,
    everything_happened_once,
    rows_are_what_the_log_says,
    servers_are_at_rest,
    hosts_hold_what_rows_say,
    addresses_are_unique_and_freed,
)
