"""The scheduler role against rows in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.moves.model import Move, MoveKind, MoveStatus
from fabric.core.placement.host_word import HostWord, write_word
from fabric.core.placement.queries import ListHostFacts, ListPlacementRequests
from fabric.core.servers.model import Server
from fabric.core.servers.states import TaskState, VmState
from fabric.errors import NoQuorumError
from fabric.runtime.scheduler_loop import SchedulerConfig, SchedulerLoop
from proto.commands import Command
from proto.commands.moves import MoveBegin, MovePlace, MoveUnplaceable
from proto.commands.servers import ServerCreate, ServerObserved, ServerPlace, ServerUnplaceable
from proto.ids import Fence
from tests.fixtures.compute_doubles import FleetDouble, ManualClock, StateDouble
from tests.fixtures.compute_rows import AssignedServer, flavor, host, server

H1, H2 = host("h1"), host("h2")
FENCE = Fence(7)


def world(*names: str, **changes: object) -> tuple[StateDouble, SchedulerLoop]:
    state = StateDouble(hosts={row.host_id: row for row in (H1, H2)})
    for name in names:
        state.put(AssignedServer(server=server(name, **changes), ports=(), networks=(), image=None))
    return state, loop_over(state)


def loop_over(state: StateDouble, fence: Fence | None = FENCE, **config: int) -> SchedulerLoop:
    fleet = FleetDouble(dict.fromkeys(state.hosts, MemberState.ALIVE))
    return SchedulerLoop(state, fleet, lambda: fence, ManualClock(), SchedulerConfig(**config))


async def test_a_round_places_all_and_spreads() -> None:
    state, loop = world("a", "b", "c", "d")
    result = await loop.round()
    assert (result.placed, result.retry, result.unplaceable) == (4, 0, 0)
    places = [command for command in state.commands if isinstance(command, ServerPlace)]
    assert {place.fence for place in places} == {7}
    assert sorted(place.host_id for place in places) == sorted([H1.host_id, H2.host_id] * 2)
    assert all(place.read_generation == 1 for place in places)


async def test_no_fit_ends_in_error_with_both_explanations() -> None:
    state, loop = world("big", flavor=flavor(memory_mb=9_000))
    assert (await loop.round()).unplaceable == 1
    (command,) = state.commands
    assert isinstance(command, ServerUnplaceable)
    assert "2 hosts: not enough memory" in command.message
    assert "h1: needs 9000 MB of memory, 8192 MB free" in command.details


async def test_nobody_is_told_that_no_host_fits_by_a_table_that_missed_something() -> None:
    """A host's row grew, and no entry told: what the kept table says is not the last word."""
    state, _ = world()
    big = {"memory_mb": 1 << 20, "vcpus": 1 << 10, "disk_gb": 1 << 20}
    loop = loop_over(state, resync_ms=600_000)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    try:
        await made(state, "a")
        state.hosts[H2.host_id] = replace(H2, **big)
        await made(state, "large", flavor=flavor(memory_mb=100_000))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [type(command) for command in state.commands] == [ServerPlace, ServerPlace]
    assert isinstance(state.commands[1], ServerPlace)
    assert state.commands[1].host_id == H2.host_id


async def test_a_kept_table_is_not_read_again_for_what_did_not_change() -> None:
    state, _ = world()
    loop = loop_over(state, resync_ms=600_000)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    try:
        for name in ("a", "b", "c"):
            await made(state, name)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    asked = [query.host_ids for query in state.reads if isinstance(query, ListHostFacts)]
    placed = [command.host_id for command in state.commands if isinstance(command, ServerPlace)]
    assert asked == [(), (placed[0],), (placed[1],)]


async def made(state: StateDouble, name: str, **changes: object) -> None:
    """A server is created, and the scheduler has decided."""
    row = server(name, **changes)
    before = state.passed_over
    state.put(AssignedServer(server=row, ports=(), networks=(), image=None))
    state.passed_over = before  # for an entry tells of it
    state.announce(create(name))
    await state.until(lambda: state.row(row.server_id).vm_state is VmState.ERROR or has_host(state, row))
    for _ in range(10):  # the loop into its wait
        await asyncio.sleep(0)


def has_host(state: StateDouble, row: Server) -> bool:
    return state.row(row.server_id).host_id is not None


