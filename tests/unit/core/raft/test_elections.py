"""Who may lead: one test for each claim of the paper (section 5.2 and 5.4.1) and of the thesis."""

from __future__ import annotations

import pytest

from fabric.core.raft.events import Campaign, LeaderGone, ProposeConfiguration, Woke
from fabric.core.raft.node import Role
from fabric.core.raft.ready import HardState
from proto.ids import LogIndex, Term, VoterId
from proto.raft import Append, AppendReply, Heartbeat, PreVote, PreVoteReply, Vote, VoteReply
from tests.fixtures.raft_group import CONFIG, RaftGroup, Wire, between, of


def vote(term: int, *, last: tuple[int, int] = (0, 0), transfer: bool = False) -> Vote:
    """`last`: (term, index)."""
    return Vote(term=Term(term), last_index=LogIndex(last[1]), last_term=Term(last[0]), transfer=transfer)


def granted(group: RaftGroup, to: str) -> list[bool]:
    return [w.message.granted for w in group.wires if isinstance(w.message, VoteReply) and w.to == to]


def test_who_hears_no_leader_asks_before_it_stands() -> None:
    group = RaftGroup("a", "b", "c")
    group.now_ms = 2 * CONFIG.election_ms
    group.tell("a", Woke())
    assert group["a"].term == 0
    assert {type(wire.message) for wire in group.wires} == {PreVote}
    group.deliver()
    assert group["a"].role is Role.LEADER
    assert group["a"].term == 1
    assert group["b"].leader_id == group["c"].leader_id == "a"


def test_nobody_asks_before_its_time_is_over() -> None:
    group = RaftGroup("a", "b", "c")
    group.now_ms = CONFIG.election_ms - 1
    group.tell("a", Woke())
    assert group.wires == []


