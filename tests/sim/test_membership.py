"""The plain membership core under virtual time: join, death, restart, leave, split, loss, stalls, lies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.membership.events import LeaveRequested, LocalChanged, PeerRemoved, Received
from fabric.core.membership.model import Capacity, MemberState, RoleClaim
from fabric.core.membership.record import sign_record
from proto.membership import States
from tests.fixtures.membership_nodes import FakeNode, fake_sign
from tests.sim.membership_world import World
from tests.sim.seeds import seeds

SEEDS = seeds(6)
NAMES = [f"n{i}" for i in range(1, 11)]
ALIVE, SUSPECT = MemberState.ALIVE, MemberState.SUSPECT
AGENT_DOWN, HOST_DOWN, LEFT = MemberState.AGENT_DOWN, MemberState.HOST_DOWN, MemberState.LEFT
DOWN = (AGENT_DOWN, HOST_DOWN, LEFT)


def fabric_of(count: int, seed: int, *, loss: float = 0.0) -> World:
    world = World(seed, loss=loss)
    world.add("n1")
    for name in NAMES[1:count]:
        world.join(name, through="n1")
    world.run_until(world.all_alive, within_ms=20_000)
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_nodes_joined_by_one_are_known_to_all_within_a_second(seed: int) -> None:
    world = World(seed)
    world.add("n1")
    for name in NAMES[1:]:
        world.join(name, through="n1")
    assert world.run_until(world.all_alive, within_ms=20_000) <= 1_100
    world.run_until(world.roots_agree, within_ms=2_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_node_joins_a_running_fabric_within_a_second(seed: int) -> None:
    world = fabric_of(9, seed)
    world.run(5_000)
    world.join("n10", through="n4")  # not only the founder can spread news
    assert world.run_until(world.all_alive, within_ms=10_000) <= 1_000


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_agent_is_known_to_all_and_told_from_a_dead_host(seed: int) -> None:
    world = fabric_of(10, seed)
    world.run(3_000 + seed * 137)
    world.kill("n3")
    assert world.run_until(lambda: world.everyone_sees("n3", AGENT_DOWN), within_ms=10_000) <= 1_600
    world.run(30_000)
    assert world.everyone_sees("n3", AGENT_DOWN)
    assert all(world.everyone_sees(n, ALIVE) for n in NAMES if n != "n3")


@pytest.mark.parametrize("seed", SEEDS)
def test_silent_host_is_suspected_then_down(seed: int) -> None:
    world = fabric_of(10, seed)
    world.run(3_000)
    world.silence("n3")
    suspected_ms = world.run_until(lambda: world.everyone_sees("n3", SUSPECT), within_ms=5_000)
    assert 1_800 <= suspected_ms <= 3_400
    world.run_until(lambda: world.everyone_sees("n3", HOST_DOWN), within_ms=4_000)


def test_host_that_dies_after_its_agent_does_not_seem_up_for_ever() -> None:
    world = fabric_of(3, 1)
    world.kill("n3")
    world.run(5_000)
    assert world.everyone_sees("n3", AGENT_DOWN)
    world.nodes["n3"].is_frozen = True
    world.run_until(lambda: world.everyone_sees("n3", HOST_DOWN), within_ms=10_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_quick_restart_is_never_called_down(seed: int) -> None:
    world = fabric_of(5, seed)
    world.run(3_000)
    for node in world.nodes.values():
        node.history.clear()
    world.kill("n2")
    world.run(400)
    world.add("n2")
    world.run_until(world.all_alive, within_ms=3_000)
    world.run(5_000)
    told = [
        state for n in world.nodes.values() if n.name != "n2" for _, name, state in n.history if name == "n2"
    ]
    assert not set(told) & set(DOWN)
    member = world.member("n1", "n2")
    assert member is not None
    assert member.record.incarnation == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_restart_on_another_port_is_found_by_all(seed: int) -> None:
    world = fabric_of(6, seed)
    world.kill("n2")
    world.run(20_000)
    assert world.everyone_sees("n2", AGENT_DOWN)
    world.add("n2", port=7100)
    assert world.run_until(world.all_alive, within_ms=10_000) <= 2_000
    world.run_until(world.roots_agree, within_ms=5_000)


def test_whole_fabric_restarts_from_disk() -> None:
    world = fabric_of(10, 3)
    for name in NAMES:
        world.kill(name)
    world.run(60_000)
    for name in reversed(NAMES):
        world.add(name)
        world.run(300)
    world.run_until(world.all_alive, within_ms=5_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_leaving_is_not_dying_and_old_news_cannot_undo_it(seed: int) -> None:
    world = fabric_of(6, seed)
    core = world.nodes["n4"].core
    assert core is not None
    stale = core.own_state
    world.tell("n4", LeaveRequested())
    world.run(50)
    world.kill("n4")
    world.run(20_000)
    assert world.everyone_sees("n4", LEFT)
    world.tell("n1", Received(world.nodes["n2"].node_id, States(states=(stale,))))
    world.run(5_000)
    assert world.everyone_sees("n4", LEFT)
    after = sign_record(replace(core.me, version=core.me.version + 5), fake_sign("n4")).state
    world.tell("n1", Received(world.nodes["n2"].node_id, States(states=(after,))))
    assert world.nodes["n1"].refused[-1] == "spoke_after_leaving"
    assert world.sees("n1", "n4") is LEFT
    world.add("n4")  # comes back under the next incarnation
    world.run_until(world.all_alive, within_ms=5_000)


def test_a_node_that_missed_the_leave_learns_it_from_others() -> None:
    world = fabric_of(4, 5)
    world.split(["n1"])
    world.run(10_000)
    world.tell("n4", LeaveRequested())
    world.run(50)
    world.kill("n4")
    world.heal()
    world.run_until(lambda: world.everyone_sees("n4", LEFT), within_ms=5_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_split_and_heal(seed: int) -> None:
    world = fabric_of(10, seed)
    left, right = NAMES[:4], NAMES[4:]
    world.split(left)
    world.tell("n2", LocalChanged(roles=(RoleClaim(role="api", fence=7, since_ms=1),)))
    world.run(120_000)
    for a in left:
        assert all(world.sees(a, b) is HOST_DOWN for b in right)
        assert all(world.sees(a, b) is ALIVE for b in left)
    world.heal()
    assert world.run_until(world.all_alive, within_ms=10_000) <= 2_000
    world.run_until(world.roots_agree, within_ms=5_000)
    member = world.member("n9", "n2")
    assert member is not None
    assert member.record.roles[0].fence == 7


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_percent_loss_kills_nobody_and_loses_no_news(seed: int) -> None:
    world = fabric_of(10, seed, loss=0.1)
    for node in world.nodes.values():
        node.history.clear()
    for second in range(60):
        world.tell("n5", LocalChanged(capacity=Capacity(vcpus=8, vcpus_used=second % 8, servers=second)))
        world.run(1_000)
    told = [state for n in world.nodes.values() for _, _, state in n.history]
    assert not set(told) & set(DOWN)
    world.run(1_200)  # the last capacity goes out with the next beat
    world.run_until(world.roots_agree, within_ms=8_000)
    member = world.member("n1", "n5")
    assert member is not None
    assert member.record.capacity.servers == 59


def test_capacity_waits_for_the_beat_and_roles_do_not() -> None:
    world = fabric_of(3, 2)
    core = world.nodes["n1"].core
    assert core is not None
    version = core.me.version
    for used in range(1, 50):
        world.tell("n1", LocalChanged(capacity=Capacity(vcpus=64, vcpus_used=used)))
    assert core.me.version == version
    world.run(1_200)
    assert core.me.version - version <= 2
    world.tell("n1", LocalChanged(api_urls=("http://n1:8774",)))
    world.run(20)
    member = world.member("n2", "n1")
    assert member is not None
    assert member.record.api_urls == ("http://n1:8774",)
    assert member.record.capacity.vcpus_used == 49


def test_unchanged_self_is_not_published() -> None:
    world = fabric_of(2, 2)
    core = world.nodes["n1"].core
    assert core is not None
    before = core.me.version
    world.tell("n1", LocalChanged(roles=core.me.roles, labels={}))
    world.tell("n1", LocalChanged(capacity=core.me.capacity))
    world.run(5_000)
    assert core.me.version == before


@pytest.mark.parametrize("seed", SEEDS)
def test_own_long_stall_accuses_nobody(seed: int) -> None:
    world = fabric_of(4, seed)
    world.run(2_000)
    node = world.nodes["n1"]
    node.history.clear()
    world.stall("n1", 60_000)  # a suspended machine, or one starved of processor time
    world.run(59_000)
    assert world.everyone_sees("n1", HOST_DOWN)  # silence is all the others can know
    world.run(1_000)
    world.run_until(world.all_alive, within_ms=3_000)
    assert {state for _, _, state in node.history} <= {ALIVE}


def test_lost_incarnation_file_is_outgrown() -> None:
    world = fabric_of(3, 6)
    for _ in range(5):
        world.kill("n2")
        world.run(200)
        world.add("n2")
        world.run(2_000)
    world.kill("n2")
    world.nodes["n2"].incarnation = 0  # restored from an old backup
    world.run(3_000)
    world.add("n2")
    world.run_until(world.all_alive, within_ms=5_000)
    world.run_until(world.roots_agree, within_ms=5_000)
    member = world.member("n1", "n2")
    assert member is not None
    assert member.record.incarnation == 7
    assert world.nodes["n2"].incarnation == 7  # made durable


def test_forged_and_foreign_records_are_refused() -> None:
    world = fabric_of(3, 7)
    n1, n2, n3 = world.nodes["n1"], world.nodes["n2"], world.nodes["n3"]
    lie = replace(n2.identity.record(incarnation=99), endpoint="tcp://evil:1")
    forged = sign_record(lie, fake_sign("n3")).state  # n3 speaks for n2
    stranger = FakeNode("stranger")
    uninvited = sign_record(
        replace(stranger.record(), certificate=b"cert:somebody-else"), fake_sign("stranger")
    ).state
    world.tell("n1", Received(n3.node_id, States(states=(forged, uninvited))))
    world.tell("n1", Received(stranger.node_id, States(states=())))
    assert n1.refused[-3:] == ["bad_signature", "bad_certificate", "unknown_sender"]
    member = world.member("n1", "n2")
    assert member is not None
    assert member.record.endpoint == n2.endpoint
    assert n1.core is not None
    assert len(n1.core.members(world.now_ms)) == 3


def test_removed_node_cannot_come_back_by_hearsay() -> None:
    world = fabric_of(3, 8)
    world.tell("n1", PeerRemoved(world.nodes["n3"].node_id))
    assert world.nodes["n3"].node_id not in world.nodes["n1"].peers
    world.run(20_000)  # n2 was not told, and goes on telling n1 of n3
    assert "removed" in world.nodes["n1"].refused
    assert world.sees("n1", "n3") is None
    assert world.sees("n1", "n2") is ALIVE


@pytest.mark.parametrize("seed", SEEDS)
def test_random_kills_and_restarts_settle(seed: int) -> None:
    world = fabric_of(8, seed, loss=0.05)
    names = NAMES[:8]
    for _ in range(30):
        name = world.rng.choice(names)
        if world.nodes[name].core is None:
            world.add(name, port=world.rng.choice([7000, 7001]))
        elif world.rng.random() < 0.5:
            world.kill(name)
        else:
            world.silence(name)
        world.run(world.rng.randint(50, 4_000))
    world.loss = 0.0
    for name in names:
        if world.nodes[name].core is None:
            world.add(name)
    world.run_until(world.all_alive, within_ms=10_000)
    world.run_until(world.roots_agree, within_ms=5_000)
