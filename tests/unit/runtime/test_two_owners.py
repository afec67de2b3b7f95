"""Two processes with one identity are told, and not at each of their words."""

from __future__ import annotations

from dataclasses import replace

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.events import EventLog
from fabric.runtime.two_owners import PAUSE_MS, OwnersWatch
from tests.fixtures.mesh_view_double import TwoClocks, member_named


def seen(rival_ms: int | None, state: MemberState = MemberState.ALIVE) -> Member:
    return replace(member_named("h3", state=state), rival_ms=rival_ms, rival_endpoint="tcp://copy:7400")


def test_once_in_ten_seconds() -> None:
    log = EventLog(TwoClocks())
    watch = OwnersWatch(log)
    for rival_ms in (None, 5_000, 5_000, 9_000, 4_999 + PAUSE_MS):
        watch.changed(seen(rival_ms), MemberState.ALIVE)
    (event,) = log.recent()
    assert (event.event, event.node) == ("member.two_owners", "h3")
    assert "at tcp://copy:7400 and tcp://h3:7000" in event.fields["reason"]
    watch.changed(seen(5_000 + PAUSE_MS), MemberState.ALIVE)
    assert len(log.recent()) == 2
    watch.changed(seen(None, MemberState.FORGOTTEN), MemberState.ALIVE)
    watch.changed(seen(6_000 + PAUSE_MS), None)
    assert len(log.recent()) == 3