def test_who_is_cut_off_does_not_raise_its_term() -> None:
    """PreVote: when it is back it disturbs nobody."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.wait(10_000, among=("c",))
    assert group["c"].term == 1
    assert group["c"].counters["pre_campaigns"] > 5


def test_who_heard_the_leader_a_moment_ago_elects_nobody_else() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    for message in (vote(9), PreVote(term=Term(9), last_index=LogIndex(9), last_term=Term(9))):
        group.hear("b", "c", message)
        assert group["b"].term == 1
    assert not granted(group, "c")
    assert [w.message for w in group.wires] == [PreVoteReply(term=Term(1), granted=False)]


def test_a_leader_elects_nobody_else_while_it_has_its_quorum() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.hear("a", "c", vote(9))
    assert group["a"].role is Role.LEADER


def test_one_vote_a_term_and_the_first_comer_has_it() -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", vote(1))
    group.hear("a", "c", vote(1))
    group.hear("a", "b", vote(1))  # asked again, for its answer was lost
    assert (granted(group, "b"), granted(group, "c")) == ([True, True], [False])


def test_a_vote_outlives_a_restart() -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", vote(1))
    group.start("a")
    group.hear("a", "c", vote(1))
    assert granted(group, "c") == [False]


@pytest.mark.parametrize(
    ("last", "is_granted"),
    [((2, 9), False), ((3, 2), False), ((3, 3), True), ((4, 1), True)],
    ids=["older_term", "shorter", "equal", "newer_term"],
)
def test_only_a_log_with_all_that_may_be_committed_is_elected(
    last: tuple[int, int], is_granted: bool
) -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [1, 2, 3]})
    group.hear("a", "b", vote(5, last=last))
    assert granted(group, "b") == [is_granted]
    group.drop()
    group.hear("a", "c", PreVote(term=Term(6), last_index=LogIndex(last[1]), last_term=Term(last[0])))
    (reply,) = [w.message for w in group.wires if isinstance(w.message, PreVoteReply)]
    assert reply.granted is is_granted


def test_a_vote_leaves_when_it_is_on_disk() -> None:
    group = RaftGroup("a", "b", "c")
    group.slow.add(group["a"].me)
    group.hear("a", "b", vote(1))
    assert granted(group, "b") == []
    group.write("a")
    assert granted(group, "b") == [True]


def test_a_candidates_own_vote_counts_when_it_is_on_disk() -> None:
    group = RaftGroup("a", "b", "c")
    group.slow.add(group["a"].me)
    group.tell("a", Campaign())
    assert not [w for w in group.wires if isinstance(w.message, Vote)]
    group.hear("a", "b", VoteReply(term=Term(1), granted=True))
    assert group["a"].role is Role.CANDIDATE
    group.slow.clear()
    group.write("a")
    assert group["a"].role is Role.LEADER


def test_two_refusals_of_three_end_a_candidacy() -> None:
    group = RaftGroup("a", "b", "c")
    group.tell("a", Campaign())
    for voter in ("b", "c"):
        group.hear("a", voter, VoteReply(term=Term(1), granted=False))
    assert group["a"].role is Role.FOLLOWER
    group.hear("a", "b", VoteReply(term=Term(1), granted=True))
    assert group["a"].role is Role.FOLLOWER


def test_answers_of_an_earlier_asking_do_not_count() -> None:
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", vote(4, last=(0, 0)))
    group.now_ms = 3 * CONFIG.election_ms
    group.tell("a", Woke())
    group.hear("a", "b", PreVoteReply(term=Term(3), granted=True))
    assert group["a"].role is Role.PRE_CANDIDATE


def test_a_leader_of_the_past_learns_that_it_is_over() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.elect("b")
    group.start("a")
    past = Heartbeat(term=Term(1), commit_index=LogIndex(0), round=0)
    group.drop()
    group.hear("c", "a", past)
    (answer,) = group.wires
    assert answer == Wire(
        group["c"].me, group["a"].me, AppendReply(term=Term(2), matched=False, index=LogIndex(0))
    )


def test_a_candidate_follows_the_leader_of_its_term() -> None:
    group = RaftGroup("a", "b", "c")
    group.tell("a", Campaign())
    group.hear("a", "b", Heartbeat(term=Term(1), commit_index=LogIndex(0), round=0))
    assert (group["a"].role, group["a"].leader_id) == (Role.FOLLOWER, "b")


def test_a_second_leader_of_a_term_is_not_listened_to() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.drop()
    false = Append(term=Term(1), previous_index=LogIndex(1), previous_term=Term(1), commit_index=LogIndex(1))
    group.hear("b", "c", false)
    group.hear("a", "c", false)
    assert group["b"].leader_id == "a"
    assert group["a"].role is Role.LEADER
    assert group.wires == []
    assert group["b"].counters["refused.second_leader"] == 1


def test_a_leader_that_hears_no_majority_steps_down() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.wait(5 * CONFIG.election_ms, among=("a", "b"))
    assert group["a"].role is Role.LEADER
    group.wait(2 * CONFIG.election_ms + 10, among=("a",))
    assert group["a"].role is Role.FOLLOWER


def test_a_refusal_teaches_a_higher_term() -> None:
    """One has the longer log and the lower term, the other the reverse: without it neither is elected."""
    group = RaftGroup("a", "b", logs={"a": [1, 1], "b": [1]})
    group.disks[group["b"].me].hard = HardState(Term(5))
    group.start("b")
    group.wait(10 * CONFIG.election_ms)
    assert group["a"].role is Role.LEADER


@pytest.mark.parametrize("term", [-1, 1 << 60])
def test_a_term_nobody_could_have_reached_is_not_taken_over(term: int) -> None:
    """One step more and no voter could say its term any more."""
    group = RaftGroup("a", "b", "c")
    group.hear("a", "b", Heartbeat(term=Term(term), commit_index=LogIndex(0), round=0))
    assert group["a"].term == 0
    assert group["a"].counters["refused.impossible_term"] == 1


def test_who_is_alone_leads_at_once() -> None:
    group = RaftGroup("a")
    assert group["a"].due_ms == 0
    group.tell("a", Woke())
    assert group["a"].role is Role.LEADER
    assert group["a"].commit_index == 1


def test_who_leads_nobody_else_never_wakes() -> None:
    group = RaftGroup("a", spare=("b",))
    group.elect("a")
    assert group["a"].due_ms is None
    group.now_ms += 1_000 * CONFIG.election_ms
    group.tell("a", ProposeConfiguration("change", frozenset([VoterId("a")]), frozenset([VoterId("b")])))
    due_ms = group["a"].due_ms
    assert due_ms is not None
    assert due_ms <= group.now_ms
    group.wait(10 * CONFIG.election_ms)  # who was silent for so long is not held to have lost anybody
    assert group["a"].role is Role.LEADER
    assert group["b"].leader_id == "a"


def test_a_split_vote_is_decided_in_the_next_round() -> None:
    group = RaftGroup("a", "b", "c", "d")
    for candidate, other in (("a", "b"), ("c", "d")):
        group.tell(candidate, Campaign())
        group.deliver(lambda wire, c=candidate, o=other: between(c, o)(wire))  # type: ignore[misc]
    group.drop()
    assert Role.LEADER not in {node.role for node in group.nodes.values()}
    group.wait(6 * CONFIG.election_ms)
    assert [node.role for node in group.nodes.values()].count(Role.LEADER) == 1


def test_messages_of_a_lower_term_change_nothing() -> None:
    group = RaftGroup("a", "b", "c", logs={"a": [3]})
    for message in (
        Append(term=Term(2), previous_index=LogIndex(0), previous_term=Term(0), commit_index=LogIndex(0)),
        Heartbeat(term=Term(2), commit_index=LogIndex(1), round=1),
        vote(2, last=(9, 9)),
        VoteReply(term=Term(2), granted=True),
        AppendReply(term=Term(2), matched=True, index=LogIndex(9)),
    ):
        group.hear("a", "b", message)
    assert (group["a"].term, group["a"].leader_id, group["a"].commit_index) == (3, None, 0)
    assert not [w for w in group.wires if of(VoteReply)(w) and w.message.granted]  # type: ignore[union-attr]


def test_a_leader_whose_process_ended_is_not_waited_for() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    for voter in "bc":
        group.tell(voter, LeaderGone(VoterId("a")))
    group.now_ms += CONFIG.election_ms // 2  # half of the least that a silent leader is given
    group.tell("b", Woke())
    group.deliver(between("b", "c"))
    assert group["b"].role is Role.LEADER
    assert group["b"].term == 2


def test_two_that_stand_at_once_for_a_leader_that_is_gone_try_again_soon() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    for voter in "bc":
        group.tell(voter, LeaderGone(VoterId("a")))
    group.now_ms += CONFIG.election_ms // 2
    for voter in "bc":  # neither has heard that the other stands
        group.tell(voter, Campaign())
    group.deliver(between("b", "c"))
    assert group["b"].role is group["c"].role is Role.CANDIDATE
    group.wait(CONFIG.election_ms * 3 // 4, among=("b", "c"))
    assert Role.LEADER in (group["b"].role, group["c"].role)


def test_one_voter_that_believes_the_leader_gone_does_not_depose_it() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.tell("b", LeaderGone(VoterId("a")))
    group.now_ms += CONFIG.election_ms // 2
    group.hear("c", "a", Heartbeat(term=Term(1), commit_index=LogIndex(0), round=0))
    group.tell("b", Woke())
    group.deliver()
    assert group["a"].role is Role.LEADER
    assert group["b"].term == 1


def test_the_end_of_another_process_ends_no_leadership() -> None:
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    due_ms = group["b"].due_ms
    group.tell("b", LeaderGone(VoterId("c")))
    assert (group["b"].leader_id, group["b"].due_ms) == ("a", due_ms)
