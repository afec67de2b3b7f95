"""One record of the log as bytes: framing, checksum, hash chain. Pure.

    record  = magic(4) length(u32) crc(u32) body
    body    = previous(32) durable(u64) index(u64) term(u64) time_ms(u64) body_hash(32)
              request_length(u16) request_id command

`crc` is zlib's CRC-32 over length and body: the standard library has no CRC-32C, and a C extension for it
would be one more thing to install. `previous` is the BLAKE2b-256 of the record before, so a record
that was swapped, dropped or rewritten is found even where its checksum is right. `durable` is the last index
known to be fsynced when the record was written: it tells a torn tail from damage (see `log_segment`).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from hashlib import blake2b

from proto.codec import FRAME_BYTES_MAX
from proto.ids import LogIndex, RequestId, Term

MAGIC = b"FREC"
HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)  # what the first record of all names as its predecessor
REQUEST_ID_BYTES_MAX = 1_024

_PREFIX = struct.Struct(">4sII")
_LENGTH = struct.Struct(">I")
_FIXED = struct.Struct(f">{HASH_BYTES}sQQQQ{HASH_BYTES}sH")
PREFIX_BYTES = _PREFIX.size
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


def hash_bytes(data: bytes) -> bytes:
    return blake2b(data, digest_size=HASH_BYTES).digest()


def encode_record(entry: LogEntry, *, previous: bytes, durable_index: int) -> bytes:
    request = entry.request_id.encode()
    assert len(request) <= REQUEST_ID_BYTES_MAX
    assert len(previous) == len(entry.body_hash) == HASH_BYTES
    fixed = _FIXED.pack(
        previous, durable_index, entry.index, entry.term, entry.time_ms, entry.body_hash, len(request)
    )
    body = b"".join((fixed, request, entry.command))
    crc = zlib.crc32(body, zlib.crc32(_LENGTH.pack(len(body))))
    return _PREFIX.pack(MAGIC, len(body), crc) + body


def decode_record(data: bytes, offset: int) -> Record | None:
    """The record at `offset`, None when there is no whole and sound one."""
    if offset + PREFIX_BYTES > len(data):
        return None
    magic, length, crc = _PREFIX.unpack_from(data, offset)
    end = offset + PREFIX_BYTES + length
    if magic != MAGIC or length < _FIXED.size or end > len(data):
        return None
    body = data[offset + PREFIX_BYTES : end]
    if zlib.crc32(body, zlib.crc32(_LENGTH.pack(length))) != crc:
        return None
    previous, durable, index, term, time_ms, body_hash, request_length = _FIXED.unpack_from(body)
    start = _FIXED.size + request_length
    if start > length:
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
