"""What is told of a node that was admitted and never started."""

from __future__ import annotations

from fabric.core.membership.model import MemberState
from fabric.runtime.unstarted import is_news
from tests.fixtures.mesh_view_double import member_named


def test_of_a_node_that_never_started_only_admission_and_end_are_news() -> None:
    """It refuses because nobody ever started it: nothing has gone down."""
    assert is_news(member_named("a", state=MemberState.SUSPECT, epoch=0), None)
    for state in (MemberState.AGENT_DOWN, MemberState.HOST_DOWN, MemberState.SUSPECT, MemberState.STALLED):
        assert not is_news(member_named("a", state=state, epoch=0), MemberState.SUSPECT)
    assert is_news(member_named("a", state=MemberState.FORGOTTEN, epoch=0), MemberState.AGENT_DOWN)
    assert is_news(member_named("a", state=MemberState.AGENT_DOWN, epoch=1), MemberState.SUSPECT)
    assert is_news(member_named("a", epoch=1), MemberState.AGENT_DOWN)  # it starts
