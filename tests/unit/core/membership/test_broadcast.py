"""How news is cut into messages, and which way it takes along the links."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.membership.broadcast import WANTS_TRIED, batches
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import Effect, LeaveRequested
from fabric.core.membership.tree import GROWING_MS
from proto.ids import NodeId
from proto.membership import (
    ROOT_BYTES,
    STATES_MAX,
    Ballot,
    Beat,
    Finding,
    Have,
    Leave,
    LoadState,
    NodeState,
    Presence,
    Prune,
    State,
    Suspect,
    Version,
    Versions,
    Want,
)
from tests.fixtures.lone_core import LoneCore, record_of, said, state_of, vote_of
from tests.fixtures.membership_nodes import fake_node_id

PEERS = ("a", "b", "c", "d", "e")
BEAT = Beat(seq=1, epoch=1, incarnation=0, version=1, lag_ms=0, root=bytes(ROOT_BYTES), members=2, degree=1)


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


# What the tests below say and look at.


def quiet_fabric(*, lazy: Iterable[str] = (), config: MembershipConfig | None = None) -> LoneCore:
    """All peers are linked, nothing is under way, a second has just begun; those named pruned us."""
    world = LoneCore(PEERS, config=config)
    world.hear("c", State(loads=(load("c", 1),), eager=True, hops=1))  # the tree has its shape
    world.wait(GROWING_MS, beating=PEERS)
    for name in lazy:
        world.hear(name, Prune())
    world.effects.clear()
    return world


def news(name: str, version: int) -> NodeState:
    return state_of(record_of(name, version=version))


def load(name: str, version: int) -> LoadState:
    return LoadState(node_id=fake_node_id(name), epoch=1, version=version, body=b"\x80")


def have(name: str, version: int, *, load: int = 0) -> Have:
    told = Version(node_id=fake_node_id(name), epoch=1, incarnation=0, version=version, load=load)
    return Have(versions=Versions.of((told,)))


def states_to(effects: Iterable[Effect], name: str) -> list[NodeState]:
    return [state for message in said(effects, State, to=name) for state in message.states]


def loads_to(effects: Iterable[Effect], name: str) -> list[LoadState]:
    return [load for message in said(effects, State, to=name) for load in message.loads]


def told_to(effects: Iterable[Effect], name: str) -> list[tuple[NodeId, int]]:
    return [(v.node_id, v.version) for message in said(effects, Have, to=name) for v in message.versions]


def eager(world: LoneCore) -> set[str]:
    return {link.name for link in world.core.links(world.now_ms) if link.is_eager}


def busy_fabric() -> LoneCore:
    """More than `batch_above_per_s` items were passed on within the running second."""
    world = quiet_fabric()
    for version in range(2, world.config.batch_above_per_s + 3):
        world.learn(news("e", version), sender="e")
    world.effects.clear()
    return world


# Eager and lazy links.


def test_a_pruned_link_is_told_of_news_soon_and_does_not_get_it() -> None:
    world = quiet_fabric(lazy=("b",))
    world.learn(news("a", 2), sender="a")
    assert states_to(world.effects, "c") == [news("a", 2)]
    world.wait(world.config.have_idle_ms - 1)
    assert told_to(world.effects, "b") == []
    world.wait(1 + 1)
    assert told_to(world.effects, "b") == [(fake_node_id("a"), 2)]
    assert states_to(world.effects, "b") == []


def test_an_eager_link_is_not_told_what_it_was_sent() -> None:
    world = quiet_fabric(lazy=("b",))
    world.learn(news("a", 2), sender="a")
    world.wait(world.config.have_busy_ms)
    assert told_to(world.effects, "c") == []


def test_the_last_eager_link_stays_one_whoever_prunes_it() -> None:
    world = quiet_fabric(lazy=PEERS)
    assert len(eager(world)) == 1


def test_a_lazy_link_that_brings_news_first_stays_lazy() -> None:
    """What shapes the tree is one member's word, see test_tree.py."""
    world = quiet_fabric(lazy=("b",))
    world.hear("b", State(states=(news("a", 2),), eager=True))
    assert "b" not in eager(world)


def test_while_the_fabric_grows_lazy_links_get_what_is_rare_at_once() -> None:
    world = LoneCore(PEERS)
    world.hear("b", Prune())
    world.effects.clear()
    world.learn(news("a", 2), sender="a")
    (copy,) = said(world.effects, State, to="b")
    assert copy.states == (news("a", 2),)
    assert not copy.eager


def test_what_was_asked_for_and_comes_twice_prunes_nobody() -> None:
    world = quiet_fabric()
    for name in PEERS:
        world.hear(name, State(states=(news("a", 2),)))
    assert said(world.effects, Prune) == []
    assert eager(world) == set(PEERS)


