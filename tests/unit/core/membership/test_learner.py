"""What is believed, and what undoes what."""

from __future__ import annotations

import pytest

from fabric.core.membership.config import HOUR_MS, MembershipConfig
from fabric.core.membership.events import (
    AdmitPeer,
    ExpelPeer,
    Notify,
    PeerRemoved,
    Quarantine,
    RaiseEpoch,
)
from fabric.core.membership.membership import STALE_BEATS
from fabric.core.membership.model import Load, MemberState
from fabric.core.membership.record import write_load
from proto.membership import (
    REMOVALS_MAX,
    ROOT_BYTES,
    Beat,
    Hello,
    LoadState,
    Presence,
    State,
    Version,
    Versions,
    Want,
    Welcome,
)
from tests.fixtures.lone_core import LoneCore, done, record_of, said, state_of
from tests.fixtures.membership_nodes import fake_certificate, fake_node_id, fake_removal

ALIVE, LEFT, LEAVING = MemberState.ALIVE, MemberState.LEFT, MemberState.LEAVING


def test_news_is_passed_on_and_not_to_its_source() -> None:
    world = LoneCore(("a", "b"))
    effects = world.hear("a", State(states=(state_of(record_of("b", version=2)),), eager=True))
    assert said(effects, State, to="b")
    assert not said(effects, State, to="a")


@pytest.mark.parametrize(
    "newer",
    [{"version": 3}, {"incarnation": 1, "version": 1}, {"epoch": 2, "version": 1}],
)
def test_the_highest_epoch_incarnation_version_wins_in_any_order(newer: dict[str, int]) -> None:
    old, new = state_of(record_of("b", version=2)), state_of(record_of("b", **newer))
    for first, second in ((old, new), (new, old)):
        world = LoneCore(("a", "b"))
        world.learn(first, sender="a")
        world.learn(second, sender="a")
        assert new in world.core.states()


def test_the_word_of_an_earlier_life_comes_too_late() -> None:
    world = LoneCore(("a", "b"))
    now = state_of(record_of("b", epoch=2, boot_id=b"2nd-life"))
    world.learn(now, sender="a")
    world.learn(state_of(record_of("b", version=9, boot_id=b"1st-life")), sender="a")
    assert now in world.core.states()


def test_a_forged_record_is_refused() -> None:
    world = LoneCore(("a", "b"))
    world.learn(state_of(record_of("b", version=2), signer="a"), sender="a")
    member = world.core.member(fake_node_id("b"), world.now_ms)
    assert member is not None
    assert member.record.version == 1
    assert world.core.counters["refused.bad_signature"] == 1


def test_the_last_word_of_an_epoch_is_the_last() -> None:
    world = LoneCore(("a", "b"))
    world.learn(state_of(record_of("b", version=2), presence=Presence.LEFT), sender="a")
    world.learn(state_of(record_of("b", version=3)), sender="a")
    assert world.sees("b") is LEFT
    world.learn(state_of(record_of("b", epoch=2)), sender="a")
    assert world.sees("b") is ALIVE


def test_a_restart_is_leaving_for_its_grace_and_left_after() -> None:
    world = LoneCore(("a", "b"))
    world.learn(state_of(record_of("b", version=2), presence=Presence.LEAVING), sender="a")
    world.wait(world.config.restart_grace_ms - 100, beating=("a",))
    assert world.sees("b") is LEAVING
    world.wait(200, beating=("a",))
    assert world.sees("b") is LEFT


