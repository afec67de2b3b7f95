"""The reconciler of last resort: what is overdue ends, with a reason that names who owed it."""

from __future__ import annotations

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.states import TaskState, VmState
from fabric.runtime.reaper import Reaper
from proto.commands.servers import ServerExpire
from tests.fixtures.compute_doubles import FleetDouble, ManualClock, StateDouble
from tests.fixtures.compute_rows import HOST, placed, server


def reaper(state: StateDouble, member: MemberState | None = MemberState.HOST_DOWN) -> Reaper:
    fleet = FleetDouble({HOST: member}) if member is not None else FleetDouble({HOST: MemberState.ALIVE})
    if member is None:
        fleet.states.clear()
    return Reaper(state, fleet, ManualClock(now_ms=600_000))


REASONS = [
    (MemberState.HOST_DOWN, "host h1 did not report within 600 s; it is host_down: nothing answers there"),
    (
        MemberState.AGENT_DOWN,
        "host h1 did not report within 600 s; "
        "it is agent_down: its machine answers, its agent is gone or stuck",
    ),
    (
        MemberState.STALLED,
        "host h1 did not report within 600 s; it is stalled: its machine answers and its agent does not",
    ),
    (MemberState.LEAVING, "host h1 did not report within 600 s; it is leaving: its agent was stopped"),
    (
        MemberState.ALIVE,
        "host h1 did not report within 600 s; it is alive but did not finish spawning",
    ),
    (None, "host h1 did not report within 600 s; it is not in the membership table"),
]


def test_every_state_has_its_words() -> None:
    for state in MemberState:
        said = reaper(StateDouble(), state).reason(placed("late"), 600_000)
        assert said.split("; it is ")[1].startswith(state.value)


@pytest.mark.parametrize(("member", "reason"), REASONS)
async def test_expires_with_a_reason(member: MemberState | None, reason: str) -> None:
    state = StateDouble()
    late = placed("late", deadline_ms=1_700_000_599_999)
    state.put(AssignedServer(server=late, ports=(), networks=(), image=None))
    in_time = placed("in-time", deadline_ms=1_700_000_600_001)
    state.put(AssignedServer(server=in_time, ports=(), networks=(), image=None))
    assert await reaper(state, member).round() == 1
    (command,) = state.commands
    assert isinstance(command, ServerExpire)
    assert command.reason == reason
    assert command.generation == late.generation
    assert state.row(late.server_id).vm_state is VmState.ERROR
    assert state.row(in_time.server_id).vm_state is VmState.BUILDING


async def test_a_server_nobody_placed_names_the_scheduler() -> None:
    state = StateDouble()
    row = server("lost", deadline_ms=1_700_000_000_001, task_state=TaskState.SCHEDULING)
    state.put(AssignedServer(server=row, ports=(), networks=(), image=None))
    await reaper(state).round()
    fault = state.row(row.server_id).fault
    assert fault is not None
    assert fault.message == "no scheduler found it a host within 600 s"


async def test_a_refusal_is_asked_again_under_another_id() -> None:
    """`not_due` is stored under its request id; the clock moves on, and so must the id."""
    state = StateDouble()
    row = placed("late", deadline_ms=1)
    state.put(AssignedServer(server=row, ports=(), networks=(), image=None))
    watch = reaper(state)
    state.refuse = lambda command: "not_due"
    assert await watch.round() == 0
    state.refuse = lambda command: None
    assert await watch.round() == 1
