"""The leader's autopilot at work: gathers facts each second, takes the step that the core decides on.

Started anew each time this node begins to lead. Steps are safe to lose: the next look starts from what is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from fabric.core.membership.model import Member, MemberState
from fabric.core.nodes.queries import ListVoterWishes
from fabric.core.raft.configuration import Configuration
from fabric.core.voters.autopilot import Autopilot
from fabric.core.voters.config import VotersConfig
from fabric.core.voters.facts import (
    AddLearner,
    Facts,
    MemberFacts,
    NodeFacts,
    RaiseLevel,
    Reconfigure,
)
from fabric.core.voters.wishes import NEVER, VOTES_LABEL
from fabric.errors import FabricError
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from fabric.runtime.level_watch import HALTED_LABEL, LevelHolder, levels_of
from proto.ids import NodeId, VoterId, node_of

log = logging.getLogger(__name__)

LOOK_S = 1.0
INVITED_S = 1.0  # waited for at once; a slower node comes beside the looks, which the others need
SETTLE_S = 30.0  # a change that is not through by then is looked at anew
WANTED, UNWANTED = "wanted", "unwanted"


class FollowedMember(Protocol):
    @property
    def lag(self) -> int: ...

    @property
    def silent_ms(self) -> int: ...

    @property
    def hanging_ms(self) -> int: ...


class Group(LevelHolder, Protocol):
    """The leading voter: `fabric.store.voter_engine.VoterEngine`."""

    @property
    def me(self) -> VoterId: ...

    @property
    def configuration(self) -> Configuration: ...

    @property
    def is_changing(self) -> bool: ...

    def progress(self) -> Mapping[VoterId, FollowedMember]: ...

    def change(self, voters: frozenset[VoterId], learners: frozenset[VoterId] = frozenset()) -> None: ...


class Invitations(Protocol):
    async def invite(self, node_id: NodeId) -> VoterId: ...

    async def dismiss(self, voter: VoterId) -> None: ...

    async def demote(self, node_id: NodeId) -> None: ...


class AutopilotLoop:
    def __init__(
        self,
        group: Group,
        state: HardState,
        fleet: Fleet,
        invitations: Invitations,
        clock: Clock,
        events: EventLog,
        config: VotersConfig,
        told: Callable[[str], None],
    ) -> None:
        """`told` hears in one sentence what it waits for, at each look."""
        self._group = group
        self._state = state
        self._fleet = fleet
        self._invitations = invitations
        self._clock = clock
        self._events = events
        self._config = config
        self._told = told
        self._core = Autopilot()
        self._alive_since_ms: dict[NodeId, int] = {}
        self._invitations_out: dict[asyncio.Task[None], NodeId] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except FabricError as error:
                    log.info("voters not looked after", extra={"code": error.code, "reason": str(error)})
                await asyncio.sleep(LOOK_S)
        finally:
            for out in self._invitations_out:
                out.cancel()
            await asyncio.gather(*self._invitations_out, return_exceptions=True)
            self._invitations_out.clear()

    async def look(self) -> None:
        """One look, and the step it asks for. Raises FabricError: it was not taken, or not to its end."""
        facts = await self._facts()
        step = self._core.decide(facts, self._clock.monotonic_ms())
        self._told(self._core.explain())
        match step:
            case AddLearner(node_id=node_id, reason=reason):
                await self._invite(node_id, reason)
            case Reconfigure(voters=voters, learners=learners, reason=reason):
                await self._change(voters, learners, reason)
            case RaiseLevel(to=to, reason=reason):
                await self._group.raise_level(to)
                log.info("level raised", extra={"level": to, "reason": reason})
                fields = {"level": str(to), "reason": reason}
                self._events.add("level.raised", self._name(node_of(self._group.me)), fields)

    async def _invite(self, node_id: NodeId, reason: str) -> None:
        """A node that takes long to answer must not keep dead voters from being replaced meanwhile."""
        out = asyncio.create_task(self._add(node_id, reason), name=f"invitation of {node_id}")
        self._invitations_out[out] = node_id
        done, _ = await asyncio.wait((out,), timeout=INVITED_S)
        if done:
            self._invitations_out.pop(out, None)
            out.result()
        else:
            out.add_done_callback(self._came)

    def _came(self, out: asyncio.Task[None]) -> None:
        self._invitations_out.pop(out, None)
        error = None if out.cancelled() else out.exception()
        if error is not None:
            log.warning("invitation failed", extra={"reason": str(error)})

    async def _add(self, node_id: NodeId, reason: str) -> None:
        log.info("node invited to hold the log", extra={"node": node_id, "reason": reason})
        voter = await self._invitations.invite(node_id)
        present = self._group.configuration
        if not present.is_joint and voter not in present.members:
            await self._change(present.voters, present.learners | {voter}, reason)

    async def _change(self, voters: frozenset[VoterId], learners: frozenset[VoterId], reason: str) -> None:
        before = self._group.configuration
        self._group.change(voters, learners)
        wanted = Configuration(voters, learners=learners)
        deadline_ms = self._clock.monotonic_ms() + SETTLE_S * 1_000
        while self._group.configuration != wanted or self._group.is_changing:
            if self._clock.monotonic_ms() > deadline_ms:
                log.warning("change of the voters is slow", extra={"reason": reason})
                return
            await asyncio.sleep(LOOK_S / 20)
        log.info("voters changed", extra={"voters": sorted(voters), "reason": reason})
        fields = {"voters": str(len(voters)), "learners": str(len(learners)), "reason": reason}
        self._events.add("voters.changed", self._name(node_of(self._group.me)), fields)
        for gone in sorted(before.members - wanted.members):
            await self._dismiss(gone)

    async def _dismiss(self, voter: VoterId) -> None:
        """Its node may not conduct any more, unless it has another voter by now. Who is not there to hear it
        comes back as a node that is asked again, or not."""
        node_id = node_of(voter)
        try:
            if not self._is_of_the_group(node_id):
                await self._invitations.demote(node_id)
            if self._fleet.is_alive(node_id):
                await self._invitations.dismiss(voter)
        except FabricError as error:
            log.info("former voter not told", extra={"voter": voter, "reason": str(error)})

    def _is_of_the_group(self, node_id: NodeId) -> bool:
        members = map(node_of, self._group.configuration.members)
        return node_id in members or node_id in self._invitations_out.values()

    async def _facts(self) -> Facts:
        now_ms = self._clock.monotonic_ms()
        wishes = await self._state.read(ListVoterWishes())
        return Facts(
            configuration=self._group.configuration,
            me=self._group.me,
            members={
                voter: MemberFacts(lag=seen.lag, answered_ms=now_ms - seen.silent_ms)
                for voter, seen in self._group.progress().items()
            },
            nodes=tuple(self._node(member, now_ms) for member in self._fleet.members()),
            level=self._group.level,
            program=self._group.levels,
            is_changing=self._group.is_changing,
            wanted=frozenset(wish.node_id for wish in wishes if wish.wish == WANTED),
            unwanted=frozenset(wish.node_id for wish in wishes if wish.wish == UNWANTED),
            config=self._config,
        )

    def _node(self, member: Member, now_ms: int) -> NodeFacts:
        record = member.record
        is_alive = member.state is MemberState.ALIVE
        if is_alive:
            self._alive_since_ms.setdefault(record.node_id, now_ms)
        else:
            self._alive_since_ms.pop(record.node_id, None)
        return NodeFacts(
            node_id=record.node_id,
            name=record.name,
            zone=record.zone,
            rack=record.rack,
            is_alive=is_alive,
            is_eligible=record.labels.get(VOTES_LABEL) != NEVER,
            since_ms=self._alive_since_ms.get(record.node_id, now_ms),
            levels=levels_of(member),
            is_halted=HALTED_LABEL in record.labels,
        )

    def _name(self, node_id: NodeId) -> str:
        member = self._fleet.member(node_id)
        return node_id if member is None else member.record.name
