"""A newcomer must be known by others before its door can die."""

from __future__ import annotations

from fabric.core.membership.events import LinkUp, PeerAdmitted
from fabric.core.membership.introductions import TOLD_ENOUGH, YOUNG_MS
from proto.membership import State
from tests.fixtures.lone_core import LoneCore, record_of, said, state_of
from tests.fixtures.membership_nodes import fake_node_id

NEW = state_of(record_of("new", epoch=0))
OTHERS = ("b", "c", "d", "e")


def young_door() -> LoneCore:
    """It let `a` in, which told it of the others; nobody but `a` is linked."""
    world = LoneCore(("a",))
    world.hear("a", State(states=tuple(state_of(record_of(name)) for name in OTHERS)))
    return world


def test_a_newcomer_is_told_in_the_event_that_lets_it_in_however_busy_the_node() -> None:
    world = LoneCore(("a",))
    for number in range(80):
        newcomer = state_of(record_of(f"new{number}", epoch=0))
        effects = world.tell(PeerAdmitted(newcomer))
        assert newcomer in [state for told in said(effects, State, to="a") for state in told.states]


def test_who_lets_a_young_door_in_is_told_of_its_newcomers_until_enough_know() -> None:
    world = young_door()
    world.tell(PeerAdmitted(NEW))
    for told, name in enumerate(OTHERS):
        effects = world.tell(LinkUp(fake_node_id(name)))
        states = [state for message in said(effects, State, to=name) for state in message.states]
        assert (NEW in states) is (told < TOLD_ENOUGH)
        again = world.tell(LinkUp(fake_node_id(name)))
        assert not said(again, State, to=name), "once is enough"


def test_a_young_door_tells_those_it_reaches_already_and_no_other_newcomer() -> None:
    world = young_door()
    world.tell(LinkUp(fake_node_id("b")))
    world.tell(PeerAdmitted(state_of(record_of("sibling", epoch=0))))
    world.tell(LinkUp(fake_node_id("sibling")))
    effects = world.tell(PeerAdmitted(NEW))
    assert said(effects, State, to="b") == [State(states=(NEW,))]
    assert not said(effects, State, to="sibling")


def test_an_old_door_leaves_it_to_the_tree() -> None:
    world = young_door()
    world.wait(YOUNG_MS, beating=("a",))
    world.tell(LinkUp(fake_node_id("b")))
    assert not said(world.tell(PeerAdmitted(NEW)), State, to="b")
    assert not said(world.tell(LinkUp(fake_node_id("c"))), State, to="c")
