"""Whom hosts follow, and whom they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fabric.agent_roles import conductor_of, may_ask_hosts
from fabric.control import operate
from fabric.core.membership.model import Capacity, Member, MemberState, RoleClaim
from proto.ids import NodeId
from tests.fixtures.membership_nodes import FakeNode


class Clock:
    def monotonic_ms(self) -> int:
        return 10_000

    def wall_ms(self) -> int:
        return 0


@dataclass
class Fleet:
    """What one node believes."""

    rows: tuple[Member, ...]

    @property
    def me(self) -> NodeId:
        return self.rows[0].record.node_id

    def members(self) -> tuple[Member, ...]:
        return self.rows

    def member(self, node_id: NodeId) -> Member | None:
        return next((row for row in self.rows if row.record.node_id == node_id), None)

    def is_alive(self, node_id: NodeId) -> bool:
        row = self.member(node_id)
        return row is not None and row.state in (MemberState.ALIVE, MemberState.SUSPECT)

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        raise NotImplementedError


def member(
    name: str,
    *claims: tuple[str, int],
    state: MemberState = MemberState.ALIVE,
    heard_ms: int = 9_500,
    capacity: Capacity | None = None,
) -> Member:
    roles = tuple(RoleClaim(role=role, fence=fence, since_ms=7_000) for role, fence in claims)
    record = replace(FakeNode(name).record(), roles=roles, capacity=capacity or Capacity())
    return Member(record=record, state=state, heard_ms=heard_ms, changed_ms=0)


def test_the_newest_claim_of_the_living_conducts() -> None:
    old, new = member("a", ("conductor", 4)), member("b", ("conductor", 9))
    bystander = member("c", ("api", 99), ("scheduler", 99))
    assert conductor_of(Fleet((old, new, bystander))) == new.record.node_id
    assert conductor_of(Fleet((new, old, bystander))) == new.record.node_id
    for state in (MemberState.HOST_DOWN, MemberState.AGENT_DOWN, MemberState.LEFT):
        gone = replace(new, state=state)
        assert conductor_of(Fleet((gone, old))) == old.record.node_id
        assert conductor_of(Fleet((gone, bystander))) is None
    doubted = replace(new, state=MemberState.SUSPECT)
    assert conductor_of(Fleet((doubted, old))) == new.record.node_id  # a suspicion is only a question
    assert conductor_of(Fleet(())) is None


def test_a_tie_is_broken_alike_on_every_node() -> None:
    one, two = member("a", ("conductor", 5)), member("b", ("conductor", 5))
    assert conductor_of(Fleet((one, two))) == conductor_of(Fleet((two, one)))


def test_hosts_answer_who_conducts_or_serves_the_api() -> None:
    rows = (
        member("a", ("conductor", 1)),
        member("b", ("api", 2)),
        member("c", ("scheduler", 3)),
        member("d"),
    )
    answered = [row.record.name for row in rows if may_ask_hosts(Fleet(rows), row.record.node_id)]
    assert answered == ["a", "b"]
    assert not may_ask_hosts(Fleet(rows), NodeId("0" * 32))


# -- `fabric members`, `leaders` and `capacity`: shapes that stay (issue 2)


def test_members_have_the_stable_shape() -> None:
    (row,) = operate.members(Fleet((member("a", ("conductor", 4), ("api", 5)),)), Clock())
    stable = ["id", "name", "state", "age_s", "address", "roles", "zone", "version", "capacity"]
    assert list(row)[: len(stable)] == stable
    assert (row["age_s"], row["roles"], row["state"]) == (0.5, ["api", "conductor"], "alive")


def test_the_age_of_a_member_is_never_negative() -> None:
    (row,) = operate.members(Fleet((member("a", heard_ms=10_400),)), Clock())
    assert row["age_s"] == 0


def test_leaders_are_the_newest_living_claims_and_every_api() -> None:
    fleet = Fleet(
        (
            member("a", ("conductor", 4), ("api", 6)),
            member("b", ("conductor", 9), ("api", 7)),
            member("c", ("scheduler", 8), state=MemberState.SUSPECT),
            member("d", ("conductor", 50), state=MemberState.HOST_DOWN),
            member("e", ("api", 60), state=MemberState.LEFT),
        )
    )
    rows = operate.leaders(fleet)
    assert [(row["role"], row["node"], row["fence"]) for row in rows] == [
        ("api", "a", 6),
        ("api", "b", 7),
        ("conductor", "b", 9),
        ("scheduler", "c", 8),
    ]
    assert all(list(row)[:4] == ["role", "node", "since", "fence"] for row in rows)
    assert rows[0]["since"] == 7.0


def test_a_node_that_is_cut_off_knows_no_leader() -> None:
    """It answers at once from what it believes, and claims nothing it cannot see."""
    alone = Fleet((member("me"), member("a", ("conductor", 4), state=MemberState.HOST_DOWN)))
    assert operate.leaders(alone) == []
    assert [row["state"] for row in operate.members(alone, Clock())] == ["alive", "host_down"]


def test_capacity_counts_hosts_only_and_shows_what_is_free() -> None:
    load = Capacity(vcpus=8, vcpus_used=3, memory_mb=1_000, memory_mb_used=1_500, disk_gb=10, servers=2)
    rows = operate.capacity(Fleet((member("a", capacity=load), member("b"))))
    (row,) = rows
    assert (row["host"], row["servers"], row["vcpus"]) == ("a", 2, {"total": 8, "used": 3, "free": 5})
    assert row["memory_mb"]["free"] == -500  # oversold, and said so
