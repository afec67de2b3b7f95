"""Majorities against a slow, obvious twin: count for each index who holds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.raft.configuration import Configuration, Tally, decode_configuration, encode_configuration
from proto.ids import LogIndex, VoterId

NAMES = [VoterId(f"n{i}") for i in range(7)]
SOME = st.frozensets(st.sampled_from(NAMES))
CONFIGURATIONS = st.builds(Configuration, SOME.filter(bool), SOME, SOME)
HELD = st.fixed_dictionaries({name: st.integers(0, 9) for name in NAMES})


def is_majority(of: frozenset[VoterId], who: set[VoterId]) -> bool:
    return 2 * len(of & who) > len(of)


@given(CONFIGURATIONS, HELD)
def test_committed(configuration: Configuration, held: dict[VoterId, int]) -> None:
    sets = [configuration.voters, *([configuration.outgoing] if configuration.outgoing else [])]
    slow = max(
        index
        for index in range(10)
        if all(is_majority(each, {name for name in NAMES if held[name] >= index}) for each in sets)
    )
    assert configuration.committed(lambda voter: LogIndex(held[voter])) == slow


@given(CONFIGURATIONS, st.dictionaries(st.sampled_from(NAMES), st.booleans()))
def test_tally(configuration: Configuration, votes: dict[VoterId, bool]) -> None:
    """Won when those who said yes are a majority of each set; lost when no further yes can make them one."""
    sets = [configuration.voters, *([configuration.outgoing] if configuration.outgoing else [])]
    yes = {name for name, vote in votes.items() if vote}
    not_no = {name for name in NAMES if votes.get(name, True)}
    if all(is_majority(each, yes) for each in sets):
        expected = Tally.WON
    elif not all(is_majority(each, not_no) for each in sets):
        expected = Tally.LOST
    else:
        expected = Tally.OPEN
    assert configuration.tally(votes) is expected


@given(CONFIGURATIONS, CONFIGURATIONS)
def test_on_the_way_no_two_majorities_miss_each_other(one: Configuration, other: Configuration) -> None:
    """Whoever wins under the joint configuration wins under both it joins."""
    before = Configuration(one.voters)
    joint = before.towards(other.voters, other.learners)
    for who in (one.voters, other.voters, one.voters | other.voters):
        votes = dict.fromkeys(who, True)
        if joint.tally(votes) is Tally.WON:
            assert before.tally(votes) is Tally.WON
            assert joint.settled().tally(votes) is Tally.WON


@given(CONFIGURATIONS)
def test_as_bytes_and_back(configuration: Configuration) -> None:
    assert decode_configuration(encode_configuration(configuration)) == configuration
