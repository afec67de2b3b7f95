"""What a voter does while it leads: it takes the role by an entry, works, and stops when another leads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fabric.core.membership.model import RoleClaim
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.queries import Applied
from fabric.errors import NotLeaderError
from fabric.runtime import lead_loop
from fabric.runtime.clock import SystemClock
from fabric.runtime.duties import DutyEndedError
from fabric.runtime.lead_loop import CONDUCTOR, Leading, LeadLoop
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.commands import Command
from proto.ids import NodeId, RequestId
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import NODE, fabric_init
from tests.fixtures.voter_nodes import PATIENCE_S
from tests.unit.runtime.voter_group import Seat, group


class Lead:
    """A loop whose duties tell whether they run."""

    def __init__(self, voter: Leading, me: NodeId, *endings: Callable[[], Any]) -> None:
        """A duty beyond the one that lasts for each of `endings`: it ends as that says."""
        self.claims: list[RoleClaim | None] = []
        self.running: set[str] = set()
        self._endings = endings
        self.loop = LeadLoop(voter, me, SystemClock(), duties=self._duties, claim=self.claims.append)

    def _duties(self) -> Sequence[tuple[str, Any]]:
        ending = [(f"ending {n}", self._end(end)) for n, end in enumerate(self._endings)]
        return [("lasting", self._last()), *ending]

    async def _last(self) -> None:
        self.running.add("lasting")
        try:
            await asyncio.Event().wait()
        finally:
            self.running.remove("lasting")

    async def _end(self, end: Callable[[], Any]) -> None:
        end()

    @property
    def fence(self) -> int:
        claim = self.claims[-1]
        assert claim is not None
        assert claim.role == CONDUCTOR
        return claim.fence


@contextlib.asynccontextmanager
async def running(*leads: Lead) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(lead.loop.run()) for lead in leads]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


@pytest.fixture
async def seats(tmp_path: Path) -> AsyncIterator[list[Seat]]:
    async with group(tmp_path) as made:
        yield made


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[VoterEngine]:
    voter = lone_voter(tmp_path, clock=SystemClock())
    await voter.open()
    await voter.propose(fabric_init(), request_id=RequestId("init"))
    yield voter
    await voter.close()


def lead_of(seat: Seat) -> Lead:
    return Lead(seat.node.engine, seat.node.node_id)


async def test_who_leads_holds_the_role_in_the_rows_and_works(seats: list[Seat]) -> None:
    leads = [lead_of(seat) for seat in seats]
    async with running(*leads):
        await until(lambda: leads[0].running == {"lasting"}, PATIENCE_S)
        assert leads[0].loop.is_conducting.is_set()
        (grant,) = await seats[0].state.read(ListRoleGrants())
        assert (grant.role, grant.node_id, grant.fence) == (
            CONDUCTOR,
            seats[0].node.node_id,
            leads[0].fence,
        )
        assert not any(lead.claims or lead.running for lead in leads[1:])
    assert leads[0].claims[-1] is None
    assert leads[0].running == set()
    assert not leads[0].loop.is_conducting.is_set()


async def test_the_work_goes_where_the_lead_goes_under_a_newer_fence(seats: list[Seat]) -> None:
    leads = [lead_of(seat) for seat in seats]
    async with running(*leads):
        await until(lambda: bool(leads[0].running), PATIENCE_S)
        before = leads[0].fence
        seats[0].node.engine.transfer(seats[1].node.voter)
        await until(lambda: bool(leads[1].running), PATIENCE_S)
        await until(lambda: not leads[0].running, PATIENCE_S)
        assert leads[0].claims[-1] is None
        assert not leads[0].loop.is_conducting.is_set()
        assert leads[1].fence > before
        # and back: a loop that lost the lead takes it again
        seats[1].node.engine.transfer(seats[0].node.voter)
        await until(lambda: bool(leads[0].running) and not leads[1].running, PATIENCE_S)
        assert len({claim.fence for lead in leads for claim in lead.claims if claim is not None}) == 3


async def test_who_is_cut_off_from_the_others_stops(seats: list[Seat]) -> None:
    lead = lead_of(seats[0])
    async with running(lead):
        await until(lambda: bool(lead.running), PATIENCE_S)
        for seat in seats[1:]:
            await seat.node.stop()
        await until(lambda: not lead.running and lead.claims[-1] is None, PATIENCE_S)


async def test_a_duty_that_fails_ends_the_loop_and_its_other_duties(alone: VoterEngine) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    lead = Lead(alone, NODE, fail)
    with pytest.raises(DutyEndedError, match="by zero"):
        await asyncio.wait_for(lead.loop.run(), PATIENCE_S)
    assert (lead.running, lead.claims[-1]) == (set(), None)


async def test_a_duty_that_ends_by_itself_is_a_failure_too(alone: VoterEngine) -> None:
    lead = Lead(alone, NODE, lambda: None)
    with pytest.raises(DutyEndedError, match="ending 0 ended: by itself"):
        await asyncio.wait_for(lead.loop.run(), PATIENCE_S)
    assert (lead.running, lead.claims[-1]) == (set(), None)


class Refusing:
    """Leads, and has its first entries refused as one that was overtaken."""

    def __init__(self, voter: VoterEngine, times: int) -> None:
        self._voter = voter
        self._times = times
        self.is_leader = True

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]:
        return self._voter.watch_lead(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        if self._times:
            self._times -= 1
            raise NotLeaderError("another leads")
        return await self._voter.propose(command, request_id=request_id)


class Forgetting(Refusing):
    """Its first answers never come: a lost lead left the entry where nobody hears what became of it."""

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        if self._times > 0:
            self._times -= 1
            await asyncio.Event().wait()
        return await self._voter.propose(command, request_id=request_id)


async def test_an_answer_that_never_comes_is_not_waited_for(
    alone: VoterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead_loop, "TAKE_S", 0.05)
    lead = Lead(Forgetting(alone, times=1), NODE)
    async with running(lead):
        await until(lambda: bool(lead.running))


async def test_nobody_works_until_the_role_is_taken(alone: VoterEngine) -> None:
    lead = Lead(Refusing(alone, times=3), NODE)
    before = alone.applied_index
    async with running(lead):
        await until(lambda: bool(lead.running))
    assert len(lead.claims) == 2  # taken once, given up once
    claim = lead.claims[0]
    assert claim is not None
    assert claim.fence > before


async def test_what_is_refused_again_and_again_is_asked_for_less_and_less(
    alone: VoterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = [lead_loop.pause_s(refusals) for refusals in range(100)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (lead_loop.RETRY_S, lead_loop.RETRY_MAX_S)
    refusals: list[int] = []
    monkeypatch.setattr(lead_loop, "pause_s", lambda count: refusals.append(count) or 0.0)
    lead = Lead(Refusing(alone, times=3), NODE)
    async with running(lead):
        await until(lambda: bool(lead.running))
    assert refusals == [0, 1, 2]
