"""The loop around the core: Fleet, listeners, memory across restarts. In-memory transport, quick beats."""

from __future__ import annotations

import shutil
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
from fabric.runtime.node_identity import next_epoch
from fabric.runtime.peers_file import load_peers
from proto.ids import Epoch, FabricId
from proto.membership import Removal
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

    def removal_of(self, node: FabricNode) -> Removal:
        return self.authority.remove(node.node_id, now_ms=1)

    async def remembered(self, name: str) -> None:
        """Its peers file knows all the others: a kill finds it there."""
        others = len(self.nodes) - 1
        await until(lambda: len(load_peers(self.directory / name)[0]) == others)

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
    a.fleet.publish(capacity=Capacity(vcpus=4, vcpus_used=3), urgent=True)

    def used() -> int:
        member = b.fleet.member(a.node_id)
        return member.capacity.vcpus_used if member else -1

    await until(lambda: used() == 3)
    stop()
    told.clear()
    a.fleet.publish(labels={"rack": "1"})
    await until(lambda: bool((m := b.fleet.member(a.node_id)) and m.record.labels == {"rack": "1"}))
    assert told == []


async def test_killed_node_is_down_and_back_after_restart_elsewhere(site: Site) -> None:
    a, b, c = await three(site)
    await site.remembered("c")
    await site.stop("c")
    await until(lambda: a.sees(c) is MemberState.AGENT_DOWN and b.sees(c) is MemberState.AGENT_DOWN)
    assert not a.fleet.is_alive(c.node_id)
    again = await site.start("c")  # another endpoint; knows its peers from its own disk only
    assert again.node_id == c.node_id
    await until(site.all_alive)
    member = a.fleet.member(c.node_id)
    assert member is not None
    assert member.record.epoch == 2
    assert member.record.endpoint == again.board.endpoint


async def test_leaving_for_good_is_told_apart_from_dying(site: Site) -> None:
    a, b, c = await three(site)
    c.fleet.leave(for_good=True)
    await until(lambda: a.sees(c) is MemberState.LEFT and b.sees(c) is MemberState.LEFT)
    await site.stop("c")
    assert not a.fleet.is_alive(c.node_id)


async def test_a_stop_is_leaving_until_the_grace_for_a_restart_is_over(site: Site) -> None:
    a, b, c = await three(site)
    c.fleet.leave()
    await until(lambda: a.sees(c) is MemberState.LEAVING and b.sees(c) is MemberState.LEAVING)
    await site.stop("c")
    await until(lambda: a.sees(c) is MemberState.LEFT and b.sees(c) is MemberState.LEFT)


async def test_removed_node_is_forgotten_cut_off_everywhere_and_told_so(site: Site) -> None:
    a, b, c = await three(site)
    told: list[tuple[str, str]] = []
    b.fleet.watch(lambda member, before: told.append((member.record.name, member.state.value)))
    a.fleet.remove(site.removal_of(c))
    assert a.sees(c) in (None, MemberState.FORGOTTEN)
    assert not a.fleet.is_alive(c.node_id)
    assert not a.board.send(c.node_id, Cancel(call_id=1))  # the link is cut before `remove` returns
    await until(lambda: not b.fleet.is_alive(c.node_id))
    await until(lambda: ("c", "forgotten") in told)
    assert b.sees(a) is ALIVE
    assert b.fleet.removals() == (site.removal_of(c),)


async def test_a_removal_outlives_a_restart(site: Site) -> None:
    a, b, c = await three(site)
    a.fleet.remove(site.removal_of(c))
    await until(lambda: len(load_peers(site.directory / "a")[1]) == 1)
    await site.stop("a")
    again = await site.start("a")
    assert again.fleet.removals() == (site.removal_of(c),)
    assert not again.fleet.is_alive(c.node_id)
    await until(lambda: again.sees(b) is ALIVE)


async def test_a_forged_removal_changes_nothing(site: Site, tmp_path: Path) -> None:
    a, _, c = await three(site)
    (tmp_path / "thief").mkdir()
    thief = create_authority(tmp_path / "thief", FabricId("site"))
    a.fleet.remove(thief.remove(c.node_id, now_ms=1))
    assert a.fleet.is_alive(c.node_id)


