"""What every Transport promises."""

from __future__ import annotations

import asyncio

from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.curve import new_curve_key_pair
from proto.codec import FRAME_BYTES_MAX
from proto.ids import NodeId
from tests.fixtures.mesh_nodes import Ear, delivered, until


async def linked(*ears: Ear) -> None:
    for ear in ears:
        ear.meet(*(other for other in ears if other is not ear))
    await until(lambda: all(a.is_up(b) for a in ears for b in ears if a is not b))


async def test_frames_arrive_in_order_with_their_true_sender(trio: list[Ear]) -> None:
    a, b, c = trio
    await linked(a, b, c)
    for number in range(50):
        assert a.transport.send(b.node_id, b"a%d" % number)
        assert c.transport.send(b.node_id, b"c%d" % number)
    await until(lambda: len(b.frames) == 100)
    assert [f for s, f in b.frames if s == a.node_id] == [b"a%d" % n for n in range(50)]
    assert [f for s, f in b.frames if s == c.node_id] == [b"c%d" % n for n in range(50)]


async def test_the_largest_frame_passes(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    assert a.transport.send(b.node_id, bytes(FRAME_BYTES_MAX))
    await until(lambda: len(b.frames) == 1)
    assert len(b.frames[0][1]) == FRAME_BYTES_MAX


async def test_link_needs_both_sides(trio: list[Ear]) -> None:
    a, b, c = trio
    await linked(a, c)
    a.meet(b, c)  # b does not know a
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    assert not a.transport.send(b.node_id, b"let me in")
    assert a.transport.send(c.node_id, b"still linked")
    b.know(a)
    await until(lambda: a.is_up(b))
    assert a.transport.send(b.node_id, b"now")
    await until(lambda: b.frames == [(a.node_id, b"now")])


async def test_sending_to_a_stranger_sends_nothing_and_dials_nobody(trio: list[Ear]) -> None:
    a, b, _ = trio
    b.know(a)
    assert not a.transport.send(b.node_id, b"x")
    await asyncio.sleep(0.1)  # time for a link, were one dialled
    assert a.facts == []
    assert b.frames == []


async def test_a_link_is_dialled_when_something_is_sent(trio: list[Ear]) -> None:
    a, b, _ = trio
    a.know(b)
    b.know(a)
    assert not a.transport.send(b.node_id, b"early")
    assert a.facts == []  # told by the loop, not inside the call
    await until(lambda: a.is_up(b))
    assert a.transport.send(b.node_id, b"now")
    await until(lambda: b.frames == [(a.node_id, b"now")])
    assert b.facts == []  # the other way is another link


async def test_a_failed_dial_on_demand_is_told_and_not_repeated(trio: list[Ear]) -> None:
    a, b, _ = trio
    endpoint = b.transport.endpoint
    await b.transport.close()
    a.transport.admit(b.node_id, PeerAddress(endpoint, b.public))
    assert not a.transport.send(b.node_id, b"x")
    await until(lambda: LinkFact.REFUSED in a.facts_of(b))
    assert a.facts_of(b) == [LinkFact.LOST, LinkFact.REFUSED]
    await asyncio.sleep(0.6)  # several redials long, were it pinned
    assert a.facts_of(b) == [LinkFact.LOST, LinkFact.REFUSED]
    await until(lambda: a.transport.send(b.node_id, b"again") or len(a.facts) > 2)
    assert a.facts_of(b)[2] is LinkFact.LOST


async def test_an_idle_link_is_closed_without_a_word_and_dialled_anew(impatient: list[Ear]) -> None:
    a, b = impatient
    a.know(b)
    b.know(a)
    await delivered(a, b, b"one")
    await until(lambda: a.transport.link_count == 0)
    assert a.facts_of(b) == [LinkFact.UP]
    await delivered(a, b, b"two")
    assert a.facts_of(b) == [LinkFact.UP, LinkFact.UP]


async def test_a_pinned_link_is_not_closed_for_being_idle(impatient: list[Ear]) -> None:
    a, b = impatient
    await linked(a, b)
    await asyncio.sleep(1.0)  # three times what an idle one gets
    assert a.transport.send(b.node_id, b"still there")
    a.transport.pin(frozenset())
    await until(lambda: a.transport.link_count == 0)
    await delivered(a, b, b"dialled again")
    assert set(a.facts_of(b)) == {LinkFact.UP}


async def test_who_is_pinned_before_it_is_admitted_is_dialled_then(trio: list[Ear]) -> None:
    a, b, _ = trio
    b.know(a)
    a.transport.pin(frozenset({b.node_id}))
    a.know(b)
    await until(lambda: a.is_up(b))


async def test_expelled_peer_is_cut_at_once_and_stays_out(trio: list[Ear]) -> None:
    a, b, c = trio
    await linked(a, b, c)
    assert a.transport.send(b.node_id, b"one")
    await until(lambda: len(b.frames) == 1)
    b.transport.expel(a.node_id)
    assert not b.transport.send(a.node_id, b"x")
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    for _ in range(20):
        a.transport.send(b.node_id, b"two")
        await asyncio.sleep(0.01)
    assert len(b.frames) == 1
    assert c.transport.send(b.node_id, b"other links live")
    await until(lambda: len(b.frames) == 2)


async def test_expelled_peer_that_never_spoke_is_not_heard_afterwards(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    b.transport.expel(a.node_id)
    a.transport.send(b.node_id, b"my first word")
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    assert b.frames == []


async def test_expelled_and_admitted_again_is_as_before(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    b.transport.expel(a.node_id)
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts or a.transport.send(b.node_id, b"?"))
    b.know(a)
    await delivered(a, b, b"back")


async def test_wrong_key_for_a_peer_gets_no_link(trio: list[Ear]) -> None:
    a, b, c = trio
    b.know(a)
    a.transport.admit(b.node_id, PeerAddress(b.transport.endpoint, c.public))
    a.transport.pin(frozenset({b.node_id}))
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    assert not a.transport.send(b.node_id, b"x")
    assert b.frames == []


async def test_a_peer_under_a_new_key_is_cut_under_the_old_one(trio: list[Ear]) -> None:
    """Rotation: whoever still has the old key, the peer's own former process or a thief, is not heard."""
    a, b, _ = trio
    await linked(a, b)
    await delivered(a, b, b"old key")
    b.transport.admit(a.node_id, PeerAddress(a.transport.endpoint, new_curve_key_pair().public))
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    for _ in range(20):
        a.transport.send(b.node_id, b"old key still")
        await asyncio.sleep(0.01)
    assert b.frames == [(a.node_id, b"old key")]


async def test_a_peer_elsewhere_under_a_new_key_is_dialled_there(trio: list[Ear]) -> None:
    a, b, c = trio
    await linked(a, b)
    c.transport.admit(a.node_id, a.address)
    a.transport.admit(b.node_id, c.address)  # b moved: c's place and key are its own now
    await until(lambda: a.transport.send(b.node_id, b"found you"))
    await until(lambda: c.frames == [(a.node_id, b"found you")])
    assert LinkFact.LOST not in a.facts_of(b)  # a record that changed is no evidence against anybody


async def test_admitting_the_same_again_changes_nothing(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    a.know(b)
    assert a.transport.send(b.node_id, b"same link")
    await until(lambda: len(b.frames) == 1)
    assert a.facts_of(b) == [LinkFact.UP]


async def test_a_peer_that_closes_is_lost_then_refused(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    await b.transport.close()
    await until(lambda: (b.node_id, LinkFact.REFUSED) in a.facts)
    assert a.facts_of(b)[:3] == [LinkFact.UP, LinkFact.LOST, LinkFact.REFUSED]
    assert not a.transport.send(b.node_id, b"x")


async def test_slow_reader_bounds_the_sender(trio: list[Ear]) -> None:
    """The loop does not run between sends, so nothing can be read: the queues must say no."""
    a, b, _ = trio
    await linked(a, b)
    frame, sent, refused = bytes(64 * 1024), 0, 0
    for _ in range(3_000):
        if a.transport.send(b.node_id, frame):
            sent += 1
        else:
            refused += 1
    assert refused > 0
    await until(lambda: len(b.frames) == sent)


async def test_many_peers_are_admitted_at_a_small_price(trio: list[Ear]) -> None:
    """Thousands of members, a dozen links: admission dials nobody."""
    a, b, _ = trio
    for number in range(5_000):
        address = PeerAddress("tcp://127.0.0.1:9", number.to_bytes(32, "big"))
        a.transport.admit(NodeId(f"{number:032x}"), address)
    await linked(a, b)
    assert [node_id for node_id, _ in a.facts] == [b.node_id]


async def test_close_twice_is_harmless(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    await a.transport.close()
    await a.transport.close()
