"""A voter's log on disk: what it promised, in segments, written by one thread. Nothing here locks.

`write` returns after fdatasync: what it was given is durable. A crash before that leaves a beginning of it,
and its order is hard state, snapshot mark, entries: so no entry is ever newer than the term on disk. After
any failure of a write or sync the log takes no more (Rebello and others, "Can Applications Recover from fsync
Failures?", 2020): the voter ends, and what is really there is read at its next start.

Each segment begins with the hard state and the mark in force, so that older segments can go once no entry in
them is needed.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.store.errors import LogCorruptError, LogFailedError
from fabric.store.files import File, Files
from fabric.store.framing import GENESIS, HASH_BYTES, hash_bytes
from fabric.store.voter_record import (
    MAGIC,
    RECORD_BYTES_MAX,
    Payload,
    Restart,
    VoterRecord,
    decode_record,
    encode_record,
)
from proto.raft import LogEntry

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20  # design/log.md, section 4
HEADER_BYTES = 64
_HEADER = struct.Struct(f">8sQ{HASH_BYTES}s")
_HEADER_CRC = struct.Struct(">I")
_HEADER_MAGIC = b"FABVOT01"
SEGMENT_BYTES_MIN = HEADER_BYTES + 2 * 4_096 + RECORD_BYTES_MAX  # state, and any one record
_SUFFIX, _UNFINISHED = ".vseg", ".tmp"


@dataclass(slots=True)
class Restored:
    """What a voter starts from. `entries` follow `mark`."""

    hard_state: HardState
    mark: SnapshotMark
    entries: list[LogEntry]


class VoterLog:
    """`open` or `create` first."""

    def __init__(self, files: Files, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._files = files
        self._segment_bytes = max(segment_bytes, SEGMENT_BYTES_MIN)
        self._segments: list[_Segment] = []
        self._file: File | None = None
        self._offset = self._unproven_offset = 0
        self._sequence = 0  # of the last record written
        self._hash = GENESIS
        self._hard = HardState()
        self._mark: SnapshotMark | None = None
        self._last_index = 0
        self._failed: OSError | None = None

    @property
    def last_index(self) -> int:
        return self._last_index

    @property
    def segment_count(self) -> int:
        return len(self._segments)

    # ---- reading

    def create(self, mark: SnapshotMark) -> Restored:
        """A new log that starts behind `mark`. Raises OSError, LogCorruptError when there is one already."""
        if any(name.endswith(_SUFFIX) for name in self._files.names()):
            raise LogCorruptError("there is a log already")
        self._sweep()
        self._mark, self._last_index = mark, mark.index
        self._roll()
        return Restored(self._hard, mark, [])

    def open(self) -> Restored | None:
        """Reads everything, cuts off a torn tail. None: there is no log. Raises LogCorruptError, OSError."""
        self._sweep()
        names = [name for name in self._files.names() if name.endswith(_SUFFIX)]
        if not names:
            return None
        restored = _Fold()
        for name in names:
            self._read_segment(name, restored, is_last=name == names[-1])
        mark = restored.check(names[0])
        self._file = self._files.open(names[-1])
        self._write_again(names[-1])
        self._hard, self._mark = restored.hard, mark
        self._last_index = mark.index + len(restored.entries)
        return Restored(restored.hard, mark, restored.entries)

    def _read_segment(self, name: str, restored: _Fold, *, is_last: bool) -> None:
        data = self._files.read(name)
        first, previous = _read_header(data, name)
        if self._segments and (first, previous) != (self._sequence + 1, self._hash):
            raise LogCorruptError(f"{name}: does not continue record {self._sequence} before it")
        self._sequence, self._hash = first - 1, previous
        segment = _Segment(name)
        self._segments.append(segment)
        offset = HEADER_BYTES
        unproven = deque[tuple[int, int]]()  # (sequence, offset) of what no later record says is durable
        while (record := decode_record(data, offset)) is not None and self._continues(record):
            self._sequence, self._hash = record.sequence, record.hash
            unproven.append((record.sequence, offset))
            while unproven and unproven[0][0] <= record.durable:
                unproven.popleft()
            restored.take(record.payload, name)
            segment.note(record.payload)
            offset += record.size
        self._offset = offset
        self._unproven_offset = unproven[0][1] if unproven else offset
        if not data[offset:].strip(b"\0"):
            return
        if not is_last:
            raise LogCorruptError(f"{name}: record {self._sequence + 1} at byte {offset} is damaged")
        self._check_tail(data, offset, name)
        log.warning("torn log tail cut off", extra={"file": name, "offset": offset})
        self._zero_tail(name, offset, len(data))

    def _continues(self, record: VoterRecord) -> bool:
        return record.sequence == self._sequence + 1 and record.previous == self._hash

    def _check_tail(self, data: bytes, offset: int, name: str) -> None:
        """A sound record behind the bad spot that was written when the bad one was durable proves damage:
        a crash tears only what was not. Raises LogCorruptError."""
        at = data.find(MAGIC, offset)
        while at >= 0:
            record = decode_record(data, at)
            if record is not None and record.durable > self._sequence:
                raise LogCorruptError(
                    f"{name}: record {self._sequence + 1} at byte {offset} is damaged, but record "
                    f"{record.sequence} behind it shows that it was durable"
                )
            at = data.find(MAGIC, at + 1)

    def _zero_tail(self, name: str, offset: int, size: int) -> None:
        file = self._files.open(name)
        try:
            file.write_at(bytes(size - offset), offset)
            file.sync()
        finally:
            file.close()

    def _write_again(self, name: str) -> None:
        """A killed process may have written what it never synced, and where a sync failed the kernel calls
        clean what is not on the disk: a sync alone would say that all is well."""
        assert self._file is not None
        data = self._files.read(name)[self._unproven_offset : self._offset]
        self._file.write_at(data, self._unproven_offset)
        self._file.sync()
        self._files.sync_names()

    def _sweep(self) -> None:
        for name in self._files.names():
            if name.endswith(_UNFINISHED):
                self._files.remove(name)

    # ---- writing

    def write(
        self,
        *,
        hard_state: HardState | None = None,
        installed: SnapshotMark | None = None,
        entries: Sequence[LogEntry] = (),
    ) -> None:
        """Durable when it returns. `installed`: the log starts anew behind a snapshot that is durable.
        Entries replace what is at their indices and behind. Raises LogFailedError: some, all or nothing may
        be durable, and nothing can be written any more."""
        payloads: list[Payload] = []
        if hard_state is not None:
            payloads.append(hard_state)
        if installed is not None:
            payloads.append(Restart(installed))
        self._guarded([*payloads, *entries])

    def compact(self, mark: SnapshotMark) -> None:
        """A snapshot of up to `mark`, which is in the log, is durable: what is before it may go. Raises
        LogFailedError."""
        assert self._mark is not None
        assert self._mark.index < mark.index <= self._last_index
        self._guarded([mark])

    def _guarded(self, payloads: Sequence[Payload]) -> None:
        if self._failed is not None:
            raise LogFailedError(f"the log stopped earlier: {self._failed}") from self._failed
        try:
            mark = self._mark
            self._write(payloads)
            if self._mark is not mark:
                self._drop_segments()
        except OSError as error:
            self._failed = error
            raise LogFailedError(f"writing the log failed: {error}") from error

    def _write(self, payloads: Sequence[Payload]) -> None:
        assert self._file is not None
        durable, pending, size = self._sequence, list[bytes](), 0
        for payload in payloads:
            frame = self._encode(payload, durable)
            if self._offset + size + len(frame) > self._segment_bytes:
                self._flush(pending)
                self._roll()
                durable, pending, size = self._sequence, [], 0
                frame = self._encode(payload, durable)
            pending.append(frame)
            size += len(frame)
            self._sequence += 1
            self._hash = hash_bytes(frame)
            self._segments[-1].note(payload)
            self._note(payload)
        self._flush(pending)

    def _encode(self, payload: Payload, durable: int) -> bytes:
        return encode_record(payload, sequence=self._sequence + 1, previous=self._hash, durable=durable)

    def _note(self, payload: Payload) -> None:
        match payload:
            case HardState():
                self._hard = payload
            case SnapshotMark():
                self._mark = payload
            case Restart(mark):
                self._mark, self._last_index = mark, mark.index
            case LogEntry(index=index):
                assert self._mark is not None
                assert self._mark.index < index <= self._last_index + 1, (index, self._last_index)
                self._last_index = index

    def _flush(self, frames: list[bytes]) -> None:
        if frames:
            assert self._file is not None
            data = b"".join(frames)
            self._file.write_at(data, self._offset)
            self._file.sync()
            self._offset += len(data)

    def _roll(self) -> None:
        """A new segment that continues here and begins with the state in force. All before it is durable."""
        assert self._mark is not None
        first = self._sequence + 1
        name = f"{first:020d}{_SUFFIX}"
        unfinished = name.removesuffix(_SUFFIX) + _UNFINISHED
        file = self._files.create(unfinished, self._segment_bytes)
        state: tuple[Payload, ...] = (self._hard, self._mark)
        sequence, previous, frames = self._sequence, self._hash, list[bytes]()
        for payload in state:
            frame = encode_record(payload, sequence=sequence + 1, previous=previous, durable=self._sequence)
            frames.append(frame)
            sequence, previous = sequence + 1, hash_bytes(frame)
        data = _encode_header(first, self._hash) + b"".join(frames)
        try:
            file.write_at(data, 0)
            file.sync()
            self._files.rename(unfinished, name)
            self._files.sync_names()
        except BaseException:
            file.close()
            raise
        if self._file is not None:
            self._file.close()
        self._file, self._offset = file, len(data)
        self._sequence, self._hash = sequence, previous
        self._segments.append(_Segment(name))

    def _drop_segments(self) -> None:
        """Those that hold no entry behind the mark; never the last."""
        assert self._mark is not None
        dropped = 0
        while len(self._segments) > 1 and self._segments[0].last_index <= self._mark.index:
            self._files.remove(self._segments.pop(0).name)
            dropped += 1
        if dropped:
            self._files.sync_names()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Segment:
    """A file, and the highest index of an entry in it, whether it still counts or not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last_index = 0

    def note(self, payload: Payload) -> None:
        if isinstance(payload, LogEntry):
            self.last_index = max(self.last_index, payload.index)


