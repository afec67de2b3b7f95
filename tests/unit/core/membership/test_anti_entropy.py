"""What two that compare their tables tell each other."""

from __future__ import annotations

from fabric.core.membership.events import PeerAdmitted
from proto.membership import Beat, Digest, DigestMode, Have, LoadState, State, Version, Versions
from tests.fixtures.lone_core import LoneCore, record_of, said, state_of
from tests.fixtures.membership_nodes import fake_node_id


def vouched_for(world: LoneCore, name: str) -> bool:
    """Whether it answers one who knows this member's word, too, and asks."""
    version = Version(node_id=fake_node_id(name), epoch=1, incarnation=0, version=1)
    digest = Digest(mode=DigestMode.VERSIONS, versions=Versions.of([version]))
    answers = said(world.hear("a", digest), Have, to="a")
    return fake_node_id(name) in {known.node_id for have in answers for known in have.versions}


def test_one_who_asks_whether_somebody_lives_is_told_so() -> None:
    """It may know that member from disk only: what it has is what we have, and we heard it speak."""
    assert vouched_for(LoneCore(("a", "b")), "b")


def test_nobody_vouches_for_one_it_has_not_heard_of_from_the_living_itself() -> None:
    world = LoneCore(("a",))
    world.tell(PeerAdmitted(state_of(record_of("b"))))
    assert not vouched_for(world, "b")


def compared_after_ms(world: LoneCore, *, loads: bool) -> int:
    """How long "a" has to show another root until this node compares with it."""
    beat = Beat(seq=1, epoch=1, incarnation=0, version=1, lag_ms=0, root=bytes(8), members=2, degree=1)
    since_ms = world.now_ms
    for version in range(1, 100):
        world.hear("a", beat)
        if said(world.effects, Digest, to="a"):
            return world.now_ms - since_ms
        if loads:
            load = LoadState(node_id=fake_node_id("b"), epoch=1, version=version, body=b"\x80")
            world.hear("b", State(loads=(load,), eager=True))
        world.wait(500, beating=("b",))
    raise AssertionError("it never compares")


def quiet_pair() -> LoneCore:
    world = LoneCore(("a", "b"))
    world.wait(3_000, beating=("a", "b"))
    world.effects.clear()
    return world


def test_roots_that_stay_unequal_are_compared() -> None:
    world = quiet_pair()
    assert compared_after_ms(world, loads=False) == world.config.mismatch_ms


def test_while_loads_go_round_roots_are_given_longer() -> None:
    """Two tables in a stream of loads are never quite equal: comparing would never end, and brings nothing
    the stream does not."""
    world = quiet_pair()
    assert compared_after_ms(world, loads=True) == world.config.mismatch_flow_ms
