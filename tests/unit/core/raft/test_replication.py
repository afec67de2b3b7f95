"""How logs become the same and what is committed: paper, 5.3 and 5.4.2, and design/log.md, section 6."""

from __future__ import annotations

import itertools
from contextlib import nullcontext, suppress
from dataclasses import fields
from random import Random

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.core.raft.events import Campaign, Compacted, Propose, SnapshotArrived, SnapshotEnded, Woke
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.node import RaftNode, Role
from fabric.core.raft.ready import HardState
from proto.codec import pack
from proto.ids import LogIndex, Term, VoterId
from proto.raft import (
    ENTRY_BYTES_MAX,
    RAFT_MESSAGES,
    Append,
    AppendReply,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    LogEntry,
)
from proto.records import to_wire
from tests.fixtures.raft_group import CONFIG, RaftGroup, between, entry, of


def append(
    term: int, previous: tuple[int, int], *terms: int, commit: int = 0, start: int | None = None
) -> Append:
    """`previous`: (index, term). `terms` of the entries behind it."""
    first = previous[0] + 1 if start is None else start
    return Append(
        term=Term(term),
        previous_index=LogIndex(previous[0]),
        previous_term=Term(previous[1]),
        commit_index=LogIndex(commit),
        entries=tuple(entry(index, each) for index, each in enumerate(terms, first)),
    )


def answer(group: RaftGroup, sender: str) -> AppendReply:
    (wire,) = [w for w in group.wires if isinstance(w.message, AppendReply) and w.sender == sender]
    assert isinstance(wire.message, AppendReply)
    return wire.message


def test_what_is_proposed_is_applied_everywhere_in_order() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x", "y")
    group.propose("a", "z")
    group.deliver()
    group.wait(CONFIG.heartbeat_ms)
    assert [group.data(name) for name in "abc"] == [["x", "y", "z"]] * 3


def test_who_writes_last_hears_soon_that_it_is_committed() -> None:
    """Whoever proposed there waits until that voter's rows hold it: not until the next heartbeat."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.deliver()
    group.slow.add(group["c"].me)
    group.propose("a", "x")
    group.deliver()
    group.pass_a_moment()
    group.deliver()
    assert [group.data(name) for name in "abc"] == [["x"], ["x"], []]
    group.slow.clear()
    group.write("c")
    group.deliver()
    assert group.pass_a_moment() == ["a"]
    group.deliver()
    assert group.data("c") == ["x"]


def test_entries_that_follow_at_once_tell_what_is_committed_and_nothing_else_does() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x")
    group.deliver()
    group.propose("a", "y")
    group.deliver()
    assert group.data("b") == ["x"]
    assert not [
        ready for ready in group.answers for send in ready.early if isinstance(send.message, Heartbeat)
    ]
    assert group.pass_a_moment() == ["a"]
    group.deliver()
    assert group.data("b") == ["x", "y"]
    assert group.pass_a_moment() == []


def test_the_word_that_something_is_committed_costs_no_answer() -> None:
    """Yet the periodic one does: whoever lost its majority must notice."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x")
    group.deliver()
    group.pass_a_moment()
    assert sorted(wire.to for wire in group.wires if isinstance(wire.message, Heartbeat)) == ["b", "c"]
    group.deliver(of(Heartbeat))
    assert [group.data(name) for name in "abc"] == [["x"]] * 3
    assert group.wires == []
    group.now_ms += CONFIG.heartbeat_ms
    group.tell("a", Woke())
    group.deliver(of(Heartbeat))
    assert [wire.sender for wire in group.wires if isinstance(wire.message, HeartbeatReply)] == ["b", "c"]


def test_a_proposal_elsewhere_is_refused_and_told_who_leads() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    (refused,) = group.propose("b", "x").refused
    assert (refused.key, refused.leader) == ("x", "a")