class _Fold:
    """What the records say when they are taken in order. Segments before the oldest are gone, so its first
    entry may lie beyond the mark it begins with; a later mark explains it."""

    def __init__(self) -> None:
        self.hard = HardState()
        self.mark: SnapshotMark | None = None
        self.entries: list[LogEntry] = []  # without a gap

    def take(self, payload: Payload, name: str) -> None:
        match payload:
            case HardState():
                self.hard = payload
            case SnapshotMark():
                self.mark = payload
                self._forget_before(payload.index + 1)
            case Restart(mark):
                self.mark, self.entries = mark, []
            case LogEntry():
                self._put(payload, name)

    def _forget_before(self, index: int) -> None:
        if self.entries:
            del self.entries[: max(0, index - self.entries[0].index)]

    def _put(self, entry: LogEntry, name: str) -> None:
        if self.entries:
            at = entry.index - self.entries[0].index
            if at > len(self.entries):
                raise LogCorruptError(f"{name}: entry {entry.index} follows {self.entries[-1].index}")
            del self.entries[max(0, at) :]
        self.entries.append(entry)

    def check(self, name: str) -> SnapshotMark:
        """Raises LogCorruptError."""
        if self.mark is None:
            raise LogCorruptError(f"{name}: the log does not say where it starts")
        if self.entries and self.entries[0].index != self.mark.index + 1:
            raise LogCorruptError(
                f"{name}: entries {self.mark.index + 1} to {self.entries[0].index - 1} are missing"
            )
        return self.mark


def _encode_header(first: int, previous: bytes) -> bytes:
    plain = _HEADER.pack(_HEADER_MAGIC, first, previous)
    return (plain + _HEADER_CRC.pack(zlib.crc32(plain))).ljust(HEADER_BYTES, b"\0")


def _read_header(data: bytes, name: str) -> tuple[int, bytes]:
    """(sequence of the first record, hash of the record before). Raises LogCorruptError."""
    if len(data) < HEADER_BYTES:
        raise LogCorruptError(f"{name}: too short for a segment header")
    magic, first, previous = _HEADER.unpack_from(data)
    (crc,) = _HEADER_CRC.unpack_from(data, _HEADER.size)
    if magic != _HEADER_MAGIC or zlib.crc32(data[: _HEADER.size]) != crc:
        raise LogCorruptError(f"{name}: the segment header is damaged")
    if f"{first:020d}{_SUFFIX}" != name:
        raise LogCorruptError(f"{name}: the header says that it starts at record {first}")
    return first, previous
