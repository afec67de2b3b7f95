"""How news is cut into messages, and what the tree does with a duplicate."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.membership.broadcast import batches
from fabric.core.membership.events import LocalChanged
from proto.membership import STATES_MAX, NodeState, Prune, State
from tests.fixtures.lone_core import LoneCore, record_of, said, state_of

PEERS = ("a", "b", "c", "d", "e")


def state_of_size(size: int) -> NodeState:
    return NodeState(certificate=b"c", body=bytes(size), signature=bytes(64))


@given(sizes=st.lists(st.integers(1, 2_000), max_size=200), bytes_max=st.integers(2_100, 20_000))
def test_batches_keep_order_and_both_bounds(sizes: list[int], bytes_max: int) -> None:
    states = [state_of_size(size) for size in sizes]
    done = batches(states, bytes_max)
    assert [state for batch in done for state in batch] == states
    for batch in done:
        assert 0 < len(batch) <= STATES_MAX
        assert sum(state.size_bytes for state in batch) <= bytes_max


def test_news_goes_to_every_eager_link_but_its_source() -> None:
    world = LoneCore(PEERS)
    world.wait(3_000, beating=PEERS)
    world.effects.clear()
    news = state_of(replace(record_of("a"), version=2, labels={"rack": "7"}))
    world.hear("a", State(states=(news,), eager=True))
    assert len(said(world.effects, State)) == len(PEERS) - 1
    assert not said(world.effects, State, to="a")


def test_a_duplicate_prunes_the_link_it_came_by_and_news_no_longer_goes_there() -> None:
    world = LoneCore(PEERS)
    world.wait(3_000, beating=PEERS)
    news = State(states=(state_of(replace(record_of("a"), version=2)),), eager=True)
    world.hear("a", news)
    world.effects.clear()
    world.hear("b", news)
    assert len(said(world.effects, Prune, to="b")) == 1
    world.effects.clear()
    world.tell(LocalChanged(labels={"changed": "yes"}))
    assert not said(world.effects, State, to="b")
    assert said(world.effects, State, to="a")


def test_two_eager_links_are_kept_whatever_comes_twice() -> None:
    world = LoneCore(PEERS)
    world.wait(3_000, beating=PEERS)
    news = State(states=(state_of(replace(record_of("a"), version=2)),), eager=True)
    for peer in PEERS:
        world.hear(peer, news)
    eager = [link for link in world.core.links(world.now_ms) if link.is_eager]
    assert len(eager) >= world.config.eager_min