def test_a_follower_whose_disk_hangs_is_heard_and_yet_seen_to_hang() -> None:
    """It answers heartbeats, which need no disk: another election would not make its disk write."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.wait(2 * CONFIG.heartbeat_ms)
    group.slow.add(group["b"].me)
    group.propose("a", "x")
    group.deliver()
    hangs_since_ms = group.now_ms
    group.wait(5 * CONFIG.election_ms)
    leader = group["a"].leader
    assert leader is not None
    b, c = (leader.progress[group[name].me] for name in "bc")
    assert group.now_ms - b.answered_ms < 2 * CONFIG.heartbeat_ms
    assert b.wrote_ms <= hangs_since_ms
    assert group.now_ms - c.wrote_ms < 2 * CONFIG.heartbeat_ms, "who owes nothing hangs not"
    group.slow.clear()
    group.write("b")
    group.deliver()
    assert b.wrote_ms == group.now_ms


def test_a_majority_on_disk_commits_and_no_less() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.slow |= {group["b"].me, group["c"].me}
    group.propose("a", "x")
    group.deliver()
    assert group.data("a") == []
    group.write("b")
    group.deliver()
    assert group.data("a") == ["x"]


def test_the_leader_counts_itself_when_its_own_disk_has_it() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.slow.add(group["a"].me)
    group.propose("a", "x")
    group.deliver(between("a", "b"))
    assert group["a"].commit_index == 1
    group.write("a")
    assert group["a"].commit_index == 2


def test_the_others_get_entries_while_the_leaders_disk_works() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.slow.add(group["a"].me)
    group.propose("a", "x")
    group.deliver()
    assert group["a"].commit_index == 2  # both others have it
    assert group.data("a") == []  # and it is applied here when it is on disk here
    group.write("a")
    assert group.data("a") == ["x"]


def test_an_earlier_terms_entry_is_not_committed_by_counting() -> None:
    """Figure 8 of the paper, (c) and (d): entry 2 of term 2 is on a majority, and is overwritten."""
    group = RaftGroup(
        "a", "b", "c", "d", "e", logs={"a": [1, 2], "b": [1, 2], "c": [1], "d": [1], "e": [1, 3]}
    )
    group.nodes[group["a"].me]._hard = type(group["a"]._hard)(Term(3), None)
    group.tell("a", Campaign())  # term 4
    group.deliver(lambda wire: between("a", "b", "c")(wire) and not of(Append)(wire))
    assert group["a"].role is Role.LEADER
    group.hear("c", "a", append(4, (1, 1), 2))  # the old entry alone reaches a third one
    group.hear("a", "b", AppendReply(term=Term(4), matched=True, index=LogIndex(2)))
    group.hear("a", "c", AppendReply(term=Term(4), matched=True, index=LogIndex(2)))
    assert group["a"].commit_index == 0
    group.hear("a", "b", AppendReply(term=Term(4), matched=True, index=LogIndex(3)))
    group.hear("a", "c", AppendReply(term=Term(4), matched=True, index=LogIndex(3)))
    assert group["a"].commit_index == 3  # its own term's entry commits all before it (e)


def test_a_late_append_does_not_cut_what_matches() -> None:
    """PySyncObj deletes everything behind `previous_index`, also what was acknowledged."""
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", append(1, (0, 0), 1, 1, 1))
    group.hear("a", "b", append(1, (0, 0), 1))
    group.hear("a", "b", append(1, (0, 0)))
    assert group.terms("a") == [1, 1, 1]


def test_what_conflicts_is_replaced_with_all_behind_it() -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [1, 2, 2, 2]})
    group.hear("a", "b", append(3, (1, 1), 3))
    assert group.terms("a") == [1, 3]
    assert [each.term for each in group.disks[group["a"].me].entries] == [1, 3]


def test_what_does_not_match_is_refused_with_a_hint() -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [1, 4, 4, 4]})
    group.hear("a", "b", append(6, (9, 5)))
    assert answer(group, "a") == AppendReply(
        term=Term(6), matched=False, index=LogIndex(9), hint_index=LogIndex(4), hint_term=Term(4)
    )


def test_what_follows_another_entry_than_ours_is_refused() -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [1, 4, 4, 4]})
    group.hear("a", "b", append(6, (3, 5), 6))
    assert not answer(group, "a").matched
    assert group.terms("a") == [1, 4, 4, 4]


@pytest.mark.parametrize("entries", [200, 2_000])
def test_logs_that_differ_agree_after_one_question_for_each_term(entries: int) -> None:
    group = RaftGroup(
        "a", "b", "c", logs={"a": [1] * 5 + [4] * entries, "b": [1] * 5 + [2] * entries, "c": [1] * 5}
    )
    group.tell("a", Campaign())
    questions = 0
    while group.wires and group.terms("b")[:6] != [1, 1, 1, 1, 1, 4]:
        questions += sum(of(Append, to="b")(wire) for wire in group.wires)
        batch, group.wires = group.wires, []
        for wire in batch:
            group.hear(wire.to, wire.sender, wire.message)
    assert questions <= 4


def test_a_follower_commits_no_further_than_it_was_shown() -> None:
    """What lies behind the Append may be another leader's."""
    group = RaftGroup("a", "b", "c", logs={"a": [1, 2, 2]})
    group.hear("a", "b", append(3, (1, 1), commit=3))
    assert group["a"].commit_index == 1


