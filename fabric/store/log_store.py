"""The log on disk: segments in a directory. Owned by one thread at a time; nothing here locks.

`append` returns after fdatasync: what it was given is durable. After any failure of a write or fsync the
log takes no more writes, for the kernel may have dropped the dirty pages and a retried fsync would lie
(Rebello and others, "Can Applications Recover from fsync Failures?", 2020). Opening it again reads what is
really there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fabric.store.errors import LogCorruptError, LogFailedError
from fabric.store.files import fsync_directory, write_at
from fabric.store.framing import GENESIS, hash_bytes
from fabric.store.log_record import RECORD_BYTES_MAX, LogEntry, Record, encode_record
from fabric.store.log_segment import (
    HEADER_BYTES,
    SegmentEnd,
    SegmentHeader,
    check_tail,
    create_segment,
    cut_tail,
    list_segments,
    read_header,
    read_records,
    segment_path,
    sweep_unfinished,
)

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 << 20
SEGMENT_BYTES_MIN = HEADER_BYTES + RECORD_BYTES_MAX  # any single record must fit


class LogStore:
    """`open` first. Indices start at 1."""

    def __init__(self, directory: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = max(segment_bytes, SEGMENT_BYTES_MIN)
        self._first_indices: list[int] = []  # of each segment, oldest first
        self._descriptor = -1
        self._offset = 0
        self._last_index = 0
        self._last_hash = GENESIS
        self._last_time_ms = 0
        self._failed: OSError | None = None

    @property
    def last_index(self) -> int:
        return self._last_index

    @property
    def last_hash(self) -> bytes:
        return self._last_hash

    @property
    def last_time_ms(self) -> int:
        return self._last_time_ms

    @property
    def first_index(self) -> int:
        """Of the oldest entry still held; `last_index + 1` when there is none."""
        return self._first_indices[0]

    @property
    def segment_count(self) -> int:
        return len(self._first_indices)

    def open(self, *, durable_index: int = 0) -> None:
        """Reads every record, cuts off a torn tail, makes the first segment of a new log.

        `durable_index`: the last entry that the tables hold. A log that ends before it is damaged.

        Raises: LogCorruptError, OSError.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep_unfinished(self._directory)
        paths = list_segments(self._directory)
        if not paths:
            if durable_index:
                raise LogCorruptError(
                    f"{self._directory}: there is no log, but the tables hold entries up to {durable_index}"
                )
            self._roll()
            return
        end: SegmentEnd | None = None
        for path in paths:
            end = self._open_segment(path, end, last=path == paths[-1], durable_index=durable_index)
        assert end is not None
        self._descriptor = os.open(paths[-1], os.O_RDWR | os.O_CLOEXEC)
        os.fdatasync(self._descriptor)  # a killed process may have written what it never synced
        self._offset, self._last_index, self._last_hash = end.offset, end.index, end.hash

    def _open_segment(
        self, path: Path, before: SegmentEnd | None, *, last: bool, durable_index: int
    ) -> SegmentEnd:
        data = path.read_bytes()
        header = read_header(data, path)
        if before is not None and (before.index + 1, before.hash) != (header.first_index, header.previous):
            raise LogCorruptError(
                f"{path}: continues entry {header.first_index - 1}, but the segment before it ends, "
                f"or is damaged, at entry {before.index}. Restore it from a backup"
            )
        end = SegmentEnd(0, 0, b"")
        for _offset, record in read_records(data, header, end):
            self._last_time_ms = max(self._last_time_ms, record.entry.time_ms)
        if last:
            if check_tail(data, end, path, durable_index=durable_index):
                log.warning("torn log tail cut off", extra={"file": path.name, "offset": end.offset})
                cut_tail(path, end.offset, self._segment_bytes)
        elif data[end.offset :].strip(b"\0"):
            raise LogCorruptError(f"{path}: entry {end.index + 1} at byte {end.offset} is damaged")
        self._first_indices.append(header.first_index)
        return end

    def append(self, entries: Sequence[LogEntry]) -> list[bytes]:
        """Durable when it returns; gives each record's hash. Entries must continue the log.

        Raises LogFailedError: some, all or none of them may be durable, and nothing can be appended
        any more.
        """
        if self._failed is not None:
            raise LogFailedError(f"the log stopped earlier: {self._failed}") from self._failed
        try:
            return self._append(entries)
        except OSError as error:
            self._failed = error
            raise LogFailedError(f"writing the log failed: {error}") from error

    def _append(self, entries: Sequence[LogEntry]) -> list[bytes]:
        hashes = []
        pending: list[bytes] = []
        room = self._segment_bytes - self._offset
        durable, previous, index = self._last_index, self._last_hash, self._last_index
        for entry in entries:
            assert entry.index == index + 1, (entry.index, index)
            frame = encode_record(entry, previous=previous, durable_index=durable)
            if len(frame) > room:
                self._write(pending)
                self._last_index, self._last_hash = index, previous
                self._roll()
                pending, room, durable = [], self._segment_bytes - self._offset, index
                frame = encode_record(entry, previous=previous, durable_index=durable)
            pending.append(frame)
            room -= len(frame)
            previous, index = hash_bytes(frame), entry.index
            hashes.append(previous)
            self._last_time_ms = max(self._last_time_ms, entry.time_ms)
        self._write(pending)
        self._last_index, self._last_hash = index, previous
        return hashes

    def _write(self, frames: list[bytes]) -> None:
        if not frames:
            return
        data = b"".join(frames)
        write_at(self._descriptor, data, self._offset)
        os.fdatasync(self._descriptor)
        self._offset += len(data)

    def _roll(self) -> None:
        """A new segment that continues here. Everything before it is durable already."""
        first_index = self._last_index + 1
        if self._first_indices and self._first_indices[-1] == first_index:
            raise AssertionError("a record larger than a segment")
        header = SegmentHeader(first_index, self._last_hash)
        descriptor = create_segment(self._directory, header, self._segment_bytes)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._offset = descriptor, HEADER_BYTES
        self._first_indices.append(first_index)

    def read(self, from_index: int) -> Iterator[Record]:
        """Records from `from_index` on, as they are on disk.

        Raises LogCorruptError when that entry was compacted away, or the files changed under us.
        """
        if from_index < self._first_indices[0]:
            raise LogCorruptError(
                f"{self._directory}: entry {from_index} is needed, the log starts at {self.first_index}"
            )
        index = from_index - 1
        for position, first_index in enumerate(self._first_indices):
            following = self._first_indices[position + 1 : position + 2]
            if following and following[0] <= from_index:
                continue
            path = segment_path(self._directory, first_index)
            data = path.read_bytes()
            end = SegmentEnd(0, 0, b"")
            for _offset, record in read_records(data, read_header(data, path), end):
                if record.entry.index >= from_index:
                    index = record.entry.index
                    yield record
        if index < self._last_index:
            raise LogCorruptError(f"{self._directory}: entry {index + 1} can no longer be read")

    def compact(self, below_index: int) -> int:
        """Deletes segments that hold only entries below `below_index`; gives how many.

        The caller vouches that the tables hold those entries durably. Raises OSError.
        """
        removed = 0
        while len(self._first_indices) > 1 and self._first_indices[1] <= below_index:
            segment_path(self._directory, self._first_indices[0]).unlink()
            self._first_indices.pop(0)
            removed += 1
        if removed:
            fsync_directory(self._directory)
        return removed

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
