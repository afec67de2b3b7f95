"""Several agents on one database: they hear of one another's commands, and one of them conducts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import event, text

from fabric.core.identity.queries import ListProjects
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.queries import Applied
from fabric.errors import CommandRejectedError, NotLeaderError
from fabric.runtime.clock import SystemClock
from fabric.runtime.lead_loop import CONDUCTOR, LeadLoop
from fabric.runtime.shared_lead import TTL_MS, SharedLead
from fabric.store import feed_follower, notifications, postgres, shared_feed
from fabric.store.abilities import Abilities
from fabric.store.held_lease import HeldLease
from fabric.store.postgres import PostgresState
from proto.commands.identity import ProjectCreate
from proto.commands.nodes import RoleHold
from proto.ids import NodeId, ProjectId, RequestId, new_request_id
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import DOMAIN, ManualClock, fabric_init

pytestmark = pytest.mark.postgres

A, B = NodeId("a" * 32), NodeId("b" * 32)
WITHIN_S = 30.0
ALL = Abilities(can_notify=True, can_lock_tables=True)
NEITHER = Abilities(can_notify=False, can_lock_tables=False)  # as CockroachDB
ROOT = Path(__file__).resolve().parents[3]


def project(name: str) -> ProjectCreate:
    return ProjectCreate(project_id=ProjectId(f"p-{name}"), domain_id=DOMAIN, name=name)


class Agents:
    """Each with its own connections and the order in which it heard of projects."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = ManualClock()
        self.states: list[PostgresState] = []
        self.heard: list[list[tuple[int, str]]] = []

    async def open(
        self, abilities: Abilities | None = None, *, clock: ManualClock | None = None
    ) -> PostgresState:
        state = PostgresState(self.url, abilities=abilities, clock=clock)
        await state.open()
        heard: list[tuple[int, str]] = []
        state.subscribe(
            lambda entry: (
                heard.append((entry.index, entry.command.name))
                if isinstance(entry.command, ProjectCreate)
                else None
            )
        )
        self.states.append(state)
        self.heard.append(heard)
        return state

    async def put(self, at: int, name: str) -> None:
        await self.states[at].propose(project(name), request_id=RequestId(f"req-{name}"))

    async def all_heard(self, count: int) -> list[tuple[int, str]]:
        await until(lambda: all(len(heard) >= count for heard in self.heard), WITHIN_S)
        first = self.heard[0]
        assert all(heard == first for heard in self.heard)
        assert len(first) == count
        assert first == sorted(first)
        return list(first)

    def execute(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()


@pytest.fixture
async def agents(empty_postgres: str) -> AsyncIterator[Agents]:
    made = Agents(empty_postgres)
    first = PostgresState(empty_postgres)
    await first.open()
    await first.propose(fabric_init(), request_id=RequestId("req-init"))
    await first.close()
    yield made
    for state in made.states:
        await state.close()


CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


async def test_the_database_is_asked_what_it_can(agents: Agents) -> None:
    assert (await agents.open())._abilities == ALL


@pytest.mark.parametrize("abilities", [ALL, NEITHER], ids=["notified", "polling"])
async def test_everybody_hears_of_everything_once_and_in_order(
    agents: Agents, abilities: Abilities, monkeypatch: pytest.MonkeyPatch
) -> None:
    if abilities.can_notify:  # and nobody looks without being told
        monkeypatch.setattr(feed_follower, "POLL_S", 3_600.0)
        monkeypatch.setattr(postgres, "LOOK_S", 3_600.0)
    for _ in range(3):
        await agents.open(abilities)
    await asyncio.gather(*(agents.put(number % 3, f"n{number}") for number in range(30)))
    told = await agents.all_heard(30)
    assert [index for index, _ in told] == list(range(told[0][0], told[0][0] + 30))
    with pytest.raises(CommandRejectedError):  # takes an index, and is told to nobody
        await agents.states[0].propose(project("n1"), request_id=RequestId("req-again"))
    await agents.put(1, "last")
    assert (await agents.all_heard(31))[-1][0] == told[-1][0] + 2


async def test_who_caught_up_was_told_of_all_that_was_answered_elsewhere(agents: Agents) -> None:
    """Also where nobody is notified, and the follower looks a while later."""
    one, two = await agents.open(NEITHER), await agents.open(NEITHER)
    for number in range(5):
        await agents.put(0, f"n{number}")
        await two.catch_up()
        assert len(agents.heard[1]) == number + 1
    await asyncio.gather(one.catch_up(), two.catch_up(), two.catch_up())
    assert agents.heard[0] == agents.heard[1]
    assert (one.passed_over, two.passed_over) == (0, 0)


async def test_a_lease_that_is_given_up_is_told(agents: Agents) -> None:
    one, other = await agents.open(ALL), await agents.open(ALL)
    told = asyncio.Event()
    other.watch_leases(told.set)
    await until(lambda: other._follower.look_s == postgres.LOOK_S, WITHIN_S)  # it listens
    epoch = (await one.take_lease(CONDUCTOR, A, TTL_MS)).epoch
    assert epoch is not None
    await one.give_up_lease(HeldLease(role=CONDUCTOR, node_id=A, epoch=epoch))
    await asyncio.wait_for(told.wait(), WITHIN_S)


async def test_waiting_for_the_turn_nobody_meets_a_conflict(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever two agents write, the later transaction sees what the earlier one did."""
    failed = 0
    for _ in range(2):
        state = await agents.open(ALL)
        assert state._database is not None

        def count(context: sqlalchemy.engine.ExceptionContext) -> None:
            nonlocal failed
            failed += 1

        event.listen(state._database.engine, "handle_error", count)
    await asyncio.gather(*(agents.put(number % 2, f"n{number}") for number in range(30)))
    assert failed == 0


async def test_what_was_said_while_nobody_listened_is_read_later(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "RETRY_S", 0.01)
    await agents.open(ALL)
    writer = await agents.open(ALL)
    await agents.put(1, "before")
    await agents.all_heard(1)
    for number in range(5):
        agents.execute(CUT)
        await writer.propose(project(f"n{number}"), request_id=RequestId(f"req-n{number}"))
    assert [name for _, name in await agents.all_heard(6)] == ["before", "n0", "n1", "n2", "n3", "n4"]


async def test_a_database_that_knows_no_listen_is_not_listened_to(agents: Agents) -> None:
    state = await agents.open(NEITHER)
    assert state._database is not None
    with ThreadPoolExecutor(1) as threads:
        notified = notifications.Notifications(
            state._database.engine, "1 is no name", threads, listening=lambda: None, heard=lambda word: None
        )
        await asyncio.wait_for(notified.run(), WITHIN_S)


async def test_the_feed_is_bounded_and_who_missed_more_goes_on(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_feed, "FEED_ENTRIES", 4)
    monkeypatch.setattr(shared_feed, "PRUNE_EVERY", 2)
    away = await agents.open(ALL)
    for task in away._following:
        task.cancel()
    await agents.open(ALL)
    for number in range(12):
        await agents.put(1, f"n{number}")
    with contextlib.closing(sqlalchemy.create_engine(agents.url).connect()) as connection:
        assert connection.execute(text("SELECT count(*) FROM feed")).scalar_one() <= 6
    await away._follower.catch_up()
    missed = agents.heard[0]
    assert 0 < len(missed) < 12
    assert missed == agents.heard[1][-len(missed) :]
    await agents.put(1, "more")
    await away._follower.catch_up()
    assert agents.heard[0][-1] == agents.heard[1][-1]


async def test_an_agent_stopped_in_its_transaction_keeps_nobody(agents: Agents, tmp_path: Path) -> None:
    """SIGSTOP with the turn in hand: the server takes it away."""
    script = f"""
import asyncio, os, signal
from fabric.store import command_turn
from fabric.store.postgres import PostgresState
from tests.contract.store.test_shared_database import project
from proto.ids import RequestId

real = command_turn.write_feed
def stop(*arguments):
    os.kill(os.getpid(), signal.SIGSTOP)
    real(*arguments)
command_turn.write_feed = stop

async def main():
    state = PostgresState({agents.url!r})
    await state.open()
    await state.propose(project("stopped"), request_id=RequestId("req-stopped"))
    await state.close()
asyncio.run(main())
"""
    state = await agents.open(ALL)
    other = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        pid, status = await asyncio.to_thread(os.waitpid, other.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        await agents.put(0, "others")
        assert {"others"} < {found.name for found in await state.read(ListProjects())}
        other.send_signal(signal.SIGCONT)
        # What it was stopped in was not done; it stops again as it tries anew, and goes on.
        while not os.WIFEXITED(status):
            pid, status = await asyncio.to_thread(os.waitpid, pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                other.send_signal(signal.SIGCONT)
        assert os.WEXITSTATUS(status) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            other.kill()
    assert [name for _, name in await agents.all_heard(2)] == ["others", "stopped"]


# ---- two that conduct


async def test_a_lease_is_taken_over_and_what_its_former_holder_grants_is_refused(agents: Agents) -> None:
    clock = agents.clock
    one, other = await agents.open(ALL, clock=clock), await agents.open(ALL, clock=clock)
    epoch = (await one.take_lease(CONDUCTOR, A, TTL_MS)).epoch
    assert epoch is not None
    stale = HeldLease(role=CONDUCTOR, node_id=A, epoch=epoch)
    await one.propose_under(stale, RoleHold(role=CONDUCTOR, node_id=A), request_id=new_request_id())
    assert (await other.take_lease(CONDUCTOR, B, TTL_MS)).epoch is None
    clock.advance(TTL_MS)
    newer = (await other.take_lease(CONDUCTOR, B, TTL_MS)).epoch
    assert newer == epoch + 1
    index = one.applied_index
    with pytest.raises(NotLeaderError):
        await one.propose_under(stale, RoleHold(role="scheduler", node_id=A), request_id=new_request_id())
    (grant,) = await one.read(ListRoleGrants())
    assert (grant.node_id, grant.fence) == (A, index), "nothing was done, and no index used up"
    held = HeldLease(role=CONDUCTOR, node_id=B, epoch=newer)
    applied = await other.propose_under(
        held, RoleHold(role=CONDUCTOR, node_id=B), request_id=new_request_id()
    )
    (grant,) = await one.read(ListRoleGrants())
    assert (grant.node_id, grant.fence) == (B, applied.index)


async def test_a_turn_gives_each_what_it_would_get_alone(agents: Agents) -> None:
    """New, asked before, refused, of a former conductor, and a twin: all in one transaction."""
    one, other = await agents.open(ALL), await agents.open(ALL)
    await agents.put(0, "known")
    first = (await one.take_lease(CONDUCTOR, A, TTL_MS)).epoch
    second = (await one.take_lease(CONDUCTOR, A, TTL_MS)).epoch
    assert first is not None
    assert second is not None
    stale, held = (HeldLease(role=CONDUCTOR, node_id=A, epoch=epoch) for epoch in (first, second))
    grant = RoleHold(role="scheduler", node_id=A)
    before = one.applied_index
    begun = one.propose(project("begins"), request_id=RequestId("req-begins"))  # the others gather meanwhile
    results = await asyncio.gather(
        begun,
        one.propose(project("new"), request_id=RequestId("req-new")),
        one.propose(project("known"), request_id=RequestId("req-known")),
        one.propose(project("known"), request_id=RequestId("req-another")),
        one.propose_under(stale, grant, request_id=RequestId("req-stale")),
        one.propose_under(held, grant, request_id=RequestId("req-held")),
        one.propose(project("new"), request_id=RequestId("req-new")),
        return_exceptions=True,
    )
    _, new, known, refused, fenced, granted, twin = results
    assert isinstance(new, Applied)
    assert isinstance(known, Applied)
    assert isinstance(granted, Applied)
    assert isinstance(twin, Applied)
    assert (new.replayed, known.replayed, granted.replayed, twin.replayed) == (False, True, False, True)
    assert known.index <= before
    assert (new.index, twin.index) == (before + 2, new.index)
    assert isinstance(refused, CommandRejectedError)
    assert isinstance(fenced, NotLeaderError)
    (role,) = [row for row in await other.read(ListRoleGrants()) if row.role == "scheduler"]
    assert role.fence == granted.index
    assert [name for _, name in await agents.all_heard(3)] == ["known", "begins", "new"]


class Conducting:
    """One agent's lead loop over the shared lease."""

    def __init__(self, state: PostgresState, me: NodeId) -> None:
        self.lead = SharedLead(state, me, SystemClock())
        self.is_working = False
        self.fences: list[int] = []
        loop = LeadLoop(
            self.lead, me, SystemClock(), duties=lambda: [("work", self._work())], claim=self._claim
        )
        self.tasks = [asyncio.create_task(self.lead.run()), asyncio.create_task(loop.run())]

    def _claim(self, claim: object) -> None:
        fence = getattr(claim, "fence", None)
        if fence is not None:
            self.fences.append(fence)

    async def _work(self) -> None:
        self.is_working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_working = False

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_one_conducts_hands_over_and_another_follows_a_loss(agents: Agents) -> None:
    states = [await agents.open(), await agents.open()]
    one = Conducting(states[0], A)
    await until(lambda: one.is_working, WITHIN_S)
    other = Conducting(states[1], B)
    try:
        await one.lead.stand_back()
        await until(lambda: other.is_working, WITHIN_S)
        await until(lambda: not one.is_working, WITHIN_S)
        assert other.fences[0] > one.fences[0]
        third = Conducting(states[0], A)
        await other.end()  # killed: nobody gives anything up
        try:
            await until(lambda: third.is_working, WITHIN_S)
            (grant,) = await states[0].read(ListRoleGrants())
            assert (grant.node_id, grant.fence) == (A, third.fences[0])
        finally:
            await third.end()
    finally:
        await one.end()
        await other.end()
