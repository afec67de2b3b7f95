"""The autopilot's steps as they are taken: real voters, invited over nothing but a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.raft.configuration import Configuration
from fabric.core.voters.config import VotersConfig
from fabric.core.voters.levels import LEVELS_LABEL
from fabric.errors import FabricError
from fabric.runtime import autopilot_loop
from fabric.runtime.autopilot_loop import NEVER, VOTES_LABEL, AutopilotLoop
from fabric.runtime.clock import SystemClock
from fabric.runtime.events import KINDS, EventLog
from fabric.runtime.invitation import NotInvitedError
from fabric.runtime.level_watch import HALTED_LABEL
from fabric.store.program import Program
from proto.commands.nodes import JoinTokenCreate, VoterWish
from proto.ids import NodeId, RequestId, TokenId, VoterId, voter_of
from tests.fixtures.mesh_nodes import loopback_transports
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.fixtures.next_program import BASELINE, TWO
from tests.fixtures.store_world import node_admit
from tests.fixtures.voter_nodes import PATIENCE_S, VoterNode, caught_up, change, found, voter_nodes
from tests.unit.runtime.voter_group import renamed, seat

LOOK_MS = 1_000
LOOKS_IN_VAIN = 90


class Ahead(SystemClock):
    """Time that also passes when the test says so."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms


@dataclass
class Invitations:
    """Voters begin where they are invited, and end where they are dismissed, unless told otherwise."""

    nodes: dict[NodeId, VoterNode]
    refuse: bool = False
    hang: bool = False
    invited: list[NodeId] = field(default_factory=list)
    dismissed: list[VoterId] = field(default_factory=list)
    demoted: list[NodeId] = field(default_factory=list)

    async def invite(self, node_id: NodeId) -> VoterId:
        self.invited.append(node_id)
        if self.hang:
            await asyncio.Event().wait()
        if self.refuse:
            raise NotInvitedError("not now")
        node = self.nodes[node_id]
        if node.peers is None:
            await node.start(Configuration())
        return node.voter

    async def demote(self, node_id: NodeId) -> None:
        self.demoted.append(node_id)

    async def dismiss(self, voter: VoterId) -> None:
        self.dismissed.append(voter)
        if self.refuse:
            raise NotInvitedError("not now")


