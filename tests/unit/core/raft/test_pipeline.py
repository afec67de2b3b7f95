"""The order in which a voter owes: what may be merged, what may pass, what has to wait."""

from __future__ import annotations

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.pipeline import FOLD_ENTRIES_MAX, WRITE_BYTES_MAX, Fold, Pipeline, Write
from fabric.core.raft.ready import HardState, Ready, Send
from proto.ids import LogIndex, Term, VoterId
from proto.raft import EntryKind, HeartbeatReply, LogEntry


def entry(index: int, term: int = 1, size: int = 1) -> LogEntry:
    return LogEntry(index=LogIndex(index), term=Term(term), kind=EntryKind.COMMAND, data=b"x" * size)


def hard(term: int) -> HardState:
    return HardState(Term(term))


def mark(index: int) -> SnapshotMark:
    return SnapshotMark(LogIndex(index), Term(1), Configuration(frozenset([VoterId("a")])))


def send(number: int) -> Send:
    return Send(VoterId("b"), HeartbeatReply(term=Term(1), round=number))


def test_a_promise_waits_for_its_write() -> None:
    pipeline = Pipeline()
    assert pipeline.push(Ready(entries=(entry(1),), messages=(send(1),))) == []
    assert pipeline.take_write() == Write(None, None, (entry(1),))
    assert pipeline.take_write() is None, "one at a time"
    assert pipeline.written() == [send(1)]
    assert pipeline.is_idle


def test_what_owes_nothing_leaves_at_once_but_never_overtakes() -> None:
    pipeline = Pipeline()
    assert pipeline.push(Ready(messages=(send(1),))) == [send(1)]
    assert pipeline.push(Ready(hard_state=hard(2))) == []
    assert pipeline.push(Ready(messages=(send(2),))) == []
    assert pipeline.take_write() == Write(hard(2))
    assert pipeline.push(Ready(messages=(send(3),))) == []
    assert pipeline.written() == [send(2), send(3)]


def test_what_gathers_during_a_write_is_the_next_one() -> None:
    pipeline = Pipeline()
    pipeline.push(Ready(entries=(entry(1),)))
    assert pipeline.take_write() == Write(None, None, (entry(1),))
    pipeline.push(Ready(hard_state=hard(2), entries=(entry(2, 2),), messages=(send(1),)))
    assert pipeline.take_write() is None
    pipeline.push(Ready(messages=(send(2),)))
    pipeline.push(Ready(hard_state=hard(3), entries=(entry(2, 3), entry(3, 3)), messages=(send(3),)))
    assert pipeline.written() == []
    assert pipeline.take_write() == Write(hard(3), None, (entry(2, 2), entry(2, 3), entry(3, 3)))
    assert pipeline.written() == [send(1), send(2), send(3)]


def test_a_snapshot_begins_a_write() -> None:
    pipeline = Pipeline()
    pipeline.push(Ready(entries=(entry(1),)))
    pipeline.push(Ready(hard_state=hard(2), snapshot=mark(9)))
    pipeline.push(Ready(entries=(entry(10),), committed=(entry(10),)))
    assert pipeline.take_write() == Write(None, None, (entry(1),))
    pipeline.written()
    assert pipeline.take_write() == Write(hard(2), mark(9), (entry(10),))
    assert pipeline.take_fold() is None, "the tables never go ahead of the log"
    pipeline.written()
    assert pipeline.take_fold() == Fold(mark(9), (entry(10),))


def test_two_snapshots_are_two_writes() -> None:
    pipeline = Pipeline()
    pipeline.push(Ready(snapshot=mark(5)))
    pipeline.push(Ready(snapshot=mark(9)))
    assert pipeline.take_write() == Write(None, mark(5))
    pipeline.written()
    assert pipeline.take_write() == Write(None, mark(9))
    pipeline.written()
    assert pipeline.take_fold() == Fold(mark(9)), "the later one holds what the earlier one does"


def test_committed_is_folded_in_order_and_one_fold_at_a_time() -> None:
    pipeline = Pipeline()
    pipeline.push(Ready(committed=(entry(1), entry(2))))
    assert pipeline.take_fold() == Fold(None, (entry(1), entry(2)))
    pipeline.push(Ready(committed=(entry(3),)))
    assert pipeline.take_fold() is None
    assert not pipeline.is_idle
    pipeline.folded()
    assert pipeline.take_fold() == Fold(None, (entry(3),))
    pipeline.folded()
    assert pipeline.is_idle


def test_entries_before_a_snapshot_are_folded_before_it() -> None:
    pipeline = Pipeline()
    pipeline.push(Ready(committed=(entry(1),)))
    pipeline.push(Ready(snapshot=mark(5), committed=(entry(6),)))
    pipeline.take_write()
    pipeline.written()
    assert pipeline.take_fold() == Fold(None, (entry(1),))
    pipeline.folded()
    assert pipeline.take_fold() == Fold(mark(5), (entry(6),))


def test_groups_are_bounded() -> None:
    pipeline = Pipeline()
    for index in range(1, 6):
        pipeline.push(Ready(entries=(entry(index, size=WRITE_BYTES_MAX // 2),)))
    sizes = []
    while (write := pipeline.take_write()) is not None:
        sizes.append(len(write.entries))
        pipeline.written()
    assert sizes == [2, 2, 1]
    pipeline.push(Ready(committed=tuple(map(entry, range(1, FOLD_ENTRIES_MAX + 10)))))
    counts = []
    while (fold := pipeline.take_fold()) is not None:
        counts.append(len(fold.entries))
        pipeline.folded()
    assert counts == [FOLD_ENTRIES_MAX, 9]
