"""Accusations, votes and verdicts, as one core hears them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.membership.case import window_ms
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import Knock, LinkLost
from fabric.core.membership.model import MemberState
from proto.membership import (
    VERDICT_NUMBER_MAX,
    Ballot,
    Doom,
    Down,
    Finding,
    Presence,
    State,
    Suspect,
    Verdict,
    Vote,
)
from tests.fixtures.lone_core import LoneCore, done, record_of, said, state_of, vote_of
from tests.fixtures.membership_nodes import fake_node_id

PEERS = ("a", "b", "c", "d", "e", "x")
OTHERS = ("a", "b", "c", "d", "e")
SUSPECT, ALIVE = MemberState.SUSPECT, MemberState.ALIVE
AGENT_DOWN, HOST_DOWN, STALLED = MemberState.AGENT_DOWN, MemberState.HOST_DOWN, MemberState.STALLED


def verdict_of(votes: Sequence[Vote], *, doom: Doom = Doom.HOST_DOWN, number: int = 1) -> Verdict:
    first = votes[0]
    return Verdict(
        target=first.target,
        epoch=first.epoch,
        incarnation=first.incarnation,
        number=number,
        doom=doom,
        votes=tuple(votes),
    )


def accused(finding: Finding, *voters: str) -> LoneCore:
    world = LoneCore(PEERS)
    for voter in voters:
        world.hear(voter, Suspect(votes=(vote_of(voter, "x", finding),)))
    return world


@given(
    confirmations=st.integers(0, 9),
    wanted=st.integers(1, 5),
    low=st.integers(1, 10_000),
    more=st.integers(0, 60_000),
)
def test_the_window_falls_from_high_to_low_as_votes_confirm(
    confirmations: int, wanted: int, low: int, more: int
) -> None:
    high = low + more
    now = window_ms(confirmations, wanted, low_ms=low, high_ms=high)
    assert low <= now <= high
    assert window_ms(confirmations + 1, wanted, low_ms=low, high_ms=high) <= now
    assert window_ms(wanted, wanted, low_ms=low, high_ms=high) == low
    if wanted > 1:
        assert window_ms(1, wanted, low_ms=low, high_ms=high) == high


@pytest.mark.parametrize(("low", "high", "wanted"), [(2, 1, 3), (1, 2, 0)])
def test_a_senseless_window_is_refused(low: int, high: int, wanted: int) -> None:
    with pytest.raises(ValueError, match="need low <= high"):
        window_ms(1, wanted, low_ms=low, high_ms=high)


def test_a_refused_link_is_an_accusation_which_the_accused_hears_first() -> None:
    world = LoneCore(PEERS)
    world.tell(LinkLost(fake_node_id("x"), refused=True))
    effects = world.wait(100, beating=OTHERS)
    first = said(effects, Suspect)[0]
    assert first in said(effects, Suspect, to="x")
    assert first.votes[0].finding is Finding.REFUSED
    assert world.sees("x") is SUSPECT


@pytest.mark.parametrize(
    ("finding", "state"),
    [(Finding.REFUSED, AGENT_DOWN), (Finding.SILENT, HOST_DOWN), (Finding.STALLED, STALLED)],
)
def test_three_votes_make_a_verdict_that_says_what_they_found(finding: Finding, state: MemberState) -> None:
    world = accused(finding, "a", "b", "c")
    world.wait(900, beating=OTHERS)
    assert world.sees("x") is SUSPECT
    effects = world.wait(1_000, beating=OTHERS)
    assert world.sees("x") is state
    (verdict,) = {v for down in said(effects, Down) for v in down.verdicts}
    assert len(verdict.votes) == 3


def test_too_few_votes_are_not_enough_however_long_it_takes() -> None:
    """Two and this node's own make three of four."""
    world = LoneCore(PEERS, config=MembershipConfig(votes_wanted=4))
    for voter in ("a", "b"):
        world.hear(voter, Suspect(votes=(vote_of(voter, "x", Finding.SILENT),)))
    world.wait(60_000, beating=OTHERS)
    assert world.sees("x") not in (AGENT_DOWN, HOST_DOWN, STALLED)
    assert not said(world.effects, Down)


