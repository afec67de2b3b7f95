"""Lifeguard's local health: bounded, and every step back is earned."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.membership.awareness import Awareness


@given(steps=st.lists(st.booleans(), max_size=200), most=st.integers(0, 8))
def test_score_stays_within_its_bounds(steps: list[bool], most: int) -> None:
    awareness = Awareness(most)
    for is_worse in steps:
        awareness.worse() if is_worse else awareness.better()
        assert 0 <= awareness.score <= most
        assert awareness.factor == awareness.score + 1


def test_a_healthy_node_multiplies_by_one() -> None:
    awareness = Awareness(8)
    awareness.better()
    assert awareness.factor == 1
    awareness.worse()
    awareness.worse()
    awareness.better()
    assert awareness.factor == 2