class World:
    """The first of `nodes` founded the log and leads it."""

    def __init__(self, nodes: list[VoterNode], target: int) -> None:
        self.nodes = nodes
        self.first = nodes[0]
        self.state = seat(self.first).state
        self.clock = Ahead()
        self.events = EventLog(self.clock)
        self.invitations = Invitations({node.node_id: node for node in nodes})
        self.told: list[str] = []
        rows = []
        for number, node in enumerate(nodes):
            rows.append(renamed(member_named(f"h{number}", zone=f"z{number}"), node.node_id))
        self.fleet = MeshDouble(rows)
        self.loop = AutopilotLoop(
            self.first.engine,
            self.state,
            self.fleet,
            self.invitations,
            self.clock,
            self.events,
            VotersConfig(target=target),
            self.told.append,
        )

    @property
    def configuration(self) -> Configuration:
        return self.first.engine.configuration

    def say(self, number: int, **changes: object) -> None:
        """Of a node, before the mesh."""
        row = self.fleet.rows[number]
        labels = changes.pop("labels", row.record.labels)
        record = replace(row.record, labels=labels)  # type: ignore[arg-type]
        self.fleet.rows[number] = replace(row, record=record, **changes)  # type: ignore[arg-type]

    async def wish(self, number: int, wish: str) -> None:
        """The operator's, of a node that the rows know."""
        node_id = self.nodes[number].node_id
        for name, command in (
            ("admit", node_admit(node_id, token_id=TokenId("t"), name=f"h{number}")),
            (f"wish {wish}", VoterWish(node_id=node_id, wish=wish)),
        ):
            await self.state.propose(command, request_id=RequestId(f"{name} {number}"))

    async def look(self) -> None:
        self.clock.ahead_ms += LOOK_MS
        await self.loop.look()

    async def looks_until(self, holds: Callable[[], bool]) -> None:
        """A second goes by between looks, and everybody who can keeps up."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self.look()
                for node in self.nodes[1:]:
                    if node.peers is not None and node.voter in self.configuration.members:
                        await caught_up(node, self.first)
                await asyncio.sleep(0.002)

    async def looks(self, count: int) -> None:
        for _ in range(count):
            await self.look()


@asynccontextmanager
async def world_of(
    folder: Path, count: int, target: int = 0, program: Program = BASELINE
) -> AsyncIterator[World]:
    async with voter_nodes(loopback_transports(), folder, count) as nodes:
        await found(nodes[0], program=program)
        world = World(nodes, target)
        token = JoinTokenCreate(
            token_id=TokenId("t"), secret_hash=b"h", expires_ms=world.clock.wall_ms() + 1_000_000, uses=9
        )
        await world.state.propose(token, request_id=RequestId("token"))
        yield world


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autopilot_loop, "LOOK_S", 0.05)


async def test_nodes_are_invited_stand_by_and_vote(tmp_path: Path) -> None:
    async with world_of(tmp_path, 3) as world:
        seen: list[Configuration] = []

        def grown() -> bool:
            seen.append(world.configuration)
            return len(world.configuration.voters) == 3

        await world.looks_until(grown)
        everybody = frozenset(node.voter for node in world.nodes)
        assert world.configuration == Configuration(everybody)
        assert sorted(world.invitations.invited) == sorted(node.node_id for node in world.nodes[1:])
        assert everybody - {world.first.voter} <= {each for one in seen for each in one.learners}
        told = [event for event in world.events.recent() if event.event == "voters.changed"]
        assert told
        assert told[-1].fields["voters"] == "3"
        assert {event.node for event in told} == {"h0"}
        assert "voters.changed" in KINDS
        assert world.invitations.dismissed == []
        assert world.told


async def test_who_does_not_come_is_not_waited_for_with_an_end(tmp_path: Path) -> None:
    async with world_of(tmp_path, 3) as world:
        world.invitations.refuse = True
        before = world.configuration
        failures = 0
        for _ in range(LOOKS_IN_VAIN):
            try:
                await world.look()
            except FabricError:
                failures += 1
        assert failures == len(world.invitations.invited) > 2  # asked again, and others in between
        assert set(world.invitations.invited) == {node.node_id for node in world.nodes[1:]}
        assert world.configuration == before
        world.invitations.refuse = False
        await world.looks_until(lambda: len(world.configuration.voters) == 3)


async def test_a_node_that_does_not_answer_does_not_keep_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autopilot_loop, "INVITED_S", 0.01)
    monkeypatch.setattr(autopilot_loop, "LOOK_S", 0.01)
    async with world_of(tmp_path, 3) as world:
        world.invitations.hang = True
        task = asyncio.create_task(world.loop.run())
        async with asyncio.timeout(PATIENCE_S):
            while len(set(world.invitations.invited)) < 2:
                world.clock.ahead_ms += LOOK_MS
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not world.loop._invitations_out


async def test_the_loop_outlives_a_refused_invitation(tmp_path: Path) -> None:
    async with world_of(tmp_path, 3) as world:
        world.invitations.refuse = True
        world.clock.ahead_ms += 60_000
        task = asyncio.create_task(world.loop.run())
        async with asyncio.timeout(PATIENCE_S):
            while not world.invitations.invited:
                world.clock.ahead_ms += LOOK_MS
                await asyncio.sleep(0.01)
            looked = len(world.told)
            while len(world.told) < looked + 3:
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_may_never_vote_or_is_not_wanted_is_not_invited(tmp_path: Path) -> None:
    async with world_of(tmp_path, 3) as world:
        world.say(1, labels={VOTES_LABEL: NEVER})
        await world.wish(2, "unwanted")
        await world.looks(LOOKS_IN_VAIN)
        assert world.invitations.invited == []


async def test_who_is_wanted_is_asked_first(tmp_path: Path) -> None:
    for wanted in (1, 2):
        async with world_of(tmp_path / str(wanted), 3) as world:
            await world.wish(wanted, "wanted")
            await world.looks_until(lambda world=world: bool(world.invitations.invited))  # type: ignore[misc]
            assert world.invitations.invited == [world.nodes[wanted].node_id]


async def test_a_dead_node_is_not_invited(tmp_path: Path) -> None:
    async with world_of(tmp_path, 2) as world:
        world.say(1, state=MemberState.HOST_DOWN)
        await world.looks(LOOKS_IN_VAIN)
        assert world.invitations.invited == []
        world.say(1, state=MemberState.ALIVE)
        await world.looks_until(lambda: bool(world.invitations.invited))


@pytest.mark.parametrize("case", ["there", "gone", "deaf"])
async def test_who_is_let_go_is_told_where_it_can_hear(tmp_path: Path, case: str) -> None:
    async with world_of(tmp_path, 2, target=1) as world:
        learner = world.nodes[1]
        await world.looks_until(lambda: learner.voter in world.configuration.learners)
        await world.wish(1, "unwanted")
        if case == "gone":
            world.say(1, state=MemberState.HOST_DOWN)
        world.invitations.refuse = case == "deaf"
        await world.looks_until(lambda: not world.configuration.learners)
        assert world.configuration == Configuration(frozenset({world.first.voter}))
        assert world.invitations.dismissed == ([] if case == "gone" else [learner.voter])
        assert world.invitations.demoted == [learner.node_id]


async def test_a_node_that_has_another_voter_by_now_may_still_conduct(tmp_path: Path) -> None:
    """Its disk failed, say: the old name goes, the new one is there or on its way."""
    async with world_of(tmp_path, 2, target=1) as world:
        learner = world.nodes[1]
        await world.looks_until(lambda: learner.voter in world.configuration.learners)
        await world.loop._dismiss(voter_of(learner.node_id, "99999999"))
        assert world.invitations.demoted == []
        await world.wish(1, "unwanted")
        await world.looks_until(lambda: not world.configuration.learners)
        assert world.invitations.demoted == [learner.node_id]


async def test_a_change_that_does_not_come_through_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look starts from what is so then."""
    monkeypatch.setattr(autopilot_loop, "SETTLE_S", 0.2)
    async with world_of(tmp_path, 2, target=1) as world:
        monkeypatch.setattr(world.first.engine, "change", lambda voters, learners=frozenset(): None)
        await asyncio.wait_for(world.looks_until(lambda: bool(world.invitations.invited)), PATIENCE_S)
        assert world.configuration.learners == frozenset()
        assert not [event for event in world.events.recent() if event.event == "voters.changed"]