def test_one_vote_that_reached_it_ends_the_case() -> None:
    world = accused(Finding.SILENT, "a", "b")
    world.hear("c", Ballot(votes=(vote_of("c", "x", Finding.REACHABLE),)))
    assert world.sees("x") is ALIVE


def test_one_voter_cannot_keep_a_dead_member_alive_for_ever() -> None:
    world = LoneCore(PEERS)
    for round_ in range(8):
        for voter in ("a", "b", "d"):
            vote = vote_of(voter, "x", Finding.SILENT, attempt=round_)
            world.hear(voter, Suspect(votes=(vote,)))
        world.hear("c", Ballot(votes=(vote_of("c", "x", Finding.REACHABLE, attempt=round_),)))
        world.wait(1_900, beating=OTHERS)
    assert world.sees("x") is HOST_DOWN


def test_a_vote_that_is_outvoted_is_passed_on_once() -> None:
    """It once was passed on each time it came, by all to all: five times as many every hop."""
    world = LoneCore(PEERS)
    for round_ in range(8):
        for voter in ("a", "b", "d"):
            world.hear(voter, Suspect(votes=(vote_of(voter, "x", Finding.SILENT, attempt=round_),)))
        vote = vote_of("c", "x", Finding.REACHABLE, attempt=round_)
        world.hear("c", Ballot(votes=(vote,)))
    assert world.core.counters["votes_outvoted"] > 0
    world.wait(100)
    assert vote in [told for ballot in said(world.effects, Ballot, to="e") for told in ballot.votes]
    told_before = len(world.effects)
    for sender in ("a", "e", "c"):
        world.hear(sender, Ballot(votes=(vote,)))
    world.wait(100)
    assert vote not in [told for ballot in said(world.effects[told_before:], Ballot) for told in ballot.votes]


def test_the_accused_refutes_with_a_higher_incarnation_and_is_alive() -> None:
    world = accused(Finding.SILENT, "a", "b", "c")
    world.learn(state_of(record_of("x", version=2, incarnation=1)), sender="a")
    assert world.sees("x") is ALIVE
    world.wait(10_000, beating=PEERS)
    assert world.sees("x") is ALIVE


def test_this_node_refutes_at_once_what_is_said_of_it() -> None:
    world = LoneCore(PEERS)
    world.hear("a", Suspect(votes=(vote_of("a", "me", Finding.SILENT),)))
    assert world.core.me.incarnation == 1
    effects = world.wait(50)
    assert world.core.own_state in [s for state in said(world.effects, State) for s in state.states]
    world.hear("b", Suspect(votes=(vote_of("b", "me", Finding.SILENT),)))
    assert world.core.me.incarnation == 1, "an accusation that is refuted already is no news"
    assert not said(effects, Suspect, to="me")


def test_a_verdict_about_this_node_is_refuted_too() -> None:
    world = LoneCore(PEERS)
    votes = [vote_of(v, "me", Finding.SILENT) for v in ("a", "b", "c")]
    world.hear("a", Down(verdicts=(verdict_of(votes),)))
    assert world.core.me.incarnation == 1


@pytest.mark.parametrize("ahead", [{"incarnation": 1 << 52}, {"epoch": 1 << 52}])
def test_nobody_can_drive_this_node_to_the_end_of_its_numbers(ahead: dict[str, int]) -> None:
    world = LoneCore(PEERS)
    votes = [vote_of(v, "me", Finding.SILENT, **ahead) for v in ("a", "b", "c")]
    world.hear("a", Suspect(votes=tuple(votes)))
    world.hear("a", Down(verdicts=(verdict_of(votes),)))
    assert (world.core.me.epoch, world.core.me.incarnation) == (1, 0)


