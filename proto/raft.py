"""The conversation of the voters of one log. See SPEC.md, section 8.

Names and meaning are those of Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm"
(2014), and of Ongaro's thesis (2014). Every message carries its sender's term. How they travel, and what
each frame says beside them, is in `raft_frames`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from proto.codec import FRAME_BYTES_MAX
from proto.ids import LogIndex, Term, VoterId

ENTRIES_MAX = 1_024  # of one Append
ENTRY_BYTES_MAX = FRAME_BYTES_MAX - 4_096  # of one entry's data: it has to fit an Append
ENTRY_OVERHEAD_BYTES = 64  # of an entry's numbers on the wire
TERM_JUMP_MAX = 1 << 32  # nobody sees so many elections; a larger step would make terms unsendable soon
NO_INDEX, NO_TERM = LogIndex(0), Term(0)
VOTERS_MAX = 32  # voters and learners of one group


class EntryKind(StrEnum):
    NOTHING = "nothing"  # a new leader's first: it commits what earlier terms left (paper, 5.4.2)
    COMMAND = "command"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    index: LogIndex
    term: Term
    kind: EntryKind
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVote:
    """Would you vote for me in `term`, which is the one after mine? Changes nothing (thesis, 9.6)."""

    KIND: ClassVar[str] = "raft.pre_vote"
    term: Term
    last_index: LogIndex
    last_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteReply:
    """`term` is the one asked about when granted, the answerer's own when not."""

    KIND: ClassVar[str] = "raft.pre_vote_reply"
    term: Term
    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """RequestVote. `transfer`: the leader itself asked for this election, so its lease does not stand in
    the way."""

    KIND: ClassVar[str] = "raft.vote"
    term: Term
    last_index: LogIndex
    last_term: Term
    transfer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteReply:
    KIND: ClassVar[str] = "raft.vote_reply"
    term: Term
    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """AppendEntries. Without entries it only asks whether the log matches at `previous_index`."""

    KIND: ClassVar[str] = "raft.append"
    term: Term
    previous_index: LogIndex
    previous_term: Term
    commit_index: LogIndex
    entries: tuple[LogEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendReply:
    """Matched: the log is the leader's up to `index`, durably. Not: it does not match at `index`, and may
    at `hint_index`, which has `hint_term` here."""

    KIND: ClassVar[str] = "raft.append_reply"
    term: Term
    matched: bool
    index: LogIndex
    hint_index: LogIndex = NO_INDEX
    hint_term: Term = NO_TERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """`commit_index` is never beyond what the follower has acknowledged, and that entry is of `commit_term`
    (0: not said). `round` counts the leader's heartbeats: reads wait for a quorum's answers to one sent after
    they were asked (thesis, 6.4). Without `asks` it only tells what is committed, and no answer is owed."""

    KIND: ClassVar[str] = "raft.heartbeat"
    term: Term
    commit_index: LogIndex
    round: int
    commit_term: Term = NO_TERM
    asks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply:
    KIND: ClassVar[str] = "raft.heartbeat_reply"
    term: Term
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """The leader hands over: campaign at once (thesis, 3.10)."""

    KIND: ClassVar[str] = "raft.timeout_now"
    term: Term


RaftMessage = (
    PreVote | PreVoteReply | Vote | VoteReply | Append | AppendReply | Heartbeat | HeartbeatReply | TimeoutNow
)
RAFT_MESSAGES: tuple[type[RaftMessage], ...] = (
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    TimeoutNow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChange:
    """What an entry of kind `configuration` holds. `outgoing` is not empty while two majorities count
    (joint consensus; thesis, 4.3)."""

    voters: tuple[VoterId, ...]
    outgoing: tuple[VoterId, ...] = ()
    learners: tuple[VoterId, ...] = ()
