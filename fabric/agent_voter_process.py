"""The embedded log with its voter in a process of its own: what the agent does for it.

The process beats, votes and answers other voters whatever holds this agent up. Here are the rows for who
reads them, the way to the leader for who writes, snapshots, and the endpoint that voters inside their agents
know.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from fabric import __version__
from fabric.config import Config
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.addresses import endpoint_of
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.founding import first_entry
from fabric.runtime.hard_state import HardState
from fabric.runtime.lead_loop import Leading
from fabric.runtime.level_watch import LevelHolder
from fabric.runtime.node_identity import Membership, NodeIdentity
from fabric.runtime.voter import NodeVoter
from fabric.runtime.voter_fate import disown_if_damaged
from fabric.runtime.voter_links import VOTER_LABEL, VoterLinks
from fabric.runtime.voter_peers import VoterRoute, check_address
from fabric.runtime.voter_proxy import VoterProxy
from fabric.runtime.voter_service import VoterService
from fabric.runtime.voter_state import VoterState
from fabric.runtime.voter_words import SnapshotWord, VoterStart
from fabric.store.errors import LogCorruptError
from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE
from fabric.store.voter_id import voter_here
from fabric.store.voter_starts import count_start
from proto.codec import Plain
from proto.ids import NodeId, VoterId
from proto.raft import RaftMessage
from proto.raft_frames import RaftAddress

log = logging.getLogger(__name__)


class RelayedVoter:
    """`fabric.runtime.voter_peers.HeldVoter` for a voter in another process: what comes for it by the agent's
    endpoint is checked and passed on."""

    def __init__(self, proxy: VoterProxy, route: VoterRoute, *, incarnation: int) -> None:
        self.engine = proxy
        self._route = route
        self._incarnation = incarnation

    def check(self, node_id: NodeId, address: RaftAddress) -> None:
        self._route.need_voter(node_id)
        check_address(address, node_id, self.engine.me, self._incarnation)

    def hear(self, sender: VoterId, message: RaftMessage) -> None:
        self.engine.relay(sender, self._incarnation, message)

    def process_gone(self, node_id: NodeId) -> None:
        """The process has links of its own, and hears it from them."""


class VoterAsking:
    """`fabric.runtime.voter_state.Asking`: other voters' processes are asked by ours, agents by us."""

    def __init__(self, proxy: VoterProxy, links: VoterLinks, rpc: Rpc) -> None:
        self._proxy = proxy
        self._links = links
        self._rpc = rpc

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        if self._links.has_own_process(to):
            return await self._proxy.call(to, method, body, timeout_ms=timeout_ms)
        return await self._rpc.call(to, method, body, timeout_ms=timeout_ms)


class ProcessEngine:
    """A `fabric.agent_engine.NodeEngine`."""

    def __init__(
        self,
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
    ) -> None:
        """As `fabric.agent_engine.make_engine` says."""
        directory = config.state_dir / STATE
        self.is_founding = member.founder and first_entry(config.state_dir) is not None
        me = voter_here(directory, identity.node_id)
        count_start(directory, config.state_dir)
        self.incarnation = read_incarnation(directory)
        self._directory = directory
        self._others_vote = others_vote
        self._route = route
        self._rpc = rpc
        self._label = label
        self._service: VoterService | None = None
        start = VoterStart(
            software=__version__,
            agent_pid=os.getpid(),
            directory=str(directory),
            me=me,
            incarnation=self.incarnation,
            is_founder=self.is_founding,
            segment_bytes=config.state.segment_bytes,
            fabric_id=member.fabric_id,
            curve_public=identity.curve_public,
            curve_secret=identity.curve_secret,
            bind=endpoint_of(address, config.mesh.voter_port),
            log_level=config.log.level,
            log_format=config.log.format,
        )
        self._proxy = VoterProxy(start, send_snapshot=self._send_snapshot, on_failure=on_failure)
        self._relayed = RelayedVoter(self._proxy, route, incarnation=self.incarnation)
        self._is_attached = False
        self._links = VoterLinks(fleet, route.may_vote, self._proxy.know)
        self._state = VoterState(self._proxy, VoterAsking(self._proxy, self._links, rpc), clock)

    @property
    def state(self) -> HardState:
        return self._state

    @property
    def leading(self) -> Leading:
        return self._proxy

    @property
    def voter(self) -> NodeVoter:
        return self._proxy

    def lead_left_ms(self) -> int | None:
        return self._proxy.lead_left_ms()

    @property
    def shared(self) -> LevelHolder | None:
        return None

    async def open(self) -> None:
        try:
            endpoint = await self._proxy.open()
        except LogCorruptError as error:
            disown_if_damaged(self._directory, error, others_vote=self._others_vote)
            raise
        self._route.attach(self._relayed)
        self._is_attached = True
        self._links.open()
        self._label({VOTER_LABEL: endpoint})
        self._beating = asyncio.create_task(self._proxy.run(), name="voter beats")

    def serve(self) -> None:
        self._service = VoterService(self._proxy, self._state, self._rpc)

    async def stand_back(self) -> None:
        pass

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()
            self._service = None
        if self._is_attached:
            self._is_attached = False
            self._beating.cancel()
            await asyncio.wait((self._beating,))
            self._links.close()
            self._route.detach(self._relayed)
        await self._proxy.close()

    async def _send_snapshot(self, word: SnapshotWord) -> None:
        address = RaftAddress(sender=self._proxy.me, to=word.voter, incarnation=self.incarnation)
        await self._route.snapshots_out.send(address, word.term, word.mark(), Path(word.path))
