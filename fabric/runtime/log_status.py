"""How a voter sees its group, as plain values: for `fabric voters`, asked over the mesh by any member."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from fabric.core.nodes.queries import ListVoterWishes
from fabric.core.raft.configuration import Configuration
from fabric.errors import CommandRejectedError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.autopilot_loop import FollowedMember
from fabric.runtime.hard_state import HardState
from proto.codec import Plain
from proto.ids import LogIndex, NodeId, Term, VoterId

STATUS = "log.status"
STATUS_TIMEOUT_MS = 2_000


class SeenVoter(Protocol):
    @property
    def leader_id(self) -> VoterId | None: ...

    @property
    def term(self) -> Term: ...

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def level(self) -> int: ...

    @property
    def configuration(self) -> Configuration: ...

    def progress(self) -> Mapping[VoterId, FollowedMember]: ...


async def log_status(voter: SeenVoter, state: HardState, autopilot: str) -> dict[str, Any]:
    """`seen` is empty unless this voter leads. Raises StoreStoppedError."""
    configuration = voter.configuration
    wishes = await state.read(ListVoterWishes())
    return {
        "leader": voter.leader_id or "",
        "term": voter.term,
        "index": voter.applied_index,
        "level": voter.level,
        "voters": sorted(configuration.voters),
        "outgoing": sorted(configuration.outgoing),
        "learners": sorted(configuration.learners),
        "seen": {
            member: {"lag": seen.lag, "silent_ms": seen.silent_ms, "hanging_ms": seen.hanging_ms}
            for member, seen in voter.progress().items()
        },
        "wishes": {wish.node_id: wish.wish for wish in wishes},
        "autopilot": autopilot,
    }


def nobody_votes(state: HardState) -> dict[str, Any]:
    """The same of a fabric whose rows live in a database of their own."""
    return {
        "leader": "",
        "term": 0,
        "index": state.applied_index,
        "voters": [],
        "outgoing": [],
        "learners": [],
        "seen": {},
        "wishes": {},
        "autopilot": "",
    }


class LogStatusService:
    """Serves `log.status` until `close`. It tells nothing that a member may not know."""

    def __init__(
        self,
        rpc: Rpc,
        status: Callable[[], Awaitable[dict[str, Any]]],
        is_member: Callable[[NodeId], bool],
    ) -> None:
        self._rpc = rpc
        self._status = status
        self._is_member = is_member
        rpc.serve(STATUS, self._serve)

    def close(self) -> None:
        self._rpc.unserve(STATUS)

    async def _serve(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        del body
        if not self._is_member(peer):
            raise CommandRejectedError("forbidden", "Only a member of the fabric may ask.")
        return await self._status()
