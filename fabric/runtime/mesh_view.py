"""What this node's membership can tell of itself, beyond the table: for operators, metrics and diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fabric.core.membership.model import LinkView, MemberState
from fabric.runtime.fleet import Fleet

# Not heard on purpose, or answered for by their machine: their silence says nothing about our network.
EXPLAINED_STATES = frozenset(
    {MemberState.AGENT_DOWN, MemberState.LEAVING, MemberState.LEFT, MemberState.FORGOTTEN}
)


class MeshView(Fleet, Protocol):
    """`fabric.runtime.membership_loop` implements it."""

    def links(self) -> tuple[LinkView, ...]:
        """The active view, by name."""
        ...

    def roots_agreeing(self) -> int:
        """How many of the links' neighbours know the same as this node."""
        ...

    @property
    def root(self) -> bytes:
        """Hash of all this node knows; two nodes with the same root know the same."""
        ...

    @property
    def is_isolated(self) -> bool:
        """There are others, and none of them has said anything to this node lately."""
        ...

    @property
    def awareness(self) -> int:
        """Lifeguard's local health multiplier: 0 well, 8 as bad as it gets."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """Of the core, since its start."""
        ...

    @property
    def refused(self) -> Mapping[str, int]:
        """Messages not believed, by reason, since the start."""
        ...


def is_cut_off(view: MeshView) -> bool:
    """This node hears nobody, and there is somebody it should hear."""
    awaited = (
        member.record.epoch > 0 and member.state not in EXPLAINED_STATES
        for member in view.members()
        if member.record.node_id != view.me
    )
    return view.is_isolated and any(awaited)
