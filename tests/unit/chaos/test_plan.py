"""Which harm comes when, and what is possible where."""

from __future__ import annotations

from collections import Counter

from tests.chaos.nemeses import NEMESES, RECOVER, possible
from tests.chaos.run import Plan, shared_beds


def plan(*names: str, rounds: int, seed: int = 0) -> Plan:
    return Plan(nemeses=names, rounds=rounds, every_s=0, hold_s=0, rate=1, seed=seed, engine="embedded")


def test_each_takes_its_turn_and_the_last_act_none() -> None:
    acts = plan("kill", "pause", "lead", RECOVER, rounds=7).acts
    assert RECOVER not in acts
    assert sorted(Counter(acts).values()) == [2, 2, 3]


def test_the_seed_says_the_order() -> None:
    orders = {plan(*NEMESES, rounds=len(NEMESES), seed=seed).acts for seed in range(5)}
    assert len(orders) > 1
    assert plan(*NEMESES, rounds=20, seed=3).acts == plan(*NEMESES, rounds=20, seed=3).acts


def test_the_last_act_may_be_the_only_one() -> None:
    assert plan(RECOVER, rounds=3).acts == ()


def test_what_needs_a_machine_or_the_log_is_left_out_elsewhere() -> None:
    everything = possible(has_machines=True, has_voters=True)
    assert everything == (*NEMESES, RECOVER)
    assert set(possible(has_machines=False, has_voters=True)) == {
        "kill",
        "pause",
        "rolling",
        "lead",
        "wipe",
        RECOVER,
    }
    database = set(possible(has_machines=True, has_voters=False))
    assert database == {"kill", "pause", "rolling", "split", "deafen", "unplug", "mix", "clock"}


def test_who_moves_clocks_has_a_bed_of_its_own_and_no_round_is_lost() -> None:
    assert shared_beds(["kill", "clock", RECOVER], None) == [(["kill", RECOVER], 1), (["clock"], 1)]
    assert shared_beds(["kill", "clock", "lead"], 10) == [(["kill", "lead"], 6), (["clock"], 4)]
    for alone in (["kill", "lead", RECOVER], ["clock"], ["clock", RECOVER]):
        assert shared_beds(alone, 5) == [(alone, 5)]
