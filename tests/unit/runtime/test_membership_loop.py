"""The loop around the core: Fleet, listeners, memory across restarts. In-memory transport, quick beats."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fabric.agent_roles import conductor_of, may_ask_hosts
from fabric.core.membership.model import Capacity, Member, MemberState, RoleClaim
from fabric.core.membership.record import read_state
from fabric.mesh.loopback import LoopbackNetwork
from fabric.runtime import membership_loop
from fabric.runtime.authority import HOST_ROLES, Authority, create_authority
from fabric.runtime.node_identity import next_incarnation
from proto.ids import FabricId, Incarnation
from proto.rpc import Cancel
from tests.fixtures.fabric_nodes import FabricNode, start_node
from tests.fixtures.mesh_nodes import until

ALIVE = MemberState.ALIVE


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = LoopbackNetwork()
        self.authority: Authority = create_authority(directory, FabricId("site"))
        self.nodes: dict[str, FabricNode] = {}

    async def start(self, name: str) -> FabricNode:
        node = await start_node(name, self.directory / name, self.authority, network=self.network)
        self.nodes[name] = node
        return node

    async def stop(self, name: str) -> None:
        await self.nodes.pop(name).stop()

    def meet(self, one: str, other: str) -> None:
        """`one` lets `other` in and tells it whom it knows, as the join door does."""
        door, new = self.nodes[one].fleet, self.nodes[other].fleet
        for state in door.states():
            new.admit(state)
        door.admit(new.states()[0])

    def all_alive(self) -> bool:
        nodes = self.nodes.values()
        return all(a.sees(b) is ALIVE for a in nodes for b in nodes)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    try:
        yield made
    finally:
        for name in list(made.nodes):
            await made.stop(name)


async def three(site: Site) -> tuple[FabricNode, FabricNode, FabricNode]:
    a, b, c = [await site.start(name) for name in ("a", "b", "c")]
    site.meet("a", "b")
    site.meet("a", "c")
    await until(site.all_alive)
    return a, b, c


async def test_members_learn_of_each_other_through_the_one_who_admits(site: Site) -> None:
    a, b, c = await three(site)
    assert [m.record.name for m in b.fleet.members()] == ["a", "b", "c"]
    assert b.fleet.is_alive(c.node_id)
    assert b.fleet.me == b.node_id
    assert a.fleet.member(a.node_id) is not None


async def test_what_a_node_publishes_is_seen_and_told(site: Site) -> None:
    a, b, _ = await three(site)
    told: list[Member] = []
    stop = b.fleet.subscribe(told.append)
    a.fleet.publish(roles=(RoleClaim(role="api", fence=3, since_ms=5),), api_urls=("http://a:1",))
    await until(lambda: any(m.record.name == "a" and m.record.roles for m in told))
    a.fleet.publish(capacity=Capacity(vcpus=4, vcpus_used=3))

    def used() -> int:
        member = b.fleet.member(a.node_id)
        return member.record.capacity.vcpus_used if member else -1

    await until(lambda: used() == 3)
    stop()
    told.clear()
    a.fleet.publish(labels={"rack": "1"})
    await until(lambda: bool((m := b.fleet.member(a.node_id)) and m.record.labels == {"rack": "1"}))
    assert told == []


async def test_killed_node_is_down_and_back_after_restart_elsewhere(site: Site) -> None:
    a, b, c = await three(site)
    await site.stop("c")
    await until(lambda: a.sees(c) is MemberState.AGENT_DOWN and b.sees(c) is MemberState.AGENT_DOWN)
    assert not a.fleet.is_alive(c.node_id)
    again = await site.start("c")  # another endpoint; knows its peers from its own disk only
    assert again.node_id == c.node_id
    await until(site.all_alive)
    member = a.fleet.member(c.node_id)
    assert member is not None
    assert member.record.incarnation == 2
    assert member.record.endpoint == again.board.endpoint


async def test_leaving_is_told_apart_from_dying(site: Site) -> None:
    a, b, c = await three(site)
    c.fleet.leave()
    await until(lambda: a.sees(c) is MemberState.LEFT and b.sees(c) is MemberState.LEFT)
    await site.stop("c")
    assert not a.fleet.is_alive(c.node_id)


async def test_removed_node_is_forgotten_and_unlinked(site: Site) -> None:
    a, b, c = await three(site)
    a.fleet.remove(c.node_id)
    assert a.sees(c) is None
    await until(lambda: a.fleet.refused["removed"] > 0)  # b still tells of it, in vain
    assert a.sees(c) is None
    assert b.sees(a) is ALIVE


async def test_damaged_peers_file_costs_only_memory(site: Site) -> None:
    _, _, c = await three(site)
    await site.stop("c")
    (site.directory / "c" / "peers").write_bytes(b"\xc1 not a peers file")
    again = await site.start("c")
    site.meet("a", "c")
    await until(site.all_alive)
    assert again.node_id == c.node_id


async def test_a_listener_that_fails_keeps_nothing_from_the_others(site: Site) -> None:
    a, _, c = await three(site)
    told: list[str] = []

    def broken(member: Member, before: MemberState | None) -> None:
        raise RuntimeError("watcher's own fault")

    a.fleet.watch(broken)
    a.fleet.watch(lambda member, before: told.append(f"watched {member.record.name} {member.state.value}"))
    a.fleet.subscribe(lambda member: told.append(f"heard {member.record.name} {member.state.value}"))
    a.fleet.remove(c.node_id)  # one event, several effects: all of them are owed
    assert told == ["watched c left", "heard c left"]
    assert not a.board.send(c.node_id, Cancel(call_id=1))  # the link is cut


async def test_a_host_that_says_it_conducts_is_not_believed(site: Site) -> None:
    thief = await start_node(
        "thief", site.directory / "thief", site.authority, network=site.network, roles=HOST_ROLES
    )
    site.nodes["thief"] = thief
    honest = await site.start("honest")
    site.meet("honest", "thief")
    await until(site.all_alive)
    thief.fleet.publish(roles=(RoleClaim(role="conductor", fence=1 << 50, since_ms=1),))
    await until(lambda: honest.fleet.refused["role_not_allowed"] > 0)
    assert conductor_of(honest.fleet) is None
    assert not may_ask_hosts(honest.fleet, thief.node_id)


async def test_a_newer_self_is_outgrown_and_the_loop_does_not_wait_for_the_disk(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The incarnation file is an old copy: the fabric remembers more of this node than it does itself."""
    a, _, c = await three(site)
    c.fleet.publish(labels={"rack": "1"})
    await until(lambda: bool((m := a.fleet.member(c.node_id)) and m.record.labels))
    remembered = [state for state in a.fleet.states() if read_state(state).record.name == "c"]
    await site.stop("c")
    (site.directory / "c" / "incarnation").write_text("0")
    c = await site.start("c")
    threads: list[bool] = []

    def watched(directory: Path, *, at_least: int = 0) -> Incarnation:
        threads.append(threading.current_thread() is threading.main_thread())
        return next_incarnation(directory, at_least=at_least)

    monkeypatch.setattr(membership_loop, "next_incarnation", watched)
    for state in remembered:
        c.fleet.admit(state)
    member = c.fleet.member(c.node_id)
    assert member is not None
    assert member.record.incarnation == 2
    await until(lambda: (site.directory / "c" / "incarnation").read_text() == "2")
    assert threads == [False]


async def test_listener_that_fails_does_not_stop_membership(site: Site) -> None:
    a, b, c = await three(site)

    def broken(_: Member) -> None:
        raise RuntimeError("listener's own fault")

    unsubscribe = a.fleet.subscribe(broken)
    await site.stop("c")
    await until(lambda: a.sees(c) is MemberState.AGENT_DOWN)
    unsubscribe()
    await site.start("c")
    await until(site.all_alive)
    assert b.sees(a) is ALIVE
