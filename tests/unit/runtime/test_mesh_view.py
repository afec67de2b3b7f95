"""When a node is cut off: at once when nobody is heard, unless everybody's silence is explained."""

from __future__ import annotations

import pytest

from fabric.core.membership.model import MemberState
from fabric.runtime.mesh_view import EXPLAINED_STATES, is_cut_off
from tests.fixtures.mesh_view_double import MeshDouble, member_named


@pytest.mark.parametrize("state", sorted(MemberState))
def test_cut_off_is_said_as_soon_as_nobody_is_heard(state: MemberState) -> None:
    view = MeshDouble([member_named("me"), member_named("a", state=state), member_named("b", state=state)])
    assert not is_cut_off(view)
    view.is_isolated = True
    assert is_cut_off(view) is (state not in EXPLAINED_STATES)


def test_one_that_never_started_is_not_missed() -> None:
    view = MeshDouble([member_named("me"), member_named("a", epoch=0)], is_isolated=True)
    assert not is_cut_off(view)
