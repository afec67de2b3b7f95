"""Whom harm comes to."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import cast

import pytest

from tests.chaos.bed import Bed
from tests.chaos.nemeses import Scene

NAMES = ("h1", "h2", "h3", "h4", "h5")


class FiveNodes:
    """Names alone: nothing is done to anybody here."""

    names = NAMES
    faults = None


class LedBy:
    def __init__(self, leader: str | None) -> None:
        self._leader = leader

    def leader(self) -> str | None:
        return self._leader

    def complaint(self) -> str:
        return ""


def scene(leader: str | None, seed: int = 0) -> Scene:
    return Scene(cast(Bed, FiveNodes()), LedBy(leader), Random(seed), lambda text: None, 0)


@pytest.mark.parametrize("leader", [None, "h2"])
@pytest.mark.parametrize("seed", range(5))
def test_as_many_as_were_asked_for_whoever_leads(leader: str | None, seed: int) -> None:
    for count in range(1, len(NAMES) + 1):
        victims = scene(leader, seed).victims(count)
        assert len(set(victims)) == len(victims) == count


def test_whoever_leads_is_the_first_two_times_of_three_else_nobodys_first_choice() -> None:
    drawn = scene("h2")
    pairs = Counter("h2" in drawn.victims(4) for _ in range(600))
    assert 300 < pairs[True] < 500
    assert {drawn.victims(5)[-1] for _ in range(100)} == set(NAMES)
