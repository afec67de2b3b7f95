"""One record of a voter's log as bytes: framing, checksum, hash chain. Pure.

    record  = a body with the magic VREC, framed by `framing`
    body    = previous(32) durable(u64) sequence(u64) payload

Records follow one another in the order in which they were written, numbered by `sequence`; what they say may
take back what earlier ones said, as in etcd's WAL: an entry at an index that is there replaces it and all
behind it. So nothing that was durable is ever overwritten, and a hole is damage. `previous` is the
BLAKE2b-256 of the record before. `durable` is the last sequence known to be fsynced when this one was
written: it tells a torn tail from damage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fabric.core.raft.configuration import decode_known, encode_known
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.store.framing import HASH_BYTES, PREFIX_BYTES, frame, hash_bytes, unframe
from proto.codec import pack, unpack
from proto.errors import WireError
from proto.ids import LogIndex, Term, VoterId
from proto.raft import ENTRY_BYTES_MAX, EntryKind, LogEntry

MAGIC = b"VREC"
NUMBERS_BYTES_MAX = 1_024  # of a payload beside an entry's data

_FIXED = struct.Struct(f">{HASH_BYTES}sQQ")
RECORD_BYTES_MAX = PREFIX_BYTES + _FIXED.size + NUMBERS_BYTES_MAX + ENTRY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Restart:
    """A snapshot from elsewhere replaced everything: nothing before this counts. A `SnapshotMark` by itself
    only says that a snapshot holds what is before it; entries behind it stay."""

    mark: SnapshotMark


Payload = LogEntry | HardState | SnapshotMark | Restart
_KINDS = {kind.value: kind for kind in EntryKind}


@dataclass(frozen=True, slots=True)
class VoterRecord:
    sequence: int
    durable: int
    previous: bytes
    payload: Payload
    hash: bytes  # of the whole record
    size: int


def encode_record(payload: Payload, *, sequence: int, previous: bytes, durable: int) -> bytes:
    assert len(previous) == HASH_BYTES
    return frame(MAGIC, _FIXED.pack(previous, durable, sequence) + _encode(payload))


def decode_record(data: bytes, offset: int) -> VoterRecord | None:
    """The record at `offset`, None when there is no whole and sound one."""
    body = unframe(MAGIC, data, offset)
    if body is None or len(body) < _FIXED.size:
        return None
    end = offset + PREFIX_BYTES + len(body)
    previous, durable, sequence = _FIXED.unpack_from(body)
    try:
        payload = _decode(body[_FIXED.size :])
    except WireError:
        return None
    return VoterRecord(sequence, durable, previous, payload, hash_bytes(data[offset:end]), end - offset)


def _encode(payload: Payload) -> bytes:
    match payload:
        case LogEntry(index=index, term=term, kind=kind, data=data):
            return pack(["entry", index, term, kind.value, data], limit=RECORD_BYTES_MAX)
        case HardState(term, vote):
            return pack(["hard", term, vote])
        case SnapshotMark():
            return pack(_mark("mark", payload))
        case Restart(mark):
            return pack(_mark("restart", mark))


def _mark(word: str, mark: SnapshotMark) -> list[object]:
    return [word, mark.index, mark.term, encode_known(mark.configuration)]


def _decode(data: bytes) -> Payload:
    """Raises WireError."""
    match unpack(data, limit=RECORD_BYTES_MAX):
        case ["entry", int(index), int(term), str(kind), bytes(content)] if kind in _KINDS:
            return LogEntry(index=LogIndex(index), term=Term(term), kind=_KINDS[kind], data=content)
        case ["hard", int(term), str(vote)]:
            return HardState(Term(term), VoterId(vote))
        case ["hard", int(term), None]:
            return HardState(Term(term))
        case ["mark" | "restart" as word, int(index), int(term), bytes(configuration)]:
            mark = SnapshotMark(LogIndex(index), Term(term), decode_known(configuration))
            return mark if word == "mark" else Restart(mark)
    raise WireError("bad_field", "no record of a voter's log")
