"""A node that was admitted and never started: its silence and its refusing machine are no news about it."""

from __future__ import annotations

from fabric.core.membership.model import Member, MemberState


def is_unstarted(member: Member) -> bool:
    return member.record.epoch == 0 and member.state not in (MemberState.LEFT, MemberState.FORGOTTEN)


def is_news(member: Member, before: MemberState | None) -> bool:
    """Whether a change is part of the story: of a node that has not started, its admission and its end."""
    return before is None or not is_unstarted(member)
