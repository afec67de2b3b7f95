"""The members' story, as events: told from before the membership loop starts, so that it begins at the
beginning."""

from __future__ import annotations

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.member_story import MemberStory
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.two_owners import OwnersWatch
from fabric.runtime.unstarted import is_news


def tell_story(fleet: MembershipLoop, events: EventLog, clock: Clock) -> None:
    story = MemberStory(events, clock, is_removed=lambda node_id: fleet.member(node_id) is None)

    def tell(member: Member, before: MemberState | None) -> None:
        if is_news(member, before):
            story.changed(member, before)

    fleet.watch(tell)
    fleet.watch(OwnersWatch(events).changed)
