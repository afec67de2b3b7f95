"""What two that compare their tables tell each other."""

from __future__ import annotations

from fabric.core.membership.events import PeerAdmitted
from proto.membership import Digest, DigestMode, Have, Version, Versions
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
