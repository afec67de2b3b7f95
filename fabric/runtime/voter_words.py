"""The words of the channel between an agent and its voter's process; see `voter_channel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fabric.core.queries import Applied, AppliedEntry
from fabric.core.raft.configuration import Configuration, decode_known, encode_known
from fabric.core.raft.log import SnapshotMark
from fabric.core.voters.levels import Levels
from proto.codec import FRAME_BYTES_MAX, Plain, pack, unpack_map
from proto.commands import decode_command, encode_command
from proto.ids import LogIndex, NodeId, Term, VoterId
from proto.records import from_wire, to_wire

# asked by the agent
START, PROPOSE, RAISE_LEVEL, READ_INDEX, CALL, DIGEST, SNAPSHOT_ARRIVED, CLOSE = (
    "start",
    "propose",
    "raise_level",
    "read_index",
    "call",
    "digest",
    "snapshot_arrived",
    "close",
)
# asked by the voter
SEND_SNAPSHOT = "send_snapshot"
# told by the agent
PEERS, FRAME, CHANGE, TRANSFER, STOP, BEAT = "peers", "frame", "change", "transfer", "stop", "beat"
# told by the voter
STATUS, ENTRY, APPLIED, FAILED = "status", "entry", "applied", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterStart:
    """All that a voter's process needs to know. It comes over the channel, for command lines are public."""

    software: str
    agent_pid: int
    directory: str
    me: VoterId
    incarnation: int
    is_founder: bool  # the group is to be this voter alone
    segment_bytes: int
    fabric_id: str
    curve_public: bytes
    curve_secret: bytes
    bind: str  # "tcp://ADDR:PORT" of its mesh endpoint
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A member as its leader sees it: `fabric.runtime.autopilot_loop.FollowedMember`."""

    lag: int
    silent_ms: int
    hanging_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterStatus:
    """What the voter says of itself whenever it has changed, and now and then while it leads."""

    term: Term
    leader_id: VoterId | None
    is_leader: bool
    configuration: bytes  # as an entry of that kind holds it; empty where none is known
    is_changing: bool
    changes: int  # how many changes asked for by the agent it has begun
    heir: VoterId | None = None  # who would lead best after it
    progress: Mapping[str, Seen]  # by voter id; empty unless it leads
    lead_left_ms: int | None = None  # when this was said; None: it does not lead, or is its whole group
    level: int
    passed_over: int
    halt: str  # why its rows take no more entries; "" while they do

    def known_configuration(self) -> Configuration:
        """Raises WireError."""
        return decode_known(self.configuration)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterPeer:
    """Where another node's voter hears, and under which key. `curve_public` empty: it is heard no more."""

    node_id: NodeId
    endpoint: str
    curve_public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWord:
    """A copy of the rows in a file: to go to `voter`, or arrived from it. `path` is on this machine."""

    voter: VoterId
    term: Term
    index: LogIndex
    mark_term: Term
    configuration: bytes
    path: str

    def mark(self) -> SnapshotMark:
        """Raises WireError."""
        return SnapshotMark(self.index, self.mark_term, decode_known(self.configuration))


def snapshot_word(voter: VoterId, term: Term, mark: SnapshotMark, path: Path) -> SnapshotWord:
    return SnapshotWord(
        voter=voter,
        term=term,
        index=mark.index,
        mark_term=mark.term,
        configuration=encode_known(mark.configuration),
        path=str(path),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    endpoint: str
    applied_index: LogIndex
    levels: Levels  # what its program can apply
    status: VoterStatus


def entry_body(entry: AppliedEntry) -> Mapping[str, Plain]:
    """Commands and results travel packed: nested in a message, one that is as deep as the log allows would be
    too deep for it."""
    return {
        "index": entry.index,
        "command": encode_command(entry.command),
        "result": _packed(entry.applied),
        "replayed": entry.applied.replayed,
    }


def entry_of(body: Mapping[str, Plain]) -> AppliedEntry:
    """Raises WireError."""
    applied = applied_of(body)
    return AppliedEntry(applied.index, decode_command(cast(bytes, body["command"])), applied)


def applied_body(applied: Applied) -> dict[str, Plain]:
    return {"index": applied.index, "result": _packed(applied), "replayed": applied.replayed}


def applied_of(body: Mapping[str, Plain]) -> Applied:
    """Raises WireError."""
    told = from_wire(_Applied, body)
    return Applied(told.index, unpack_map(told.result, limit=FRAME_BYTES_MAX), told.replayed)


def _packed(applied: Applied) -> bytes:
    return pack(to_wire(applied.result), limit=FRAME_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    index: LogIndex
    result: bytes
    replayed: bool
