"""The other voters of the log, reached over the mesh: what `VoterEngine` asks of its `Peers`.

A voter is a disk, and a node may have several in the course of its agent's life, one at a time: it becomes a
voter, or its disk failed and the next one is another voter. So what the mesh knows is a `VoterRoute`, one for
an agent's life, to which the present voter's `MeshPeers` attaches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.errors import FabricError, Outcome, PeerUnreachableError
from fabric.mesh.contract import LinkFact
from fabric.mesh.rpc_contract import Rpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.snapshot_transfer import SnapshotSink, SnapshotSource, SnapshotTaker
from proto.envelope import Envelope
from proto.errors import WireError
from proto.ids import NodeId, Term, VoterId, node_of
from proto.raft import RaftMessage
from proto.raft_frames import RaftAddress, raft_body, read_raft

if TYPE_CHECKING:
    from fabric.store.voter_engine import VoterEngine


class NoVoterHereError(FabricError):
    """No voter lives on that node at the moment."""

    code = "fabric.raft.no_voter"
    outcome = Outcome.NOT_DONE


class HeldVoter(Protocol):
    """The voter that lives on this node now, in this process or in one of its own."""

    @property
    def engine(self) -> SnapshotTaker: ...

    def check(self, node_id: NodeId, address: RaftAddress) -> None:
        """What came over the link of `node_id` is for this voter, from one that lives there. Raises WireError
        `no_conductor`, `wrong_sender`, `wrong_voter`, `wrong_incarnation`."""
        ...

    def hear(self, sender: VoterId, message: RaftMessage) -> None: ...

    def process_gone(self, node_id: NodeId) -> None:
        """That node's machine answers that nobody listens there any more."""
        ...


class SnapshotsOut(Protocol):
    async def send(self, address: RaftAddress, term: Term, mark: SnapshotMark, path: Path) -> None:
        """Until the follower has kept it. Raises OSError, FabricError."""
        ...


class Route(Protocol):
    """What one voter at a time attaches to."""

    @property
    def switchboard(self) -> Switchboard: ...

    @property
    def snapshots_out(self) -> SnapshotsOut: ...

    def need_voter(self, node_id: NodeId) -> None:
        """Raises WireError `no_conductor`: that node may not vote."""
        ...

    def attach(self, voter: HeldVoter) -> None: ...

    def detach(self, voter: HeldVoter) -> None: ...


def check_address(address: RaftAddress, node_id: NodeId, me: VoterId, incarnation: int) -> None:
    """Raises WireError `wrong_sender`, `wrong_voter`, `wrong_incarnation`."""
    if node_of(address.sender) != node_id:
        raise WireError("wrong_sender")
    if address.to != me:
        raise WireError("wrong_voter")
    if address.incarnation != incarnation:
        raise WireError("wrong_incarnation")


class VoterRoute:
    """Made before the switchboard starts. What comes for nobody is dropped and counted, or refused."""

    def __init__(self, switchboard: Switchboard, rpc: Rpc, may_vote: Callable[[NodeId], bool]) -> None:
        """`may_vote`: whether that node's certificate lets it. A voter believes whoever says it leads, so
        nobody else is heard: a stolen host could write the log."""
        self.may_vote = may_vote
        self.switchboard = switchboard
        self.snapshots_out = SnapshotSource(rpc)
        self._snapshots_in = SnapshotSink(rpc, self._need_present)
        self._present: HeldVoter | None = None
        switchboard.route("raft", self._on_envelope)
        switchboard.on_link(self._on_link)

    def attach(self, voter: HeldVoter) -> None:
        assert self._present is None, "one voter at a time"
        self._present = voter

    def detach(self, voter: HeldVoter) -> None:
        assert self._present is voter
        self._present = None
        self._snapshots_in.stop()

    def need_voter(self, node_id: NodeId) -> None:
        """Raises WireError `no_conductor`."""
        if not self.may_vote(node_id):
            raise WireError("no_conductor")

    def _need_present(self) -> HeldVoter:
        if self._present is None:
            raise NoVoterHereError("no voter lives on this node")
        return self._present

    def _on_link(self, node_id: NodeId, fact: LinkFact) -> None:
        if self._present is not None and fact is LinkFact.REFUSED:
            self._present.process_gone(node_id)

    def _on_envelope(self, node_id: NodeId, envelope: Envelope) -> None:
        if self._present is None:
            raise WireError("no_voter")
        address, message = read_raft(envelope)
        self._present.check(node_id, address)
        self._present.hear(address.sender, message)


class MeshPeers:
    """Of one voter. Made before its engine, and attached once that is open; detached before it is closed.

    While it is attached the links to all members of the configuration are held, as this voter knows it. A
    link that is down loses what is sent.
    """

    def __init__(self, route: Route, me: VoterId, *, incarnation: int) -> None:
        self._route = route
        self._me = me
        self._node_id = node_of(me)
        self._incarnation = incarnation
        self._engine: VoterEngine | None = None
        self._seen: Configuration | None = None
        self._held: frozenset[NodeId] = frozenset()

    @property
    def engine(self) -> VoterEngine:
        assert self._engine is not None, "attach first"
        return self._engine

    def attach(self, engine: VoterEngine) -> None:
        assert engine.me == self._me
        self._engine = engine
        self._route.attach(self)
        self._hold_members()

    def detach(self) -> None:
        """Nothing is heard any more, and no link is held. Twice is the same as once."""
        if self._engine is None:
            return
        self._engine = self._seen = None
        self._hold(frozenset())
        self._route.detach(self)

    # ---- out: `fabric.store.voter_engine.Peers`

    def send(self, to: VoterId, message: RaftMessage) -> None:
        self._hold_members()
        node_id = node_of(to)
        if node_id != self._node_id:
            self._route.switchboard.send_body(node_id, message.KIND, raft_body(self._address(to), message))

    async def send_snapshot(self, to: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None:
        """Raises OSError, RemoteError, PeerUnreachableError, DeadlineExceededError."""
        if node_of(to) == self._node_id:
            raise PeerUnreachableError(f"voter {to} is a former one of this node")
        await self._route.snapshots_out.send(self._address(to), term, mark, path)

    def _address(self, to: VoterId) -> RaftAddress:
        return RaftAddress(sender=self._me, to=to, incarnation=self._incarnation)

    # ---- in

    def check(self, node_id: NodeId, address: RaftAddress) -> None:
        """See `HeldVoter`."""
        self._route.need_voter(node_id)
        check_address(address, node_id, self._me, self._incarnation)

    def hear(self, sender: VoterId, message: RaftMessage) -> None:
        self.engine.receive(sender, message)
        self._hold_members()

    def process_gone(self, node_id: NodeId) -> None:
        leader = self.engine.leader_id
        if leader is not None and node_of(leader) == node_id:
            self.engine.leader_gone()

    # ---- links

    def _hold_members(self) -> None:
        """Looked at with each message: an identity that has not changed costs nothing."""
        if self._engine is None or self._engine.failure is not None:
            return
        configuration = self._engine.configuration
        if configuration is not self._seen:
            self._seen = configuration
            self._hold(frozenset(map(node_of, configuration.members)) - {self._node_id})

    def _hold(self, node_ids: frozenset[NodeId]) -> None:
        for node_id in node_ids - self._held:
            self._route.switchboard.hold(node_id)
        for node_id in self._held - node_ids:
            self._route.switchboard.release(node_id)
        self._held = node_ids
