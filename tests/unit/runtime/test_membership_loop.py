"""The loop around the core: Fleet, listeners, memory across restarts. In-memory transport, quick beats."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fabric.core.membership.model import Capacity, Member, MemberState, RoleClaim
from fabric.mesh.loopback import LoopbackNetwork
from fabric.runtime.authority import Authority, create_authority
from proto.ids import FabricId
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
