"""Every change of a member becomes one event with a name and a reason a person can read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.events import EventLog
from fabric.runtime.member_story import MemberStory
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.mesh_view_double import NOW_MS, TwoClocks, member_named


class Told:
    """A story and what it has told since it was last asked."""

    def __init__(self) -> None:
        self.clock = TwoClocks()
        self.log = EventLog(self.clock)
        self.removed: set[str] = set()
        self._story = MemberStory(self.log, self.clock, lambda node_id: node_id in self.removed)
        self._seen = 0

    def after(self, member: Member, before: MemberState | None) -> list[tuple[str, str]]:
        """(event, reason) of each new event."""
        self._story.changed(member, before)
        new = self.log.recent()[self._seen :]
        self._seen += len(new)
        assert all(event.node == member.record.name for event in new)
        return [(event.event, event.fields.get("reason", event.fields.get("roles", ""))) for event in new]


def a(state: MemberState = MemberState.ALIVE, **changes: int) -> Member:
    return member_named("a", state=state, heard_ms=NOW_MS - 2_100, **changes)  # type: ignore[arg-type]


def test_a_life() -> None:
    told = Told()
    assert told.after(a(), None) == [("member.joined", "its agent is new here, at tcp://a:7000")]
    ((event, reason),) = told.after(a(MemberState.SUSPECT), MemberState.ALIVE)
    assert (event, reason) == ("member.suspect", "others do not reach it; its deputies are looking")
    ((event, reason),) = told.after(a(incarnation=1), MemberState.SUSPECT)
    assert (event, reason) == ("member.refuted", "it answered the accusation with incarnation 1")
    down = replace(a(MemberState.HOST_DOWN, incarnation=1), changed_ms=NOW_MS - 31_000)
    assert told.after(down, MemberState.ALIVE) == [("member.host_down", "nothing answers there")]
    ((event, reason),) = told.after(a(epoch=2), MemberState.HOST_DOWN)
    assert (event, reason) == ("member.alive", "back after 31.0 s down, restarted with epoch 2")
    ((event, _),) = told.after(a(MemberState.LEAVING, epoch=2), MemberState.ALIVE)
    assert event == "member.leaving"
    ((event, reason),) = told.after(a(MemberState.LEFT, epoch=2), MemberState.LEAVING)
    assert (event, reason) == ("member.left", "it did not come back in time")


def test_a_neighbour_fallen_silent_says_for_how_long() -> None:
    words = "it does not answer, its last word was {} s ago; its deputies are looking"
    for is_linked, spoke_ago_ms, said in ((True, 2_100, "2.1"), (False, 400, "0.4"), (True, 90_000, "90.0")):
        silent = replace(a(MemberState.SUSPECT), is_linked=is_linked, spoke_ms=NOW_MS - spoke_ago_ms)
        assert Told().after(silent, MemberState.ALIVE) == [("member.suspect", words.format(said))]
    heard_long_ago = replace(a(MemberState.SUSPECT), spoke_ms=NOW_MS - 60_000)
    ((_, reason),) = Told().after(heard_long_ago, MemberState.ALIVE)
    assert reason.startswith("others do not reach it")


def test_a_stuck_agent_is_not_said_to_be_gone() -> None:
    told = Told()
    told.after(replace(a(MemberState.STALLED), changed_ms=NOW_MS - 30_100), MemberState.ALIVE)
    assert told.after(a(MemberState.AGENT_DOWN), MemberState.STALLED) == [
        ("member.agent_down", "its agent has not answered for 30 s while its machine does: stuck")
    ]


def test_a_stuck_agent_that_is_down_sooner_may_have_been_killed() -> None:
    told = Told()
    told.after(replace(a(MemberState.STALLED), changed_ms=NOW_MS - 8_000), MemberState.ALIVE)
    assert told.after(a(MemberState.AGENT_DOWN), MemberState.STALLED) == [
        ("member.agent_down", "its agent was stuck, and has ended now or been so for too long")
    ]
    assert Told().after(a(MemberState.AGENT_DOWN), MemberState.SUSPECT) == [
        ("member.agent_down", "its machine answers and refuses: no agent runs there")
    ]


def test_one_that_was_admitted_and_starts_later() -> None:
    told = Told()
    assert told.after(a(MemberState.SUSPECT, epoch=0), None)[0][0] == "member.admitted"
    assert told.after(a(MemberState.AGENT_DOWN, epoch=0), MemberState.SUSPECT) == [
        ("member.agent_down", "its agent has not started yet")
    ]
    assert told.after(a(epoch=1), MemberState.AGENT_DOWN)[0][0] == "member.joined"


def test_one_known_from_disk() -> None:
    told = Told()
    ((event, reason),) = told.after(a(MemberState.SUSPECT), None)
    assert (event, reason) == ("member.suspect", "known from before and not heard yet")
    assert told.after(a(), MemberState.SUSPECT) == [("member.alive", "it was heard")]


def test_removed_and_forgotten_are_two_things() -> None:
    told = Told()
    assert told.after(a(MemberState.FORGOTTEN), MemberState.HOST_DOWN)[0][0] == "member.forgotten"
    told.removed.add(FakeNode("a").node_id)
    assert told.after(a(MemberState.FORGOTTEN), MemberState.ALIVE)[0][0] == "member.removed"


@pytest.mark.parametrize("state", sorted(MemberState))
@pytest.mark.parametrize("before", [None, *sorted(MemberState)])
def test_every_change_has_words(state: MemberState, before: MemberState | None) -> None:
    events = Told().after(a(state), before)
    if state is before:
        assert events == []
    else:
        ((event, reason),) = events
        assert event.startswith("member.")
        assert reason


def test_changes_that_are_no_change_of_state() -> None:
    told = Told()
    told.after(a(), None)
    assert told.after(a(), MemberState.ALIVE) == []
    assert told.after(a(epoch=2), MemberState.ALIVE) == [
        ("member.restarted", "its agent started again, epoch 2")
    ]
    rotated = a(epoch=2)
    rotated = replace(rotated, record=replace(rotated.record, curve_public=b"k" * 32))
    assert told.after(rotated, MemberState.ALIVE) == [("member.key_rotated", "its owner took new keys")]
    leads = member_named("a", ("conductor", 1), ("api", 2), epoch=2)
    leads = replace(leads, record=replace(leads.record, curve_public=b"k" * 32))
    assert told.after(leads, MemberState.ALIVE) == [("member.roles", "api,conductor")]
