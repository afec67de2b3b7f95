"""Scenario 15: two owners of one id, forgers, slanderers, a node that is itself the one cut off, and a
crowd that fights for places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fabric.core.membership.events import LocalChanged
from fabric.core.membership.model import DOWN_STATES, MemberState
from fabric.core.membership.record import sign_record
from proto.envelope import encode
from proto.ids import Epoch
from proto.membership import (
    Ballot,
    Doom,
    Down,
    Finding,
    LinkDrop,
    MembershipMessage,
    State,
    Suspect,
    Verdict,
    Vote,
    vote_body,
)
from tests.fixtures.membership_nodes import FakeTrust
from tests.sim.membership_checks import (
    all_know_the_same,
    everybody_is_alive,
    nobody_was_wronged,
    require,
    whole_and_right,
)
from tests.sim.membership_network import TAG, Packet
from tests.sim.membership_node import SimNode
from tests.sim.membership_scenes import settled
from tests.sim.membership_world import World
from tests.sim.seeds import few_seeds, seeds

ALIVE, HOST_DOWN = MemberState.ALIVE, MemberState.HOST_DOWN


def say(world: World, speaker: SimNode, message: MembershipMessage) -> None:
    """By all the links it has, past its core."""
    packet = Packet(speaker.node_id, message.KIND, encode(message, TAG))
    world.network.post(speaker, list(speaker.links), packet)


def vote_of(
    voter: SimNode, target: SimNode, finding: Finding, *, signer: str | None = None, attempt: int = 0
) -> Vote:
    """`signer` forges it."""
    record = target.running.me
    about = {
        "target": target.node_id,
        "epoch": record.epoch,
        "incarnation": record.incarnation,
        "attempt": attempt,
        "voter": voter.node_id,
        "finding": finding,
    }
    signature = FakeTrust(signer or voter.name).sign(vote_body(**about))  # type: ignore[arg-type]
    return Vote(**about, signature=signature)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", seeds(20))
def test_of_two_owners_of_one_id_one_is_quarantined(seed: int) -> None:
    """A machine was cloned, keys and disk and all."""
    world = settled(8, seed)
    world.run(world.rng.randrange(20_000))
    world.restore_new("clone", world.nodes["n3"].disk, identity="n3")
    world.start("clone", identity="n3", known=[node.running.own_state for node in world.running()])
    original, clone = world.nodes["n3"], world.nodes["clone"]
    original.blameless_from_ms = clone.blameless_from_ms = 1 << 60
    world.run_until(lambda: bool(original.quarantined) or bool(clone.quarantined), within_ms=90_000)
    world.run(20_000)
    require(world, bool(original.quarantined) != bool(clone.quarantined), "one has to stay")
    require(world, bool(clone.quarantined), "the older one has the better right")
    world.run_until(world.is_at_rest, within_ms=30_000)
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_nobody_speaks_for_another(seed: int) -> None:
    world = settled(8, seed)
    liar, victim = world.nodes["n2"], world.nodes["n5"]
    record = replace(victim.running.me, epoch=Epoch(victim.running.me.epoch + 9), endpoint="tcp://evil:1")
    forged = sign_record(record, liar.trust.sign).state
    mine = sign_record(record, victim.trust.sign).state
    swapped = replace(mine, certificate=liar.running.own_state.certificate)
    for states in ((forged,), (swapped,)):
        say(world, liar, State(states=states, eager=True))
        say(world, liar, State(states=states))
        world.run(2_000)
    for node in world.running():
        if node is not victim:
            member = world.member(node.machine, "n5")
            require(
                world, member is not None and member.record.endpoint == victim.endpoint, "a lie was believed"
            )
    require(world, sum(node.refused.total() for node in world.running()) > 0, "nobody counted the lies")
    world.run(10_000)
    require(world, world.downs == 0, "somebody was called down")
    whole_and_right(world)


@pytest.mark.parametrize("seed", few_seeds(10))
def test_one_who_accuses_everybody_brings_down_nobody(seed: int) -> None:
    """With his own votes, with votes he signed in others' names, and with verdicts made of both."""
    world = settled(10, seed)
    liar = world.nodes["n4"]
    others = [node for node in world.running() if node is not liar]
    for attempt in range(20):
        finding = world.rng.choice([Finding.REFUSED, Finding.SILENT, Finding.STALLED])
        say(world, liar, Suspect(votes=tuple(vote_of(liar, v, finding, attempt=attempt) for v in others)))
        target, *witnesses = world.rng.sample(others, 5)
        false = [vote_of(w, target, finding, signer=liar.name, attempt=attempt) for w in witnesses]
        say(world, liar, Ballot(votes=tuple(false)))
        say(world, liar, Down(verdicts=(verdict_of(target, [*false, vote_of(liar, target, finding)]),)))
        mine_thrice = [vote_of(liar, target, finding, attempt=number) for number in range(4)]
        say(world, liar, Down(verdicts=(verdict_of(target, mine_thrice),)))
        world.run(1_000)
    require(world, world.downs == 0, "somebody was called down")
    refused = sum((node.refused for node in others), start=Counter[str]())
    require(world, refused["bad_vote"] > 0 and refused["verdict_not_proven"] > 0, f"{refused}")
    world.run(15_000)
    whole_and_right(world)


