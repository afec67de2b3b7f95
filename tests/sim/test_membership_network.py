"""The simulated network keeps the real transport's promises, with libzmq's times (design/gossip.md 3)."""

from __future__ import annotations

import itertools
from random import Random
from typing import cast

import pytest

from fabric.core.membership.events import AdmitPeer, Event, Knock, Knocked, LinkLost, LinkUp, Received
from fabric.core.membership.membership import Membership
from proto.membership import Finding, Ping
from tests.sim.membership_network import (
    CONNECT_TIMEOUT_MS,
    HANDSHAKE_TIMEOUT_MS,
    HEARTBEAT_LOST_MS,
    IDLE_MS,
    KNOCK_TIMEOUT_MS,
    OUTBOX_FRAMES_MAX,
    Link,
    Network,
)
from tests.sim.membership_node import Pulse, SimNode
from tests.sim.membership_time import Schedule
from tests.sim.membership_trace import Story


class Cable:
    """Two nodes and what each was told, without cores: events of a blocked node are told all the same."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.network = Network(self.schedule, Random(1), self, Story())
        self.told: list[tuple[int, str, Event]] = []
        self.a, self.b = SimNode("a"), SimNode("b")
        for node in (self.a, self.b):
            node.core = cast(Membership, object())  # something runs
            self.network.started(node)
        self.network.admit(self.a, AdmitPeer(self.b.node_id, self.b.endpoint, self.b.curve_public))
        self.network.admit(self.b, AdmitPeer(self.a.node_id, self.a.endpoint, self.a.curve_public))

    def tell(self, node: SimNode, event: Event, link: Link | None = None) -> None:
        self.told.append((self.schedule.now_ms, node.machine, event))

    def run(self, for_ms: int) -> None:
        self.schedule.run_to(self.schedule.now_ms + for_ms)

    def link(self) -> None:
        """A's link to B, pinned and up."""
        self.network.pin(self.a, frozenset({self.b.node_id}))
        self.run(10)
        assert isinstance(self.told[-1][2], LinkUp)
        self.told.clear()

    def end_b(self) -> None:
        self.b.core = None
        self.b.life += 1
        self.network.ended(self.b)

    def block_b(self, pulse: Pulse) -> None:
        self.b.pulse, self.b.is_blocked = pulse, True
        self.network.changed([self.b])

    def lost_after_ms(self, since_ms: int) -> list[tuple[int, bool]]:
        return [(at - since_ms, e.refused) for at, _, e in self.told if isinstance(e, LinkLost)]


@pytest.fixture
def cable() -> Cable:
    return Cable()


def test_a_kill_shows_within_milliseconds_and_redials_are_refused(cable: Cable) -> None:
    cable.link()
    start_ms = cable.schedule.now_ms
    cable.end_b()
    cable.run(2_000)
    lost = cable.lost_after_ms(start_ms)
    assert lost[0][0] <= 10
    assert not lost[0][1]
    assert lost[1][0] <= 20
    assert all(refused for _, refused in lost[1:])
    assert len(lost) >= 3  # told again at each redial


def test_a_silent_machine_shows_after_the_heartbeats_timeout(cable: Cable) -> None:
    cable.link()
    start_ms = cable.schedule.now_ms
    cable.network.silent.add("b")
    cable.end_b()
    cable.run(HEARTBEAT_LOST_MS[1])
    lost = cable.lost_after_ms(start_ms)
    assert HEARTBEAT_LOST_MS[0] <= lost[0][0] <= HEARTBEAT_LOST_MS[1]
    assert not any(refused for _, refused in lost)


def test_a_stopped_process_answers_no_heartbeat_and_a_held_one_does(cable: Cable) -> None:
    cable.link()
    cable.block_b(Pulse.HELD)
    cable.run(HEARTBEAT_LOST_MS[1])
    assert not cable.told
    start_ms = cable.schedule.now_ms
    cable.block_b(Pulse.STOPPED)
    cable.run(HEARTBEAT_LOST_MS[1])
    assert HEARTBEAT_LOST_MS[0] <= cable.lost_after_ms(start_ms)[0][0] <= HEARTBEAT_LOST_MS[1]


