"""The dynamic part of a capacity goes out within its budget, and the newest always does."""

from __future__ import annotations

from dataclasses import replace

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import LocalChanged
from fabric.core.membership.model import Capacity
from fabric.core.membership.record import read_load
from proto.membership import NUMBER_MAX, LoadState, State
from tests.fixtures.lone_core import LoneCore, said
from tests.fixtures.membership_nodes import fake_node_id

LIVING = ("a", "c")  # the id of "c" is below ours: it shapes the broadcast tree by its load, and not we
HOST = Capacity(vcpus=100, memory_mb=100_000, disk_gb=1_000)


def loads(world: LoneCore) -> list[LoadState]:
    return [load for state in said(world.effects, State, to="a") for load in state.loads]


def world_of(peers: int = 2, config: MembershipConfig | None = None) -> LoneCore:
    world = LoneCore([*LIVING, *(f"p{i}" for i in range(peers - len(LIVING)))], config=config)
    world.tell(LocalChanged(capacity=HOST))
    world.wait(1_500, beating=LIVING)
    world.effects.clear()
    return world


def test_ten_changes_a_second_are_published_once_a_second_and_the_last_one_wins() -> None:
    world = world_of()
    for used in range(1, 51):
        world.tell(LocalChanged(capacity=replace(HOST, vcpus_used=used, servers=used)))
        world.wait(100, beating=LIVING)
    world.wait(1_100, beating=LIVING)
    assert 4 <= len(loads(world)) <= 7
    assert read_load(loads(world)[-1]).vcpus_used == 50


def test_a_wobble_below_two_per_cent_is_not_worth_telling() -> None:
    world = world_of()
    world.tell(LocalChanged(capacity=replace(HOST, memory_mb_used=1_999, load_milli=900)))
    world.wait(5_000, beating=LIVING)
    assert loads(world) == []
    world.tell(LocalChanged(capacity=replace(HOST, memory_mb_used=2_000)))
    world.wait(1_100, beating=LIVING)
    assert [read_load(load).memory_mb_used for load in loads(world)] == [2_000]


def test_a_draining_host_says_so_at_once_but_not_without_bound() -> None:
    world = world_of()
    burst = world.config.urgent_burst
    for turn in range(20):
        world.tell(LocalChanged(capacity=replace(HOST, is_draining=turn % 2 == 0)))
    assert 1 <= len(loads(world)) <= burst
    world.wait(1_100, beating=LIVING)
    assert read_load(loads(world)[-1]).is_draining is False


def test_what_is_said_beside_numbers_stays_until_it_is_said_anew() -> None:
    world = world_of()

    def now() -> dict[str, str]:
        world.wait(1_100, beating=LIVING)
        return dict(read_load(loads(world)[-1]).extra)

    world.tell(LocalChanged(capacity=HOST, extra={"a": "1", "b": "2"}))
    assert now() == {"a": "1", "b": "2"}
    world.tell(LocalChanged(capacity=replace(HOST, servers=1)))
    assert now() == {"a": "1", "b": "2"}
    world.tell(LocalChanged(capacity=replace(HOST, servers=1), extra={"b": "3"}))
    assert now() == {"b": "3"}
    world.tell(LocalChanged(extra={}))
    assert now() == {}
    assert len(loads(world)) == 4


def test_the_budget_is_the_fabrics() -> None:
    """With more nodes than updates a second, each waits its share."""
    world = world_of(peers=8, config=MembershipConfig(fabric_loads_per_s=2))
    for used in range(1, 101):
        world.tell(LocalChanged(capacity=replace(HOST, servers=used)))
        world.wait(100, beating=LIVING)
    assert len(loads(world)) <= 4


def test_a_load_we_never_said_is_outbid() -> None:
    world = world_of()
    forged = LoadState(node_id=fake_node_id("me"), epoch=1, version=1_000, body=b"\x80")
    world.hear("a", State(loads=(forged,)))
    world.wait(100, beating=LIVING)
    assert loads(world)[-1].version == 1_001
    assert world.core.counters["loads_forged"] == 1


def test_when_somebody_used_up_our_numbers_a_new_epoch_begins() -> None:
    world = world_of()
    me = world.core.me
    forged = LoadState(node_id=me.node_id, epoch=me.epoch, version=NUMBER_MAX - 1, body=b"\x80")
    world.hear("a", State(loads=(forged,)))
    for used in (10, 20, 30):
        world.tell(LocalChanged(capacity=replace(HOST, vcpus_used=used)))
        world.wait(2_000, beating=LIVING)
    assert world.core.me.epoch > me.epoch
    assert read_load(loads(world)[-1]).vcpus_used == 30
