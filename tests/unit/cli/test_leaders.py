"""`fabric leaders`: holders, fences, and who could take over."""

from __future__ import annotations

import json

import pytest

from fabric.core.membership.model import MemberState
from fabric.runtime.lease_status import LeaseSeen
from tests.fixtures.local_agent import local_parts
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.unit.cli.asking import Asked, asked, column

__all__ = ["asked"]  # a fixture, used by its name


@pytest.fixture
def view() -> MeshDouble:
    return MeshDouble(
        [
            member_named("a", ("conductor", 9), ("api", 3)),
            member_named("b", ("scheduler", 12), ("api", 5)),
            member_named("c", ("api", 7)),
            member_named("d", ("api", 8), state=MemberState.AGENT_DOWN),
            member_named("e"),
        ]
    )


def test_the_table(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        done = asked("leaders")
    assert (done.returncode, done.stderr) == (0, "")
    assert column(done, "ROLE") == ["api", "api", "api", "conductor", "scheduler"]
    assert column(done, "NODE") == ["a", "b", "c", "a", "b"]
    assert column(done, "FENCE") == ["3", "5", "7", "9", "12"]


def test_whoever_has_the_rows_and_is_there_could_take_over(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        rows = {row["role"]: row for row in json.loads(asked("leaders", "--json").stdout)}
    assert rows["conductor"]["candidates"] == ["b", "c"]
    assert rows["scheduler"]["candidates"] == ["a", "c"]
    assert rows["api"]["candidates"] == []


def test_where_nobody_leads_it_is_said_aside(asked: Asked) -> None:
    with asked.answering(local_parts(MeshDouble([member_named("me")]))):
        done = asked("leaders", "--json")
    assert json.loads(done.stdout) == []
    assert "holds a role" in done.stderr


async def leases_of(view: MeshDouble) -> tuple[LeaseSeen, ...]:
    nodes = {member.record.name: member.record.node_id for member in view.members()}
    return (
        LeaseSeen(role="conductor", node_id=nodes["a"], left_ms=940),
        LeaseSeen(role="scheduler", node_id=nodes["c"], left_ms=5_000),  # who leads knows more than we do
    )


def test_how_long_a_role_is_held_is_shown_where_it_is_known(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view, leases=lambda: leases_of(view))):
        assert column(asked("leaders"), "LEASE")[3:] == ["0.9 s", "-"]
        rows = {row["role"]: row for row in json.loads(asked("leaders", "--json").stdout)}
    assert [rows[role]["lease_s"] for role in ("conductor", "scheduler", "api")] == [0.94, None, None]
