"""State directories of first light, which had one voter and a log of another form: carried over once.

What the tables lack is folded from the old log, then the tables become the first snapshot of a voter's log
that starts where the old one ended. A crash anywhere is met by doing it again: the old segments go last.

    segment = header(64): "FABLOG01" first_index(u64) previous(32) crc(u32), then records up to zeros
    record  = a body with the magic FREC, framed by `framing`
    body    = previous(32) durable(u64) index(u64) term(u64) time_ms(u64) body_hash(32)
              request_length(u16) request_id command
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import select

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.pipeline import FOLD_ENTRIES_MAX
from fabric.store import tables as t
from fabric.store.apply import Entry, apply_group
from fabric.store.errors import LogCorruptError
from fabric.store.files import OsFiles, fsync_directory
from fabric.store.framing import HASH_BYTES, PREFIX_BYTES, hash_bytes, unframe
from fabric.store.lock import DirectoryLock
from fabric.store.schema import create_schema
from fabric.store.sqlite import DATABASE, checkpoint, opened_writer
from fabric.store.voter_id import voter_here
from fabric.store.voter_log import VoterLog
from fabric.store.voter_tables import advance_to
from proto.commands import decode_command
from proto.ids import LogIndex, NodeId, RequestId, Term, VoterId

log = logging.getLogger(__name__)

TERM = Term(0)  # of everything that first light wrote: before all elections

_HEADER_BYTES = 64
_HEADER = struct.Struct(f">8sQ{HASH_BYTES}sI")
_FIXED = struct.Struct(f">{HASH_BYTES}sQQQQ{HASH_BYTES}sH")


def carry_over(directory: Path, node_id: NodeId) -> VoterId:
    """Makes the directory one of a voter that is its whole group. Not on the event loop.

    Raises StoreLockedError, LogCorruptError (nothing is changed then), SchemaVersionError, OSError,
    SQLAlchemyError.
    """
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        voter_log = VoterLog(OsFiles(directory / "log"))
        with closing(voter_log):
            is_carried = voter_log.open() is not None
            me = voter_here(directory, node_id)
            if not is_carried:
                voter_log.create(_carry_tables(directory, me))
        for path in sorted((directory / "log").glob("*.seg")):
            path.unlink()
        fsync_directory(directory / "log")
    finally:
        lock.release()
    log.info("state of first light carried over", extra={"voter": me})
    return me


def _carry_tables(directory: Path, me: VoterId) -> SnapshotMark:
    """The tables with all that the old log holds, durable under a voter's mark."""
    with opened_writer(directory / DATABASE) as connection:
        with connection.begin():
            create_schema(connection)
            position = connection.execute(select(t.position)).one()
        # a position that a carrying-over before this one has moved names no record any more
        applied_hash = b"" if position.configuration else bytes(position.applied_hash)
        entries = _missing(directory / "log", position.applied_index, applied_hash)
        index, time_ms = LogIndex(position.applied_index), int(position.time_ms)
        voters = Configuration(frozenset({me}))
        for start in range(0, len(entries), FOLD_ENTRIES_MAX):
            group = entries[start : start + FOLD_ENTRIES_MAX]
            index, time_ms = group[-1].index, group[-1].time_ms
            with connection.begin():
                apply_group(connection, group)
                advance_to(connection, SnapshotMark(index, TERM, voters), time_ms)
        mark = SnapshotMark(index, TERM, voters)
        with connection.begin():
            advance_to(connection, mark, time_ms)
        if not checkpoint(connection):
            raise LogCorruptError(f"{directory / DATABASE} is in use by somebody else")
    return mark


def _missing(directory: Path, applied: int, applied_hash: bytes) -> list[Entry]:
    """What the tables lack. Raises LogCorruptError unless tables and log are of one history."""
    missing: list[Entry] = []
    last = 0
    for entry, record_hash in _entries(directory):
        last = entry.index
        if last == applied and applied_hash and record_hash != applied_hash:
            raise LogCorruptError(f"{directory}: the tables are not of this log (entry {last} differs)")
        if last > applied:
            missing.append(entry)
    if missing and missing[0].index != applied + 1:
        raise LogCorruptError(f"{directory}: the tables end at entry {applied}, the log starts behind it")
    if last < applied and any(_segments(directory)) and last:
        raise LogCorruptError(f"{directory}: the tables hold entries up to {applied}, the log ends at {last}")
    return missing


def _segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


def _entries(directory: Path) -> Iterator[tuple[Entry, bytes]]:
    """Every sound record in order. Whatever is behind the last one was never acknowledged, or the tables
    hold it; the caller looks."""
    previous: bytes | None = None
    for path in _segments(directory):
        data = path.read_bytes()
        head = data[: _HEADER.size]
        if len(head) < _HEADER.size or zlib.crc32(head[:-4]) != _HEADER.unpack(head)[3]:
            raise LogCorruptError(f"{path}: the segment header is damaged")
        _, _, before, _ = _HEADER.unpack(head)
        if previous is not None and before != previous:
            raise LogCorruptError(f"{path}: does not continue the segment before it")
        previous, offset = before, _HEADER_BYTES
        while (body := unframe(b"FREC", data, offset)) is not None and body[:HASH_BYTES] == previous:
            end = offset + PREFIX_BYTES + len(body)
            previous = hash_bytes(data[offset:end])
            yield _entry(body), previous
            offset = end


def _entry(body: bytes) -> Entry:
    _, _, index, _, time_ms, body_hash, request_bytes = _FIXED.unpack_from(body)
    start = _FIXED.size + request_bytes
    request_id, command = body[_FIXED.size : start].decode(), body[start:]
    return Entry(LogIndex(index), time_ms, RequestId(request_id), body_hash, decode_command(command))
