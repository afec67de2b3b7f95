"""The way out over real conversations in memory: what a link does not take waits, and goes when it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from fabric.core.membership.record import node_id_of
from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.curve import new_curve_key_pair
from fabric.mesh.loopback import QUEUE_FRAMES_MAX, LoopbackNetwork
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.clock import SystemClock
from fabric.runtime.outbox import Outbox
from proto.envelope import Envelope, parse
from proto.ids import FabricId, NodeId
from proto.membership import KINDS, MembershipMessage, Ping, State
from tests.fixtures.membership_news import state_of
from tests.fixtures.mesh_nodes import until


@dataclass
class Post:
    """One node's outbox, and what others told it."""

    node_id: NodeId
    public: bytes
    board: Switchboard
    outbox: Outbox
    got: list[MembershipMessage] = field(default_factory=list)
    facts: list[LinkFact] = field(default_factory=list)

    def hear(self, sender: NodeId, envelope: Envelope) -> None:
        self.got.append(parse(envelope, KINDS))

    def on_link(self, node_id: NodeId, fact: LinkFact) -> None:
        self.facts.append(fact)
        self.outbox.on_link(node_id, fact)

    def know(self, other: Post) -> None:
        self.board.admit(other.node_id, PeerAddress(other.board.endpoint, other.public))

    def pin(self, *others: Post) -> None:
        ids = frozenset(other.node_id for other in others)
        self.outbox.pin(ids)
        self.board.pin(ids)


async def post_of(network: LoopbackNetwork) -> Post:
    public = new_curve_key_pair().public
    node_id = node_id_of(public)
    board = Switchboard(network.transport(node_id, public), FabricId("f"))
    post = Post(node_id, public, board, Outbox(board, SystemClock()))
    board.route("member", post.hear)
    board.on_link(post.on_link)
    await board.start()
    return post


@pytest.fixture
async def network() -> LoopbackNetwork:
    return LoopbackNetwork()


@pytest.fixture
async def posts(network: LoopbackNetwork) -> AsyncIterator[list[Post]]:
    made = [await post_of(network) for _ in range(3)]
    for post in made:
        for other in made:
            if other is not post:
                post.know(other)
    yield made
    for post in made:
        post.outbox.close()
        await post.board.close()


async def test_what_is_sent_before_the_link_is_up_arrives(posts: list[Post]) -> None:
    a, b, c = posts
    a.outbox.send((b.node_id, c.node_id), Ping(nonce=1))
    a.outbox.send((b.node_id,), Ping(nonce=2))
    assert a.outbox.waiting == 3
    await until(lambda: len(b.got) == 2 and len(c.got) == 1)
    assert b.got == [Ping(nonce=1), Ping(nonce=2)]
    assert a.outbox.waiting == 0
    assert not a.outbox.dropped


async def test_a_full_link_is_refilled_in_order(posts: list[Post]) -> None:
    a, b, _ = posts
    a.pin(b)
    await until(lambda: LinkFact.UP in a.facts)
    count = QUEUE_FRAMES_MAX * 3
    for nonce in range(count):
        a.outbox.send((b.node_id,), Ping(nonce=nonce))
    assert a.outbox.waiting == count - QUEUE_FRAMES_MAX
    await until(lambda: len(b.got) == count)
    assert b.got == [Ping(nonce=nonce) for nonce in range(count)]
    assert not a.outbox.dropped


async def test_news_outlast_the_loss_of_a_pinned_link_and_questions_do_not(
    posts: list[Post], network: LoopbackNetwork
) -> None:
    a, b, _ = posts
    network.cut(a.board.endpoint, b.board.endpoint)
    a.pin(b)
    a.outbox.send((b.node_id,), Ping(nonce=1))
    for version in (1, 2, 3):
        a.outbox.send((b.node_id,), State(states=(state_of(5, (1, 0, version)),)))
    await until(lambda: LinkFact.LOST in a.facts)
    network.heal()
    await until(lambda: bool(b.got))
    assert b.got == [State(states=(state_of(5, (1, 0, 3)),))]
    assert a.outbox.dropped == {"queue_link_lost": 1}


async def test_a_failed_dial_on_demand_keeps_nothing(posts: list[Post], network: LoopbackNetwork) -> None:
    a, b, _ = posts
    network.cut(a.board.endpoint, b.board.endpoint)
    a.outbox.send((b.node_id,), Ping(nonce=1))
    a.outbox.send((b.node_id,), State(states=(state_of(5),)))
    await until(lambda: a.outbox.waiting == 0)
    assert a.outbox.dropped == {"queue_link_lost": 2}
    network.heal()
    a.outbox.send((b.node_id,), Ping(nonce=2))
    await until(lambda: b.got == [Ping(nonce=2)])


async def test_who_is_no_member_any_more_is_forgotten(posts: list[Post]) -> None:
    a, b, _ = posts
    a.outbox.send((b.node_id,), Ping(nonce=1))
    a.board.expel(b.node_id)
    a.outbox.forget(b.node_id)
    assert a.outbox.waiting == 0
