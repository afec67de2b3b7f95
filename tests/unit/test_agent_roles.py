"""Whom hosts follow, and whom they answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.agent_roles import conductor_of, may_ask_hosts
from fabric.control import operate
from fabric.core.membership.model import Capacity, Member, MemberState
from fabric.errors import NoQuorumError
from fabric.runtime.control_story import told_of_drain
from fabric.runtime.virtual_address import VIP_LABEL
from proto.commands.nodes import HostUpdate
from proto.ids import NodeId
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.mesh_view_double import NOW_MS, MeshDouble, TwoClocks, link_to
from tests.fixtures.mesh_view_double import member_named as member


def fleet(rows: tuple[Member, ...]) -> MeshDouble:
    """What one node, the first, believes."""
    return MeshDouble(list(rows))


def test_the_newest_claim_of_the_living_conducts() -> None:
    old, new = member("a", ("conductor", 4)), member("b", ("conductor", 9))
    bystander = member("c", ("api", 99), ("scheduler", 99))
    assert conductor_of(fleet((old, new, bystander))) == new.record.node_id
    assert conductor_of(fleet((new, old, bystander))) == new.record.node_id
    for state in (MemberState.HOST_DOWN, MemberState.AGENT_DOWN, MemberState.LEFT):
        gone = replace(new, state=state)
        assert conductor_of(fleet((gone, old))) == old.record.node_id
        assert conductor_of(fleet((gone, bystander))) is None
    doubted = replace(new, state=MemberState.SUSPECT)
    assert conductor_of(fleet((doubted, old))) == new.record.node_id  # a suspicion is only a question
    assert conductor_of(MeshDouble([member("me")])) is None


def test_a_tie_is_broken_alike_on_every_node() -> None:
    one, two = member("a", ("conductor", 5)), member("b", ("conductor", 5))
    assert conductor_of(fleet((one, two))) == conductor_of(fleet((two, one)))


def test_hosts_answer_who_conducts_or_serves_the_api() -> None:
    rows = (
        member("a", ("conductor", 1)),
        member("b", ("api", 2)),
        member("c", ("scheduler", 3)),
        member("d"),
    )
    answered = [row.record.name for row in rows if may_ask_hosts(fleet(rows), row.record.node_id)]
    assert answered == ["a", "b"]
    assert not may_ask_hosts(fleet(rows), NodeId("0" * 32))


# -- `fabric members`, `leaders` and `capacity`: shapes that stay (issue 2)


def test_members_have_the_stable_shape() -> None:
    (row,) = operate.members(fleet((member("a", ("conductor", 4), ("api", 5)),)), TwoClocks())
    stable = ["id", "name", "state", "age_s", "address", "roles", "zone", "version", "capacity"]
    assert list(row)[: len(stable)] == stable
    assert (row["age_s"], row["roles"], row["state"]) == (0.5, ["api", "conductor"], "alive")
    assert row["incarnation"] == 0
    capacity = ["vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "disk_gb", "disk_gb_used", "servers"]
    assert list(row["capacity"])[:8] == [*capacity, "hypervisor"]


def test_a_member_that_has_not_started_says_so() -> None:
    rows = (member("a"), member("b", epoch=0, state=MemberState.AGENT_DOWN))
    assert [row["note"] for row in operate.members(fleet(rows), TwoClocks())] == [
        "",
        "admitted, not started yet",
    ]


def test_members_tell_how_they_are_known() -> None:
    rows = (
        member("a", epoch=3, incarnation=2, rack="r7", changed_ms=NOW_MS - 9_000),
        member("b", rtt_us=1_234, is_linked=True),
        member("c", capacity=Capacity(vcpus=4, load_milli=1_500, is_draining=True)),
    )
    own, linked, told = operate.members(MeshDouble(list(rows), [link_to("b")]), TwoClocks())
    assert (own["heard"], own["epoch"], own["incarnation"], own["rack"]) == ("self", 3, 2, "r7")
    assert own["state_age_s"] == 9.0
    assert (linked["heard"], linked["rtt_ms"]) == ("link", 1.234)
    assert (told["heard"], told["rtt_ms"]) == ("gossip", None)
    assert (told["capacity"]["load"], told["capacity"]["draining"]) == (1.5, True)


def test_links_have_the_stable_shape() -> None:
    view = MeshDouble([member("me"), member("a")], [link_to("a", is_bad=True), link_to("stranger")])
    row, unknown = operate.links(view, TwoClocks())
    assert (row["name"], row["state"], row["up"], row["bad"]) == ("a", "alive", True, True)
    assert (row["heard_s"], row["since_s"], row["rtt_ms"]) == (0.2, 60.0, 0.35)
    assert (unknown["state"], unknown["address"]) == (None, None)


def test_health_says_what_this_node_thinks_of_itself() -> None:
    view = MeshDouble([member("me"), member("a", state=MemberState.HOST_DOWN)], is_isolated=True)
    view.counters, view.root = {"probes": 3}, b"12345678"
    assert operate.health(view) == {
        "isolated": True,
        "members": 2,
        "links": 0,
        "roots_agreeing": 0,
        "awareness": 0,
        "root": b"12345678".hex(),
        "counters": {"probes": 3},
        "refused": {},
    }


def test_a_node_is_found_by_name_id_or_the_beginning_of_an_id() -> None:
    view = MeshDouble([member("me"), member("a")])
    node_id = FakeNode("a").node_id
    for text in ("a", node_id, node_id[:4]):
        assert operate.find(view, text).record.name == "a"
    for text in ("", "b", node_id[:3], "0000"):
        with pytest.raises(operate.NoSuchNodeError):
            operate.find(view, text)


def test_the_age_of_a_member_is_never_negative() -> None:
    (row,) = operate.members(fleet((member("a", heard_ms=NOW_MS + 400),)), TwoClocks())
    assert row["age_s"] == 0


def test_leaders_are_the_newest_living_claims_and_every_api() -> None:
    believed = fleet(
        (
            member("a", ("conductor", 4), ("api", 6)),
            member("b", ("conductor", 9), ("api", 7)),
            member("c", ("scheduler", 8), state=MemberState.SUSPECT),
            member("d", ("conductor", 50), state=MemberState.HOST_DOWN),
            member("e", ("api", 60), state=MemberState.LEFT),
            member("f", ("api", 61), state=MemberState.STALLED),
            member("g", ("api", 62), state=MemberState.LEAVING),
        )
    )
    rows = operate.leaders(believed)
    assert [(row["role"], row["node"], row["fence"]) for row in rows] == [
        ("api", "a", 6),
        ("api", "b", 7),
        ("api", "f", 61),
        ("conductor", "b", 9),
        ("scheduler", "c", 8),
    ]
    assert all(list(row)[:4] == ["role", "node", "since", "fence"] for row in rows)
    assert rows[0]["since"] == 7.0
    assert {row["virtual_address"] for row in rows} == {""}


def test_the_conductors_row_shows_the_virtual_address() -> None:
    """What another node's label still says is history."""
    holder, former = member("a", ("conductor", 9), ("api", 6)), member("b", ("api", 7))
    both = [
        replace(each, record=replace(each.record, labels={VIP_LABEL: "10.0.0.100"}))
        for each in (holder, former)
    ]
    rows = operate.leaders(fleet(tuple(both)))
    shown = [(row["role"], row["node"], row["virtual_address"]) for row in rows]
    assert shown == [("api", "a", ""), ("api", "b", ""), ("conductor", "a", "10.0.0.100")]