def moving(state: StateDouble, name: str, **changes: Any) -> Server:
    """It is on h1, and waits for another host."""
    row = server(name, host_id=H1.host_id, vm_state=VmState.ACTIVE, task_state=TaskState.RESIZE_PREP)
    fields: dict[str, Any] = {
        "move_id": f"move of {name}",
        "number": 1,
        "server_id": row.server_id,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "kind": MoveKind.MIGRATION,
        "status": MoveStatus.PRE_MIGRATING,
        "source_host_id": H1.host_id,
        "source_name": "h1",
        "dest_host_id": None,
        "dest_name": None,
        "host_wanted": None,
        "flavor_id": "1",
        "message": "",
        "created_ms": 0,
        "updated_ms": 0,
    }
    state.put(AssignedServer(server=row, ports=(), networks=(), image=None))
    state.moves[row.server_id] = Move(**fields | changes)
    return row


async def test_a_server_that_moves_goes_anywhere_but_where_it_is() -> None:
    state, loop = world()
    row = moving(state, "a")
    assert (await loop.round()).placed == 1
    (command,) = state.commands
    assert command == MovePlace(
        move_id="move of a", server_id=row.server_id, host_id=H2.host_id, fence=FENCE, read_generation=1
    )


async def test_a_move_to_a_host_that_does_not_fit_is_told_why() -> None:
    state, loop = world()
    moving(state, "a", host_wanted="h1")
    assert (await loop.round()).unplaceable == 1
    (command,) = state.commands
    assert isinstance(command, MoveUnplaceable)
    assert (command.move_id, command.fence, command.read_generation) == ("move of a", FENCE, 1)
    assert "No valid host" in command.message


async def test_nothing_moves_to_a_program_of_before_moves_but_new_servers_go_there() -> None:
    """It would not fetch the disks."""
    state, _ = world("new")
    moving(state, "a")
    fleet = FleetDouble(dict.fromkeys(state.hosts, MemberState.ALIVE))
    fleet.old.add(H2.host_id)
    loop = SchedulerLoop(state, fleet, lambda: FENCE, ManualClock())
    result = await loop.round()
    assert (result.placed, result.unplaceable) == (1, 1)
    (place,) = [each for each in state.commands if isinstance(each, ServerPlace)]
    assert place.host_id == H2.host_id
    assert [type(each) for each in state.commands if not isinstance(each, ServerPlace)] == [MoveUnplaceable]


async def test_a_move_wakes_the_scheduler() -> None:
    state, _ = world()
    loop = loop_over(state, resync_ms=600_000)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    try:
        before = state.passed_over
        row = moving(state, "a")
        state.passed_over = before
        state.announce(
            MoveBegin(
                move_id="move of a",
                server_id=row.server_id,
                kind="migration",
                source_host_id=H1.host_id,
                user_id=row.user_id,
                request_id=row.request_id,
                deadline_ms=1,
                arrive_ms=1,
            )
        )
        await state.until(lambda: not state.moves)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_no_host_alive_is_an_error_with_a_reason_too() -> None:
    state, _ = world("a")
    fleet = FleetDouble({H1.host_id: MemberState.HOST_DOWN})
    loop = SchedulerLoop(state, fleet, lambda: Fence(1), ManualClock())
    await loop.round()
    row = next(iter(state.servers.values())).server
    assert row.vm_state is VmState.ERROR
    assert row.fault is not None
    assert "2 hosts: down" in row.fault.message


async def test_no_host_registered_is_an_error_with_a_reason() -> None:
    state, loop = world("a")
    state.hosts.clear()
    await loop.round()
    row = next(iter(state.servers.values())).server
    assert row.fault is not None
    assert "No host is registered" in row.fault.message


async def test_a_lost_race_is_tried_again_with_fresh_state() -> None:
    state, loop = world("a")
    refusals = ["stale"]
    state.refuse = lambda command: refusals.pop() if refusals else None
    first = await loop.round()
    assert (first.placed, first.retry) == (0, 1)
    assert (await loop.round()).placed == 1


@pytest.mark.parametrize("reason", ["no_capacity", "host_disabled", "policy_violated"])
async def test_where_the_host_cannot_the_next_best_is_tried_at_once(reason: str) -> None:
    state, loop = world("a")
    asked: list[str] = []

    def refuse(command: Command) -> str | None:
        assert isinstance(command, ServerPlace)
        asked.append(command.host_id)
        return reason if len(asked) < 2 else None

    state.refuse = refuse
    first = await loop.round()
    assert (first.placed, first.retry) == (1, 0)
    assert sorted(asked) == sorted([H1.host_id, H2.host_id])


async def test_where_no_host_can_the_next_round_looks_again() -> None:
    state, loop = world("a")
    refusals = ["no_capacity"] * 2
    state.refuse = lambda command: refusals.pop() if refusals else None
    first = await loop.round()
    assert (first.placed, first.retry) == (0, 1)
    assert (await loop.round()).placed == 1


