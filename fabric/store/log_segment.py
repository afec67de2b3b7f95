"""One segment file: a header, records one after another, zeros up to its preallocated size.

What a crash may leave. Records of one group are written by one pwrite and acknowledged after its
fdatasync, so any part of the last group may be missing, also its beginning while its end is there. A bad
spot is such a torn tail when nothing proves that it was once durable; then it is cut off, for nobody was ever
told of it. It is damage, and we refuse, when a sound record behind it was written with
`durable_index` at or past the bad one, when the tables already hold what it held, or when a newer segment
exists (a segment is fsynced before its successor is made).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fabric.store.errors import LogCorruptError
from fabric.store.files import fsync_directory, write_at
from fabric.store.framing import HASH_BYTES
from fabric.store.log_record import MAGIC, Record, decode_record

HEADER_BYTES = 64
_HEADER = struct.Struct(f">8sQ{HASH_BYTES}sI")
_HEADER_MAGIC = b"FABLOG01"
_SUFFIX = ".seg"


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    first_index: int
    previous: bytes  # hash of the last record before this segment


def segment_path(directory: Path, first_index: int) -> Path:
    return directory / f"{first_index:020d}{_SUFFIX}"


def list_segments(directory: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in directory.iterdir() if path.suffix == _SUFFIX)


def create_segment(directory: Path, header: SegmentHeader, segment_bytes: int) -> int:
    """A preallocated segment, durable with its name when this returns. The descriptor is the caller's.

    Raises OSError; a half-made file is left under a `.tmp` name that `sweep_unfinished` removes.
    """
    path = segment_path(directory, header.first_index)
    unfinished = path.with_suffix(".tmp")
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, segment_bytes)
        write_at(descriptor, _encode_header(header), 0)
        os.fsync(descriptor)
        os.rename(unfinished, path)
        fsync_directory(directory)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sweep_unfinished(directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        if path.suffix == ".tmp":
            path.unlink()


def read_header(data: bytes, path: Path) -> SegmentHeader:
    """Raises LogCorruptError."""
    if len(data) < HEADER_BYTES:
        raise LogCorruptError(f"{path}: too short for a segment header")
    magic, first_index, previous, crc = _HEADER.unpack_from(data)
    if magic != _HEADER_MAGIC or zlib.crc32(data[: _HEADER.size - 4]) != crc:
        raise LogCorruptError(f"{path}: the segment header is damaged")
    if segment_path(path.parent, first_index).name != path.name:
        raise LogCorruptError(f"{path}: the header says that it starts at entry {first_index}")
    return SegmentHeader(first_index, previous)


@dataclass(slots=True)
class SegmentEnd:
    """Where reading stopped."""

    offset: int
    index: int  # of the last sound record, or of the one before the segment
    hash: bytes


def read_records(data: bytes, header: SegmentHeader, end: SegmentEnd) -> Iterator[tuple[int, Record]]:
    """(offset, record) for each sound record that continues the chain; `end` follows along."""
    end.offset, end.index, end.hash = HEADER_BYTES, header.first_index - 1, header.previous
    while True:
        record = decode_record(data, end.offset)
        if record is None or record.entry.index != end.index + 1 or record.previous != end.hash:
            return
        start = end.offset
        end.offset, end.index, end.hash = start + record.size, record.entry.index, record.hash
        yield start, record


def check_tail(data: bytes, end: SegmentEnd, path: Path, *, durable_index: int) -> bool:
    """Whether the bytes after `end` are a torn tail that must be cut off; False: there is nothing.

    `durable_index`: the last entry known to be durable from elsewhere (the tables).

    Raises LogCorruptError when what is missing was once durable.
    """
    if durable_index > end.index:
        raise LogCorruptError(
            f"{path}: entry {end.index + 1} at byte {end.offset} is damaged or missing, but the tables "
            f"hold entries up to {durable_index}: it was durable once. Restore the file, or the whole state "
            "directory, from a backup"
        )
    rest = data[end.offset :]
    if not rest.strip(b"\0"):
        return False
    at = rest.find(MAGIC)
    while at >= 0:
        record = decode_record(rest, at)
        if record is not None and record.durable_index > end.index:
            raise LogCorruptError(
                f"{path}: entry {end.index + 1} at byte {end.offset} is damaged, but entry "
                f"{record.entry.index} behind it shows that it was durable. Restore the file, or the whole "
                "state directory, from a backup"
            )
        at = rest.find(MAGIC, at + 1)
    return True


def cut_tail(path: Path, offset: int, segment_bytes: int) -> None:
    """Zeros from `offset` on, preallocated again, durable when this returns. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(descriptor, offset)
        os.posix_fallocate(descriptor, 0, max(segment_bytes, offset))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode_header(header: SegmentHeader) -> bytes:
    plain = struct.pack(f">8sQ{HASH_BYTES}s", _HEADER_MAGIC, header.first_index, header.previous)
    return (plain + struct.pack(">I", zlib.crc32(plain))).ljust(HEADER_BYTES, b"\0")
