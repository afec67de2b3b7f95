"""The voter of this node as the agent's parts know it, wherever it lives: in the agent's own process it is a
`fabric.store.voter_engine.VoterEngine`, in one of its own a `fabric.runtime.voter_proxy.VoterProxy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from fabric.core.queries import Applied, Consistency, Listener, Query
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.voters.levels import Levels
from fabric.errors import FabricError
from fabric.runtime.autopilot_loop import FollowedMember
from proto.commands import Command
from proto.ids import LogIndex, RequestId, Term, VoterId

T = TypeVar("T")


class NodeVoter(Protocol):
    """All of it on the event loop. What is known at once may be half a second old, but for what follows an
    answer: rows, `applied_index` and the lead are then at least as new as the answer."""

    @property
    def me(self) -> VoterId: ...

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def level(self) -> int:
        """Of the group, as the rows know it."""
        ...

    @property
    def levels(self) -> Levels:
        """What the voter's program can apply."""
        ...

    @property
    def halt(self) -> FabricError | None:
        """Why the rows take no more entries; None while they do."""
        ...

    @property
    def is_leader(self) -> bool: ...

    @property
    def leader_id(self) -> VoterId | None: ...

    @property
    def term(self) -> Term: ...

    @property
    def configuration(self) -> Configuration: ...

    @property
    def is_changing(self) -> bool: ...

    def progress(self) -> Mapping[VoterId, FollowedMember]: ...

    def lead_left_ms(self) -> int | None: ...

    def furthest_other(self) -> VoterId | None: ...

    def digest(self, index: LogIndex) -> bytes | None: ...

    @property
    def passed_over(self) -> int: ...

    def subscribe(self, listener: Listener) -> Callable[[], None]: ...

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...

    async def raise_level(self, to: int) -> Applied: ...

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T: ...

    async def read_index(self) -> LogIndex: ...

    async def wait_applied(self, index: LogIndex) -> None: ...

    def transfer(self, to: VoterId) -> None: ...

    def change(self, voters: frozenset[VoterId], learners: frozenset[VoterId] = frozenset()) -> None: ...

    def stop(self, error: BaseException) -> None: ...

    def incoming_snapshot(self, sender: VoterId) -> Path: ...

    async def receive_snapshot(self, sender: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None: ...