def test_a_heartbeat_commits_only_what_the_follower_is_known_to_have() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x")
    group.deliver(between("a", "b"))
    group.drop()
    group.now_ms += CONFIG.heartbeat_ms
    group.wait(CONFIG.heartbeat_ms, among=("a",))
    group["a"].leader.beat(group["a"].commit_index, group.now_ms)  # type: ignore[union-attr]
    sent = group["a"].handle(Compacted(LogIndex(0)), group.now_ms).early
    told = {send.to: send.message.commit_index for send in sent if isinstance(send.message, Heartbeat)}
    assert told == {"b": 2, "c": 1}


def test_no_more_is_under_way_than_the_window_holds() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    for number in range(20):
        group.propose("a", f"x{number}")
    sent = [wire.message for wire in group.wires if of(Append, to="b")(wire)]
    assert len(sent) == CONFIG.inflight_max
    group.deliver()
    group.wait(CONFIG.heartbeat_ms)
    assert len(group.data("b")) == 20


def test_one_message_holds_no_more_than_it_may() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", *(f"x{number}" for number in range(20)))
    assert (
        max(len(w.message.entries) for w in group.wires if isinstance(w.message, Append))
        == CONFIG.entries_max
    )


def test_a_lost_append_is_sent_again_after_a_heartbeat() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x")
    group.drop(of(Append))
    group.wait(2 * CONFIG.heartbeat_ms)
    assert group.data("a") == ["x"]


def test_a_refusal_of_long_ago_makes_nothing_go_out_again() -> None:
    """The storm of design/log.md, section 6."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x")
    group.deliver()
    group.drop()
    for index in (0, 1, 2):
        group.hear("a", "b", AppendReply(term=Term(1), matched=False, index=LogIndex(index)))
    assert group.wires == []


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.hear("a", "b", AppendReply(term=Term(1), matched=True, index=LogIndex(99)))
    group.propose("a", "x")
    assert group["a"].commit_index == 1


@pytest.mark.parametrize(
    "message",
    [
        append(1, (0, 0), 1, start=2),
        append(2, (0, 0), 2, 1),
        append(1, (0, 0), 2),
        Append(
            term=Term(1),
            previous_index=LogIndex(0),
            previous_term=Term(0),
            commit_index=LogIndex(0),
            entries=(LogEntry(index=LogIndex(1), term=Term(1), kind=EntryKind.CONFIGURATION, data=b"\xc1"),),
        ),
    ],
    ids=["gap", "terms_fall", "of_the_future", "no_configuration"],
)
def test_what_no_leader_says_is_refused_and_counted(message: Append) -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", message)
    assert group.terms("a") == []
    assert group["a"].counters["refused.unsound_append"] == 1
    assert group.wires == []


def test_an_acknowledgement_leaves_when_it_is_on_disk() -> None:
    group = RaftGroup("a", "b", "c")
    group.slow.add(group["a"].me)
    group.hear("a", "b", append(1, (0, 0), 1))
    assert group.wires == []
    group.write("a")
    assert answer(group, "a").matched


def lagging() -> RaftGroup:
    """c misses all that a and b agreed on, and a has compacted its log."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.drop()
    for number in range(10):
        group.propose("a", f"x{number}")
        group.deliver(between("a", "b"))
        group.drop()
    group.tell("a", Compacted(LogIndex(8)))
    return group


