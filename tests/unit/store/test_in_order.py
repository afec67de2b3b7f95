"""Entries of several proposers, told in order and once."""

from __future__ import annotations

import pytest

from fabric.core.queries import Applied, AppliedEntry
from fabric.store.in_order import InOrder
from fabric.store.listeners import Listeners
from proto.commands.identity import ProjectCreate
from proto.ids import LogIndex
from tests.fixtures.store_world import DOMAIN, PROJECT


class World:
    def __init__(self) -> None:
        self.heard: list[int] = []
        listeners = Listeners()
        listeners.add(lambda entry: self.heard.append(entry.index))
        self.order = InOrder(listeners)
        self.order.begin(LogIndex(10))

    def bring(self, index: int, *, is_rejected: bool = False) -> bool:
        at = LogIndex(index)
        command = ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name="p")
        entry = None if is_rejected else AppliedEntry(at, command, Applied(at, {}))
        return self.order.bring(at, entry)


@pytest.fixture
def world() -> World:
    return World()


def test_each_is_told_once_whoever_brings_it(world: World) -> None:
    assert world.bring(11)
    assert world.bring(11), "it was told: whoever brings it late has nothing to do"
    assert world.bring(12)
    assert world.heard == [11, 12]


def test_what_is_in_the_rows_already_is_not_told(world: World) -> None:
    assert world.bring(10)
    assert world.heard == []


def test_nothing_is_told_before_what_precedes_it(world: World) -> None:
    assert not world.bring(12)
    assert world.heard == []
    assert world.bring(11)
    assert world.bring(12)
    assert world.heard == [11, 12]


def test_a_rejected_one_takes_its_place_in_silence(world: World) -> None:
    assert world.bring(11, is_rejected=True)
    assert world.bring(12)
    assert world.heard == [12]


def test_what_cannot_be_had_is_passed_over(world: World) -> None:
    world.order.pass_over(LogIndex(20))
    assert not world.bring(21)
    assert world.bring(20)
    world.order.pass_over(LogIndex(15))
    assert world.order.told == 20, "what was told is never told again"
