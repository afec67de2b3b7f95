"""What may happen to the core."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from fabric.core.raft.log import SnapshotMark
from proto.ids import LogIndex, VoterId
from proto.raft import RaftMessage


@dataclass(frozen=True, slots=True)
class Received:
    """`sender` is proven by its link, never taken from the message."""

    sender: VoterId
    message: RaftMessage


@dataclass(frozen=True, slots=True)
class Woke:
    """`due_ms` has come."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Commands to append, each with the key under which its fate is told."""

    commands: Sequence[tuple[Hashable, bytes]]


@dataclass(frozen=True, slots=True)
class ProposeConfiguration:
    """Change to these voters and learners. Refused while another change is under way. New voters should have
    been learners that caught up: from now on their word is needed."""

    key: Hashable
    voters: frozenset[VoterId]
    learners: frozenset[VoterId]


@dataclass(frozen=True, slots=True)
class AskRead:
    """From which index on is a read linearizable?"""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand the leadership over to that voter, when it has caught up. Given up after an election timeout."""

    to: VoterId


@dataclass(frozen=True, slots=True)
class LeaderGone:
    """That voter's process is known to have ended, so its leadership is over. Believed for liveness only: who
    says so wrongly causes an election, nothing worse."""

    leader: VoterId


@dataclass(frozen=True, slots=True)
class Campaign:
    """Stand for election now: for tests, and for a voter that is alone."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """A snapshot on this disk holds everything up to `index`."""

    index: LogIndex


@dataclass(frozen=True, slots=True)
class SnapshotArrived:
    """A whole snapshot came from `sender`, who led in `term`. Not installed yet: `Ready.snapshot` says so."""

    sender: VoterId
    term: int
    mark: SnapshotMark


@dataclass(frozen=True, slots=True)
class SnapshotEnded:
    """Streaming a snapshot to `to` is over: it has installed it, or nothing will come of it."""

    to: VoterId


@dataclass(frozen=True, slots=True)
class Halted:
    """This voter's tables take no more entries: it must lead nobody. It goes on as a follower that keeps the
    log, acknowledges and votes, for its disk is as good as any."""


RaftEvent = (
    Received
    | Woke
    | Propose
    | ProposeConfiguration
    | AskRead
    | Transfer
    | LeaderGone
    | Campaign
    | Compacted
    | SnapshotArrived
    | SnapshotEnded
    | Halted
)