def test_an_accusation_nobody_signed_is_not_refuted() -> None:
    world = LoneCore(PEERS)
    forged = replace(vote_of("a", "me", Finding.SILENT), voter=fake_node_id("b"))
    world.hear("a", Suspect(votes=(forged,)))
    assert world.core.me.incarnation == 0


def test_a_verdict_number_is_bounded() -> None:
    votes = [vote_of(v, "x", Finding.SILENT) for v in ("a", "b", "c")]
    with pytest.raises(ValueError, match="out of range"):
        verdict_of(votes, number=VERDICT_NUMBER_MAX + 1)


def test_a_verdict_proves_itself() -> None:
    world = LoneCore(PEERS)
    votes = [vote_of(v, "x", Finding.SILENT) for v in ("a", "b", "c")]
    world.hear("d", Down(verdicts=(verdict_of(votes),)))
    assert world.sees("x") is HOST_DOWN


@pytest.mark.parametrize("voters", [("a", "b"), ("a", "a", "a"), ("a", "b", "x"), ("a", "b", "stranger")])
def test_a_verdict_without_enough_genuine_votes_is_not_believed(voters: tuple[str, ...]) -> None:
    world = LoneCore(PEERS)
    votes = [vote_of(v, "x", Finding.SILENT, attempt=i) for i, v in enumerate(voters)]
    world.hear("d", Down(verdicts=(verdict_of(votes),)))
    assert world.sees("x") in (ALIVE, SUSPECT)
    assert world.core.counters["refused.verdict_not_proven"] == 1


def test_a_forged_vote_is_not_counted() -> None:
    world = LoneCore(PEERS)
    real = vote_of("a", "x", Finding.SILENT)
    forged = Vote(
        target=real.target,
        epoch=real.epoch,
        incarnation=real.incarnation,
        attempt=real.attempt,
        voter=fake_node_id("b"),
        finding=real.finding,
        signature=real.signature,
    )
    world.hear("c", Suspect(votes=(forged,)))
    assert world.sees("x") is ALIVE
    assert world.core.counters["refused.bad_vote"] == 1


def test_a_stale_accusation_is_no_accusation() -> None:
    world = LoneCore(PEERS)
    world.learn(state_of(record_of("x", version=2, incarnation=2)), sender="x")
    world.hear("a", Suspect(votes=(vote_of("a", "x", Finding.SILENT, incarnation=1),)))
    assert world.sees("x") is ALIVE


def test_who_left_is_not_accused() -> None:
    world = LoneCore(PEERS)
    world.learn(state_of(record_of("x", version=2), presence=Presence.LEFT), sender="x")
    world.hear("a", Suspect(votes=(vote_of("a", "x", Finding.SILENT),)))
    assert world.sees("x") is MemberState.LEFT


def test_a_dead_host_that_refuses_again_is_an_agent_down() -> None:
    world = LoneCore(PEERS)
    votes = [vote_of(v, "x", Finding.SILENT) for v in ("a", "b", "c")]
    world.hear("d", Down(verdicts=(verdict_of(votes),)))
    for voter in ("a", "b", "c"):
        world.hear(voter, Suspect(votes=(vote_of(voter, "x", Finding.REFUSED, attempt=1),)))
    world.wait(1_500, beating=OTHERS)
    assert world.sees("x") is AGENT_DOWN


def test_a_stalled_agent_is_down_after_thirty_seconds_and_not_before() -> None:
    world = accused(Finding.STALLED, "a", "b", "c")
    world.wait(2_000, beating=OTHERS)
    assert world.sees("x") is STALLED
    for voter in ("a", "b", "c"):
        world.hear(voter, Suspect(votes=(vote_of(voter, "x", Finding.STALLED, attempt=1),)))
    world.wait(4_000, beating=OTHERS)
    assert world.sees("x") is STALLED
    world.wait(26_000, beating=OTHERS)
    for voter in ("a", "b", "c"):
        world.hear(voter, Suspect(votes=(vote_of(voter, "x", Finding.STALLED, attempt=2),)))
    world.wait(2_000, beating=OTHERS)
    assert world.sees("x") is AGENT_DOWN


