"""Which engine holds a node's rows, and how the rest of the agent reaches it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Protocol

from fabric.config import Config
from fabric.core.raft.configuration import Configuration
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.founding import first_entry
from fabric.runtime.hard_state import HardState
from fabric.runtime.lead_loop import Leading
from fabric.runtime.level_watch import LevelHolder
from fabric.runtime.node_identity import Membership, NodeIdentity
from fabric.runtime.shared_lead import SharedLead
from fabric.runtime.voter import NodeVoter
from fabric.runtime.voter_fate import disown_if_damaged, disown_if_lost
from fabric.runtime.voter_peers import MeshPeers, VoterRoute
from fabric.runtime.voter_service import VoterService
from fabric.runtime.voter_state import VoterState
from fabric.store.errors import LogCorruptError
from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE
from fabric.store.voter_id import voter_here
from fabric.store.voter_starts import count_start
from proto.ids import NodeId

log = logging.getLogger(__name__)


def load_engine(config: Config) -> None:
    """Imports what `make_engine` needs: seconds of work where SQLAlchemy is new to this process, so not on
    the event loop."""
    import_module("fabric.store.engine")
    if not config.state.is_shared and not config.voters.in_process:
        import_module("fabric.agent_voter_process")


def is_of_first_light(directory: Path) -> bool:
    """Whether that state directory has a log of the form before there were voters."""
    return any((directory / "log").glob("*.seg"))


def carry_over(config: Config, identity: NodeIdentity) -> None:
    """Once, before the engine is made; not on the event loop. Raises as `fabric.store.first_light`."""
    if is_of_first_light(config.state_dir / STATE):
        from fabric.store import first_light  # only here: hosts do without SQLAlchemy

        first_light.carry_over(config.state_dir / STATE, identity.node_id)


class NodeEngine(Protocol):
    """The rows on this node. `open` before use, `close` after."""

    is_founding: bool  # no rows yet, and this node is to make the first

    @property
    def incarnation(self) -> int:
        """Of the group of voters; 0 where there never was one."""
        ...

    @property
    def state(self) -> HardState: ...

    @property
    def leading(self) -> Leading: ...

    @property
    def voter(self) -> NodeVoter | None:
        """None where there are no voters."""
        ...

    def lead_left_ms(self) -> int | None:
        """For how long nobody else can lead; None where that is not known, or nobody else could."""
        ...

    @property
    def shared(self) -> LevelHolder | None:
        """The shared database; None where there are voters."""
        ...

    async def open(self) -> None: ...

    def serve(self) -> None:
        """The rows are there: other voters may ask, and this node may lead."""
        ...

    async def stand_back(self) -> None:
        """Before a planned stop: another may lead at once. Voters have a leader of their own to hand over
        to. Raises FabricError: another has to wait."""
        ...

    async def close(self) -> None: ...


def make_engine(
    config: Config,
    member: Membership,
    identity: NodeIdentity,
    route: VoterRoute,
    rpc: Rpc,
    clock: Clock,
    on_failure: Callable[[BaseException], None],
    *,
    others_vote: bool,
    fleet: Fleet,
    address: str,
    label: Callable[[dict[str, str]], None],
) -> NodeEngine:
    """`others_vote`: other nodes may, so a disk that is not trusted any more has somebody to learn from;
    `address`: of this node, for its peers; `label` puts labels on its record. Waits for the disk a moment.
    Raises ConfigError, LogCorruptError, OSError."""
    from fabric.store.engine import is_embedded  # only here: hosts do without SQLAlchemy

    if not is_embedded(config.state.url):
        return SharedEngine(config.state.url, identity.node_id, clock, on_failure, is_founding=member.founder)
    if config.voters.in_process:
        return EmbeddedEngine(config, member, identity, route, rpc, clock, on_failure, others_vote)
    from fabric.agent_voter_process import ProcessEngine

    return ProcessEngine(
        config,
        member,
        identity,
        route,
        rpc,
        clock,
        on_failure,
        others_vote=others_vote,
        fleet=fleet,
        address=address,
        label=label,
    )


class EmbeddedEngine:
    """One voter of the log, in this process, on the agent's mesh."""

    def __init__(
        self,
        config: Config,
        member: Membership,
        identity: NodeIdentity,
        route: VoterRoute,
        rpc: Rpc,
        clock: Clock,
        on_failure: Callable[[BaseException], None],
        others_vote: bool,
    ) -> None:
        from fabric.store.voter_engine import VoterEngine

        directory = config.state_dir / STATE
        self.is_founding = member.founder and first_entry(config.state_dir) is not None
        me = voter_here(directory, identity.node_id)
        count_start(directory, config.state_dir)
        self.incarnation = read_incarnation(directory)
        self._peers = MeshPeers(route, me, incarnation=self.incarnation)
        self._rpc = rpc
        self._service: VoterService | None = None
        self._voter = VoterEngine(
            directory,
            me,
            founders=Configuration(frozenset({me})) if self.is_founding else Configuration(),
            clock=clock,
            rng=Random(),  # noqa: S311  # jitter, not a secret
            peers=self._peers,
            segment_bytes=config.state.segment_bytes,
            on_failure=self._on_failure,
        )
        self._told_failure = on_failure
        self._directory = directory
        self._others_vote = others_vote
        self._state = VoterState(self._voter, rpc, clock)

    def _on_failure(self, error: BaseException) -> None:
        disown_if_lost(self._directory, error, self._voter.me, self._voter.last_configuration)
        self._told_failure(error)

    @property
    def state(self) -> HardState:
        return self._state

    @property
    def leading(self) -> Leading:
        return self._voter

    @property
    def voter(self) -> NodeVoter:
        return self._voter

    def lead_left_ms(self) -> int | None:
        return self._voter.lead_left_ms()

    @property
    def shared(self) -> LevelHolder | None:
        return None

    async def open(self) -> None:
        try:
            await self._voter.open()
        except LogCorruptError as error:
            disown_if_damaged(self._directory, error, others_vote=self._others_vote)
            raise
        self._peers.attach(self._voter)

    def serve(self) -> None:
        self._service = VoterService(self._voter, self._state, self._rpc)

    async def stand_back(self) -> None:
        pass

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()
            self._service = None
        self._peers.detach()
        await self._voter.close()


