"""Which links carry payloads: shaped by one member's word, mended where its pieces meet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.membership.events import LinkLost
from fabric.core.membership.tree import GROWING_MS, GROWING_SHAPE_MS, HOPS, SHORTER_HOPS
from proto.membership import HOPS_MAX, ROOT_BYTES, Beat, LoadState, Prune, State, Want
from tests.fixtures.lone_core import LoneCore, record_of, said, state_of
from tests.fixtures.membership_nodes import fake_node_id

PEERS = ("a", "b", "d", "f", "i")  # all above the id of "me", and that of "c" below it
BEAT = Beat(seq=1, epoch=1, incarnation=0, version=1, lag_ms=0, root=bytes(ROOT_BYTES), members=2, degree=1)


def grown(*peers: str) -> LoneCore:
    """Nobody has come for long."""
    world = LoneCore(peers or PEERS)
    world.wait(GROWING_MS + 1_000, beating=peers or PEERS)
    world.effects.clear()
    return world


def led_by_c() -> LoneCore:
    return grown("c", *PEERS)


def word(version: int, *, sayer: str = "c", hops: int = 1) -> State:
    load = LoadState(node_id=fake_node_id(sayer), epoch=1, version=version, body=b"\x80")
    return State(loads=(load,), eager=True, hops=hops)


def shaping(world: LoneCore, to: str) -> list[State]:
    return [message for message in said(world.effects, State, to=to) if message.hops]


def eager(world: LoneCore) -> set[str]:
    return {link.name for link in world.core.links(world.now_ms) if link.is_eager}


def beats_of(world: LoneCore) -> list[Beat]:
    world.effects.clear()
    return said(world.wait(2_000, beating=PEERS), Beat)


def marked(world: LoneCore, *, mark: int | None = None, hops: int = 0) -> Beat:
    """A beat of whoever heard the word we heard, or another one."""
    word = beats_of(world)[-1].mark // HOPS if mark is None else mark
    return replace(BEAT, mark=word * HOPS + hops, root=world.core.root, members=6)


# Who shapes.


def test_the_lowest_living_id_says_a_word_that_shapes_now_and_then() -> None:
    world = grown()
    world.wait(3 * world.config.shape_interval_ms, beating=PEERS)
    for name in PEERS:
        words = shaping(world, name)
        assert 2 <= len(words) <= 4
        assert all(one.hops == 1 and one.eager and len(one.loads) == 1 for one in words)


def test_whoever_is_not_the_lowest_says_none() -> None:
    world = led_by_c()
    world.wait(3 * world.config.shape_interval_ms, beating=("c", *PEERS))
    assert [message for message in said(world.effects, State) if message.hops] == []


def test_when_the_lowest_is_not_alive_the_next_one_shapes() -> None:
    world = led_by_c()
    world.tell(LinkLost(fake_node_id("c"), refused=True))
    world.wait(2 * world.config.shape_interval_ms, beating=PEERS)
    assert shaping(world, "b")


def test_while_the_fabric_grows_it_is_shaped_more_often() -> None:
    world = LoneCore(PEERS)
    world.effects.clear()
    world.wait(8_000, beating=PEERS)
    assert len(shaping(world, "b")) >= 8_000 // (GROWING_SHAPE_MS * 11 // 10)


def test_when_no_word_comes_the_next_ones_shape() -> None:
    """The lowest lives, and is of a version that does not know how, or alone in its view."""
    world = led_by_c()
    world.wait(6 * world.config.shape_interval_ms, beating=("c", *PEERS))
    assert shaping(world, "b")


def test_a_word_of_a_member_that_is_not_the_lowest_is_a_load_like_others() -> None:
    world = led_by_c()
    world.hear("c", word(6))
    world.wait(2_000, beating=("c", *PEERS))
    world.effects.clear()
    for name in PEERS:
        world.hear(name, word(7, sayer="f"))
    assert [message for message in said(world.effects, State) if message.hops] == []
    assert said(world.effects, Prune) == []


def test_words_that_follow_at_once_are_loads_like_others() -> None:
    """They hurry and go alone: whoever says hundreds in the lowest's name would keep all busy."""
    world = led_by_c()
    for version in range(7, 107):
        world.hear("b", word(version))
    world.wait(1_000, beating=("c", *PEERS))
    assert len(shaping(world, "a")) == 1
    assert len(said(world.effects, State, to="a")) <= 3


def test_no_number_of_hops_ends_an_agent() -> None:
    world = led_by_c()
    world.hear("b", word(7, hops=HOPS_MAX))
    assert [one.hops for one in shaping(world, "a")] == [HOPS_MAX]
    with pytest.raises(ValueError, match="hops"):
        word(8, hops=HOPS_MAX + 1)


# How the word goes.


def test_the_word_goes_on_at_once_to_all_eager_links_but_its_source() -> None:
    world = led_by_c()
    world.hear("f", Prune())
    world.effects.clear()
    world.hear("b", word(7, hops=3))
    for name in ("c", "a", "d", "i"):
        assert shaping(world, name) == [word(7, hops=4)]
    assert shaping(world, "b") == []
    assert shaping(world, "f") == []


def test_the_word_goes_once() -> None:
    """Not with other loads as well, each node at another moment: that would prune like any payload."""
    world = led_by_c()
    world.hear("b", word(7))
    world.wait(1_000, beating=("c", *PEERS))
    assert len(said(world.effects, State, to="a")) == 1


def test_the_way_it_came_is_not_pruned_by_the_same_copy() -> None:
    world = led_by_c()
    for _ in range(2):
        world.hear("b", word(7))
    assert "b" in eager(world)
    assert said(world.effects, Prune) == []