async def test_a_host_that_fails_to_build_comes_last_until_it_succeeds() -> None:
    state, loop = world()
    state.hosts[H1.host_id] = replace(H1, memory_mb=1 << 20, vcpus=1 << 10)  # the emptiest by far
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)

    def tell(fault: str | None) -> None:
        """H1 has built something, or failed to."""
        told = {"server_id": server("other").server_id, "host_id": H1.host_id, "generation": 2}
        state.announce(ServerObserved(**told, power_state="running", fault_message=fault))

    async def placed(name: str) -> str | None:
        row = server(name)
        state.put(AssignedServer(server=row, ports=(), networks=(), image=None))
        state.announce(create(name))
        await state.until(lambda: state.row(row.server_id).host_id is not None, 5)
        return state.row(row.server_id).host_id

    found = [await placed("a")]
    tell("no disk")
    found.append(await placed("b"))
    tell(None)
    found.append(await placed("c"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert found == [H1.host_id, H2.host_id, H1.host_id]


async def test_a_new_scheduler_avoids_a_black_hole_from_its_first_round() -> None:
    """Nobody saw the host fail: it says so itself."""
    state, _ = world(*(f"s{number}" for number in range(8)))
    state.hosts[H1.host_id] = replace(H1, memory_mb=1 << 20, vcpus=1 << 10)  # the emptiest by far
    alive = dict.fromkeys(state.hosts, MemberState.ALIVE)
    fleet = FleetDouble(alive, {H1.host_id: write_word(HostWord(failed_builds=2))})
    assert (await SchedulerLoop(state, fleet, lambda: FENCE, ManualClock()).round()).placed == 8
    places = [command for command in state.commands if isinstance(command, ServerPlace)]
    assert {place.host_id for place in places} == {H2.host_id}


async def test_each_try_has_its_own_request_id() -> None:
    """A rejection is stored under its id: with the same id a second try would only hear it again."""
    state, loop = world("a")
    seen = []
    propose = state.propose

    async def spy(command: Command, *, request_id):  # type: ignore[no-untyped-def]
        seen.append(request_id)
        return await propose(command, request_id=request_id)

    state.propose = spy  # type: ignore[method-assign]
    refusals = ["stale"]
    state.refuse = lambda command: refusals.pop() if refusals else None
    await loop.round()
    await loop.round()
    assert len(set(seen)) == 2
    assert all(request_id.startswith(server("a").request_id + "/place/") for request_id in seen)


async def test_fenced_places_nothing_and_says_so() -> None:
    state, loop = world("a")
    state.refuse = lambda command: "fenced"
    assert (await loop.round()).is_blocked
    assert (await loop_over(state, fence=None).round()).is_blocked
    assert state.commands == []


async def test_an_unanswered_proposal_stays_for_the_next_round() -> None:
    state, loop = world("a", "b")
    propose = state.propose
    failures = [NoQuorumError("gone")]

    async def flaky(command: Command, *, request_id):  # type: ignore[no-untyped-def]
        if failures:
            raise failures.pop()
        return await propose(command, request_id=request_id)

    state.propose = flaky  # type: ignore[method-assign]
    first = await loop.round()
    assert (first.placed, first.retry) == (1, 1)
    assert (await loop.round()).placed == 1


async def test_the_loop_wakes_on_a_create_and_keeps_up() -> None:
    state, _ = world()
    state.hosts = {
        row.host_id: replace(row, memory_mb=1 << 20, vcpus=1 << 10, disk_gb=1 << 20) for row in (H1, H2)
    }
    loop = loop_over(state, resync_ms=600_000, batch_max=64)
    task = asyncio.create_task(loop.run())
    for _ in range(10):  # into its wait
        await asyncio.sleep(0)
    rows = [server(f"s{number}") for number in range(300)]
    for row in rows:
        state.put(AssignedServer(server=row, ports=(), networks=(), image=None))
    state.announce(create(rows[0].name))
    await state.until(lambda: all(each.server.host_id for each in state.servers.values()), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert state._listeners == []


async def test_reads_that_fail_shrink_the_batch_and_are_survived() -> None:
    state, _ = world("a", "b", "c")
    loop = loop_over(state, batch_max=4, pause_ms=1, resync_ms=10)
    state.is_away = True
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.02)
    state.is_away = False
    await state.until(lambda: all(each.server.host_id for each in state.servers.values()), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    limits = [query.limit for query in state.reads if isinstance(query, ListPlacementRequests)]
    assert min(limits) < 4


def create(name: str) -> ServerCreate:
    row = server(name)
    return ServerCreate(
        server_id=row.server_id,
        project_id=row.project_id,
        user_id=row.user_id,
        request_id=row.request_id,
        name=name,
        hostname=name,
        flavor_id=row.flavor.flavor_id,
        image_id=row.image_id,
        deadline_ms=1,
    )
