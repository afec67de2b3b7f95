"""A voter's tables: folded once, copied whole, put in whole or not at all, and one history with the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

import fabric.store.voter_tables as voter_tables
from fabric.core.raft.configuration import Configuration, encode_configuration
from fabric.core.raft.log import SnapshotMark
from fabric.store import tables as t
from fabric.store.command_entry import (
    COMMAND_BYTES_MAX,
    REQUEST_ID_BYTES_MAX,
    TIME_MS_MAX,
    decode_command_entry,
    encode_command_entry,
)
from fabric.store.errors import HaltedError, LogCorruptError, SnapshotRefusedError
from fabric.store.files import OsFiles
from fabric.store.sqlite import open_readers, open_writer, raw
from fabric.store.voter_log import SEGMENT_BYTES_MIN, VoterLog
from fabric.store.voter_start import found_voter, restore_voter
from fabric.store.voter_tables import VoterTables
from proto.codec import pack
from proto.commands import encode_command
from proto.commands.identity import ProjectCreate
from proto.errors import WireError
from proto.ids import LogIndex, ProjectId, RequestId, Term, VoterId
from proto.raft import ENTRY_BYTES_MAX, EntryKind, LogEntry
from tests.fixtures.store_world import DOMAIN, START_MS, fabric_init

ALONE = Configuration(frozenset([VoterId("a")]))
THREE = Configuration(frozenset(map(VoterId, "abc")))
NOWHERE = SnapshotMark(LogIndex(0), Term(0), ALONE)


def logged(index: int, term: int = 1, *, at_ms: int = START_MS, request: str = "") -> LogEntry:
    command = (
        fabric_init()
        if index == 1
        else ProjectCreate(project_id=ProjectId(f"p{index}"), domain_id=DOMAIN, name=f"n{index}")
    )
    data = encode_command_entry(at_ms, RequestId(request or f"q{index}"), encode_command(command))
    return command_entry(index, data, term)


def command_entry(index: int, data: bytes, term: int = 1) -> LogEntry:
    return LogEntry(index=LogIndex(index), term=Term(term), kind=EntryKind.COMMAND, data=data)


def nothing(index: int, term: int) -> LogEntry:
    return LogEntry(index=LogIndex(index), term=Term(term), kind=EntryKind.NOTHING)


def mark(index: int, term: int, configuration: Configuration = ALONE) -> SnapshotMark:
    return SnapshotMark(LogIndex(index), Term(term), configuration)


def opened(path: Path) -> VoterTables:
    return VoterTables(open_writer(path))


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[VoterTables]:
    made = opened(tmp_path / "one.sqlite")
    made.found(NOWHERE)
    yield made
    made._connection.close()


def projects(tables: VoterTables) -> set[str]:
    with tables._connection.begin():
        return {row.project_id for row in tables._connection.execute(select(t.projects))} - {
            "p-admin",
            "p-service",
        }


def copy(tables: VoterTables, path: Path) -> sqlite3.Connection:
    target = sqlite3.connect(path)
    raw(tables._connection).backup(target)
    return target


def test_what_is_folded_is_there_with_its_position(tables: VoterTables, tmp_path: Path) -> None:
    change = LogEntry(
        index=LogIndex(3), term=Term(2), kind=EntryKind.CONFIGURATION, data=encode_configuration(THREE)
    )
    outcomes = tables.fold([logged(1), nothing(2, 2), change, logged(4, 2)])
    assert [one and one.outcome.index for one in outcomes] == [1, None, None, 4]
    assert tables.mark == mark(4, 2, THREE)
    assert projects(tables) == {"p4"}
    tables._connection.close()
    again = opened(tmp_path / "one.sqlite")
    assert again.mark == mark(4, 2, THREE)
    with again._connection:
        assert projects(again) == {"p4"}


def test_a_request_asked_twice_happens_once(tables: VoterTables) -> None:
    tables.fold([logged(1), logged(2)])
    (again,) = tables.fold(
        [LogEntry(index=LogIndex(3), term=Term(1), kind=EntryKind.COMMAND, data=logged(2).data)]
    )
    assert again is not None
    assert (again.outcome.index, again.outcome.replayed, again.outcome.rejection) == (2, True, None)


def test_time_never_goes_back(tables: VoterTables, tmp_path: Path) -> None:
    """A new leader's clock may be behind the old one's; also over a restart."""
    tables.fold([logged(1, at_ms=5_000), logged(2, at_ms=3_000)])
    tables._connection.close()
    again = opened(tmp_path / "one.sqlite")
    again.fold([logged(3, at_ms=4_000), logged(4, at_ms=6_000)])
    with again._connection as connection, connection.begin():
        stamps = [row.time_ms for row in connection.execute(select(t.audit).order_by(t.audit.c.log_index))]
    assert stamps == [5_000, 5_000, 5_000, 6_000]


def test_what_is_before_a_command_nobody_knows_is_folded_and_nothing_from_it_on(tables: VoterTables) -> None:
    body = pack({"kind": "made.up", "version": 1, "fields": {}})
    unknown = encode_command_entry(START_MS, RequestId("q"), body)
    entries = [logged(1), logged(2), command_entry(3, unknown), logged(4)]
    assert len(tables.fold(entries)) == 2
    assert tables.mark == mark(2, 1)
    assert "entry 3" in str(tables.halt)
    assert "made.up" in str(tables.halt)
    assert tables.fold(entries[2:]) == []
    with pytest.raises(HaltedError):
        tables.fold_in_groups(entries[2:])
    assert projects(tables) == {"p2"}


def test_rows_and_position_are_kept_together_or_not_at_all(
    tables: VoterTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise OSError("disk I/O error")

    tables.fold([logged(1)])
    with monkeypatch.context() as broken:
        broken.setattr(voter_tables, "advance", fail)
        with pytest.raises(OSError, match="disk"):
            tables.fold([logged(2)])
    assert projects(tables) == set()
    assert tables.mark == mark(1, 1)
    tables.fold([logged(2)])
    assert projects(tables) == {"p2"}


def test_a_gap_is_never_folded(tables: VoterTables) -> None:
    with pytest.raises(AssertionError):
        tables.fold([logged(2)])


def test_a_copy_is_put_in_whole_while_readers_go_on(tables: VoterTables, tmp_path: Path) -> None:
    tables.fold([logged(1), logged(2)])
    readers = open_readers(tmp_path / "two.sqlite", 1)
    two = opened(tmp_path / "two.sqlite")
    two.found(NOWHERE)
    with (
        readers.connect() as reader,
        reader.begin(),
        closing(copy(tables, tmp_path / "copy.sqlite")) as source,
    ):
        assert reader.execute(select(t.position.c.applied_index)).scalar_one() == 0
        two.install(source, tables.mark)
        assert reader.execute(select(t.position.c.applied_index)).scalar_one() == 0, "one snapshot a read"
    with readers.connect() as reader, reader.begin():
        assert reader.execute(select(t.position.c.applied_index)).scalar_one() == 2
    assert two.mark == tables.mark
    two.fold([logged(3)])
    assert projects(two) == {"p2", "p3"}
    assert two.checkpoint()
    two._connection.close()
    readers.dispose()


@pytest.mark.parametrize("wrong", [mark(1, 1), mark(2, 2), mark(2, 1, THREE)])
def test_another_copy_than_was_announced_is_refused(
    tables: VoterTables, tmp_path: Path, wrong: SnapshotMark
) -> None:
    tables.fold([logged(1), logged(2)])
    two = opened(tmp_path / "two.sqlite")
    with closing(copy(tables, tmp_path / "copy.sqlite")) as source, two._connection:
        with pytest.raises(SnapshotRefusedError, match=r"should be of|is of entry"):
            two.install(source, wrong)
        assert two.mark.index == 0


def test_a_damaged_copy_is_refused(tables: VoterTables, tmp_path: Path) -> None:
    tables.fold([logged(1), *(logged(index) for index in range(2, 200))])
    path = tmp_path / "copy.sqlite"
    with closing(copy(tables, path)) as made:
        (page,) = made.execute("SELECT rootpage FROM sqlite_master WHERE name = 'audit'").fetchone()
        (page_bytes,) = made.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(page - 1) * page_bytes : page * page_bytes] = bytes(page_bytes)
    path.write_bytes(data)
    two = opened(tmp_path / "two.sqlite")
    with closing(sqlite3.connect(path)) as source, two._connection:
        with pytest.raises(SnapshotRefusedError, match="is damaged"):
            two.install(source, tables.mark)
        assert two.mark.index == 0


def test_what_is_no_tables_at_all_is_refused(tables: VoterTables) -> None:
    with closing(sqlite3.connect(":memory:")) as source, pytest.raises(SnapshotRefusedError, match="read"):
        tables.install(source, tables.mark)


def test_a_copy_of_another_schema_is_refused(tables: VoterTables, tmp_path: Path) -> None:
    with closing(copy(tables, tmp_path / "copy.sqlite")) as source:
        source.execute("UPDATE position SET schema_version = 99")
        with pytest.raises(SnapshotRefusedError, match="99"):
            tables.install(source, tables.mark)


# ---- log and tables at a start


def started(tmp_path: Path) -> tuple[VoterLog, VoterTables]:
    log = VoterLog(OsFiles(tmp_path / "log"), segment_bytes=SEGMENT_BYTES_MIN)
    return log, opened(tmp_path / "state.sqlite")


def founded(tmp_path: Path, *terms: int, folded: int = 0) -> None:
    """A voter with entries of these terms, so many of them folded."""
    log, tables = started(tmp_path)
    found_voter(log, tables, NOWHERE)
    entries = [logged(index, term) for index, term in enumerate(terms, 1)]
    log.write(entries=entries)
    if folded:
        tables.fold(entries[:folded])
    ended(log, tables)


def ended(log: VoterLog, tables: VoterTables) -> None:
    log.close()
    tables._connection.close()


def no_snapshot(_mark: SnapshotMark) -> None:
    return None


def test_there_is_no_voter_yet(tmp_path: Path) -> None:
    log, tables = started(tmp_path)
    assert restore_voter(log, tables, no_snapshot) is None
    ended(log, tables)


def test_founding_that_was_cut_off_can_be_done_again(tmp_path: Path) -> None:
    log, tables = started(tmp_path)
    tables.found(NOWHERE)
    assert restore_voter(log, tables, no_snapshot) is None
    ended(log, tables)
    founded(tmp_path, 1)


def test_tables_may_be_behind_the_log(tmp_path: Path) -> None:
    founded(tmp_path, 1, 1, 2, folded=1)
    log, tables = started(tmp_path)
    restored = restore_voter(log, tables, no_snapshot)
    assert restored is not None
    assert [entry.term for entry in restored.entries] == [1, 1, 2]
    assert tables.mark == mark(1, 1)
    ended(log, tables)


def test_lost_tables_are_made_again_and_know_the_first_voters(tmp_path: Path) -> None:
    founded(tmp_path, 1, 1, folded=2)
    for path in tmp_path.glob("state.sqlite*"):
        path.unlink()
    log, tables = started(tmp_path)
    restored = restore_voter(log, tables, no_snapshot)
    assert restored is not None
    tables.fold(restored.entries)
    assert tables.mark == mark(2, 1)
    ended(log, tables)


def test_tables_without_their_log_are_refused(tmp_path: Path) -> None:
    founded(tmp_path, 1, folded=1)
    for path in (tmp_path / "log").iterdir():
        path.unlink()
    log, tables = started(tmp_path)
    with pytest.raises(LogCorruptError, match="there is no log"):
        restore_voter(log, tables, no_snapshot)
    ended(log, tables)


@pytest.mark.parametrize(
    ("theirs", "said"), [((1,), "the log ends at 1"), ((1, 2, 2), "are not of this log")]
)
def test_tables_of_another_log_are_refused(tmp_path: Path, theirs: tuple[int, ...], said: str) -> None:
    founded(tmp_path / "one", 1, 1, folded=2)
    founded(tmp_path / "two", *theirs)
    for path in (tmp_path / "one").glob("state.sqlite*"):
        path.rename(tmp_path / "two" / path.name)
    log, tables = started(tmp_path / "two")
    with pytest.raises(LogCorruptError, match=said):
        restore_voter(log, tables, no_snapshot)
    ended(log, tables)


def test_a_crash_between_log_and_snapshot_is_finished_at_the_start(tmp_path: Path) -> None:
    founded(tmp_path / "one", 1, 1, 2, folded=3)
    founded(tmp_path / "two", 1)
    log, tables = started(tmp_path / "two")
    log.open()
    log.write(installed=mark(3, 2))
    ended(log, tables)
    log, tables = started(tmp_path / "two")
    restored = restore_voter(log, tables, lambda _: sqlite3.connect(tmp_path / "one" / "state.sqlite"))
    assert restored is not None
    assert (restored.mark, restored.entries, tables.mark) == (mark(3, 2), [], mark(3, 2))
    ended(log, tables)


def test_a_log_without_its_snapshot_is_refused(tmp_path: Path) -> None:
    founded(tmp_path, 1)
    log, tables = started(tmp_path)
    log.open()
    log.write(installed=mark(3, 2))
    ended(log, tables)
    log, tables = started(tmp_path)
    with pytest.raises(LogCorruptError, match="starts behind 3"):
        restore_voter(log, tables, no_snapshot)
    ended(log, tables)


# ---- one entry


def test_an_entry_is_what_was_put_in() -> None:
    found = decode_command_entry(logged(2, at_ms=7), not_before_ms=0)
    assert (found.index, found.time_ms, found.request_id, found.command.KIND) == (
        2,
        7,
        "q2",
        "project.create",
    )
    assert decode_command_entry(logged(2, at_ms=7), not_before_ms=9).time_ms == 9


@pytest.mark.parametrize("data", [b"", b"\xff", pack([1, "q"]), pack(["1", "q", b""]), pack([1, 2, b""])])
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_command_entry(
            LogEntry(index=LogIndex(1), term=Term(1), kind=EntryKind.COMMAND, data=data), not_before_ms=0
        )


def test_the_largest_command_fits_an_entry_and_a_larger_one_is_refused() -> None:
    longest = RequestId("q" * REQUEST_ID_BYTES_MAX)
    data = encode_command_entry(2**53, longest, bytes(COMMAND_BYTES_MAX))
    assert len(data) <= ENTRY_BYTES_MAX
    with pytest.raises(WireError, match="command"):
        encode_command_entry(0, longest, bytes(COMMAND_BYTES_MAX + 1))
    with pytest.raises(WireError, match="request_id"):
        encode_command_entry(0, RequestId("é" * REQUEST_ID_BYTES_MAX), b"")


@pytest.mark.parametrize(("at_ms", "stamp"), [(-5, 3), (1 << 62, TIME_MS_MAX), (7, 7)])
def test_no_clock_makes_a_stamp_that_halts_every_voter(at_ms: int, stamp: int) -> None:
    assert decode_command_entry(logged(2, at_ms=at_ms), not_before_ms=3).time_ms == stamp
