"""For how long nobody else can lead."""

from __future__ import annotations

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.lease import lead_left_ms
from proto.ids import VoterId

A, B, C, D = (VoterId(f"{letter * 32}.00000000") for letter in "abcd")
THREE = Configuration(frozenset({A, B, C}))


@pytest.mark.parametrize(
    ("silent_ms", "left_ms"),
    [
        ({A: 0, B: 40, C: 90}, 960),  # the nearer of two makes the majority
        ({A: 0, B: 5_000, C: 300}, 700),
        ({A: 0, B: 1_500, C: 2_000}, 0),
        ({A: 0}, 0),  # nobody answered yet
        ({A: 0, B: 10, D: 20}, 990),  # a learner's word counts for nothing
        ({A: 0, D: 20}, 0),
    ],
)
def test_the_majority_that_heard_it_last_counts(silent_ms: dict[VoterId, int], left_ms: int) -> None:
    assert lead_left_ms(THREE, silent_ms, 1_000) == left_ms


def test_while_the_voters_change_it_takes_both_majorities() -> None:
    joint = Configuration(frozenset({A, D}), frozenset({A, B, C}))
    assert lead_left_ms(joint, {A: 0, B: 10, C: 20, D: 600}, 1_000) == 400


def test_alone_there_is_nobody_to_take_it() -> None:
    assert lead_left_ms(Configuration(frozenset({A})), {A: 0}, 1_000) is None
