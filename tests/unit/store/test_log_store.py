"""The log on disk: what is durable stays, what is torn goes, what is damaged is refused."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fabric.store.errors import LogCorruptError, LogFailedError
from fabric.store.framing import GENESIS, PREFIX_BYTES, hash_bytes
from fabric.store.log_record import LogEntry, decode_record, encode_record
from fabric.store.log_segment import HEADER_BYTES, list_segments
from fabric.store.log_store import SEGMENT_BYTES_MIN, LogStore
from proto.ids import LogIndex, RequestId, Term


def entry(index: int, size: int = 20) -> LogEntry:
    command = bytes([index % 251 + 1]) * size
    return LogEntry(
        LogIndex(index), Term(1), 1_000 + index, RequestId(f"req-{index}"), hash_bytes(command), command
    )


def opened(directory: Path, durable_index: int = 0) -> LogStore:
    store = LogStore(directory, segment_bytes=SEGMENT_BYTES_MIN)
    store.open(durable_index=durable_index)
    return store


def written(directory: Path, groups: list[list[int]], size: int = 20) -> list[int]:
    """Writes groups of entries; gives the offset in the last segment after each group."""
    store = opened(directory)
    offsets = []
    for group in groups:
        store.append([entry(index, size) for index in group])
        offsets.append(store._offset)
    store.close()
    return offsets


def indices(store: LogStore, start: int = 1) -> list[int]:
    return [record.entry.index for record in store.read(start)]


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert (store.last_index, store.last_hash, store.first_index) == (0, GENESIS, 1)
    hashes = store.append([entry(1), entry(2)]) + store.append([entry(3, size=0)])
    assert [(r.entry, r.hash) for r in store.read(1)] == list(
        zip([entry(1), entry(2), entry(3, size=0)], hashes, strict=True)
    )
    store.close()
    again = opened(tmp_path)
    assert (again.last_index, again.last_hash, again.last_time_ms) == (3, hashes[-1], 1_003)
    again.append([entry(4)])
    assert indices(again, 3) == [3, 4]
    again.close()


def test_files_are_private(tmp_path: Path) -> None:
    store = opened(tmp_path / "log")
    store.close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    assert list_segments(tmp_path / "log")[0].stat().st_mode & 0o777 == 0o600


def test_segments_roll_and_compact(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for index in range(1, 13):
        store.append([entry(index, size=300_000)])
    assert store.segment_count == 4
    second = store._first_indices[1]
    assert store.compact(second - 1) == 0  # its last entry is still needed
    assert store.compact(second) == 1
    assert store.first_index == second
    with pytest.raises(LogCorruptError, match="starts at"):
        indices(store)
    assert store.compact(10_000) == 2  # the segment being written is never deleted
    store.close()
    again = opened(tmp_path, durable_index=12)
    assert again.last_index == 12
    assert indices(again, again.first_index) == list(range(again.first_index, 13))
    again.close()


def test_a_group_may_span_segments(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append([entry(index, size=400_000) for index in range(1, 8)])
    assert store.segment_count == 4
    store.close()
    again = opened(tmp_path)
    assert indices(again) == list(range(1, 8))
    again.close()


def test_torn_tail_is_cut_at_every_byte(tmp_path: Path) -> None:
    """The last group's bytes end anywhere: everything acknowledged before it is there, no half entry is."""
    before, after = written(tmp_path / "whole", [[1, 2, 3], [4]])
    data = list_segments(tmp_path / "whole")[0].read_bytes()
    for cut in range(before, after):
        directory = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "whole", directory)
        torn = data[:cut] + bytes(len(data) - cut)
        list_segments(directory)[0].write_bytes(torn)
        store = opened(directory, durable_index=3)
        # the last bytes of a record can be zeros themselves; whole is whole
        assert store.last_index in ((3,) if torn[before:after] != data[before:after] else (4,))
        store.append([entry(store.last_index + 1)])
        assert indices(store) == list(range(1, store.last_index + 1))
        store.close()
        shutil.rmtree(directory)


def test_any_subset_of_the_last_group_may_be_missing(tmp_path: Path) -> None:
    """Pages of one write reach the disk in any order: its start may be lost and its end there."""
    before, after = written(tmp_path / "whole", [[1, 2], [3, 4, 5]])
    data = list_segments(tmp_path / "whole")[0].read_bytes()
    size = (after - before) // 3
    for lost in range(3):
        directory = tmp_path / f"lost-{lost}"
        shutil.copytree(tmp_path / "whole", directory)
        start = before + lost * size
        list_segments(directory)[0].write_bytes(data[:start] + bytes(size) + data[start + size :])
        store = opened(directory, durable_index=2)
        assert store.last_index == 2 + lost
        store.append([entry(3 + lost), entry(4 + lost)])
        store.close()
        again = opened(directory)  # nothing of the old tail comes back
        assert indices(again) == list(range(1, 5 + lost))
        again.close()