def test_who_is_behind_the_log_gets_a_snapshot_and_goes_on_from_there() -> None:
    group = lagging()
    group.tell("a", Compacted(LogIndex(8)))
    group.wait(4 * CONFIG.heartbeat_ms)
    wanted = [want.to for ready in group.answers for want in ready.snapshots_wanted]
    assert wanted == ["c"]  # once, not with each heartbeat
    mark = group["a"].log.mark
    ready = group.tell("c", SnapshotArrived(group["a"].me, group["a"].term, mark))
    assert ready.snapshot == mark
    group.tell("a", SnapshotEnded(group["c"].me))
    group.deliver()
    group.wait(2 * CONFIG.heartbeat_ms)
    assert group["c"].commit_index == group["a"].commit_index == 11
    assert group.data("c") == ["x7", "x8", "x9"]


def test_a_snapshot_that_got_lost_is_wanted_again() -> None:
    group = lagging()
    group.wait(4 * CONFIG.heartbeat_ms)
    group.tell("a", SnapshotEnded(group["c"].me))
    group.deliver()
    group.wait(2 * CONFIG.heartbeat_ms)
    assert [want.to for ready in group.answers for want in ready.snapshots_wanted] == ["c", "c"]


@pytest.mark.parametrize("compacted", [0, 3])
def test_an_old_snapshot_changes_nothing(compacted: int) -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", append(1, (0, 0), 1, 1, 1, commit=3))
    group.tell("a", Compacted(LogIndex(compacted)))
    mark = SnapshotMark(LogIndex(2), Term(1), group["a"].configuration)
    ready = group.tell("a", SnapshotArrived(group["b"].me, 1, mark))
    assert ready.snapshot is None
    assert (group["a"].log.mark.index, group["a"].log.last_index) == (compacted, 3)


def test_a_snapshot_of_what_is_in_the_log_commits_it() -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", append(1, (0, 0), 1, 1, 1))
    mark = SnapshotMark(LogIndex(2), Term(1), group["a"].configuration)
    ready = group.tell("a", SnapshotArrived(group["b"].me, 1, mark))
    assert (ready.snapshot, group["a"].commit_index) == (None, 2)
    assert group.terms("a") == [1, 1, 1]


def test_a_snapshot_of_a_leader_of_the_past_is_good_and_who_sent_it_is_not_followed() -> None:
    """What it holds is committed; whoever leads now has it, too."""
    group = RaftGroup("a", "b", "c", logs={"a": [5]})
    mark = SnapshotMark(LogIndex(9), Term(4), group["a"].configuration)
    group.disks[group["a"].me].hard = HardState(Term(5))
    group.start("a")
    assert group.tell("a", SnapshotArrived(group["b"].me, 4, mark)).snapshot == mark
    assert group["a"].leader_id is None
    assert answer(group, "a") == AppendReply(term=Term(5), matched=True, index=LogIndex(9))


def test_a_snapshot_replaces_entries_that_conflict_with_it() -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [1, 2, 2]})
    mark = SnapshotMark(LogIndex(2), Term(3), group["a"].configuration)
    ready = group.tell("a", SnapshotArrived(group["b"].me, 3, mark))
    assert ready.snapshot == mark
    assert group.terms("a") == []


def test_a_snapshot_is_acknowledged_when_it_is_durable() -> None:
    group = RaftGroup("a", "b", "c")
    group.slow.add(group["a"].me)
    mark = SnapshotMark(LogIndex(9), Term(1), group["a"].configuration)
    group.tell("a", SnapshotArrived(group["b"].me, 1, mark))
    assert group.wires == []
    group.write("a")
    assert answer(group, "a").index == 9


def test_no_more_is_compacted_than_was_handed_out() -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", append(1, (0, 0), 1, 1, 1, commit=1))
    group.tell("a", Compacted(LogIndex(3)))
    assert group["a"].log.mark.index == 1