def test_a_tombstone_serves_its_time_and_then_only_the_owner_comes_back() -> None:
    world = LoneCore(("a", "b"), config=MembershipConfig(left_kept_ms=HOUR_MS // 4))
    old = state_of(record_of("b"))
    gone = state_of(record_of("b", version=2), presence=Presence.LEFT)
    world.learn(gone, sender="a")
    world.wait(HOUR_MS // 2)
    assert world.sees("b") is MemberState.FORGOTTEN
    for state in (old, gone):
        world.learn(state, sender="a")
        assert world.sees("b") is MemberState.FORGOTTEN
    world.learn(state_of(record_of("b", epoch=2)), sender="a")
    assert world.sees("b") is ALIVE


def test_a_removed_member_is_expelled_and_never_let_in_again() -> None:
    world = LoneCore(("a", "b", "c"))
    effects = world.tell(PeerRemoved(fake_removal(fake_node_id("b"))))
    assert done(effects, ExpelPeer) == [ExpelPeer(fake_node_id("b"))]
    assert world.sees("b") is None
    world.wait(100, beating=("a", "c"))
    assert said(world.effects, State, to="a")[-1].removals
    world.learn(state_of(record_of("b", epoch=9)), sender="a")
    assert world.sees("b") is None


def test_a_removal_that_the_root_did_not_sign_changes_nothing() -> None:
    world = LoneCore(("a", "b"))
    real = fake_removal(fake_node_id("a"))
    forged = type(real)(body=fake_removal(fake_node_id("b")).body, signature=real.signature)
    world.hear("a", State(removals=(forged,)))
    assert world.sees("b") is ALIVE
    assert world.core.counters["refused.bad_removal"] == 1


def test_the_removed_node_itself_stops() -> None:
    world = LoneCore(("a",))
    effects = world.hear("a", State(removals=(fake_removal(fake_node_id("me")),)))
    assert done(effects, Quarantine)[0].reason == "this node was removed from the fabric"
    assert world.core.due_ms is None


def test_a_spent_certificate_is_refused() -> None:
    world = LoneCore(("a", "b"))
    world.learn(state_of(record_of("b", version=2, certificate=fake_certificate("b", 2))), sender="a")
    world.learn(state_of(record_of("b", version=3, certificate=fake_certificate("b", 1))), sender="a")
    member = world.core.member(fake_node_id("b"), world.now_ms)
    assert member is not None
    assert member.record.version == 2
    assert world.core.counters["refused.certificate_spent"] == 1


def test_a_newer_self_is_outgrown_and_the_epoch_made_durable() -> None:
    world = LoneCore(("a",))
    effects = world.learn(state_of(record_of("me", epoch=41, boot_id=b"old-self")), sender="a")
    assert done(effects, RaiseEpoch) == [RaiseEpoch(42)]
    assert world.core.me.epoch == 42


def test_of_two_living_owners_the_younger_stops() -> None:
    world = LoneCore(("a",))
    for epoch in (41, 43):
        clone = record_of("me", epoch=epoch, boot_id=b"theother", uptime_ms=9_000_000)
        effects = world.learn(state_of(clone), sender="a")
    assert done(effects, Quarantine)


def test_of_two_living_owners_the_older_stays() -> None:
    world = LoneCore(("a",))
    world.wait(60_000, beating=("a",))
    for epoch in (41, 43, 45):
        clone = record_of("me", epoch=epoch, boot_id=b"theother", uptime_ms=10)
        effects = world.learn(state_of(clone), sender="a")
        assert not done(effects, Quarantine)
    assert world.core.me.epoch == 46


def rival_of(world: LoneCore, name: str) -> tuple[int | None, str]:
    member = world.core.member(fake_node_id(name), world.now_ms)
    assert member is not None
    return member.rival_ms, member.rival_endpoint


def test_two_living_owners_of_a_members_id_are_seen_when_the_former_outbids_its_successor() -> None:
    world = LoneCore(("a", "b"))
    one = {"boot_id": b"one-life", "endpoint": "tcp://one:1"}
    two = {"boot_id": b"two-life", "endpoint": "tcp://two:1"}
    world.learn(state_of(record_of("b", epoch=2, **one)), sender="a")
    world.learn(state_of(record_of("b", epoch=3, **two)), sender="a")
    assert rival_of(world, "b") == (None, "")  # a restart elsewhere looks like this
    world.learn(state_of(record_of("b", epoch=4, **two)), sender="a")  # and so does a restored epoch
    assert rival_of(world, "b") == (None, "")
    effects = world.learn(state_of(record_of("b", epoch=5, **one)), sender="a")
    assert rival_of(world, "b") == (world.now_ms, "tcp://two:1")
    assert done(effects, Notify)[-1].member.rival_ms == world.now_ms


def contested_ms(world: LoneCore) -> int | None:
    member = world.core.member(fake_node_id("b"), world.now_ms)
    assert member is not None
    return member.contested_ms


def test_an_identity_is_contested_from_the_first_word_of_another_process_elsewhere() -> None:
    """Not only from when the former answers: until then the other's reports would be believed."""
    world = LoneCore(("a", "b"))
    one = {"boot_id": b"one-life", "endpoint": "tcp://one:1"}
    world.learn(state_of(record_of("b", epoch=2, **one)), sender="a")
    world.wait(60_000, beating=("a", "b"))
    world.learn(state_of(record_of("b", epoch=3, boot_id=b"two-life", endpoint="tcp://one:1")), sender="a")
    assert contested_ms(world) is None or contested_ms(world) < world.now_ms  # a restart where it was
    world.learn(state_of(record_of("b", epoch=4, boot_id=b"the-copy", endpoint="tcp://two:1")), sender="a")
    assert contested_ms(world) == world.now_ms
    world.wait(1_000, beating=("a",))
    world.hear("b", Hello(state=state_of(record_of("b", epoch=1, **one)), root=b"r" * 8, members=2))
    assert contested_ms(world) == world.now_ms  # an older word, by a link that proves its keys


def test_a_stopped_nodes_identity_is_free_for_its_next_life_elsewhere() -> None:
    world = LoneCore(("a", "b"))
    old = record_of("b", version=2)
    world.learn(state_of(old, presence=Presence.LEAVING), sender="a")
    world.learn(state_of(record_of("b", epoch=2, boot_id=b"two-life", endpoint="tcp://two:1")), sender="a")
    assert contested_ms(world) is None


def test_two_living_owners_are_seen_when_the_former_goes_on_beating() -> None:
    world = LoneCore(("a", "b"))
    old = record_of("b")
    world.learn(state_of(record_of("b", epoch=2, boot_id=b"two-life", endpoint="tcp://two:1")), sender="a")
    stale = Beat(
        seq=9,
        epoch=old.epoch,
        incarnation=0,
        version=1,
        lag_ms=0,
        root=world.core.root,
        members=2,
        degree=1,
    )
    for _ in range(STALE_BEATS - 1):  # frames of the old process may have been under way
        world.hear("b", stale)
    assert rival_of(world, "b") == (None, "")
    effects = world.hear("b", stale)
    assert rival_of(world, "b") == (world.now_ms, old.endpoint)
    assert done(effects, Notify)[-1].member.rival_endpoint == old.endpoint


@pytest.mark.parametrize(("age_ms", "is_younger"), [(0, False), (20_000, True), (1 << 40, True)])
def test_the_age_of_another_owners_word_counts(age_ms: int, is_younger: bool) -> None:
    """It had run 45 s when it spoke; this node had run 60 s then, and now."""
    world = LoneCore(("a",))
    world.wait(30_000, beating=("a",))
    world.learn(state_of(record_of("me", epoch=41, boot_id=b"theother", uptime_ms=16_000)), sender="a")
    world.wait(30_000, beating=("a",))
    clone = state_of(record_of("me", epoch=43, boot_id=b"theother", uptime_ms=45_000))
    welcome = Welcome(
        state=state_of(record_of("a")), root=bytes(ROOT_BYTES), members=2, you=(clone,), you_age_ms=age_ms
    )
    effects = world.hear("a", welcome)
    assert bool(done(effects, Quarantine)) is is_younger


def test_an_age_before_our_own_last_word_is_a_lie() -> None:
    """Its word outbids ours, so it was said after it."""
    world = LoneCore(("a",))
    world.wait(60_000, beating=("a",))
    world.learn(state_of(record_of("me", epoch=41, boot_id=b"theother", uptime_ms=10)), sender="a")
    clone = state_of(record_of("me", epoch=43, boot_id=b"theother", uptime_ms=10))
    welcome = Welcome(
        state=state_of(record_of("a")), root=bytes(ROOT_BYTES), members=2, you=(clone,), you_age_ms=1 << 40
    )
    assert not done(world.hear("a", welcome), Quarantine)


def servers_of(world: LoneCore, name: str) -> int:
    member = world.core.member(fake_node_id(name), world.now_ms)
    assert member is not None
    return member.load.servers


def load_of(name: str, *, servers: int, epoch: int = 1, version: int = 1) -> LoadState:
    return write_load(fake_node_id(name), epoch, version, Load(servers=servers))


def test_a_load_counts_for_its_own_epoch_only() -> None:
    world = LoneCore(("a", "b"))
    world.hear("a", State(loads=(load_of("b", servers=9, epoch=2),)))
    assert servers_of(world, "b") == 0
    world.hear("a", State(loads=(load_of("b", servers=5),)))
    assert servers_of(world, "b") == 5
    world.learn(state_of(record_of("b", epoch=2)), sender="a")
    assert servers_of(world, "b") == 0


def test_an_old_load_comes_too_late() -> None:
    world = LoneCore(("a", "b"))
    for version in (3, 2):
        world.hear("a", State(loads=(load_of("b", servers=version, version=version),)))
    assert servers_of(world, "b") == 3


def test_the_transport_is_told_of_a_new_place_or_key_only() -> None:
    world = LoneCore(("a", "b"))
    moved = record_of("b", version=2, endpoint="tcp://elsewhere:7000")
    assert len(done(world.learn(state_of(moved), sender="a"), AdmitPeer)) == 1
    again = record_of("b", version=3, endpoint="tcp://elsewhere:7000", zone="other")
    assert done(world.learn(state_of(again), sender="a"), AdmitPeer) == []


def test_more_removals_than_one_message_holds_are_told_in_several() -> None:
    world = LoneCore(("a",))
    removals = tuple(fake_removal(fake_node_id(f"gone{i}")) for i in range(REMOVALS_MAX + 44))
    for removal in removals:
        world.tell(PeerRemoved(removal))
    world.wait(100, beating=("a",))
    told = {removal for state in said(world.effects, State, to="a") for removal in state.removals}
    assert told == set(removals)


def test_a_want_is_answered_once_for_each_node() -> None:
    world = LoneCore(("a", "b"))
    version = Version(node_id=fake_node_id("b"), epoch=0, incarnation=0, version=0)
    effects = world.hear("a", Want(versions=Versions.of([version] * 100), graft=False))
    assert sum(len(state.states) for state in said(effects, State, to="a")) == 1