def test_damage_before_the_tail_is_refused_at_every_byte(tmp_path: Path) -> None:
    first, second, _third = written(tmp_path / "whole", [[1], [2], [3]])
    data = list_segments(tmp_path / "whole")[0].read_bytes()
    for at in range(HEADER_BYTES, second):
        directory = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", directory)
        flipped = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        list_segments(directory)[0].write_bytes(flipped)
        which = 1 if at < first else 2
        with pytest.raises(LogCorruptError, match=rf"entry {which} at byte .* is damaged"):
            opened(directory)
        shutil.rmtree(directory)


def test_damage_in_the_last_entry_is_refused_when_the_tables_have_it(tmp_path: Path) -> None:
    before, _ = written(tmp_path, [[1], [2]])
    path = list_segments(tmp_path)[0]
    data = path.read_bytes()
    path.write_bytes(data[: before + 30] + b"\xff" + data[before + 31 :])
    with pytest.raises(LogCorruptError, match="it was durable once"):
        opened(tmp_path, durable_index=2)
    assert opened(tmp_path, durable_index=1).last_index == 1


@pytest.mark.parametrize("at", [0, 9, 20, 50])
def test_a_damaged_header_is_refused(tmp_path: Path, at: int) -> None:
    written(tmp_path, [[1]])
    path = list_segments(tmp_path)[0]
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(LogCorruptError, match="header"):
        opened(tmp_path)


def test_a_missing_or_cut_segment_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path / "whole")
    for index in range(1, 10):
        store.append([entry(index, size=300_000)])
    store.close()
    for name, harm in (
        ("missing", lambda path: path.unlink()),
        ("emptied", lambda path: path.write_bytes(path.read_bytes()[: HEADER_BYTES + 5])),
    ):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        harm(list_segments(tmp_path / name)[1])
        with pytest.raises(LogCorruptError):
            opened(tmp_path / name)


def test_tables_without_their_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LogCorruptError, match="there is no log"):
        opened(tmp_path, durable_index=5)


def test_an_unfinished_segment_is_swept(tmp_path: Path) -> None:
    written(tmp_path, [[1]])
    (tmp_path / "00000000000000000002.tmp").write_bytes(b"half")
    store = opened(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    store.close()


def test_records_that_were_swapped_break_the_chain(tmp_path: Path) -> None:
    before, after, end = written(tmp_path, [[1], [2], [3]])
    path = list_segments(tmp_path)[0]
    data = path.read_bytes()
    forged = encode_record(entry(2, size=20), previous=hash_bytes(b"other"), durable_index=1)
    assert len(forged) == after - before
    path.write_bytes(data[:before] + forged + data[after:])
    assert decode_record(path.read_bytes(), before) is not None  # sound in itself
    with pytest.raises(LogCorruptError, match="entry 2"):
        opened(tmp_path)
    assert end > after


def _fail(code: int) -> Callable[..., int]:
    def call(*_arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(
    ("function", "code"), [("fdatasync", errno.EIO), ("pwrite", errno.ENOSPC), ("pwrite", errno.EIO)]
)
def test_after_a_failed_write_nothing_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    store = opened(tmp_path)
    store.append([entry(1)])
    with monkeypatch.context() as broken:
        broken.setattr(os, function, _fail(code))
        with pytest.raises(LogFailedError, match=os.strerror(code)):
            store.append([entry(2)])
    with pytest.raises(LogFailedError, match="stopped earlier"):  # the disk is well again: still no
        store.append([entry(2)])
    store.close()
    again = opened(tmp_path)
    assert again.last_index in (1, 2)
    again.close()


def test_no_space_for_a_new_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    store.append([entry(index, size=300_000) for index in (1, 2, 3)])
    monkeypatch.setattr(os, "posix_fallocate", _fail(errno.ENOSPC))
    with pytest.raises(LogFailedError, match="No space left"):
        store.append([entry(4, size=300_000)])
    store.close()
    monkeypatch.undo()
    again = opened(tmp_path)
    assert again.last_index == 3
    again.close()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, bytes(data)[:7], offset))
    store = opened(tmp_path)
    store.append([entry(1), entry(2)])
    store.close()
    monkeypatch.undo()
    again = opened(tmp_path)
    assert indices(again) == [1, 2]
    again.close()


def test_the_record_prefix_is_what_the_text_says() -> None:
    frame = encode_record(entry(1), previous=GENESIS, durable_index=0)
    assert frame[:4] == b"FREC"
    assert int.from_bytes(frame[4:8]) == len(frame) - PREFIX_BYTES
