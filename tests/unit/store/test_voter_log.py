"""A voter's log: what is durable stays, what is torn goes, what is damaged is refused; on simulated disks."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.store.errors import LogCorruptError, LogFailedError
from fabric.store.files import OsFiles
from fabric.store.framing import HASH_BYTES
from fabric.store.voter_log import HEADER_BYTES, SEGMENT_BYTES_MIN, Restored, VoterLog
from fabric.store.voter_record import decode_record, encode_record
from proto.ids import LogIndex, Term, VoterId
from proto.raft import EntryKind, LogEntry
from tests.sim.raft_files import PowerLostError, SimFiles

VOTERS = Configuration(frozenset(map(VoterId, ("a", "b", "c"))))


def mark(index: int, term: int = 1) -> SnapshotMark:
    return SnapshotMark(LogIndex(index), Term(term), VOTERS)


def entry(index: int, term: int = 1, size: int = 20) -> LogEntry:
    data = bytes([index % 251 + 1]) * size
    return LogEntry(index=LogIndex(index), term=Term(term), kind=EntryKind.COMMAND, data=data)


def hard(term: int, vote: str | None = None) -> HardState:
    return HardState(Term(term), None if vote is None else VoterId(vote))


def created(files: SimFiles | None = None) -> tuple[SimFiles, VoterLog]:
    files = files or SimFiles()
    log = VoterLog(files, segment_bytes=SEGMENT_BYTES_MIN)
    log.create(mark(0, 0))
    return files, log


def again(files: SimFiles) -> Restored:
    log = VoterLog(files, segment_bytes=SEGMENT_BYTES_MIN)
    restored = log.open()
    assert restored is not None
    assert log.last_index == restored.mark.index + len(restored.entries)
    log.write(entries=[entry(log.last_index + 1, 99)])  # it takes more
    log.close()
    return restored


def test_what_was_written_is_there_again() -> None:
    files, log = created()
    log.write(hard_state=hard(3, "b"), entries=[entry(1), entry(2)])
    log.write(entries=[entry(3, 3)])
    log.write(hard_state=hard(4))
    assert again(files) == Restored(hard(4), mark(0, 0), [entry(1), entry(2), entry(3, 3)])


def test_entries_replace_what_is_there_and_behind() -> None:
    files, log = created()
    log.write(entries=[entry(index) for index in range(1, 6)])
    log.write(hard_state=hard(2), entries=[entry(3, 2)])
    assert log.last_index == 3
    assert again(files).entries == [entry(1), entry(2), entry(3, 2)]


def test_there_is_no_log_where_none_was_made() -> None:
    assert VoterLog(SimFiles()).open() is None


def test_a_log_is_not_made_twice() -> None:
    files, _ = created()
    with pytest.raises(LogCorruptError, match="already"):
        created(files)


def test_what_a_snapshot_holds_goes_with_its_segments() -> None:
    files, log = created()
    log.write(hard_state=hard(5, "a"))
    for index in range(1, 13):
        log.write(entries=[entry(index, size=300_000)])
    before = log.segment_count
    log.compact(mark(9))
    assert log.segment_count < before
    restored = again(files)
    assert (restored.hard_state, restored.mark) == (hard(5, "a"), mark(9))
    assert restored.entries == [entry(index, size=300_000) for index in (10, 11, 12)]


@pytest.mark.parametrize("index", [2, 3, 50])
def test_a_snapshot_from_elsewhere_replaces_everything(index: int) -> None:
    files, log = created()
    log.write(entries=[entry(1), entry(2), entry(3)])
    log.write(hard_state=hard(7), installed=mark(index, 7))
    log.write(entries=[entry(index + 1, 7)])
    assert again(files) == Restored(hard(7), mark(index, 7), [entry(index + 1, 7)])


def test_an_entry_larger_than_what_is_left_begins_a_segment() -> None:
    files, log = created()
    sizes = [500_000, 500_000, 900_000, 10]
    log.write(entries=[entry(index, size=size) for index, size in enumerate(sizes, 1)])
    assert log.segment_count > 1
    assert [len(each.data) for each in again(files).entries] == sizes


@pytest.mark.parametrize("seed", range(300))
def test_a_crash_at_any_step_keeps_what_was_acknowledged_and_no_half_group(seed: int) -> None:
    """Power is lost in the middle of some operation; of what was not synced any sectors are there."""
    rng = Random(seed)
    files, log = created()
    term, kept = 1, Restored(hard(0), mark(0, 0), [])
    files.lose_power_after(rng.randrange(60))
    written: Restored | None = None
    try:
        while True:
            state = hard(term := term + 1) if rng.random() < 0.3 else None
            last = kept.mark.index + len(kept.entries)
            first = rng.randint(kept.mark.index + 1, last + 1) if rng.random() < 0.3 else last + 1
            size = rng.choice((1, 100, 2_000, 250_000))
            new = [entry(first + i, term, size) for i in range(rng.randrange(5))]
            written = Restored(
                state or kept.hard_state,
                kept.mark,
                [each for each in kept.entries if not new or each.index < first] + new,
            )
            log.write(hard_state=state, entries=new)
            kept, written = written, None
            if kept.entries and rng.random() < 0.2:
                at = rng.choice(kept.entries)
                written = Restored(
                    kept.hard_state,
                    mark(at.index, at.term),
                    [each for each in kept.entries if each.index > at.index],
                )
                log.compact(mark(at.index, at.term))
                kept, written = written, None
    except PowerLostError:
        files.crash(rng)
    found = again(files)
    assert found == kept or (written is not None and is_beginning(found, kept, written))


def is_beginning(found: Restored, kept: Restored, written: Restored) -> bool:
    """Hard state first, then entries in order: none of them without those before it."""
    if found.hard_state not in (kept.hard_state, written.hard_state):
        return False
    if found.mark != written.mark:
        return found.mark == kept.mark and found.entries == kept.entries
    if found.entries == kept.entries:
        return True
    is_prefix = found.entries == written.entries[: len(found.entries)]
    return is_prefix and found.hard_state == written.hard_state


@pytest.mark.parametrize("seed", range(100))
def test_damage_before_the_tail_is_refused_and_never_repaired(seed: int) -> None:
    rng = Random(seed)
    files, log = created()
    for index in range(1, 20):
        log.write(entries=[entry(index, size=rng.randrange(1, 300))])
    (name,) = files.names()
    data = files.read(name)
    offsets, at = [], HEADER_BYTES
    while (record := decode_record(data, at)) is not None:
        offsets.append(at)
        at += record.size
    end_of_the_last_but_two = offsets[-2]
    files.rot(name, rng.randrange(end_of_the_last_but_two))
    with pytest.raises(LogCorruptError):
        VoterLog(files).open()


def test_a_damaged_vote_between_sound_entries_is_refused() -> None:
    """No gap in the entries would show it, and whoever skips it votes again."""
    files, log = created()
    log.write(entries=[entry(1)])
    (name,) = files.names()
    vote_offset = len(files.read(name).rstrip(b"\0"))
    log.write(hard_state=hard(7, "b"))
    for index in (2, 3):
        log.write(entries=[entry(index, 7)])
    files.rot(name, vote_offset + 50)
    with pytest.raises(LogCorruptError, match="shows that it was durable"):
        again(files)


def test_a_record_of_another_history_is_refused() -> None:
    """Sound in itself, in the place and with the number of the one it replaces."""
    files, log = created()
    for index in (1, 2, 3):
        log.write(entries=[entry(index)])
    (name,) = files.names()
    data, at = files.read(name), HEADER_BYTES
    while (record := decode_record(data, at)) is not None and record.payload != entry(2):
        at += record.size
    assert record is not None
    forged = encode_record(
        entry(2), sequence=record.sequence, previous=bytes(HASH_BYTES), durable=record.durable
    )
    assert len(forged) == record.size
    files.open(name).write_at(forged, at)
    with pytest.raises(LogCorruptError, match=f"record {record.sequence}"):
        VoterLog(files).open()


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_missing_or_an_emptied_segment_is_refused(is_missing: bool) -> None:
    files, log = created()
    for index in range(1, 10):
        log.write(entries=[entry(index, size=300_000)])
    name = files.names()[1]
    if is_missing:
        files.remove(name)
    else:
        size = len(files.read(name)) - HEADER_BYTES
        files.open(name).write_at(bytes(size), HEADER_BYTES)
    with pytest.raises(LogCorruptError, match="does not continue"):
        VoterLog(files).open()


def test_a_torn_tail_does_not_make_a_full_segment_look_damaged_later() -> None:
    files, log = created()
    (name,) = files.names()
    files.open(name).write_at(b"torn", SEGMENT_BYTES_MIN - 4)  # where no later record comes to lie
    log = VoterLog(files, segment_bytes=SEGMENT_BYTES_MIN)
    log.open()
    for index in range(1, 7):
        log.write(entries=[entry(index, size=300_000)])
    assert log.segment_count > 1
    assert len(again(files).entries) == 6


def test_a_segment_that_was_never_finished_is_swept() -> None:
    files, log = created()
    log.write(entries=[entry(1)])
    files.create("00000000000000000009.tmp", 100)
    assert again(files).entries == [entry(1)]
    assert not [name for name in files.names() if name.endswith(".tmp")]


def test_a_failed_sync_stops_the_log_for_good() -> None:
    """The kernel may have dropped the pages: a second sync that succeeds says nothing."""
    files, log = created()
    files.fail_when(lambda operation: operation == "sync")
    with pytest.raises(LogFailedError):
        log.write(entries=[entry(1)])
    files.fail_when(lambda operation: False)
    with pytest.raises(LogFailedError, match="earlier"):
        log.write(entries=[entry(1)])
    files.crash(Random(1))
    assert again(files).entries == []


def test_what_a_failed_sync_dropped_is_written_again_by_the_next_life() -> None:
    """The kernel calls it clean, so a sync alone would leave a hole in front of all that comes after it."""
    files, log = created()
    log.write(entries=[entry(1)])
    group = [entry(2, size=3_000), entry(3)]
    files.fail_when(lambda operation: operation == "sync")
    with pytest.raises(LogFailedError):
        log.write(entries=group)
    files.process_ends()
    assert again(files).entries == [entry(1), *group], "they are in the kernel's cache still"
    files.crash(Random(1))
    assert again(files).entries == [entry(1), *group, entry(4, 99)]


def test_a_segment_whose_name_was_not_synced_is_kept_by_the_next_life() -> None:
    files, log = created()
    for index in (1, 2):
        log.write(entries=[entry(index, size=SEGMENT_BYTES_MIN // 3)])
    files.fail_when(lambda operation: operation == "sync_names")
    with pytest.raises(LogFailedError):
        log.write(entries=[entry(3, size=SEGMENT_BYTES_MIN // 3)])
    files.process_ends()
    assert len(again(files).entries) == 2
    files.crash(Random(2))
    assert again(files).entries[2:] == [entry(3, 99)]


def test_what_cannot_be_read_now_is_not_damaged() -> None:
    files, log = created()
    log.write(entries=[entry(1)])
    files.process_ends()
    files.fail_when(lambda operation: operation == "read")
    with pytest.raises(OSError, match="read failed"):
        again(files)
    files.process_ends()
    assert again(files).entries == [entry(1)]


def test_a_full_disk_stops_the_log_and_loses_nothing() -> None:
    files, log = created()
    files.free_bytes = SEGMENT_BYTES_MIN // 2
    for index in (1, 2, 3):
        log.write(entries=[entry(index, size=300_000)])
    with pytest.raises(LogFailedError, match="space"):
        log.write(entries=[entry(4, size=300_000)])
    files.free_bytes = None
    assert len(again(files).entries) == 3


def test_on_a_real_disk(tmp_path: Path) -> None:
    log = VoterLog(OsFiles(tmp_path / "log"), segment_bytes=SEGMENT_BYTES_MIN)
    log.create(mark(0, 0))
    for index in range(1, 9):
        log.write(hard_state=hard(index, "a"), entries=[entry(index, size=300_000)])
    log.compact(mark(4))
    log.close()
    other = VoterLog(OsFiles(tmp_path / "log"), segment_bytes=SEGMENT_BYTES_MIN)
    restored = other.open()
    assert restored is not None
    assert (restored.hard_state, restored.mark) == (hard(8, "a"), mark(4))
    assert [each.index for each in restored.entries] == [5, 6, 7, 8]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "log").iterdir()} == {0o600}
    other.close()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    log = VoterLog(OsFiles(tmp_path / "log"), segment_bytes=SEGMENT_BYTES_MIN)
    with monkeypatch.context() as short:
        short.setattr(os, "pwrite", lambda fd, data, offset: real(fd, bytes(data)[:7], offset))
        log.create(mark(0, 0))
        log.write(entries=[entry(1), entry(2)])
    log.close()
    other = VoterLog(OsFiles(tmp_path / "log"), segment_bytes=SEGMENT_BYTES_MIN)
    restored = other.open()
    assert restored is not None
    assert restored.entries == [entry(1), entry(2)]
    other.close()
