"""Who may vote, and where it is reached, as a voter's process is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.voter_links import VOTER_LABEL, VoterLinks
from fabric.runtime.voter_words import VoterPeer
from proto.ids import NodeId
from tests.fixtures.mesh_view_double import MeshDouble, member_named

OWN = "tcp://10.0.0.9:7402"


class Telling(MeshDouble):
    """Subscribers hear what is said."""

    listener: Callable[[Member], None] | None = None

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        def remove() -> None:
            self.listener = None

        self.listener = listener
        return remove

    def say(self, member: Member) -> None:
        self.rows = [row for row in self.rows if row.record.node_id != member.record.node_id] + [member]
        if self.listener is not None:
            self.listener(member)


class World:
    def __init__(self) -> None:
        self.me, self.peer = member_named("me"), member_named("peer")
        self.view = Telling([self.me, self.peer])
        self.may_vote = {self.me.record.node_id, self.peer.record.node_id}
        self.told: list[VoterPeer] = []
        self.links = VoterLinks(self.view, lambda node_id: node_id in self.may_vote, self.told.extend)

    @property
    def peer_id(self) -> NodeId:
        return self.peer.record.node_id

    def say(self, member: Member) -> None:
        self.view.say(member)


@pytest.fixture
def world() -> World:
    return World()


def labelled(member: Member, endpoint: str) -> Member:
    return replace(member, record=replace(member.record, labels={VOTER_LABEL: endpoint}))


def test_all_who_may_vote_are_told_at_first_but_for_this_node(world: World) -> None:
    world.links.open()
    record = world.peer.record
    assert world.told == [
        VoterPeer(node_id=world.peer_id, endpoint=record.endpoint, curve_public=record.curve_public)
    ]
    assert not world.links.has_own_process(world.peer_id)


def test_one_with_a_process_is_dialled_there_and_asked_there(world: World) -> None:
    world.links.open()
    world.say(labelled(world.peer, OWN))
    assert world.told[-1].endpoint == OWN
    assert world.links.has_own_process(world.peer_id)
    world.say(world.peer)  # and back
    assert world.told[-1].endpoint == world.peer.record.endpoint
    assert not world.links.has_own_process(world.peer_id)


def test_what_is_no_endpoint_is_not_dialled(world: World) -> None:
    world.links.open()
    world.say(labelled(world.peer, "ipc:///tmp/x"))
    assert [peer.endpoint for peer in world.told] == [world.peer.record.endpoint]


def test_one_that_may_vote_no_more_is_cut_off_and_told_once(world: World) -> None:
    world.links.open()
    world.may_vote.discard(world.peer_id)
    world.say(world.peer)
    world.say(world.peer)
    assert world.told[1:] == [VoterPeer(node_id=world.peer_id, endpoint="", curve_public=b"")]
    assert not world.links.has_own_process(world.peer_id)
    world.may_vote.add(world.peer_id)
    world.say(world.peer)
    assert world.told[-1].curve_public == world.peer.record.curve_public


def test_one_that_was_removed_is_cut_off(world: World) -> None:
    world.links.open()
    world.say(replace(world.peer, state=MemberState.FORGOTTEN))
    assert world.told[-1] == VoterPeer(node_id=world.peer_id, endpoint="", curve_public=b"")


def test_nothing_is_told_twice_nor_after_the_end(world: World) -> None:
    world.links.open()
    world.say(world.peer)
    assert len(world.told) == 1
    world.links.close()
    world.say(labelled(world.peer, OWN))
    assert len(world.told) == 1