def test_a_want_that_grafts_is_answered_and_makes_the_link_eager() -> None:
    world = quiet_fabric(lazy=("b",))
    mine = Version(node_id=fake_node_id("a"), epoch=0, incarnation=0, version=0)
    world.hear("b", Want(versions=Versions.of((mine,)), graft=True))
    assert states_to(world.effects, "b") == [news("a", 1)]
    assert "b" in eager(world)


def test_a_want_that_does_not_graft_leaves_the_link_lazy() -> None:
    world = quiet_fabric(lazy=("b",))
    mine = Version(node_id=fake_node_id("a"), epoch=0, incarnation=0, version=0)
    world.hear("b", Want(versions=Versions.of((mine,)), graft=False))
    assert states_to(world.effects, "b") == [news("a", 1)]
    assert "b" not in eager(world)


# Asking for what did not come.


def test_what_a_link_tells_of_is_asked_for_after_a_while_and_its_link_stays_lazy() -> None:
    """What comes late comes late by the tree as well: were each such link grafted, a busy fabric would send
    everything by all links, and be busier."""
    world = quiet_fabric(lazy=("b",))
    world.hear("b", have("a", 2))
    assert said(world.wait(world.config.want_after_ms - 1), Want) == []
    (want,) = said(world.wait(2), Want, to="b")
    assert not want.graft
    assert [(v.node_id, v.version) for v in want.versions] == [(fake_node_id("a"), 1)]
    assert "b" not in eager(world)


def test_a_node_that_is_unwell_waits_longer_for_what_may_be_under_way() -> None:
    world = quiet_fabric(lazy=("b",))
    world.hear("a", Suspect(votes=(vote_of("a", "me", Finding.SILENT),)))  # being accused is a sign of it
    world.hear("b", have("c", 2))
    assert said(world.wait(2 * world.config.want_after_ms - 1), Want) == []
    assert said(world.wait(2), Want, to="b")


def test_a_payload_that_comes_in_time_is_not_asked_for() -> None:
    world = quiet_fabric(lazy=("b",))
    world.hear("b", have("a", 2))
    world.wait(world.config.want_after_ms - 1)
    world.learn(news("a", 2), sender="c")
    assert said(world.wait(1_000), Want) == []
    assert "b" not in eager(world)


def test_what_is_known_already_is_not_asked_for() -> None:
    world = quiet_fabric()
    world.hear("b", have("a", 1))
    assert said(world.wait(1_000), Want) == []


def test_news_of_a_node_nobody_told_of_yet_is_asked_for() -> None:
    world = quiet_fabric()
    world.hear("b", have("x", 1))
    world.wait(world.config.want_after_ms + 1)
    (want,) = said(world.effects, Want, to="b")
    assert [v.version for v in want.versions] == [0]


def test_who_told_of_it_next_is_asked_when_the_first_does_not_send_it() -> None:
    world = quiet_fabric()
    for name in ("b", "c"):
        world.hear(name, have("a", 2))
    first = world.wait(world.config.want_after_ms + 1)
    assert said(first, Want, to="b")
    assert not said(first, Want, to="c")
    assert said(world.wait(world.config.want_after_ms), Want, to="c")


def test_not_everybody_who_told_of_it_is_asked() -> None:
    world = quiet_fabric()
    for name in PEERS[1:]:
        world.hear(name, have("a", 2))
    world.wait(5_000, beating=PEERS)
    assert len([want for want in said(world.effects, Want) if want.versions.ids]) == WANTS_TRIED


def test_a_beat_that_tells_a_newer_word_counts_as_having_it() -> None:
    world = quiet_fabric()
    member = world.core.member(fake_node_id("a"), world.now_ms)
    assert member is not None
    world.hear("a", replace(BEAT, version=member.record.version + 1, root=world.core.root))
    assert said(world.wait(world.config.want_after_ms + 1), Want, to="a")


# Busy times.


def test_while_news_is_rare_each_goes_out_at_once() -> None:
    world = quiet_fabric()
    for version in range(2, world.config.batch_above_per_s):
        world.learn(news("e", version), sender="e")
        assert states_to(world.effects, "a")[-1] == news("e", version)


def test_when_news_is_frequent_it_travels_in_batches() -> None:
    world = busy_fabric()
    for name in ("b", "c", "d"):
        world.learn(news(name, 2), sender="e")
    assert said(world.effects, State) == []
    world.wait(world.config.batch_ms + 1)
    (batch,) = said(world.effects, State, to="a")
    assert list(batch.states) == [news(name, 2) for name in ("b", "c", "d")]


