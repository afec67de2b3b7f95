"""The active view: who is asked, who is let in, who has to go."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from string import ascii_lowercase

import pytest

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import Effect, LinkLost, LinkUp, PeerAdmitted, PinLinks, Send, Woke
from fabric.core.membership.links import ASK_TIMEOUT_MS, CANDIDATES, FIRST_LINKS, FIRST_MS, QUIET_MS
from proto.ids import NodeId
from proto.membership import (
    Beat,
    DropReason,
    Hello,
    LinkDrop,
    LinkNo,
    LinkOk,
    LinkReq,
    Presence,
    Prune,
    State,
)
from tests.fixtures.lone_core import LoneCore, done, record_of, said, state_of
from tests.fixtures.membership_nodes import fake_node_id

SOON_MS = 60  # the view is looked over 50 ms after a change
RICH, POOR = 8, 2  # links a peer says it has
MANY = tuple(ascii_lowercase)
FEW = ("a", "b", "c", "d")
NEVER_MS = 1_000_000_000  # who is no neighbour would not answer a ping


class Fabric(LoneCore):
    """Nobody is linked yet. All are known and alive; who is asked says yes unless it is deaf or unwilling."""

    def __init__(self, names: Iterable[str], *, config: MembershipConfig | None = None) -> None:
        super().__init__(config=replace(config or MembershipConfig(), stranger_interval_ms=NEVER_MS))
        self.names = {fake_node_id(name): name for name in names}
        self.degrees: dict[str, int] = {}
        self.unwilling: Collection[str] = ()
        for name in self.names.values():
            self.tell(PeerAdmitted(state_of(record_of(name))))
            self.hear(name, Hello(state=state_of(record_of(name)), root=self.core.root, members=2))

    def settle(self) -> None:
        """Long enough for all rounds of asking."""
        for _ in range(40):
            self.answer(self.live(100))

    def answer(self, effects: Iterable[Effect]) -> None:
        for name in self.asked(effects):
            if name not in self.unwilling:
                self.hear(name, LinkOk(degree=RICH))

    def live(self, for_ms: int) -> list[Effect]:
        """Time passes and all neighbours beat; requests stay unanswered."""
        found, end_ms = len(self.effects), self.now_ms + for_ms
        while self.now_ms < end_ms:
            self.wait(min(500, end_ms - self.now_ms))
            self.tell(Woke())
            for name in self.linked:
                self.beat(name)
        return self.effects[found:]

    def beat(self, sender: str) -> None:
        self.hear(
            sender,
            Beat(
                seq=1,
                epoch=1,
                incarnation=0,
                version=1,
                lag_ms=0,
                root=self.core.root,
                members=2,
                degree=self.degrees.get(sender, RICH),
            ),
        )

    def link(self, names: Iterable[str], *, degree: int = RICH) -> None:
        """They ask, and are let in."""
        for name in names:
            self.degrees[name] = degree
            self.hear(name, LinkReq(priority=False, degree=degree))

    def asked(self, effects: Iterable[Effect]) -> list[str]:
        return [
            self.names[effect.to]
            for effect in effects
            if isinstance(effect, Send) and isinstance(effect.message, LinkReq)
        ]

    def dropped(self, effects: Iterable[Effect]) -> list[tuple[str, DropReason]]:
        return [
            (self.names[effect.to], effect.message.reason)
            for effect in effects
            if isinstance(effect, Send) and isinstance(effect.message, LinkDrop)
        ]

    @property
    def linked(self) -> list[str]:
        return [self.names[link.node_id] for link in self.core.links(self.now_ms) if not link.is_bad]

    @property
    def ring(self) -> set[str]:
        return {self.names[link.node_id] for link in self.core.links(self.now_ms) if link.is_ring}

    @property
    def pinned(self) -> frozenset[NodeId]:
        return done(self.effects, PinLinks)[-1].node_ids


def ids(*names: str) -> frozenset[NodeId]:
    return frozenset(fake_node_id(name) for name in names)


def next_ids(names: Iterable[str]) -> tuple[str, str]:
    """Who comes after this node on the ring, and who before."""
    ring = sorted((*names, "me"), key=fake_node_id)
    at = ring.index("me")
    return ring[(at + 1) % len(ring)], ring[at - 1]


def others_of(names: Iterable[str]) -> list[str]:
    """All but the ring neighbours."""
    return [name for name in names if name not in next_ids(names)]


def full_fabric(*, ring_degree: int = RICH, degree: int = RICH) -> tuple[Fabric, str]:
    """As many links as are allowed, ring neighbours among them, and one who is not linked."""
    world = Fabric(MANY)
    others = others_of(MANY)
    world.link(next_ids(MANY), degree=ring_degree)
    world.link(others[: world.config.links_max - 2], degree=degree)
    world.live(500)
    assert len(world.linked) == world.config.links_max
    assert world.ring == set(next_ids(MANY))
    return world, others[-1]


# The handshake.


def test_who_is_asked_says_yes_and_pins_the_link() -> None:
    world = Fabric(FEW)
    effects = world.hear("a", LinkReq(priority=False, degree=3))
    assert said(effects, LinkOk, to="a") == [LinkOk(degree=1)]
    assert world.pinned == ids("a")
    assert world.linked == ["a"]


def test_who_asks_pins_at_once_and_is_linked_when_the_answer_comes() -> None:
    world = Fabric(("a",))
    effects = world.wait(SOON_MS)
    assert world.asked(effects) == ["a"]
    assert world.pinned == ids("a")
    assert world.linked == []
    world.hear("a", LinkOk(degree=1))
    assert world.linked == ["a"]
    assert world.pinned == ids("a")


def test_a_request_on_an_open_connection_begins_with_a_hello() -> None:
    world = Fabric(("a", "b"))
    world.tell(LinkUp(fake_node_id("a")))
    world.effects.clear()
    world.wait(SOON_MS)
    to_a = [e.message for e in world.effects if isinstance(e, Send) and e.to == fake_node_id("a")]
    assert [type(message) for message in to_a] == [Hello, LinkReq]
    assert not said(world.effects, Hello, to="b"), "there the link begins with one by itself"


def test_two_that_ask_each_other_at_once_are_linked_once() -> None:
    world = Fabric(("a",))
    world.wait(SOON_MS)
    effects = world.hear("a", LinkReq(priority=False, degree=0))
    effects += world.hear("a", LinkOk(degree=1))
    assert len(said(effects, LinkOk)) == 1
    assert not said(effects, LinkDrop)
    assert world.linked == ["a"]


def test_a_neighbour_that_asks_again_hears_yes_again_and_nothing_changes() -> None:
    world = Fabric(("a", "b"))
    world.link(("a", "b"))
    effects = world.hear("a", LinkReq(priority=True, degree=3))
    assert said(effects, LinkOk, to="a") == [LinkOk(degree=2)]
    assert not done(effects, PinLinks)


def test_a_yes_that_comes_too_late_is_undone_at_the_other_end() -> None:
    world = Fabric(FEW)
    effects = world.hear("a", LinkOk(degree=1))
    assert world.dropped(effects) == [("a", DropReason.OPTIMISE)]
    assert world.linked == []


def test_a_beat_of_one_that_counts_us_a_neighbour_wrongly_is_answered_with_a_drop() -> None:
    world = Fabric(("a",))
    world.beat("a")
    assert world.dropped(world.effects) == [("a", DropReason.OPTIMISE)]


def test_a_beat_of_one_just_asked_is_no_mistake() -> None:
    """Its yes may be behind the beat."""
    world = Fabric(("a",))
    world.wait(SOON_MS)
    world.beat("a")
    assert world.dropped(world.effects) == []


def test_one_who_left_is_refused() -> None:
    world = Fabric(FEW)
    world.hear("a", State(states=(state_of(record_of("a", version=2), presence=Presence.LEFT),)))
    effects = world.hear("a", LinkReq(priority=True, degree=0))
    assert said(effects, LinkNo, to="a")
    assert world.linked == []


def test_a_link_to_one_who_left_is_gone_without_a_word_to_it() -> None:
    world = Fabric(FEW)
    world.link(("a", "b"))
    effects = world.hear("b", State(states=(state_of(record_of("a", version=2), presence=Presence.LEFT),)))
    assert world.linked == ["b"]
    assert fake_node_id("a") not in world.pinned
    assert world.dropped(effects) == []


# A full view.


def test_a_full_view_refuses_who_is_not_in_need_and_names_others() -> None:
    world, stranger = full_fabric()
    effects = world.hear(stranger, LinkReq(priority=False, degree=RICH))
    (answer,) = said(effects, LinkNo, to=stranger)
    assert len(set(answer.candidates)) == CANDIDATES
    assert set(answer.candidates) <= ids(*MANY) - ids(stranger)
    assert world.dropped(effects) == []


def test_a_full_view_lets_one_go_for_who_is_in_need() -> None:
    world, stranger = full_fabric()
    before = world.linked
    effects = world.hear(stranger, LinkReq(priority=True, degree=0))
    ((gone, reason),) = world.dropped(effects)
    assert reason is DropReason.EVICT
    assert said(effects, LinkOk, to=stranger)
    assert set(world.linked) == {*before, stranger} - {gone}
    assert world.pinned == ids(*world.linked)


def test_a_ring_neighbour_is_never_evicted() -> None:
    """The others are too poor to go, so there is nobody else."""
    world, stranger = full_fabric(degree=POOR)
    effects = world.hear(stranger, LinkReq(priority=True, degree=0))
    assert said(effects, LinkNo, to=stranger)
    assert world.dropped(effects) == []


def test_one_with_hardly_a_link_is_not_evicted_while_others_have_more() -> None:
    world, stranger = full_fabric(degree=POOR)
    rich = next(name for name in world.linked if name not in world.ring)
    world.degrees[rich] = RICH
    world.beat(rich)
    effects = world.hear(stranger, LinkReq(priority=True, degree=0))
    assert world.dropped(effects) == [(rich, DropReason.EVICT)]


# No, and no answer.


def test_who_is_refused_asks_the_first_candidate_it_can_use() -> None:
    world = Fabric(MANY)
    linked, unknown = "a", fake_node_id("a stranger")
    world.link((linked,))
    asked = world.asked(world.wait(FIRST_MS))
    free = next(name for name in others_of(MANY) if name not in (*asked, linked))
    candidates = (fake_node_id(linked), unknown, fake_node_id(free), fake_node_id("b"))
    effects = world.hear(asked[0], LinkNo(candidates=candidates))
    assert world.asked(effects) == [free]
    assert ids(free) <= world.pinned
    assert not ids(asked[0]) & world.pinned


def test_who_refused_is_passed_over_for_a_while_and_then_asked_again() -> None:
    world = Fabric((*FEW, "x"))
    world.link(FEW)
    assert "x" in world.asked(world.wait(FIRST_MS + SOON_MS))
    world.hear("x", LinkNo())
    assert world.asked(world.live(world.config.link_retry_max_ms - 100)) == []
    assert world.asked(world.live(1_500)) == ["x"]


def test_an_unanswered_request_is_given_up_and_its_target_passed_over_for_a_while() -> None:
    world = Fabric((*FEW, "x"))
    world.link(FEW)
    assert world.asked(world.wait(FIRST_MS + SOON_MS)) == ["x"]
    assert ids("x") <= world.pinned
    assert world.asked(world.live(ASK_TIMEOUT_MS - 2 * SOON_MS)) == []
    assert ids("x") <= world.pinned
    effects: list[Effect] = []
    while ids("x") <= world.pinned:
        effects += world.live(50)
        assert world.now_ms < 5_000
    effects += world.live(world.config.link_retry_min_ms)
    assert world.asked(effects) == []
    assert world.asked(world.live(1_200)) == ["x"]


@pytest.mark.parametrize("links", [0, 2])
def test_with_hardly_a_link_left_even_who_refused_is_asked_soon(links: int) -> None:
    world = Fabric((*FEW[:links], "x"))
    world.link(FEW[:links])
    world.wait(FIRST_MS + SOON_MS)
    world.hear("x", LinkNo())
    assert "x" in world.asked(world.wait(2 * world.config.link_retry_min_ms + SOON_MS))


def test_who_evicts_again_and_again_is_passed_over_for_longer_each_time() -> None:
    world = Fabric((*FEW, "x"))
    world.link(FEW)
    pauses = []
    for _ in range(3):
        world.link(("x",))
        world.hear("x", LinkDrop(reason=DropReason.EVICT))
        since_ms = world.now_ms
        while not world.asked(world.live(500)):
            assert world.now_ms < since_ms + 60_000
        pauses.append((world.now_ms - since_ms) // world.config.link_retry_max_ms)
    assert pauses == [1, 2, 4]


# Whom a node asks.


def test_a_node_that_just_started_and_has_two_links_waits_before_it_asks_for_more() -> None:
    """Not everybody knows it yet."""
    world = Fabric(MANY)
    world.link(others_of(MANY)[:FIRST_LINKS])
    assert world.asked(world.live(FIRST_MS - 1)) == []
    assert len(world.asked(world.live(2_000))) > FIRST_LINKS


def test_up_to_full_mesh_max_nodes_everybody_is_everybodys_neighbour() -> None:
    names = MANY[: MembershipConfig().full_mesh_max - 1]
    world = Fabric(names)
    world.settle()
    assert sorted(world.linked) == sorted(names)


def test_above_full_mesh_max_a_node_keeps_to_its_target() -> None:
    world = Fabric(MANY)
    world.settle()
    for _ in range(10):
        world.answer(world.live(1_000))
    assert len(world.linked) == world.config.links_target
    assert world.pinned == ids(*world.linked)


def test_ring_neighbours_are_the_next_ids_either_way() -> None:
    world = Fabric(MANY)
    world.settle()
    world.live(500)
    assert world.ring == set(next_ids(MANY))


def test_ring_neighbours_are_asked_with_priority() -> None:
    world = Fabric(MANY)
    world.live(2_000)
    for name in next_ids(MANY):
        assert said(world.effects, LinkReq, to=name)[0].priority


def test_a_newcomer_with_the_next_id_is_asked_by_a_node_that_has_enough_links() -> None:
    world = Fabric(MANY)
    world.settle()
    after, _ = next_ids(MANY)
    newcomer = next(n for i in range(1_000) if next_ids((*MANY, n := f"new{i}"))[0] == n)
    world.names[fake_node_id(newcomer)] = newcomer
    effects = world.tell(PeerAdmitted(state_of(record_of(newcomer)))) + world.live(100)
    assert world.asked(effects) == [newcomer]
    world.answer(effects)
    world.live(500)
    assert newcomer in world.ring
    assert after not in world.ring


@pytest.mark.parametrize("refuses", [False, True])
def test_where_a_ring_neighbour_is_gone_or_refuses_the_one_behind_it_serves(refuses: bool) -> None:
    after, before = next_ids(MANY)
    behind = next_ids(name for name in MANY if name != after)[0]
    world = Fabric(MANY)
    if refuses:
        world.unwilling = (after,)
        world.wait(FIRST_MS + SOON_MS)
        world.hear(after, LinkNo())
    else:
        world.hear("a", State(states=(state_of(record_of(after, version=2), presence=Presence.LEFT),)))
        world.unwilling = (after,)
    world.settle()
    world.live(500)
    assert world.ring == {behind, before}


def test_members_known_from_disk_only_are_asked_last() -> None:
    world = LoneCore(config=MembershipConfig(full_mesh_max=2, links_target=3))
    names = {fake_node_id(name): name for name in MANY}
    living = others_of(MANY)[:3]
    for name in MANY:
        world.tell(PeerAdmitted(state_of(record_of(name))))
    for name in living:
        world.hear(name, Hello(state=state_of(record_of(name)), root=world.core.root, members=2))
    world.effects.clear()
    world.wait(FIRST_MS * 2)
    to = {names[e.to] for e in world.effects if isinstance(e, Send) and isinstance(e.message, LinkReq)}
    assert to - set(next_ids(MANY)) <= set(living)


# Whom a node lets go.


def crowded(*, degree: int) -> Fabric:
    """Two links more than wanted, and nobody has joined for a moment."""
    world = Fabric(MANY)
    higher = [name for name in others_of(MANY) if fake_node_id(name) > fake_node_id("me")]
    world.link((*next_ids(MANY), *higher[: world.config.links_target]), degree=degree)
    world.effects.clear()
    return world


def pruned(world: Fabric) -> None:
    """Its links are no edges of the broadcast tree; one always stays one."""
    kept = next_ids(MANY)[0]
    for name in world.linked:
        if name != kept:
            world.hear(name, Prune())


def test_surplus_links_go_one_by_one_and_only_when_nobody_joined_for_long() -> None:
    world = crowded(degree=9)
    pruned(world)
    assert world.dropped(world.live(QUIET_MS - 1_000)) == []
    effects = world.live(2_000)
    assert 0 < len(world.dropped(effects)) <= 2
    effects += world.live(5_000)
    assert [reason for _, reason in world.dropped(effects)] == [DropReason.OPTIMISE] * 2
    assert len(world.linked) == world.config.links_target
    assert world.ring == set(next_ids(MANY))


def test_an_edge_of_the_broadcast_tree_is_no_surplus() -> None:
    world = crowded(degree=9)
    assert world.dropped(world.live(QUIET_MS + 5_000)) == []


def test_a_surplus_link_stays_where_the_other_end_has_no_more_than_enough() -> None:
    world = crowded(degree=RICH)
    pruned(world)
    assert world.dropped(world.live(QUIET_MS + 5_000)) == []


def test_of_two_ends_with_surplus_the_one_with_the_lower_id_lets_go() -> None:
    world = Fabric(MANY)
    lower = [name for name in others_of(MANY) if fake_node_id(name) < fake_node_id("me")]
    world.link((*next_ids(MANY), *lower), degree=9)
    pruned(world)
    assert len(world.linked) > world.config.links_target
    assert world.dropped(world.live(QUIET_MS + 5_000)) == []


def swapping(names: Iterable[str], *, target: int = 8) -> Fabric:
    config = MembershipConfig(swap_interval_ms=30_000, swap_jitter_ms=0, links_target=target)
    return Fabric(names, config=config)


def test_now_and_then_one_random_link_is_exchanged_for_another() -> None:
    world = swapping(MANY)
    world.settle()
    before = world.linked
    effects: list[Effect] = []
    while world.now_ms < 33_000:
        passed = world.live(500)
        world.answer(passed)
        effects += passed
    ((gone, reason),) = world.dropped(effects)
    assert reason is DropReason.OPTIMISE
    assert gone not in next_ids(MANY)
    assert len(world.linked) == world.config.links_target
    assert set(before) - {gone} < set(world.linked)


def test_an_edge_of_the_broadcast_tree_is_not_exchanged_while_there_are_others() -> None:
    world = swapping(MANY)
    world.settle()
    lazy = next(name for name in world.linked if name not in next_ids(MANY))
    world.hear(lazy, Prune())
    effects: list[Effect] = []
    while world.now_ms < 33_000:
        effects += world.live(500)
    assert [gone for gone, _ in world.dropped(effects)] == [lazy]


def test_ring_neighbours_are_never_exchanged() -> None:
    world = swapping(MANY, target=3)
    world.settle()
    since = len(world.effects)
    while world.now_ms < 300_000:
        world.answer(world.live(500))
    gone = [name for name, _ in world.dropped(world.effects[since:])]
    assert len(gone) >= 5
    assert not set(gone) & set(next_ids(MANY))


def test_no_link_is_exchanged_where_everybody_is_everybodys_neighbour() -> None:
    world = swapping(FEW)
    world.settle()
    assert world.dropped(world.live(60_000)) == []


def test_no_link_is_exchanged_by_a_node_that_has_too_few() -> None:
    world = swapping(MANY)
    world.link((*next_ids(MANY), *others_of(MANY)[:3]))
    assert world.dropped(world.live(60_000)) == []


def test_a_node_alone_asks_nobody() -> None:
    world = Fabric(())
    assert world.asked(world.wait(10_000)) == []


def test_one_who_left_is_refused_and_nobody_has_to_go_for_it() -> None:
    world, stranger = full_fabric()
    world.hear("a", State(states=(state_of(record_of(stranger, version=2), presence=Presence.LEFT),)))
    effects = world.hear(stranger, LinkReq(priority=True, degree=0))
    assert said(effects, LinkNo, to=stranger)
    assert world.dropped(effects) == []


def test_a_node_that_just_started_asks_few_first() -> None:
    world = Fabric(MANY)
    assert len(world.asked(world.wait(FIRST_MS - 1))) == FIRST_LINKS


def test_the_degree_told_with_a_yes_counts() -> None:
    world = Fabric(MANY, config=MembershipConfig(links_target=12))
    while len(world.linked) < 12:
        world.answer(world.wait(50))  # nobody has beaten yet
    stranger = next(n for n in others_of(MANY) if n not in world.linked)
    assert said(world.hear(stranger, LinkReq(priority=True, degree=0)), LinkOk, to=stranger)


def test_a_refusal_makes_no_more_links_than_wanted() -> None:
    world = Fabric(MANY)
    world.link(others_of(MANY)[:8])
    asked = world.asked(world.wait(FIRST_MS + SOON_MS))
    effects = world.hear(asked[0], LinkNo(candidates=(fake_node_id(others_of(MANY)[12]),)))
    assert world.asked(effects) == []


def test_a_link_knows_since_when_it_is_up_or_down() -> None:
    """It is told again at each failed redial, which is no change."""
    world = Fabric(FEW)
    world.link("a")
    made_ms, a = world.now_ms, fake_node_id("a")

    def seen() -> tuple[int, bool, int]:
        (link,) = (link for link in world.core.links(world.now_ms) if link.node_id == a)
        return link.since_ms, link.is_up, link.changed_ms

    changed = []
    for event in (LinkUp(a), LinkLost(a, refused=False), LinkUp(a)):
        world.now_ms += 400
        changed.append(world.now_ms)
        world.tell(event)
        assert seen() == (made_ms, isinstance(event, LinkUp), changed[-1])
        world.now_ms += 100
        world.tell(event)
        assert seen()[2] == changed[-1]


def shown_bad(world: Fabric) -> list[NodeId]:
    return [link.node_id for link in world.core.links(world.now_ms) if link.is_bad]


def test_a_link_that_did_not_carry_is_shown_for_a_while() -> None:
    world = Fabric(FEW)
    world.link(("a", "b"))
    world.hear("a", LinkDrop(reason=DropReason.ERROR))
    world.hear("b", LinkDrop(reason=DropReason.OPTIMISE))
    assert shown_bad(world) == [fake_node_id("a")]
    world.link("a")
    assert shown_bad(world) == []
    world.hear("a", LinkDrop(reason=DropReason.ERROR))
    world.wait(world.config.link_shunned_ms - 1_000, beating=FEW)
    assert shown_bad(world) == [fake_node_id("a")]
    world.wait(10_000, beating=FEW)
    assert shown_bad(world) == []


def test_who_is_down_had_no_bad_link() -> None:
    world = Fabric(FEW)
    world.link("a")
    world.hear("a", LinkDrop(reason=DropReason.ERROR))
    world.hear("b", State(states=(state_of(record_of("a", version=2), presence=Presence.LEFT),)))
    assert shown_bad(world) == []
