"""Which nodes a voter's process may hear and dial, and where: what its agent knows of who may vote.

A node whose voter has a process of its own says in its record where that listens; any other is dialled at its
agent's endpoint, which takes a voter's frames, too. Either way its CURVE key is the node's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.fleet import Fleet
from fabric.runtime.voter_words import VoterPeer
from proto.ids import NodeId

VOTER_LABEL = "voter"  # in a node's record: "tcp://ADDR:PORT" of its voter's process
_SCHEME = "tcp://"


def voter_endpoint(member: Member) -> str:
    """Of the process of its own that its voter has; "" where it has none."""
    endpoint = member.record.labels.get(VOTER_LABEL, "")
    return endpoint if endpoint.startswith(_SCHEME) else ""


class VoterLinks:
    """Tells all at `open`, then whatever changes, until `close`."""

    def __init__(
        self,
        fleet: Fleet,
        may_vote: Callable[[NodeId], bool],
        tell: Callable[[Sequence[VoterPeer]], None],
    ) -> None:
        self._fleet = fleet
        self._may_vote = may_vote
        self._tell = tell
        self._told: dict[NodeId, VoterPeer] = {}
        self._unsubscribe: Callable[[], None] = lambda: None

    def open(self) -> None:
        self._unsubscribe = self._fleet.subscribe(lambda member: self._look((member,)))
        self._look(self._fleet.members())

    def close(self) -> None:
        self._unsubscribe()

    def has_own_process(self, node_id: NodeId) -> bool:
        member = self._fleet.member(node_id)
        return member is not None and node_id in self._told and bool(voter_endpoint(member))

    def _look(self, members: Sequence[Member]) -> None:
        changed = [peer for member in members if (peer := self._changed(member)) is not None]
        if changed:
            self._tell(changed)

    def _changed(self, member: Member) -> VoterPeer | None:
        """What is new about that node; None: nothing."""
        node_id = member.record.node_id
        if node_id == self._fleet.me:
            return None
        before = self._told.pop(node_id, None)
        if member.state is MemberState.FORGOTTEN or not self._may_vote(node_id):
            return None if before is None else VoterPeer(node_id=node_id, endpoint="", curve_public=b"")
        endpoint = voter_endpoint(member) or member.record.endpoint
        peer = VoterPeer(node_id=node_id, endpoint=endpoint, curve_public=member.record.curve_public)
        self._told[node_id] = peer
        return None if peer == before else peer
