"""This node's own part in the mesh: what changed is told once, what goes on is not told again."""

from __future__ import annotations

import pytest

from fabric.core.membership.model import MemberState
from fabric.runtime.events import EventLog
from fabric.runtime.mesh_view import is_cut_off
from fabric.runtime.mesh_watch import CUT_OFF_LOOKS, TOLD_AGAIN_MS, MeshWatch
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks, link_to, member_named


class Watched:
    def __init__(self) -> None:
        self.clock = TwoClocks()
        self.view = MeshDouble()
        self.dropped: dict[str, int] = {}
        self.log = EventLog(self.clock)
        self.watch = MeshWatch(self.view, lambda: self.dropped, self.log, self.clock, name="me")
        self._seen = 0

    def look(self, after_ms: int = 1_000) -> list[tuple[str, str]]:
        """(event, node) of what is new."""
        self.clock.now_ms += after_ms
        self.watch.look()
        new = self.log.recent()[self._seen :]
        self._seen += len(new)
        return [(event.event, event.node) for event in new]


def test_a_link_that_went_bad_and_was_given_up() -> None:
    watched = Watched()
    watched.view.rows += [member_named("a"), member_named("b")]
    watched.view.linked = [link_to("a"), link_to("b")]
    assert watched.look() == []
    watched.view.linked = [link_to("a", is_bad=True), link_to("b")]
    assert watched.look() == [("link.bad", "a")]
    assert watched.look() == []
    watched.view.linked = [link_to("b")]
    assert watched.look() == []  # gone, and no better for that
    watched.view.linked = [link_to("a"), link_to("b")]
    assert watched.look() == [("link.good", "a")]


def test_isolation() -> None:
    watched = Watched()
    watched.view.is_isolated = True
    assert watched.look() == []  # there is nobody it should hear
    watched.view.rows.append(member_named("a", state=MemberState.SUSPECT))
    for _ in range(CUT_OFF_LOOKS - 1):
        assert watched.look() == []  # it may have started a moment ago
    assert watched.look() == [("node.isolated", "me")]
    assert watched.look() == []
    watched.view.is_isolated = False
    assert watched.look() == [("node.connected", "me")]


def test_frames_thrown_away_are_told_once_a_minute() -> None:
    watched = Watched()
    watched.dropped = {"wrong_fabric": 1, "no_link_or_full": 50}
    assert watched.look() == [("mesh.dropped", "me")]
    for _ in range(10):
        watched.dropped["wrong_fabric"] += 1
        assert watched.look() == []
    watched.dropped["wrong_fabric"] += 1
    assert watched.look(TOLD_AGAIN_MS) == [("mesh.dropped", "me")]
    assert watched.log.recent()[-1].fields == {"reason": "wrong_fabric", "count": "12"}


def test_what_still_happens() -> None:
    watched = Watched()
    watched.dropped = {"wrong_fabric": 1, "malformed": 1}
    watched.look()
    watched.dropped["malformed"] += 1
    watched.look(5_000)
    assert watched.watch.dropped_lately(10_000) == {"wrong_fabric": 5_000, "malformed": 0}
    watched.clock.now_ms += 1_000
    assert watched.watch.dropped_lately(3_000) == {"malformed": 1_000}


@pytest.mark.parametrize(
    ("state", "epoch", "cut_off"),
    [
        (MemberState.ALIVE, 1, True),
        (MemberState.SUSPECT, 1, True),
        (MemberState.HOST_DOWN, 1, True),
        (MemberState.STALLED, 1, True),
        (MemberState.AGENT_DOWN, 1, False),  # its machine answered, so our network works
        (MemberState.LEFT, 1, False),
        (MemberState.SUSPECT, 0, False),  # it was admitted and has not started yet
    ],
)
def test_who_hears_nobody_is_cut_off_only_when_somebody_should_be_heard(
    state: MemberState, epoch: int, cut_off: bool
) -> None:
    view = MeshDouble(rows=[member_named("me"), member_named("a", state=state, epoch=epoch)])
    assert not is_cut_off(view)
    view.is_isolated = True
    assert is_cut_off(view) is cut_off