def verdict_of(target: SimNode, votes: Sequence[Vote]) -> Verdict:
    record = target.running.me
    return Verdict(
        target=target.node_id,
        epoch=record.epoch,
        incarnation=record.incarnation,
        number=1,
        doom=Doom.HOST_DOWN,
        votes=tuple(votes),
    )


@pytest.mark.parametrize("seed", seeds(20))
def test_one_who_vouches_for_the_dead_keeps_nobody_alive(seed: int) -> None:
    world = settled(10, seed)
    liar, victim = world.nodes["n4"], world.nodes["n7"]
    record = victim.running.me
    world.power_off("n7")
    for attempt in range(1, 120):
        about = {
            "target": victim.node_id,
            "epoch": record.epoch,
            "incarnation": record.incarnation,
            "attempt": attempt,
            "voter": liar.node_id,
            "finding": Finding.REACHABLE,
        }
        signature = liar.trust.sign(vote_body(**about))  # type: ignore[arg-type]
        say(world, liar, Ballot(votes=(Vote(**about, signature=signature),)))  # type: ignore[arg-type]
        world.run(500)
        if world.everyone_sees("n7", HOST_DOWN, but=["n4"]):
            break
    require(world, world.everyone_sees("n7", HOST_DOWN, but=["n4"]), "a liar kept the dead alive")


@pytest.mark.parametrize("seed", seeds(20))
def test_who_is_cut_off_itself_doubts_itself(seed: int) -> None:
    """In its view a majority is silent. It says nothing about them, neither then nor when it is back."""
    world = settled(12, seed)
    world.unplug("n6")
    world.run(world.rng.randrange(5_000, 60_000))
    downs_of_others = [
        other.machine
        for viewer in world.running()
        for other in world.running()
        if viewer.machine != "n6"
        and other.machine not in ("n6", viewer.machine)
        and world.sees(viewer.machine, other.machine) is not ALIVE
    ]
    require(world, not downs_of_others, f"{downs_of_others}")
    own = {state for state in world.nodes["n6"].view.values() if state in DOWN_STATES}
    require(world, not own, f"n6 calls others {own}")
    downs = world.downs
    world.plug_in("n6")
    world.run_until(world.is_at_rest, within_ms=20_000)
    world.run(10_000)
    require(world, world.downs == downs, "it told its mistake")
    whole_and_right(world)


@pytest.mark.parametrize("seed", few_seeds(10))
def test_full_views_do_not_play_ping_pong(seed: int) -> None:
    """iroh-gossip #152: with all views full, newcomers and the evicted must not chase each other for ever."""
    world = settled(30, seed)
    for number in range(8):
        world.join(f"late{number}", through="n1")
    world.run_until(world.is_at_rest, within_ms=20_000)
    world.run(30_000)
    before = Counter(world.network.sent)
    world.run(60_000)
    drops = world.network.sent[LinkDrop.KIND] - before[LinkDrop.KIND]
    require(world, drops <= 38 * 2, f"{drops} links dropped in a quiet minute of 38 nodes")
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_rotated_keys_are_followed_by_all(seed: int) -> None:
    world = settled(10, seed)
    world.rotate("n5", through="n1")
    took_ms = world.run_until(lambda: everyone_has_key(world, "n5"), within_ms=10_000)
    require(world, took_ms <= 3_000, f"took {took_ms} ms")
    world.run(15_000)
    require(world, world.downs == 0, "somebody was called down")
    world.tell(world.nodes["n5"], LocalChanged(labels={"after": "rotation"}))
    world.run(3_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)
    all_know_the_same(world)
    whole_and_right(world)


def everyone_has_key(world: World, machine: str) -> bool:
    key = world.nodes[machine].curve_public
    members = [world.member(node.machine, machine) for node in world.running() if node.machine != machine]
    return all(m is not None and m.record.curve_public == key and m.state is ALIVE for m in members)
