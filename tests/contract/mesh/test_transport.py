"""What every Transport promises."""

from __future__ import annotations

import asyncio

from fabric.mesh.contract import LinkFact, PeerAddress
from proto.codec import FRAME_BYTES_MAX
from tests.fixtures.mesh_nodes import Ear, until


async def linked(*ears: Ear) -> None:
    for ear in ears:
        ear.meet(*(other for other in ears if other is not ear))
    await until(lambda: all(a.is_up(b) for a in ears for b in ears if a is not b))


async def test_frames_arrive_in_order_with_their_true_sender(trio: list[Ear]) -> None:
    a, b, c = trio
    await linked(a, b, c)
    for number in range(100):
        assert a.transport.send(b.node_id, b"a%d" % number)
        assert c.transport.send(b.node_id, b"c%d" % number)
    await until(lambda: len(b.frames) == 200)
    assert [f for s, f in b.frames if s == a.node_id] == [b"a%d" % n for n in range(100)]
    assert [f for s, f in b.frames if s == c.node_id] == [b"c%d" % n for n in range(100)]


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
    b.meet(a)
    await until(lambda: a.is_up(b))
    assert a.transport.send(b.node_id, b"now")
    await until(lambda: b.frames == [(a.node_id, b"now")])


async def test_sending_to_a_stranger_or_without_link_sends_nothing(trio: list[Ear]) -> None:
    a, b, _ = trio
    assert not a.transport.send(b.node_id, b"x")
    assert a.transport.dropped()["no_link_or_full"] == 1


async def test_removed_peer_is_cut_at_once_and_stays_out(trio: list[Ear]) -> None:
    a, b, c = trio
    await linked(a, b, c)
    assert a.transport.send(b.node_id, b"one")
    await until(lambda: len(b.frames) == 1)
    b.meet(c)
    assert not b.transport.send(a.node_id, b"x")
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    for _ in range(20):
        a.transport.send(b.node_id, b"two")
        await asyncio.sleep(0.01)
    assert len(b.frames) == 1
    assert c.transport.send(b.node_id, b"other links live")
    await until(lambda: len(b.frames) == 2)


async def test_wrong_key_for_a_peer_gets_no_link(trio: list[Ear]) -> None:
    a, b, c = trio
    b.meet(a)
    a.transport.set_peers({b.node_id: PeerAddress(b.transport.endpoint, c.public)})
    await until(lambda: (b.node_id, LinkFact.LOST) in a.facts)
    assert not a.transport.send(b.node_id, b"x")
    assert b.frames == []


async def test_a_peer_that_closes_is_lost_then_refused(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    await b.transport.close()
    await until(lambda: (b.node_id, LinkFact.REFUSED) in a.facts)
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


async def test_close_twice_is_harmless(trio: list[Ear]) -> None:
    a, b, _ = trio
    await linked(a, b)
    await a.transport.close()
    await a.transport.close()