class SharedEngine:
    """A database somewhere else: nobody votes, and one of those that use it conducts by a lease."""

    voter = None

    def __init__(
        self,
        url: str,
        me: NodeId,
        clock: Clock,
        on_failure: Callable[[BaseException], None],
        *,
        is_founding: bool,
    ) -> None:
        from fabric.store.engine import database_for  # only here, as above

        self.is_founding = is_founding
        self._told_failure = on_failure
        self._database = database_for(url)
        self._lead = SharedLead(self._database, me, clock)
        self._leading: asyncio.Task[None] | None = None

    @property
    def incarnation(self) -> int:
        return self._database.incarnation

    @property
    def shared(self) -> LevelHolder | None:
        return self._database

    @property
    def state(self) -> HardState:
        return self._database

    @property
    def leading(self) -> Leading:
        return self._lead

    def lead_left_ms(self) -> int | None:
        return self._lead.left_ms()

    async def open(self) -> None:
        await self._database.open()

    def serve(self) -> None:
        self._leading = asyncio.create_task(self._lead.run(), name="lease")
        self._leading.add_done_callback(self._ended)

    def _ended(self, leading: asyncio.Task[None]) -> None:
        error = None if leading.cancelled() else leading.exception()
        if error is not None:
            self._told_failure(error)

    async def stand_back(self) -> None:
        await self._lead.stand_back()

    async def close(self) -> None:
        leading, self._leading = self._leading, None
        if leading is not None:
            leading.cancel()
            await asyncio.wait((leading,))
        await self._database.close()