def test_what_a_snapshot_under_way_needs_behind_it_stays() -> None:
    group = lagging()
    group.wait(4 * CONFIG.heartbeat_ms)
    group.tell("a", Compacted(LogIndex(11)))
    assert group["a"].log.mark.index == 8


@pytest.mark.parametrize(
    ("applied", "term", "what"),
    [(4, 2, "tables"), (0, 2, "tables"), (2, 1, "term")],
    ids=["tables_ahead_of_the_log", "tables_behind_the_snapshot", "term_behind_the_log"],
)
def test_a_disk_that_forgot_something_makes_no_voter(applied: int, term: int, what: str) -> None:
    mark = SnapshotMark(LogIndex(1), Term(1), Configuration(frozenset({VoterId("a")})))
    with pytest.raises(ValueError, match=what):
        RaftNode(
            VoterId("a"),
            CONFIG,
            Random(1),
            mark=mark,
            now_ms=0,
            hard_state=HardState(Term(term)),
            entries=[entry(2, 1), entry(3, 2)],
            applied_index=applied,
        )


def test_a_leader_whose_own_disk_hangs_steps_down() -> None:
    """The others commit, and nobody here can answer for it."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.slow.add(group["a"].me)
    group.propose("a", "x")
    group.wait(3 * CONFIG.election_ms)
    assert group["a"].role is Role.FOLLOWER


def test_a_message_is_not_longer_than_it_may_be() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", *("x" * 300 for _ in range(3)))
    sizes = [
        sum(len(e.data) for e in w.message.entries) for w in group.wires if isinstance(w.message, Append)
    ]
    assert max(sizes) <= CONFIG.append_bytes_max


def test_a_command_that_fits_no_message_is_refused_before_anything_is_done() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    before = group["a"].log.last_index
    with pytest.raises(ValueError, match="bytes"):
        group.tell("a", Propose([("big", bytes(ENTRY_BYTES_MAX + 1))]))
    assert group["a"].log.last_index == before
    largest = group.tell("a", Propose([("big", bytes(ENTRY_BYTES_MAX))]))
    assert all(pack(to_wire(send.message)) for send in largest.early)


def test_a_refusal_that_nobody_asked_for_moves_no_probe() -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [1] * 9})
    group.tell("a", Campaign())
    group.deliver(lambda wire: not of(Append)(wire))
    group.drop()
    leader = group["a"].leader
    assert leader is not None
    before = leader.progress[group["b"].me].next
    group.hear("a", "b", AppendReply(term=group["a"].term, matched=False, index=LogIndex(4)))
    assert leader.progress[group["b"].me].next == before
    assert group.wires == []


def test_no_word_whatever_ends_a_voter() -> None:
    """Extreme numbers, in every message there is; and what it says afterwards still fits the wire. But a
    voter that learns from its leader that it forgot something ends (`test_set_back.py`)."""
    numbers = (0, 1, 2, 1 << 31, (1 << 64) - 1)
    for kind in RAFT_MESSAGES:
        names = [field.name for field in fields(kind) if field.type in ("Term", "LogIndex", "int")]
        flags = {field.name: True for field in fields(kind) if field.type == "bool"}
        for values in itertools.product(numbers, repeat=len(names)):
            group = RaftGroup("a", "b", "c")
            if values[0] % 2:
                group.elect("a")
            message = kind(**dict(zip(names, values, strict=True)), **flags)
            may_end = isinstance(message, Heartbeat) and message.commit_index > 0
            with suppress(PromiseForgottenError) if may_end else nullcontext():
                group.hear("a", "b", message)
            group.now_ms += 5 * CONFIG.election_ms
            group.tell("a", Woke())
            for wire in group.wires:
                pack(to_wire(wire.message))


def test_what_is_applied_already_is_not_handed_out_again_after_a_restart() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "x")
    group.deliver()
    group.start("a")
    assert group["a"].commit_index == 2
    group.elect("a")
    group.propose("a", "y")
    group.deliver()
    assert group.data("a") == ["x", "y"]


def test_a_heartbeat_answer_of_the_future_counts_for_no_read() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.hear("a", "b", HeartbeatReply(term=Term(1), round=99))
    assert group["a"].leader is not None
    assert group["a"].leader.progress[group["b"].me].round == 0