def test_a_short_silence_breaks_nothing(cable: Cable) -> None:
    cable.link()
    for _ in range(5):
        cable.network.silent.add("b")
        cable.network.changed([cable.b])
        cable.run(2_000)
        cable.network.silent.discard("b")
        cable.network.changed([cable.b])
        cable.run(1_000)
    assert not cable.told


@pytest.mark.parametrize(
    ("befalls", "finding", "within_ms"),
    [
        ("nothing", Finding.REACHABLE, 10),
        ("stop", Finding.REACHABLE, 10),
        ("kill", Finding.REFUSED, 10),
        ("silence", Finding.SILENT, KNOCK_TIMEOUT_MS + 10),
        ("cut", Finding.SILENT, KNOCK_TIMEOUT_MS + 10),
    ],
)
def test_a_knock_tells_three_things_apart(
    cable: Cable, befalls: str, finding: Finding, within_ms: int
) -> None:
    if befalls == "stop":
        cable.block_b(Pulse.STOPPED)
    elif befalls == "kill":
        cable.end_b()
    elif befalls == "silence":
        cable.network.silent.add("b")
    elif befalls == "cut":
        cable.network.cuts.add(("a", "b"))
    cable.network.knock(cable.a, Knock(cable.b.node_id, cable.b.endpoint))
    cable.run(within_ms)
    assert [event for _, _, event in cable.told] == [Knocked(cable.b.node_id, finding)]


def test_frames_pass_only_while_both_admit_each_other(cable: Cable) -> None:
    cable.network.expel(cable.b, cable.a.node_id)
    cable.network.send(cable.a, [cable.b.node_id], Ping(nonce=1))
    cable.run(1_000)
    assert [type(event) for _, _, event in cable.told] == [LinkLost]
    cable.network.admit(cable.b, AdmitPeer(cable.a.node_id, cable.a.endpoint, cable.a.curve_public))
    cable.link()
    cable.network.expel(cable.b, cable.a.node_id)
    cable.network.send(cable.a, [cable.b.node_id], Ping(nonce=2))
    cable.run(1_000)
    assert not [event for _, _, event in cable.told if isinstance(event, Received)]


def test_a_send_dials_keeps_the_frame_until_the_link_is_up_and_closes_it_when_idle(cable: Cable) -> None:
    cable.network.send(cable.a, [cable.b.node_id], Ping(nonce=7))
    cable.run(20)
    assert [(machine, type(event)) for _, machine, event in cable.told] == [("a", LinkUp), ("b", Received)]
    cable.told.clear()
    cable.run(IDLE_MS + 100)
    assert not cable.told  # without a word
    assert not cable.a.links


def test_what_waits_for_a_link_is_bounded(cable: Cable) -> None:
    for nonce in range(3 * OUTBOX_FRAMES_MAX):
        cable.network.send(cable.a, [cable.b.node_id], Ping(nonce=nonce))
    cable.run(20)
    got = [event.message for _, _, event in cable.told if isinstance(event, Received)]
    assert [ping.nonce for ping in got if isinstance(ping, Ping)] == list(  # the newest
        range(2 * OUTBOX_FRAMES_MAX, 3 * OUTBOX_FRAMES_MAX)
    )


def test_a_blocked_process_shakes_no_hands(cable: Cable) -> None:
    cable.block_b(Pulse.HELD)
    cable.network.pin(cable.a, frozenset({cable.b.node_id}))
    start_ms = cable.schedule.now_ms
    cable.run(HANDSHAKE_TIMEOUT_MS + 10)
    assert cable.lost_after_ms(start_ms)[0][0] >= HANDSHAKE_TIMEOUT_MS
    cable.b.pulse, cable.b.is_blocked = Pulse.RUNNING, False
    cable.network.changed([cable.b])
    cable.network.resumed(cable.b)
    cable.run(CONNECT_TIMEOUT_MS + 500)
    assert isinstance(cable.told[-1][2], LinkUp)


def test_pinned_links_are_redialled_with_a_growing_pause(cable: Cable) -> None:
    cable.end_b()
    cable.network.pin(cable.a, frozenset({cable.b.node_id}))
    cable.run(15_000)
    moments = [at for at, _, event in cable.told if isinstance(event, LinkLost)]
    pauses = [later - sooner for sooner, later in itertools.pairwise(moments)]
    assert pauses[0] <= 210
    assert max(pauses) <= 2_010
    assert len(moments) <= 15
