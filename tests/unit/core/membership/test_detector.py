"""Noticing silence, and whose fault it is."""

from __future__ import annotations

from fabric.core.membership.events import Knock, Woke
from tests.fixtures.lone_core import LoneCore, done
from tests.fixtures.membership_nodes import fake_node_id

PEERS = ("a", "b", "c")


def test_a_neighbour_that_falls_silent_is_looked_at() -> None:
    world = LoneCore(PEERS)
    effects = world.wait(world.config.silence_ms + 500, beating=("a", "b"))
    assert {knock.node_id for knock in done(effects, Knock)} == {fake_node_id("c")}


def test_a_node_that_slept_looks_at_nobody_for_silence_it_could_not_have_heard_through() -> None:
    world = LoneCore(PEERS)
    world.wait(1_000, beating=PEERS)
    world.now_ms += 60_000
    assert not done(world.tell(Woke()), Knock)
    effects = world.wait(3_000, beating=PEERS)
    assert not done(effects, Knock)
