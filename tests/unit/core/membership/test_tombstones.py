"""How long the gone are remembered, and what becomes of them then."""

from __future__ import annotations

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import Effect, Knock, Knocked
from fabric.core.membership.model import MemberState
from fabric.core.membership.tombstones import SWEEP_MIN_MS
from proto.membership import Ack, Down, Finding, Ping, Presence, Suspect
from tests.fixtures.lone_core import LoneCore, done, record_of, said, state_of, vote_of
from tests.fixtures.membership_nodes import fake_node_id

PEERS = ("a", "b", "c", "d", "x")
OTHERS = ("a", "b", "c", "d")
SHORT = MembershipConfig(down_kept_ms=30_000, left_kept_ms=20_000, recheck_interval_ms=2_000)
X = fake_node_id("x")


def dead_x() -> LoneCore:
    world = LoneCore(PEERS, config=SHORT)
    for voter in ("a", "b", "c"):
        world.hear(voter, Suspect(votes=(vote_of(voter, "x", Finding.SILENT),)))
    world.wait(2_000, beating=OTHERS)
    assert world.sees("x") is MemberState.HOST_DOWN
    return world


def test_the_dead_are_forgotten_when_their_time_is_over_and_not_at_the_next_broom() -> None:
    world = dead_x()
    world.wait(SHORT.down_kept_ms - 1_000, beating=OTHERS)
    assert world.sees("x") is MemberState.HOST_DOWN
    world.wait(1_000 + SWEEP_MIN_MS, beating=OTHERS)
    assert world.sees("x") is MemberState.FORGOTTEN


def test_who_left_is_forgotten_in_time_too() -> None:
    world = LoneCore(PEERS, config=SHORT)
    world.learn(state_of(record_of("x", version=2), presence=Presence.LEFT), sender="x")
    dead_since_ms = world.now_ms
    world.wait(SHORT.left_kept_ms + SWEEP_MIN_MS, beating=OTHERS)
    assert world.sees("x") is MemberState.FORGOTTEN
    assert world.now_ms - dead_since_ms < 2 * SHORT.left_kept_ms


def test_a_split_may_outlive_the_tombstones_so_the_forgotten_are_knocked_at() -> None:
    world = dead_x()
    world.wait(SHORT.down_kept_ms + SWEEP_MIN_MS, beating=OTHERS)
    effects = world.wait(3 * SHORT.recheck_interval_ms, beating=OTHERS)
    assert X in {knock.node_id for knock in done(effects, Knock)}


def test_a_forgotten_one_that_answers_is_told_so_that_it_can_refute() -> None:
    world = dead_x()
    world.wait(SHORT.down_kept_ms + SWEEP_MIN_MS, beating=OTHERS)
    effects: list[Effect] = []
    while X not in {knock.node_id for knock in done(effects, Knock)}:
        effects = world.wait(100, beating=OTHERS)
    effects += world.tell(Knocked(X, Finding.REACHABLE))
    (ping,) = said(effects, Ping, to="x")
    effects = world.hear("x", Ack(nonce=ping.nonce, lag_ms=0, root=world.core.root, members=5))
    assert [verdict.target for told in said(effects, Down, to="x") for verdict in told.verdicts] == [X]
    world.learn(state_of(record_of("x", version=2, incarnation=1)), sender="x")
    assert world.sees("x") is MemberState.ALIVE


def test_who_said_farewell_is_not_knocked_at_when_forgotten() -> None:
    world = LoneCore(PEERS, config=SHORT)
    world.learn(state_of(record_of("x", version=2), presence=Presence.LEFT), sender="x")
    world.wait(SHORT.left_kept_ms + SWEEP_MIN_MS, beating=OTHERS)
    effects = world.wait(5 * SHORT.recheck_interval_ms, beating=OTHERS)
    assert X not in {knock.node_id for knock in done(effects, Knock)}