async def test_the_level_is_raised_when_every_member_says_that_it_can_follow(tmp_path: Path) -> None:
    async with world_of(tmp_path, 2, program=TWO) as world:
        world.say(0, labels={LEVELS_LABEL: "1-2"})
        world.say(1, labels={LEVELS_LABEL: "1-1"})
        await world.nodes[1].start(Configuration(), program=TWO)
        await change({world.nodes[0].voter}, {world.nodes[1].voter}, world.nodes[0])
        await world.looks(30)
        assert world.first.engine.level == 1
        assert world.told[-1] == "level 2 waits for a newer version on h1 (level 1-1)"
        world.say(1, labels={LEVELS_LABEL: "1-2"})
        await world.look()
        assert world.first.engine.level == 2
        await caught_up(world.nodes[1], world.first)
        assert world.nodes[1].engine.level == 2
        told = [event.fields["level"] for event in world.events.recent() if event.event == "level.raised"]
        assert told == ["2"]
        await world.looks(3)  # and that is all


async def test_who_has_halted_or_cannot_follow_is_not_invited(tmp_path: Path) -> None:
    async with world_of(tmp_path, 3) as world:
        for number, labels in enumerate(({}, {LEVELS_LABEL: "2-2"}, {HALTED_LABEL: "entry 7"})):
            world.say(number, labels=labels)
        await world.looks(LOOKS_IN_VAIN)
        assert world.invitations.invited == []