def test_a_node_that_comes_twice_is_queued_once_and_the_newest_word_goes_out() -> None:
    world = busy_fabric()
    world.learn(news("b", 2), sender="e")
    world.learn(news("b", 3), sender="c")
    world.wait(world.config.batch_ms + 1)
    assert states_to(world.effects, "a") == [news("b", 3)]
    assert states_to(world.effects, "c") == [], "the newest word came from there"
    assert states_to(world.effects, "e") == [news("b", 3)]


def test_of_a_batch_from_several_each_link_gets_what_did_not_come_by_it() -> None:
    world = busy_fabric()
    world.learn(news("b", 2), sender="e")
    world.learn(news("d", 2), sender="c")
    world.wait(world.config.batch_ms + 1)
    assert states_to(world.effects, "a") == [news("b", 2), news("d", 2)]
    assert states_to(world.effects, "e") == [news("d", 2)]
    assert states_to(world.effects, "c") == [news("b", 2)]


def test_a_quiet_second_after_a_busy_one_needs_no_batches() -> None:
    world = busy_fabric()
    world.wait(3_000, beating=PEERS)
    world.effects.clear()
    for version in (2, 3, 4):
        world.learn(news("b", version), sender="e")
    assert states_to(world.effects, "a") == [news("b", version) for version in (2, 3, 4)]


# What does not wait for the tree.


def test_a_refutation_goes_to_lazy_links_as_well() -> None:
    world = quiet_fabric(lazy=("b", "c"))
    world.hear("a", Suspect(votes=(vote_of("a", "me", Finding.SILENT),)))
    for name in PEERS:
        assert states_to(world.effects, name) == [world.core.own_state]


def test_an_accusation_floods_all_links_but_its_source_once() -> None:
    world = quiet_fabric(lazy=("b",))
    vote = vote_of("a", "x", Finding.SILENT)
    world.learn(news("x", 1), sender="a")
    world.effects.clear()
    for sender in ("a", "c"):
        world.hear(sender, Suspect(votes=(vote,)))
    world.wait(100)
    for name in ("b", "c", "d", "e"):
        accusations = said(world.effects, Suspect, to=name)
        assert [told for message in accusations for told in message.votes] == [vote]
    assert said(world.effects, Suspect, to="a") == []
    assert said(world.effects, Ballot) == []


def test_a_farewell_goes_at_once_to_all_links_but_its_source() -> None:
    world = quiet_fabric(lazy=("b",))
    farewell = state_of(record_of("x", version=2), presence=Presence.LEFT)
    world.learn(news("x", 1), sender="a")
    world.effects.clear()
    effects = world.hear("a", Leave(state=farewell))
    for name in ("b", "c", "d", "e"):
        assert said(effects, Leave, to=name) == [Leave(state=farewell)]
    assert said(effects, Leave, to="a") == []


def test_this_nodes_own_farewell_goes_to_every_link() -> None:
    world = quiet_fabric(lazy=("b",))
    effects = world.tell(LeaveRequested(for_good=True))
    for name in PEERS:
        assert said(effects, Leave, to=name) == [Leave(state=world.core.own_state)]


# Loads.


def test_loads_wait_for_one_another_and_records_do_not_wait_for_them() -> None:
    world = quiet_fabric()
    world.hear("a", State(loads=(load("a", 1),)))
    world.effects.clear()
    for name in ("b", "d"):
        world.hear("a", State(loads=(load(name, 1),)))
    world.learn(news("a", 2), sender="a")
    assert states_to(world.effects, "e") == [news("a", 2)]
    assert loads_to(world.effects, "e") == []
    world.wait(world.config.load_batch_ms + 1)
    assert [len(message.loads) for message in said(world.effects, State, to="e") if message.loads] == [2]
    assert loads_to(world.effects, "a") == []


def test_of_a_load_that_changes_while_it_waits_the_newest_goes_out_alone() -> None:
    world = quiet_fabric()
    for version in (1, 2, 3):
        world.hear("a", State(loads=(load("a", version),)))
    world.wait(world.config.load_batch_ms + 1)
    assert loads_to(world.effects, "e") == [load("a", 1), load("a", 3)]


def test_lazy_links_are_not_told_of_loads() -> None:
    world = quiet_fabric(lazy=("b",))
    world.hear("a", State(loads=(load("a", 1),)))
    world.wait(3_000, beating=PEERS)
    assert said(world.effects, Have) == []


def test_a_load_that_comes_in_time_is_not_asked_for() -> None:
    world = quiet_fabric(lazy=("b",))
    world.hear("b", have("a", 1, load=1))
    world.hear("c", State(loads=(load("a", 1),)))
    assert said(world.wait(2_000), Want) == []


def test_a_payload_older_than_what_a_link_told_of_does_not_cancel_the_want() -> None:
    world = quiet_fabric(lazy=("b",))
    world.hear("b", have("a", 3))
    world.learn(news("a", 2), sender="c")
    assert said(world.wait(1_000), Want, to="b")
