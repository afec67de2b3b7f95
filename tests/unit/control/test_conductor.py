"""Who should conduct, and what keeps it from it."""

from __future__ import annotations

import pytest

from fabric.control import conductor
from fabric.core.membership.model import MemberState
from tests.fixtures.mesh_view_double import MeshDouble, member_named

S = MemberState


def view(state: MemberState) -> MeshDouble:
    """h1 conducts; h0 did before, and its record of then is all that is known of it."""
    old = member_named("h0", ("conductor", 1), state=S.HOST_DOWN)
    return MeshDouble([member_named("me"), old, member_named("h1", ("conductor", 7), state=state)])


@pytest.mark.parametrize("state", [S.ALIVE, S.SUSPECT])
def test_one_that_answers_is_no_trouble(state: MemberState) -> None:
    assert conductor.trouble(view(state)) is None


@pytest.mark.parametrize(
    ("state", "cure"),
    [
        (S.STALLED, "its agent is stuck: restart it there"),
        (S.AGENT_DOWN, "start its agent there"),
        (S.HOST_DOWN, "bring its machine or its network back"),
        (S.LEAVING, "its agent was stopped: start it there"),
        (S.LEFT, "its agent was stopped: start it there"),
        (S.FORGOTTEN, "start its agent there"),
    ],
)
def test_one_that_does_not_is_named_with_its_state_and_the_cure(state: MemberState, cure: str) -> None:
    assert conductor.trouble(view(state)) == f"h1 conducts this fabric and is {state.value}; {cure}"


def test_who_is_cut_off_is_told_so_instead() -> None:
    alone = view(S.SUSPECT)
    alone.is_isolated = True
    assert "h1 conducts this fabric, and this node hears nobody" in str(conductor.trouble(alone))


def test_where_nobody_ever_conducted() -> None:
    assert "no node known here conducts" in str(conductor.trouble(MeshDouble([member_named("me")])))
