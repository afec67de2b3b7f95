"""What the core owes the world after an event, in the order in which it is owed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from fabric.core.raft.log import SnapshotMark
from proto.ids import LogIndex, Term, VoterId
from proto.raft import LogEntry, RaftMessage

BEFORE_ALL = Term(0)


@dataclass(frozen=True, slots=True)
class HardState:
    """What must outlive a crash, beside the log: one vote a term (paper, figure 2)."""

    term: Term = BEFORE_ALL
    vote: VoterId | None = None


@dataclass(frozen=True, slots=True)
class Send:
    to: VoterId
    message: RaftMessage


@dataclass(frozen=True, slots=True)
class Appended:
    """A proposal is in the leader's log. Whether it stays, `committed` tells: the entry with this index and
    this term, or another one."""

    key: Hashable
    index: LogIndex
    term: Term


@dataclass(frozen=True, slots=True)
class Refused:
    """Not done and never will be: this node does not lead, or hands over. `leader`: whom it believes to."""

    key: Hashable
    leader: VoterId | None


@dataclass(frozen=True, slots=True)
class ReadAt:
    """A read is linearizable on a state that has applied `index`."""

    key: Hashable
    index: LogIndex


@dataclass(frozen=True, slots=True)
class SnapshotWanted:
    """`to` is behind the log: stream it a snapshot, then tell the core `SnapshotEnded`."""

    to: VoterId


@dataclass(frozen=True, slots=True)
class Ready:
    """Owed in field order; several are owed one after the other.

    `early` promises nothing and may leave before anything is on disk: a leader ships entries while its own
    disk works (thesis, 10.2.1). Then `hard_state`, `snapshot` and `entries` are made durable, none before the
    one in front of it: entries replace whatever was at their indices and after. What a process reads at its
    start it must have made durable, too: it may be in a cache only. Only then may `messages` leave, for they
    promise it: sending before that can give one term two leaders or lose a commit (thesis, 3.8). Messages to
    oneself come back as `Received`. Then `committed` is applied. After a `snapshot` nobody says what became
    of proposals at or before its index: who waits for one has to ask the tables.
    """

    early: tuple[Send, ...] = ()
    hard_state: HardState | None = None
    snapshot: SnapshotMark | None = None
    entries: tuple[LogEntry, ...] = ()
    messages: tuple[Send, ...] = ()
    committed: tuple[LogEntry, ...] = ()
    appended: tuple[Appended, ...] = ()
    refused: tuple[Refused, ...] = ()
    reads: tuple[ReadAt, ...] = ()
    snapshots_wanted: tuple[SnapshotWanted, ...] = ()
