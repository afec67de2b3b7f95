"""One look at a member, seen from the one who looks: three facts kept apart."""

from __future__ import annotations

import pytest

from fabric.core.membership.events import Knock, Knocked, LinkLost
from fabric.core.membership.model import MemberState
from proto.membership import Finding, Ping, PingReq, Suspect
from tests.fixtures.lone_core import LoneCore, done, said
from tests.fixtures.membership_nodes import fake_node_id

PEERS = ("a", "b", "c", "x")
OTHERS = ("a", "b", "c")
X = fake_node_id("x")


def looking() -> LoneCore:
    """X's link just broke, and it is looked at."""
    world = LoneCore(PEERS)
    world.wait(1_500, beating=PEERS)
    world.effects.clear()
    world.tell(LinkLost(X, refused=False))
    return world


def test_a_look_knocks_and_asks_three_others() -> None:
    world = looking()
    assert [knock.node_id for knock in done(world.effects, Knock)] == [X]
    assert len(said(world.effects, PingReq)) == world.config.indirect_probes


@pytest.mark.parametrize(
    ("knocked", "found"),
    [
        (Finding.REFUSED, Finding.REFUSED),
        (Finding.SILENT, Finding.SILENT),
        (Finding.REACHABLE, Finding.STALLED),  # the machine accepts, the agent says nothing
    ],
)
def test_what_is_found_is_what_is_voted(knocked: Finding, found: Finding) -> None:
    world = looking()
    answered = 0
    for _ in range(80):
        knocks = done(world.effects, Knock)
        for _ in knocks[answered:]:
            world.tell(Knocked(X, knocked))
        answered = len(knocks)
        world.wait(100)
        for name in OTHERS:
            world.beat(name)
    accused = said(world.effects, Suspect)
    assert {vote.finding for message in accused for vote in message.votes if vote.target == X} == {found}


def test_only_who_accepts_is_pinged_over_the_mesh() -> None:
    world = looking()
    world.effects.clear()
    world.tell(Knocked(X, Finding.SILENT))
    assert not said(world.effects, Ping, to="x")
    world = looking()
    world.tell(Knocked(X, Finding.REACHABLE))
    assert said(world.effects, Ping, to="x")


def test_any_word_of_the_looked_at_ends_the_look() -> None:
    world = looking()
    world.tell(Knocked(X, Finding.REACHABLE))
    world.beat("x")
    world.wait(3_000, beating=PEERS)
    assert not said(world.effects, Suspect)
    assert world.sees("x") is MemberState.ALIVE
