"""What Raft promises as a whole, in one directed schedule each. `claims.py` says which test shows what."""

from __future__ import annotations

from dataclasses import replace

from fabric.core.raft.events import AskRead, Campaign, ProposeConfiguration, Woke
from fabric.core.raft.node import Role
from proto.ids import LogIndex, Term, VoterId
from proto.raft import Append, AppendReply, PreVote, PreVoteReply, Vote
from tests.fixtures.raft_group import CONFIG, RaftGroup, between, of


def stand(group: RaftGroup, candidate: str, *voters: str) -> None:
    """Until these elect it; nothing that it appends is heard, and nothing else is under way then."""
    group.now_ms += 2 * CONFIG.election_ms
    everybody = between(candidate, *voters)
    for _ in range(3):  # its term may be behind theirs
        group.drop()
        group.tell(candidate, Campaign())
        group.deliver(lambda wire: everybody(wire) and not of(Append)(wire))
        if group[candidate].role is Role.LEADER:
            group.drop(lambda wire: not everybody(wire))
            return
    raise AssertionError(f"nobody elects {candidate}")


def figure_8_until_c() -> RaftGroup:
    """An entry of term 2 is on three of five; its leader is back in term 4."""
    group = RaftGroup(*"abcde", logs={name: [1] for name in "abcde"})
    stand(group, "a", *"bcde")
    group.deliver(between("a", "b"))  # (a)
    stand(group, "e", *"cd")  # (b)
    assert (group.terms("a"), group.terms("b"), group.terms("e")) == ([1, 2], [1, 2], [1, 3])
    group.start("a")  # it crashed in between
    stand(group, "a", *"bc")  # (c)
    assert group["a"].term == 4
    to_b, to_c = group.wires
    assert isinstance(to_b.message, Append)
    group.hear("b", "a", replace(to_b.message, entries=()))
    group.hear("c", "a", to_c.message)
    group.drop(of(Append))
    group.deliver(of(AppendReply, to="a"))  # b has the old entry, c has not
    (to_c,) = (wire for wire in group.wires if of(Append, to="c")(wire))
    assert isinstance(to_c.message, Append)
    group.wires = [replace(to_c, message=replace(to_c.message, entries=to_c.message.entries[:1]))]
    group.deliver(of(Append, to="c"))
    group.deliver(of(AppendReply, to="a"))
    assert group.terms("c") == [1, 2]
    return group


def test_figure_8() -> None:
    """Paper, 5.4.2: in (c) it is not committed, for in (d) it is overwritten; in (e) the newer entry behind
    it is, and with it all before."""
    group = figure_8_until_c()
    assert group["a"].commit_index <= 1
    group.start("e")
    stand(group, "e", *"bcd")  # (d)
    group.deliver(between(*"bcde"))
    assert [group.terms(name)[1] for name in "bcde"] == [3, 3, 3, 3]
    assert group["e"].commit_index >= 2

    group = figure_8_until_c()
    group.wait(2 * CONFIG.heartbeat_ms, among=("a", "b", "c"))  # (e)
    assert group["a"].commit_index == 3
    group.now_ms += 2 * CONFIG.election_ms
    group.start("e")
    for _ in range(5):
        group.tell("e", Campaign())
        group.deliver(lambda wire: not of(Append)(wire))
    assert group["e"].role is not Role.LEADER


def test_a_leader_takes_back_nothing_of_its_own_log() -> None:
    """Whoever says so in its own term is not its leader."""
    group = RaftGroup("a", "b", "c", logs={"a": [1, 1], "b": [1], "c": [1]})
    stand(group, "a", "b")
    for message in (
        Append(term=Term(2), previous_index=LogIndex(0), previous_term=Term(0), commit_index=LogIndex(0)),
        AppendReply(term=Term(2), matched=False, index=LogIndex(1), hint_index=LogIndex(0)),
    ):
        group.hear("a", "c", message)
    assert group.terms("a") == [1, 1, 2]


def test_what_is_committed_is_in_every_later_leaders_log() -> None:
    """Whoever it was that did not get it: the others do not elect it, and it gets it from who they elect."""
    for missing, other in (("b", "c"), ("c", "b")):
        group = RaftGroup("a", "b", "c")
        group.elect("a")
        group.propose("a", "x")
        group.deliver(between("a", other))
        assert group["a"].commit_index == 2
        group.drop()
        group.now_ms += 2 * CONFIG.election_ms
        group.tell(missing, Campaign())
        group.deliver(between(missing, other))
        assert group[missing].role is not Role.LEADER
        group.wait(10 * CONFIG.election_ms, among=("b", "c"))
        assert group[other].role is Role.LEADER
        assert group.data(missing) == ["x"]


def test_who_comes_back_from_the_cold_disturbs_nobody() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    for _ in range(100):
        group.wait(CONFIG.heartbeat_ms, among=("a", "b"))
        group.tell("c", Woke())  # it is cut off, and asks in vain
        group.drop()
    assert group["c"].counters["pre_campaigns"] > 5
    group.wait(5_000)
    assert (group["a"].role, group["a"].term, group["c"].leader_id) == (Role.LEADER, 1, "a")


def test_the_lease_is_over_after_an_election_timeout() -> None:
    """Not a moment before, and not for ever: or nobody could follow a leader that died."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    heard_ms = group.now_ms
    group.drop()
    question = PreVote(term=Term(2), last_index=LogIndex(1), last_term=Term(1))
    request = Vote(term=Term(2), last_index=LogIndex(1), last_term=Term(1))
    group.now_ms = heard_ms + CONFIG.election_ms - 1
    group.hear("b", "c", question)
    group.hear("b", "c", request)
    assert group["b"].term == 1
    group.now_ms = heard_ms + CONFIG.election_ms
    group.hear("b", "c", question)
    group.hear("b", "c", request)
    answers = [wire.message.granted for wire in group.wires if isinstance(wire.message, PreVoteReply)]
    assert answers == [False, True]
    assert group["b"].term == 2


def test_a_learner_neither_stands_nor_is_asked() -> None:
    group = RaftGroup("a", "b", "c", spare=("d",))
    group.elect("a")
    group.tell("a", ProposeConfiguration("g", frozenset(map(VoterId, "abc")), frozenset({VoterId("d")})))
    group.deliver()
    assert group["d"].leader_id == "a"
    assert group["d"].due_ms is None
    group.now_ms += 10 * CONFIG.election_ms
    group.tell("d", Woke())
    group.tell("d", Campaign())
    assert group.wires == []
    group.tell("b", Campaign())
    assert sorted(wire.to for wire in group.wires if of(Vote)(wire)) == ["a", "c"]


def test_a_leader_of_the_past_answers_no_read() -> None:
    """Others elected another one and it does not know: it must not answer with what it has."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    stand(group, "b", "c")
    group.deliver(between("b", "c"))
    group.propose("b", "x")
    group.deliver(between("b", "c"))
    assert group["b"].commit_index == 3
    group.drop()
    assert group["a"].role is Role.LEADER
    seen = len(group.answers)
    group.tell("a", AskRead("r"))
    group.deliver()
    asked = group.answers[seen:]
    assert not any(ready.reads for ready in asked)
    assert [each.key for ready in asked for each in ready.refused] == ["r"]
