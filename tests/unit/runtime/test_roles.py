"""A role that the log grants: who gets it, how it is kept, and what becomes of the work when it is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fabric.core.membership.model import RoleClaim
from fabric.core.nodes.model import RoleGrant
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.voters.leases import TTL_MS
from fabric.core.voters.roles import SCHEDULER
from fabric.errors import NoQuorumError, RemoteError
from fabric.runtime import role_holder, role_keeper
from fabric.runtime.duties import DutyEndedError
from fabric.runtime.role_holder import RoleHolder
from fabric.runtime.role_keeper import RENEW, RoleKeeper
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.codec import Plain
from proto.commands.nodes import RoleHold
from proto.ids import Fence, NodeId, new_request_id
from tests.fixtures.mesh_nodes import RpcEnd, loopback_transports, rpc_ends, until
from tests.fixtures.store_world import ManualClock


@dataclass
class World:
    """Rows that a conductor and two others read, on one mesh. Time is moved by hand."""

    rows: VoterEngine
    clock: ManualClock
    ends: list[RpcEnd]
    dead: set[NodeId] = field(default_factory=set)
    candidates: frozenset[NodeId] = frozenset()

    @property
    def conductor(self) -> NodeId:
        return self.ends[0].node_id

    def keeper(self) -> RoleKeeper:
        return RoleKeeper(
            SCHEDULER,
            self.rows,
            self.rows,
            self.ends[0].rpc,
            self.clock,
            me=self.conductor,
            candidates=lambda: self.candidates - self.dead,
            is_alive=lambda node_id: node_id not in self.dead,
        )

    async def held(self) -> RoleGrant:
        (grant,) = await self.rows.read(ListRoleGrants())
        return grant

    async def grant(self, node_id: NodeId) -> Fence:
        command = RoleHold(role=SCHEDULER, node_id=node_id)
        return Fence((await self.rows.propose(command, request_id=new_request_id())).index)

    async def renew(self, node_id: NodeId, **changes: Plain) -> Any:
        """As that node asks the conductor."""
        end = next(end for end in self.ends if end.node_id == node_id)
        grant = await self.held()
        body: dict[str, Plain] = {"role": SCHEDULER, "fence": grant.fence}
        answer = await end.rpc.call(self.conductor, RENEW, body | changes, timeout_ms=20_000)
        assert isinstance(answer, dict)
        return answer["held"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    rows = lone_voter(tmp_path, clock=clock)
    await rows.open()
    ends = await rpc_ends(loopback_transports(), 3)
    yield World(rows, clock, ends, candidates=frozenset(end.node_id for end in ends))
    for end in ends:
        await end.close()
    await rows.close()


@contextlib.asynccontextmanager
async def cancelled_after(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ---- the leader's side


@contextlib.asynccontextmanager
async def kept(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RoleGrant]:
    """A keeper runs, and has granted the role."""
    monkeypatch.setattr(role_keeper, "LOOK_S", 0.005)
    async with cancelled_after(world.keeper().run()):
        before = world.rows.applied_index
        await until(lambda: world.rows.applied_index > before)
        yield await world.held()


async def regranted(world: World, before: RoleGrant) -> RoleGrant:
    async with asyncio.timeout(20):
        while (now := await world.held()).fence == before.fence:
            await asyncio.sleep(0.005)
    return now


async def test_the_role_goes_elsewhere_than_the_conductor(world: World) -> None:
    await world.keeper().look()
    assert (await world.held()).node_id in world.candidates - {world.conductor}


async def test_a_conductor_that_is_alone_takes_it_itself(world: World) -> None:
    world.candidates = frozenset({world.conductor})
    await world.keeper().look()
    assert (await world.held()).node_id == world.conductor


async def test_where_nobody_could_hold_it_nobody_gets_it(world: World) -> None:
    world.candidates = frozenset()
    await world.keeper().look()
    assert await world.rows.read(ListRoleGrants()) == ()


async def test_who_renews_in_time_keeps_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = world.keeper()
    await keeper.look()
    before = await world.held()
    monkeypatch.setattr(role_keeper, "LOOK_S", 3_600)
    async with cancelled_after(keeper.run()):
        for _ in range(4):
            world.clock.advance(TTL_MS - 1)
            await until_served(world)
            assert await world.renew(before.node_id) is True
            await keeper.look()
            assert await world.held() == before


async def until_served(world: World) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await world.ends[1].rpc.call(world.conductor, RENEW, {"fence": 0}, timeout_ms=20_000)
            except RemoteError as error:
                if error.remote_code != "fabric.mesh.no_method":
                    return
            await asyncio.sleep(0.005)


async def test_who_does_not_renew_loses_it_to_another(world: World) -> None:
    keeper = world.keeper()
    await keeper.look()
    before = await world.held()
    world.clock.advance(TTL_MS - 1)
    await keeper.look()
    assert await world.held() == before
    world.clock.advance(1)
    await keeper.look()
    now = await world.held()
    assert now.fence > before.fence
    assert now.node_id in world.candidates - {world.conductor, before.node_id}


async def test_the_only_one_there_is_gets_it_anew(world: World) -> None:
    keeper = world.keeper()
    world.candidates = frozenset({world.ends[1].node_id})
    await keeper.look()
    before = await world.held()
    world.clock.advance(TTL_MS)
    await keeper.look()
    now = await world.held()
    assert now.node_id == before.node_id
    assert now.fence > before.fence
    await keeper.look()
    assert await world.held() == now  # and its lease has begun anew


async def test_a_dead_holder_is_not_waited_for(world: World) -> None:
    keeper = world.keeper()
    await keeper.look()
    before = await world.held()
    world.dead.add(before.node_id)
    await keeper.look()
    assert (await world.held()).node_id in world.candidates - world.dead - {world.conductor}


async def test_a_leader_that_has_not_looked_yet_takes_the_role_from_nobody(world: World) -> None:
    await world.keeper().look()
    before = await world.held()
    body: dict[str, Plain] = {"role": SCHEDULER, "fence": before.fence}
    with pytest.raises(NoQuorumError):
        await world.keeper()._renew(before.node_id, body)


async def test_a_new_leader_gives_what_it_finds_one_term_more(world: World) -> None:
    await world.keeper().look()
    before = await world.held()
    world.clock.advance(100 * TTL_MS)
    successor = world.keeper()
    await successor.look()
    world.clock.advance(TTL_MS - 1)
    await successor.look()
    assert await world.held() == before
    world.clock.advance(1)
    await successor.look()
    assert (await world.held()).fence > before.fence


async def test_only_the_holder_renews_and_only_its_present_grant(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(world, monkeypatch) as grant:
        (other,) = world.candidates - {world.conductor, grant.node_id}
        assert await world.renew(other) is False
        assert await world.renew(grant.node_id, fence=grant.fence - 1) is False
        assert await world.renew(grant.node_id) is True
        for fence in (None, "1", True):
            with pytest.raises(RemoteError, match="fence"):
                await world.renew(grant.node_id, fence=fence)
        with pytest.raises(RemoteError, match="Nobody leases"):
            await world.renew(grant.node_id, role="conductor")
        world.clock.advance(TTL_MS)
        now = await regranted(world, grant)
        assert now.node_id != grant.node_id
        assert await world.renew(grant.node_id, fence=grant.fence) is False
    with pytest.raises(RemoteError) as caught:  # it leads no more
        await world.renew(now.node_id)
    assert caught.value.remote_code == "fabric.mesh.no_method"


async def test_rows_that_cannot_be_read_now_are_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role_keeper, "LOOK_S", 0.005)
    asked = 0
    read = world.rows.read

    async def flaky(*args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked < 4:
            raise RemoteError("x", "not now")
        return await read(*args, **kwargs)

    monkeypatch.setattr(world.rows, "read", flaky)
    async with cancelled_after(world.keeper().run()):
        await until(lambda: asked > 4)
    assert (await world.held()).role == SCHEDULER


# ---- the holder's side


@dataclass
class Holder:
    """Of the second node. The leader is this test."""

    world: World
    claims: list[RoleClaim | None] = field(default_factory=list)
    at_work: list[Fence] = field(default_factory=list)
    begun: list[Fence] = field(default_factory=list)
    asked: list[tuple[NodeId, Plain]] = field(default_factory=list)
    is_held: Callable[[], bool] = lambda: True
    leader: NodeId | None = None
    end: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.leader = self.world.conductor
        self.world.ends[0].rpc.serve(RENEW, self._renew)

    @property
    def me(self) -> NodeId:
        return self.world.ends[1].node_id

    def run(self) -> Any:
        return RoleHolder(
            SCHEDULER,
            self.world.rows,
            self.world.ends[1].rpc,
            self.world.clock,
            me=self.me,
            leader=lambda: self.leader,
            work=self._work,
            claim=self.claims.append,
        ).run()

    async def _renew(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self.asked.append((peer, body["fence"]))
        return {"held": self.is_held()}

    async def _work(self, fence: Fence) -> None:
        self.begun.append(fence)
        self.at_work.append(fence)
        try:
            if self.end is not None:
                self.end()
                return
            await asyncio.Event().wait()
        finally:
            self.at_work.remove(fence)


@pytest.fixture
def holder(world: World, monkeypatch: pytest.MonkeyPatch) -> Holder:
    monkeypatch.setattr(role_holder, "RENEW_S", 0.005)
    return Holder(world)


async def test_a_holder_works_under_its_fence_and_asks_to_go_on(holder: Holder) -> None:
    async with cancelled_after(holder.run()):
        fence = await holder.world.grant(holder.me)
        await until(lambda: len(holder.asked) > 3)
        assert holder.at_work == [fence]
        assert set(holder.asked) == {(holder.me, fence)}
        (claim,) = holder.claims
        assert claim is not None
        assert (claim.role, claim.fence) == (SCHEDULER, fence)
    assert (holder.at_work, holder.claims[-1]) == ([], None)


async def test_a_grant_from_before_this_start_is_taken_up(holder: Holder) -> None:
    fence = await holder.world.grant(holder.me)
    async with cancelled_after(holder.run()):
        await until(lambda: holder.at_work == [fence])


async def test_what_is_granted_to_others_is_not_worked_at(holder: Holder) -> None:
    async with cancelled_after(holder.run()):
        await holder.world.grant(holder.world.conductor)
        fence = await holder.world.grant(holder.me)
        await until(lambda: bool(holder.begun))
    assert holder.begun == [fence]


async def test_a_refused_renewal_ends_the_work_until_it_is_granted_anew(holder: Holder) -> None:
    async with cancelled_after(holder.run()):
        before = await holder.world.grant(holder.me)
        await until(lambda: bool(holder.asked))
        holder.is_held = lambda: False
        await until(lambda: not holder.at_work and holder.claims[-1] is None)
        holder.is_held = lambda: True
        asked = len(holder.asked)
        again = await holder.world.grant(holder.me)
        await until(lambda: holder.at_work == [again])
    assert holder.begun == [before, again]
    assert {fence for _, fence in holder.asked[asked:]} == {again}


async def test_what_the_log_gave_to_another_ends_though_nobody_can_be_asked(holder: Holder) -> None:
    async with cancelled_after(holder.run()):
        await holder.world.grant(holder.me)
        await until(lambda: bool(holder.asked))
        holder.leader = None
        await holder.world.grant(holder.world.conductor)
        await until(lambda: not holder.at_work and holder.claims[-1] is None)


async def test_granted_anew_the_work_goes_on_under_the_newer_fence(holder: Holder) -> None:
    async with cancelled_after(holder.run()):
        before = await holder.world.grant(holder.me)
        await until(lambda: bool(holder.asked))
        holder.leader = None
        again = await holder.world.grant(holder.me)
        await until(lambda: holder.at_work == [again])
    assert holder.begun == [before, again]


async def test_without_an_answer_for_a_whole_lease_the_work_ends(holder: Holder) -> None:
    async with cancelled_after(holder.run()):
        await holder.world.grant(holder.me)
        await until(lambda: bool(holder.asked))
        holder.leader = holder.world.ends[2].node_id  # who serves no such question
        holder.world.clock.advance(TTL_MS - 1)
        assert holder.at_work
        holder.world.clock.advance(TTL_MS)
        await until(lambda: not holder.at_work and holder.claims[-1] is None)


async def test_an_answer_counts_from_when_it_was_asked_for(holder: Holder) -> None:
    """The lease of who answers began then at the latest."""

    def late() -> bool:
        holder.world.clock.advance(TTL_MS)
        return True

    async with cancelled_after(holder.run()):
        holder.is_held = late
        await holder.world.grant(holder.me)
        await until(lambda: bool(holder.begun) and not holder.at_work)
    assert len(holder.asked) == 1


async def test_work_that_fails_ends_the_holder(holder: Holder) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    holder.end = fail
    await holder.world.grant(holder.me)
    with pytest.raises(DutyEndedError, match="by zero"):
        await asyncio.wait_for(holder.run(), 20)
    assert holder.claims[-1] is None


async def test_work_that_ends_by_itself_is_a_failure_too(holder: Holder) -> None:
    holder.end = lambda: None
    await holder.world.grant(holder.me)
    with pytest.raises(DutyEndedError, match="ended: by itself"):
        await asyncio.wait_for(holder.run(), 20)


async def test_rows_that_cannot_be_read_for_a_while_end_no_holder(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away: before it holds the role, and while it does."""
    monkeypatch.setattr(role_holder, "LOOK_S", 0.005)
    read, failed = holder.world.rows.read, 0

    async def away(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        failed += 1
        raise NoQuorumError("away")

    fence = await holder.world.grant(holder.me)
    monkeypatch.setattr(holder.world.rows, "read", away)
    async with cancelled_after(holder.run()):
        await until(lambda: failed > 2)
        monkeypatch.setattr(holder.world.rows, "read", read)
        await until(lambda: holder.at_work == [fence])
        monkeypatch.setattr(holder.world.rows, "read", away)
        before = failed
        await holder.world.grant(holder.world.conductor)
        await until(lambda: failed > before)
        asked = len(holder.asked)
        await until(lambda: len(holder.asked) > asked)
        assert holder.at_work == [fence]


async def test_a_grant_of_which_no_entry_told_is_found(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came with a snapshot, or was pruned from the feed while this node was away."""
    monkeypatch.setattr(role_holder, "LOOK_S", 0.005)
    monkeypatch.setattr(holder.world.rows, "subscribe", lambda listener: lambda: None)
    async with cancelled_after(holder.run()):
        fence = await holder.world.grant(holder.me)
        await until(lambda: holder.at_work == [fence])
