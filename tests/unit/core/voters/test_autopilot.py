"""Each rule of the autopilot as a small fabric: what it does, when, and what it never does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.voters.config import VotersConfig, VotersConfigError
from fabric.core.voters.facts import AddLearner, Reconfigure
from proto.ids import NodeId, voter_of
from tests.fixtures.voters import SECOND_MS, Group, first, firsts, learners_of, voters_of

# ---- how many


@pytest.mark.parametrize(
    ("nodes", "voters", "learners"),
    [(1, 1, 0), (2, 1, 1), (3, 3, 0), (4, 3, 1), (5, 5, 0), (6, 5, 1), (9, 5, 2)],
)
def test_a_group_grows_from_its_nodes(nodes: int, voters: int, learners: int) -> None:
    group = Group("a", others="bcdefghij"[: nodes - 1])
    group.settle()
    assert (len(group.voters), len(group.learners)) == (voters, learners)
    assert group.wait(900) is None, "it does not come to rest"


def test_it_grows_in_pairs() -> None:
    group = Group("a", others="bcdef")
    steps = group.settle()
    assert {len(step.voters) for step in steps if isinstance(step, Reconfigure)} <= {3, 5}
    assert len(group.voters) == 5


def test_one_of_a_pair_alone_does_not_begin() -> None:
    group = Group("a", "bc")
    group.lags[first("c")] = 250
    assert group.wait(600) is None
    group.lags[first("c")] = 249
    assert voters_of(group.wait(20)) == "abc"


@pytest.mark.parametrize("target", [1, 3])
def test_the_operators_number_counts(target: int) -> None:
    group = Group("abcde", target=target)
    assert len(voters_of(group.look())) == target
    group.settle()
    assert (len(group.voters), len(group.learners)) == (target, 2)


def test_five_for_three_nodes_waits_for_two_more() -> None:
    group = Group("abc", target=5)
    assert group.wait(120) is None


@pytest.mark.parametrize(("voters", "left"), [("ab", 1), ("abcd", 3)])
def test_an_even_number_loses_one(voters: str, left: int) -> None:
    step = Group(voters).look()
    assert len(voters_of(step)) == left
    assert "a" in voters_of(step)


@pytest.mark.parametrize(
    ("nodes", "serving", "learners"), [(9, 0, 2), (9, 7, 2), (9, 8, 3), (9, 9, 4), (6, 9, 1)]
)
def test_more_stand_by_where_more_are_to_serve(nodes: int, serving: int, learners: int) -> None:
    group = Group("abcde", others="fghi"[: nodes - 5], serving=serving)
    group.settle()
    assert (len(group.voters), len(group.learners)) == (5, learners)
    assert group.wait(900) is None, "it does not come to rest"


def test_who_stood_by_only_to_serve_goes_when_fewer_are_wanted() -> None:
    group = Group("abc", "defgh", target=3, serving=5)
    group.settle()
    assert (len(group.voters), len(group.learners)) == (3, 2)


def test_settings_are_checked() -> None:
    for wrong in (
        {"target": 2},
        {"target": 7},
        {"standbys": -1},
        {"serving": -1},
        {"serving": 22},
        {"dead_after_ms": 1},
        {"caught_up_entries": 0},
    ):
        with pytest.raises(VotersConfigError):
            VotersConfig(**wrong)
    with pytest.raises(VotersConfigError, match="invite_ms"):
        VotersConfig(invite_ms=2, invite_again_ms=1)


# ---- when


def test_no_step_while_a_change_is_under_way() -> None:
    group = Group("abc", others="de")
    group.facts = replace(group.facts, is_changing=True)
    assert group.wait(120) is None
    group.facts = replace(group.facts, is_changing=False)
    now = group.facts.configuration
    group.facts = replace(group.facts, configuration=Configuration(now.voters, firsts("ab"), now.learners))
    assert group.wait(120) is None
    assert group.autopilot.explain() == "a change of the voters is under way"
    group.facts = replace(group.facts, configuration=now)
    assert isinstance(group.look(), AddLearner)


def test_no_step_without_a_majority_that_answers() -> None:
    group = Group("abc", "de")
    group.wait(30)
    group.silent |= {first("b"): group.now_ms, first("c"): group.now_ms}
    group.now_ms += 4 * SECOND_MS
    assert group.wait(600) is None
    assert group.autopilot.explain() == "1 of 3 voters answer, no majority: nothing can be changed"


def test_a_learner_is_caught_up_for_ten_seconds_without_a_break() -> None:
    group = Group("a", "bc")
    assert group.wait(9) is None
    group.lags[first("b")] = 251
    group.look()
    group.now_ms += SECOND_MS
    group.lags.clear()
    assert group.wait(10) is None
    assert voters_of(group.look()) == "abc"


def test_a_learner_that_does_not_answer_is_not_caught_up() -> None:
    group = Group("a", "bc")
    group.silent[first("b")] = group.now_ms - 3 * SECOND_MS
    assert group.wait(40) is None


def test_a_node_that_has_just_started_is_not_invited() -> None:
    group = Group("a", others="b")
    group.nodes["b"] = replace(group.nodes["b"], since_ms=group.now_ms)
    assert group.wait(10) is None
    assert group.look() == AddLearner(node_id=NodeId("b"), reason="h-b is to stand by")


def test_an_invitation_is_waited_for_and_then_another_is_asked() -> None:
    group = Group("a", others="bc")
    one = group.look()
    assert group.wait(9) is None
    other = group.wait(5)
    assert isinstance(one, AddLearner)
    assert isinstance(other, AddLearner)
    assert {one.node_id, other.node_id} == {"b", "c"}
    group.now_ms += 2 * SECOND_MS
    assert group.wait(15) is None, "asked again too soon"
    assert group.wait(15) == one


# ---- the dead


def test_a_dead_voter_is_replaced_after_a_minute_in_one_change() -> None:
    group = Group("abc", "d")
    group.wait(30)
    group.kill("c")
    assert group.wait(60) is None
    step = group.look()
    assert step == Reconfigure(voters=firsts("abd"), learners=frozenset(), reason="h-d instead of h-c (dead)")


def test_gossip_alone_buries_nobody() -> None:
    group = Group("abc", "d")
    group.nodes["c"] = replace(group.nodes["c"], is_alive=False)
    assert group.wait(600) is None


def test_the_leaders_ears_alone_bury_nobody() -> None:
    group = Group("abc", "d", invite_again_ms=10_000_000)
    group.wait(30)
    group.silent[first("c")] = group.now_ms
    steps = [step for step in group.settle(600) if isinstance(step, Reconfigure)]
    assert steps == []


def test_without_a_standby_one_is_fetched_first() -> None:
    group = Group("abc", others="d", standbys=0)
    group.kill("c")
    steps = group.settle()
    assert [type(step) for step in steps] == [AddLearner, Reconfigure]
    assert group.voters == "abd"


def test_three_with_one_dead_and_nobody_else_stay_three() -> None:
    group = Group("abc")
    group.kill("c")
    assert group.wait(900) is None
    assert "no other node to vote instead" in group.autopilot.explain()


def test_five_with_one_dead_and_nobody_else_stay_five() -> None:
    group = Group("abcde")
    group.kill("c")
    assert group.wait(900) is None


def test_five_with_two_dead_and_nobody_else_become_three() -> None:
    group = Group("abcde")
    group.kill("cd")
    assert group.wait(60) is None
    step = group.look()
    assert voters_of(step) == "abe"
    assert learners_of(step) == ""


def test_one_standby_for_two_dead_replaces_one() -> None:
    group = Group("abcde", "f")
    group.wait(30)
    group.kill("cd")
    group.wait(60)
    step = group.look()
    assert voters_of(step) in {"abcef", "abdef"}


def test_a_dead_learner_is_dropped_after_a_minute() -> None:
    group = Group("abc", "d")
    group.kill("d")
    assert group.wait(60) is None
    step = group.look()
    assert step == Reconfigure(
        voters=firsts("abc"), learners=frozenset(), reason="no longer standing by: h-d (dead)"
    )


def test_a_leader_that_slept_blames_nobody_for_its_sleep() -> None:
    group = Group("abc", "d")
    group.wait(30)
    group.kill("c")
    group.now_ms += 90 * SECOND_MS
    assert group.wait(60) is None
    assert voters_of(group.look()) == "abd"


def test_who_comes_back_in_time_stays() -> None:
    group = Group("abc", "d")
    group.wait(30)
    group.kill("c")
    assert group.wait(59) is None
    group.revive("c")
    assert group.wait(600) is None


def test_a_node_that_lost_its_disk_votes_under_its_new_name_and_the_old_one_goes() -> None:
    group = Group("abc")
    group.wait(30)
    group.silent[first("c")] = group.now_ms
    step = group.wait(61)
    assert step == AddLearner(node_id=NodeId("c"), reason="h-c is silent: does it still have its disk?")
    group.obey(step, number="2")
    step = group.wait(20)
    assert isinstance(step, Reconfigure)
    assert step.voters == firsts("ab") | {voter_of(NodeId("c"), "2")}
    assert step.learners == frozenset()


def test_a_learner_that_lost_its_disk_goes_by_its_new_name() -> None:
    group = Group("abc", "d")
    group.silent[first("d")] = group.now_ms - 10 * SECOND_MS
    new = voter_of(NodeId("d"), "2")
    now = group.facts.configuration
    group.facts = replace(group.facts, configuration=replace(now, learners=now.learners | {new}))
    step = group.look()
    assert isinstance(step, Reconfigure)
    assert step.learners == {new}


# ---- the operator


def test_who_is_not_wanted_is_replaced_when_a_standby_is_ready() -> None:
    group = Group("abc", "d")
    group.lags[first("d")] = 1_000
    group.wish(unwanted="b")
    assert group.wait(600) is None, "three are better than two or one while a fourth is on its way"
    assert "h-b is to stop voting" in group.autopilot.explain()
    group.lags.clear()
    step = group.wait(20)
    assert voters_of(step) == "acd"
    assert learners_of(step) == ""


def test_who_is_not_wanted_goes_without_replacement_when_there_is_no_other_node() -> None:
    group = Group("abc")
    group.wish(unwanted="c")
    step = group.look()
    assert voters_of(step) == "a"
    assert learners_of(step) == "b"


def test_five_do_not_shrink_to_one_because_of_a_wish_and_two_that_just_died() -> None:
    """Seed 35 of the simulation, when it was new: the last answers of the dead were a second old."""
    group = Group("abcde")
    group.wish(wanted="b", unwanted="a")
    group.wait(1)
    group.kill("bc")
    group.now_ms += SECOND_MS
    step = group.look()
    assert isinstance(step, Reconfigure)
    assert len(step.voters) == 3
    assert step.voters > firsts("de")


def test_who_died_a_moment_ago_does_not_become_the_only_voter() -> None:
    group = Group("abc", target=1)
    group.wish(wanted="b", unwanted="a")
    group.kill("b")
    group.now_ms += SECOND_MS
    assert voters_of(group.look()) == "c"


def test_the_last_voter_stays_whatever_is_wished() -> None:
    group = Group("a")
    group.wish(unwanted="a")
    assert group.wait(600) is None


def test_a_leader_that_is_not_wanted_leaves_in_favour_of_a_standby() -> None:
    group = Group("abc", "d")
    group.wait(20)
    group.wish(unwanted="a")
    assert voters_of(group.look()) == "bcd"


def test_the_leader_is_not_removed_otherwise() -> None:
    group = Group("abcde", target=1)
    group.wish(wanted="c")
    assert voters_of(group.look()) == "a"


def test_who_is_wanted_votes_first() -> None:
    group = Group("abc", others="defghi", target=3)
    group.wish(wanted="hi")
    group.settle()
    assert group.voters == "ahi"
    assert len(group.learners) == 2
    assert group.wait(900) is None


def test_more_wishes_than_places_come_to_rest() -> None:
    group = Group("abc", others="defghi", target=3)
    group.wish(wanted="cdefghi")
    group.settle()
    assert len(group.voters) == 3
    assert group.wait(900) is None


def test_a_node_that_may_not_vote_is_neither_invited_nor_kept_when_another_is_ready() -> None:
    group = Group("abc", others="de")
    group.nodes["d"] = replace(group.nodes["d"], is_eligible=False)
    group.nodes["c"] = replace(group.nodes["c"], is_eligible=False)
    group.settle()
    assert group.voters == "abe"
    assert group.learners == ""


# ---- the spread


def test_zones_come_before_racks() -> None:
    group = Group("a", others="bcdefg", target=3)
    group.place(z1="abc", z2="de", z3="fg")
    group.settle()
    zones = {group.nodes[name].zone for name in group.voters}
    assert zones == {"z1", "z2", "z3"}


def test_racks_come_before_age() -> None:
    group = Group("a", others="bcd", target=3)
    racks = {"a": "r1", "b": "r1", "c": "r2", "d": "r3"}
    for name, rack in racks.items():
        group.nodes[name] = replace(
            group.nodes[name], zone="z", rack=rack, since_ms=0 if name == "b" else 900_000
        )
    steps = group.settle()
    assert [step.node_id for step in steps if isinstance(step, AddLearner)][2] == "b"


def test_the_older_comes_before_the_younger() -> None:
    for old in "bc":
        group = Group("a", others="bc", target=1, standbys=1)
        for name in "abc":
            since = 0 if name == old else 900_000
            group.nodes[name] = replace(group.nodes[name], zone="z", since_ms=since)
        step = group.look()
        assert isinstance(step, AddLearner)
        assert step.node_id == old


def test_a_zone_with_the_majority_gives_one_away_and_the_next_ten_minutes_later() -> None:
    group = Group("abc", others="de", target=3)
    group.place(z1="abc", z2="d", z3="e")
    assert [step for step in group.settle(590) if isinstance(step, Reconfigure)] == []
    moves = [step for step in group.settle(20) if isinstance(step, Reconfigure)]
    assert len(moves) == 1
    assert "a" in group.voters
    assert not [
        step for step in group.settle(570) if isinstance(step, Reconfigure) and step.voters != moves[0].voters
    ]
    group.settle(60)
    assert group.voters == "ade"
    assert group.wait(900) is None


def test_two_zones_do_not_pass_the_majority_to_and_fro() -> None:
    group = Group("abc", others="d", target=3)
    group.place(z1="ab", z2="cd")
    group.settle(1_800)
    assert group.voters == "abc"


def test_the_choice_does_not_depend_on_the_order_of_the_nodes() -> None:
    results = set()
    for names in ("bcdefgh", "hgfedcb"):
        group = Group("a", others=names, target=3)
        for name in names:
            group.nodes[name] = replace(group.nodes[name], zone="z")
        group.settle()
        results.add((group.voters, group.learners))
    assert len(results) == 1


# ---- what it says


@pytest.mark.parametrize(
    ("voters", "learners", "says"),
    [
        ("a", "", "the fabric has one node that may vote: losing h-a stops changes until it is back"),
        (
            "a",
            "b",
            "the fabric has two nodes: one voter and one standby; losing h-a stops changes until it is back",
        ),
        ("abc", "d", "nothing to do: 3 voters, any 1 of them may die; 1 ready to replace them"),
        ("abcde", "", "nothing to do: 5 voters, any 2 of them may die; 0 ready to replace them"),
    ],
)
def test_it_says_what_it_can_bear(voters: str, learners: str, says: str) -> None:
    group = Group(voters, learners)
    group.wait(30)
    assert group.autopilot.explain() == says


def test_it_says_who_is_dead_and_when_it_is_replaced() -> None:
    group = Group("abc", "d")
    group.wait(30)
    group.kill("c")
    group.wait(42)
    assert group.autopilot.explain() == "node h-c is dead since 41 s: replaced at 60 s"


def test_it_says_who_is_not_caught_up() -> None:
    group = Group("a", "bc")
    assert group.autopilot.explain() == "the leader has not looked yet"
    group.lags[first("b")] = 12_000
    group.wait(3)
    progress = "h-b (12,000 entries behind), h-c (caught up, watched for another 8 s)"
    assert group.autopilot.explain() == f"2 voters are not caught up yet: {progress}"


def test_it_says_who_was_invited() -> None:
    group = Group("a", others="b")
    group.look()
    assert group.autopilot.explain() == "h-b is invited to stand by and has not come yet"