def test_a_node_that_hears_nobody_accuses_nobody() -> None:
    """All are silent to it: then it may be cut off itself."""
    names = tuple(f"p{i}" for i in range(8))
    world = LoneCore(names)
    world.wait(20_000)
    assert not said(world.effects, Suspect)
    assert world.core.counters["self_doubts"] > 0
    assert world.core.is_isolated
    assert all(world.sees(name) in (ALIVE, SUSPECT) for name in names)


def test_a_verdict_that_proves_too_little_is_told_to_the_accused_so_that_it_can_refute() -> None:
    world = LoneCore(PEERS)
    verdict = verdict_of([vote_of("a", "x", Finding.SILENT)])
    for age_ms in (0, 60_000):
        effects = world.hear("a", Down(verdicts=(replace(verdict, age_ms=age_ms),)))
        assert [told.verdicts[0].target for told in said(effects, Down, to="x")] == [fake_node_id("x")]
    assert world.sees("x") is not HOST_DOWN


def test_an_old_verdict_about_one_that_is_suspected_is_looked_into_too() -> None:
    world = accused(Finding.SILENT, "a")
    assert world.sees("x") is SUSPECT
    votes = [vote_of(v, "x", Finding.SILENT) for v in ("b", "c", "d")]
    world.hear("b", Down(verdicts=(replace(verdict_of(votes), age_ms=60_000),)))
    assert world.sees("x") is SUSPECT


def test_a_verdict_that_waited_while_this_node_slept_is_no_news() -> None:
    world = LoneCore(PEERS)
    votes = [vote_of(v, "x", Finding.SILENT) for v in ("b", "c", "d")]
    world.now_ms += 60_000
    world.hear("b", Down(verdicts=(verdict_of(votes),)))
    assert world.sees("x") is ALIVE


def test_a_vote_cast_long_ago_is_cast_again_before_it_judges() -> None:
    """Three refutations make the window eight seconds long; meanwhile a split may have healed."""
    world = LoneCore(("x",))
    x = fake_node_id("x")
    for refuted in range(3):
        world.tell(LinkLost(x, refused=True))
        world.wait(300)
        world.learn(state_of(record_of("x", version=2 + refuted, incarnation=refuted + 1)), sender="x")
        world.wait(61_000, beating=("x",))
    world.tell(LinkLost(x, refused=True))
    world.wait(7_000)
    assert world.sees("x") is SUSPECT
    effects = world.wait(2_000)
    assert x in {knock.node_id for knock in done(effects, Knock)}
    assert world.sees("x") is SUSPECT


def test_copies_of_a_settled_accusation_open_no_new_case() -> None:
    """A node whose queue is long hears accusation and answer in turns; it told both again each time."""
    peers = ("a", "b", "c", "d", "e")
    world = LoneCore(peers)
    world.wait(3_000, beating=peers)
    accusation, answer = vote_of("a", "e", Finding.REFUSED), vote_of("b", "e", Finding.REACHABLE)
    for sender in ("a", "c", "d"):
        world.hear(sender, Suspect(votes=(accusation,)))
        world.hear(sender, Ballot(votes=(answer,)))
    world.wait(100)
    told = [vote for message in said(world.effects, Suspect, to="c") for vote in message.votes]
    assert told.count(accusation) <= 1
    assert world.sees("e") is MemberState.ALIVE


def test_a_later_accusation_by_the_same_voter_says_so_and_is_heard() -> None:
    peers = ("a", "b", "c", "d", "e")
    world = LoneCore(peers)
    world.wait(3_000, beating=peers)
    world.hear("a", Suspect(votes=(vote_of("a", "e", Finding.REFUSED),)))
    world.hear("b", Ballot(votes=(vote_of("b", "e", Finding.REACHABLE),)))
    assert world.sees("e") is MemberState.ALIVE
    world.hear("a", Suspect(votes=(vote_of("a", "e", Finding.REFUSED, attempt=1),)))
    assert world.sees("e") is MemberState.SUSPECT
