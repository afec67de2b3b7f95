"""One record of the log as bytes: framing, checksum, hash chain. Pure.

    record  = a body with the magic FREC, framed by `framing`
    body    = previous(32) durable(u64) index(u64) term(u64) time_ms(u64) body_hash(32)
              request_length(u16) request_id command

`previous` is the BLAKE2b-256 of the record before. `durable` is the last index
known to be fsynced when the record was written: it tells a torn tail from damage (see `log_segment`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fabric.store.framing import HASH_BYTES, PREFIX_BYTES, frame, hash_bytes, unframe
from proto.codec import FRAME_BYTES_MAX
from proto.ids import LogIndex, RequestId, Term

MAGIC = b"FREC"
REQUEST_ID_BYTES_MAX = 1_024

_FIXED = struct.Struct(f">{HASH_BYTES}sQQQQ{HASH_BYTES}sH")
RECORD_BYTES_MAX = PREFIX_BYTES + _FIXED.size + REQUEST_ID_BYTES_MAX + FRAME_BYTES_MAX


@dataclass(frozen=True, slots=True)
class LogEntry:
    index: LogIndex
    term: Term
    time_ms: int  # the leader's stamp; never goes back
    request_id: RequestId
    body_hash: bytes  # BLAKE2b-256 of `command`
    command: bytes


@dataclass(frozen=True, slots=True)
class Record:
    entry: LogEntry
    previous: bytes
    durable_index: int
    hash: bytes  # of the whole record
    size: int


def encode_record(entry: LogEntry, *, previous: bytes, durable_index: int) -> bytes:
    request = entry.request_id.encode()
    assert len(request) <= REQUEST_ID_BYTES_MAX
    assert len(previous) == len(entry.body_hash) == HASH_BYTES
    fixed = _FIXED.pack(
        previous, durable_index, entry.index, entry.term, entry.time_ms, entry.body_hash, len(request)
    )
    return frame(MAGIC, b"".join((fixed, request, entry.command)))


def decode_record(data: bytes, offset: int) -> Record | None:
    """The record at `offset`, None when there is no whole and sound one."""
    body = unframe(MAGIC, data, offset)
    if body is None or len(body) < _FIXED.size:
        return None
    end = offset + PREFIX_BYTES + len(body)
    previous, durable, index, term, time_ms, body_hash, request_length = _FIXED.unpack_from(body)
    start = _FIXED.size + request_length
    if start > len(body):
        return None
    request = body[_FIXED.size : start]
    command = body[start:]
    if hash_bytes(command) != body_hash:
        return None
    try:
        request_id = RequestId(request.decode())
    except UnicodeDecodeError:
        return None
    entry = LogEntry(LogIndex(index), Term(term), time_ms, request_id, body_hash, command)
    return Record(entry, previous, durable, hash_bytes(data[offset:end]), end - offset)