def test_a_node_that_is_cut_off_knows_no_leader() -> None:
    """It answers at once from what it believes, and claims nothing it cannot see."""
    alone = fleet((member("me"), member("a", ("conductor", 4), state=MemberState.HOST_DOWN)))
    assert operate.leaders(alone) == []
    rows = operate.members(alone, TwoClocks())
    assert [(row["name"], row["state"]) for row in rows] == [("a", "host_down"), ("me", "alive")]


def test_capacity_counts_hosts_only_and_shows_what_is_free() -> None:
    load = Capacity(vcpus=8, vcpus_used=3, memory_mb=1_000, memory_mb_used=1_500, disk_gb=10, servers=2)
    rows = operate.capacity(fleet((member("a", capacity=load), member("b"))))
    (row,) = rows
    assert (row["host"], row["servers"], row["vcpus"]) == ("a", 2, {"total": 8, "used": 3, "free": 5})
    assert row["memory_mb"]["free"] == -500  # oversold, and said so


def test_a_zone_that_rows_tell_counts_before_what_the_host_says() -> None:
    members = (member("a", capacity=Capacity(vcpus=8)), member("b", capacity=Capacity(vcpus=8)))
    rows = operate.capacity(fleet(members), {members[0].record.node_id: "north"})
    assert [row["zone"] for row in rows] == ["north", members[1].record.zone]


async def test_rows_that_cannot_be_read_tell_no_zone() -> None:
    class Away:
        async def read(self, query: object) -> object:
            raise NoQuorumError("no conductor is known")

    assert await operate.host_zones(Away()) == {}  # type: ignore[arg-type]


def test_a_drain_is_part_of_the_story() -> None:
    host = NodeId("b" * 32)
    assert told_of_drain(HostUpdate(host_id=host, enabled=False, disabled_reason="new disk")) == (
        "node.drained",
        "it takes no new servers: new disk",
    )
    assert told_of_drain(HostUpdate(host_id=host, enabled=False))[1] == "it takes no new servers"
    assert told_of_drain(HostUpdate(host_id=host, enabled=True))[0] == "node.undrained"