def test_it_goes_on_though_the_load_in_it_came_before() -> None:
    """By a comparison of roots, or in a batch that was quicker: the rest of the tree waits for the word."""
    world = led_by_c()
    world.hear("a", State(loads=word(8).loads))
    world.effects.clear()
    world.hear("b", word(7))
    assert shaping(world, "a") == [word(7, hops=2)]
    assert said(world.effects, Prune) == []
    member = world.core.member(fake_node_id("c"), world.now_ms)
    assert member is not None


def test_the_word_of_a_member_nobody_told_of_yet_prunes_nothing() -> None:
    """Also before the tree has its shape, when whatever comes twice prunes."""
    world = LoneCore(("g", *PEERS))
    world.effects.clear()
    for name in ("g", *PEERS):
        world.hear(name, word(7))
    assert said(world.effects, Prune) == []
    assert len(eager(world)) == len(PEERS) + 1


# What it prunes.


def test_who_brings_the_word_second_is_pruned_and_news_no_longer_goes_there() -> None:
    world = led_by_c()
    world.hear("b", word(7))
    world.effects.clear()
    world.hear("a", word(7))
    assert len(said(world.effects, Prune, to="a")) == 1
    world.effects.clear()
    news = state_of(replace(record_of("d"), version=2))
    world.hear("d", State(states=(news,), eager=True))
    assert said(world.effects, State, to="a") == []
    assert said(world.effects, State, to="b")


def test_a_lazy_link_that_brings_the_word_first_is_eager_again() -> None:
    world = led_by_c()
    world.hear("b", Prune())
    world.hear("b", word(7))
    assert "b" in eager(world)


def test_two_eager_links_are_kept_whatever_comes_twice() -> None:
    world = led_by_c()
    for name in PEERS:
        world.hear(name, word(7))
    assert len(eager(world)) == world.config.eager_min
    assert PEERS[0] in eager(world)


def test_our_own_word_that_comes_back_prunes_the_way_it_came() -> None:
    world = grown()
    world.wait(world.config.shape_interval_ms * 2, beating=PEERS)
    (mine,) = shaping(world, "b")[-1].loads
    world.effects.clear()
    world.hear("b", State(loads=(mine,), eager=True, hops=2))
    assert len(said(world.effects, Prune, to="b")) == 1


def test_other_payloads_that_come_twice_prune_nothing() -> None:
    """Of many that say something at once, each would cut what another's word came by."""
    world = led_by_c()
    world.hear("b", word(6))
    news = State(states=(state_of(replace(record_of("c"), version=2)),), eager=True)
    loads = State(loads=word(7).loads, eager=True)
    for name in PEERS:
        world.hear(name, news)
        world.hear(name, loads)
    assert said(world.effects, Prune) == []


def test_before_the_first_word_they_do_but_leave_enough_for_a_connected_graph() -> None:
    world = LoneCore(("c", *PEERS))
    news = State(states=(state_of(replace(record_of("c"), version=2)),), eager=True)
    for name in ("c", *PEERS):
        world.hear(name, news)
    assert len(eager(world)) == world.config.eager_unshaped


# Where two pieces meet.


def test_a_lazy_link_whose_other_end_hears_other_words_for_long_joins_the_pieces() -> None:
    world = led_by_c()
    world.hear("b", Prune())
    other = marked(world, mark=1)
    world.hear("b", other)
    world.wait(world.config.mismatch_ms - 1)
    world.hear("b", other)
    assert "b" not in eager(world)
    world.wait(1)
    world.effects.clear()
    world.hear("b", other)
    assert "b" in eager(world)
    (want,) = said(world.effects, Want, to="b")
    assert want.graft
    assert not list(want.versions)


def test_only_one_link_joins_at_a_time() -> None:
    world = led_by_c()
    other = marked(world, mark=1)
    for name in ("b", "a"):
        world.hear(name, Prune())
        world.hear(name, other)
    world.wait(world.config.mismatch_ms)
    for name in ("b", "a"):
        world.hear(name, other)
    assert len({"b", "a"} & eager(world)) == 1


def test_an_end_that_caught_up_meanwhile_is_left_alone() -> None:
    world = led_by_c()
    world.hear("b", Prune())
    other, same = marked(world, mark=1), marked(world)
    world.hear("b", other)
    world.wait(world.config.mismatch_ms - 1)
    world.hear("b", same)
    world.wait(1)
    world.hear("b", other)
    assert "b" not in eager(world)


def test_a_beat_tells_the_word_last_heard_and_how_far_it_came() -> None:
    world = led_by_c()
    before = beats_of(world)[-1]
    world.hear("b", word(7, hops=5))
    after = beats_of(world)[-1]
    assert after.mark % HOPS == 5
    assert after.mark // HOPS != before.mark // HOPS


# Shorter ways.


def test_a_much_shorter_way_is_tried_once_for_each_word() -> None:
    world = led_by_c()
    world.hear("b", word(7, hops=1 + 1 + SHORTER_HOPS))
    for name in ("a", "d"):
        world.hear(name, Prune())
    near = marked(world, hops=1)
    for name in ("a", "d"):
        world.hear(name, near)
    assert len({"a", "d"} & eager(world)) == 1


def test_a_way_that_is_hardly_shorter_is_not() -> None:
    world = led_by_c()
    world.hear("b", word(7, hops=1 + SHORTER_HOPS))
    world.hear("a", Prune())
    world.hear("a", marked(world, hops=1))
    assert "a" not in eager(world)