async def test_a_node_whose_identity_was_copied_stops_taking_part(site: Site) -> None:
    """Two processes with one id: the younger one, a copy of the disk, is told where the other lives."""
    a, b, c = await three(site)
    shutil.copytree(site.directory / "c", site.directory / "copy")
    (site.directory / "copy" / "epoch").write_text("0")  # as an old backup has it
    copy = await start_node("c", site.directory / "copy", site.authority, network=site.network)
    site.nodes["copy"] = copy
    for state in a.fleet.states():
        copy.fleet.admit(state)
    await until(lambda: bool(copy.quarantined or c.quarantined))
    (one,) = copy.quarantined or c.quarantined
    assert one[1] in (c.board.endpoint, copy.board.endpoint)
    await until(lambda: a.fleet.is_alive(c.node_id) and b.fleet.is_alive(c.node_id))
    assert len(copy.quarantined) + len(c.quarantined) == 1


async def test_damaged_peers_file_costs_only_memory(site: Site) -> None:
    _, _, c = await three(site)
    await site.remembered("c")
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
    a.fleet.remove(site.removal_of(c))  # one event, several effects: all of them are owed
    assert told == ["watched c forgotten", "heard c forgotten"]
    assert not a.board.send(c.node_id, Cancel(call_id=1))  # the link is cut


async def test_what_a_listener_publishes_does_not_undo_what_is_owed(site: Site) -> None:
    """A listener that speaks while it is told: links are kept to whom the core said last."""
    a, _, c = await three(site)
    a.fleet.subscribe(lambda member: a.fleet.publish(labels={"seen": member.state.value}))
    a.fleet.remove(site.removal_of(c))
    assert a.fleet.states()[0] != c.fleet.states()[0]
    assert not a.board.send(c.node_id, Cancel(call_id=1))
    await until(lambda: {link.name for link in a.fleet.links()} == {"b"})


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
    (site.directory / "c" / "epoch").write_text("0")
    c = await site.start("c")
    threads: list[bool] = []

    def watched(directory: Path, *, at_least: int = 0) -> Epoch:
        threads.append(threading.current_thread() is threading.main_thread())
        return next_epoch(directory, at_least=at_least)

    monkeypatch.setattr(membership_loop, "next_epoch", watched)
    for state in remembered:
        c.fleet.admit(state)
    member = c.fleet.member(c.node_id)
    assert member is not None
    assert member.record.epoch == 2
    await until(lambda: (site.directory / "c" / "epoch").read_text() == "2")
    assert threads == [False]


async def test_what_an_operator_asks(site: Site) -> None:
    a, b, c = await three(site)
    await until(lambda: {link.name for link in a.fleet.links() if link.is_up} == {"b", "c"})
    await until(lambda: a.fleet.root == b.fleet.root == c.fleet.root)
    assert len(a.fleet.root) == 8
    assert not a.fleet.is_isolated
    assert 0 <= a.fleet.awareness <= 8
    assert sum(a.fleet.counters.values()) > 0
    assert a.fleet.waiting == 0
    assert len(a.fleet.states()) == 3


async def test_a_closed_loop_hears_nothing_more(site: Site) -> None:
    a, _, _ = await three(site)
    await a.fleet.close()
    a.fleet.publish(labels={"too": "late"})
    assert a.fleet.states()[0] == a.fleet.states()[0]
    assert not read_state(a.fleet.states()[0]).record.labels


async def test_listener_that_fails_does_not_stop_membership(site: Site) -> None:
    a, b, c = await three(site)

    def broken(_: Member) -> None:
        raise RuntimeError("listener's own fault")

    unsubscribe = a.fleet.subscribe(broken)
    await site.remembered("c")
    await site.stop("c")
    await until(lambda: a.sees(c) is MemberState.AGENT_DOWN)
    unsubscribe()
    await site.start("c")
    await until(site.all_alive)
    assert b.sees(a) is ALIVE
