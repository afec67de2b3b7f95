"""Levels: what a record says, when a group goes up, and who is no voter because it cannot follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.voters.facts import RaiseLevel
from fabric.core.voters.levels import BEFORE_LEVELS, LEVEL_MAX, Levels, next_level, parse_levels
from proto.ids import NodeId
from tests.fixtures.voters import Group, first, voters_of

OLD, NEW = Levels(1, 1), Levels(1, 2)


def upgrade(group: Group, names: str, levels: Levels = NEW) -> None:
    for name in names:
        group.nodes[name] = replace(group.nodes[name], levels=levels)
    if "a" in names:
        group.facts = replace(group.facts, program=levels)


@pytest.mark.parametrize("levels", [OLD, NEW, Levels(3, 9), Levels(LEVEL_MAX, LEVEL_MAX)])
def test_what_is_written_is_read(levels: Levels) -> None:
    assert parse_levels(str(levels)) == levels


@pytest.mark.parametrize(
    "text", ["", "1", "-", "1-", "-1", "2-1", "0-1", "1-x", "1-2-3", "1-65537", "1-" + "9" * 99, "١-٢"]
)
def test_what_nobody_can_have_meant_says_nothing(text: str) -> None:
    assert parse_levels(text) == BEFORE_LEVELS


@pytest.mark.parametrize(
    ("active", "own", "others", "to"),
    [
        (1, NEW, [], 2),
        (1, NEW, [NEW, NEW], 2),
        (1, NEW, [NEW, OLD], None),
        (1, OLD, [NEW], None),
        (2, NEW, [NEW], None),
        (1, Levels(1, 5), [Levels(1, 3)], 2),  # one at a time
        (3, Levels(1, 5), [Levels(1, 3)], None),
        (1, Levels(1, 5), [Levels(3, 5)], None),  # who needs more than the next one cannot run at it
    ],
)
def test_a_group_goes_up_by_one_when_all_can(
    active: int, own: Levels, others: list[Levels], to: int | None
) -> None:
    assert next_level(active, own, others) == to


def test_the_level_is_raised_when_the_last_voter_and_standby_is_upgraded() -> None:
    group = Group("abc", learners="d")
    upgrade(group, "abc")
    assert group.wait(60) is None
    assert group.autopilot.explain() == "level 2 waits for a newer version on h-d (level 1-1)"
    upgrade(group, "d")
    step = group.wait(2)
    assert isinstance(step, RaiseLevel)
    assert step.to == 2


def test_nobody_is_waited_for_who_holds_no_log() -> None:
    group = Group("abc", learners="de", others="f")
    upgrade(group, "abcde")
    assert isinstance(group.wait(20), RaiseLevel)


def test_the_dead_are_waited_for_until_they_are_replaced() -> None:
    """They come back with the program that they had."""
    group = Group("abc", learners="de")
    upgrade(group, "abde")
    group.kill("c")
    assert group.wait(59) is None
    assert voters_of(group.wait(30)) in ("abd", "abe")


def test_who_cannot_apply_the_level_is_not_invited() -> None:
    group = Group("a", others="bc")
    group.facts = replace(group.facts, level=2)
    upgrade(group, "a")
    assert group.wait(60) is None
    upgrade(group, "bc")
    group.settle()
    assert group.voters == "abc"


def test_a_standby_that_cannot_apply_the_level_does_not_vote() -> None:
    group = Group("abc", learners="d")
    group.facts = replace(group.facts, level=2)
    upgrade(group, "abc")
    group.kill("c")
    group.settle(120)
    assert "d" not in group.voters


@pytest.mark.parametrize("is_halted", [False, True])
def test_a_voter_that_cannot_follow_is_replaced(is_halted: bool) -> None:
    group = Group("abc", learners="d")
    group.facts = replace(group.facts, level=2)
    upgrade(group, "abcd")
    if is_halted:
        group.nodes["c"] = replace(group.nodes["c"], is_halted=True)
    else:
        upgrade(group, "c", OLD)
    step = group.wait(30)
    assert voters_of(step) == "abd"
    assert getattr(step, "reason", "") == "h-d instead of h-c (cannot apply the log)"
    assert first("c") in group.facts.configuration.voters  # until then
    assert NodeId("c") in group.facts.configuration.nodes


def test_without_a_replacement_it_is_told_what_to_do() -> None:
    group = Group("abc")
    group.facts = replace(group.facts, level=2)
    upgrade(group, "ab")
    assert group.wait(10) is None
    assert "h-c cannot apply level 2: run a newer version there" in group.autopilot.explain()
