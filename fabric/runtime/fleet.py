"""What this node believes about its peers right now: the membership table, read-only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fabric.core.membership.model import Member
from proto.ids import NodeId


class Fleet(Protocol):
    @property
    def me(self) -> NodeId: ...

    def members(self) -> tuple[Member, ...]:
        """Every node known, this one too, by name."""
        ...

    def member(self, node_id: NodeId) -> Member | None: ...

    def is_alive(self, node_id: NodeId) -> bool:
        """Whether its guests are to be thought of as running and its agent as about to answer: ALIVE, and
        SUSPECT and STALLED too, which are questions and not answers."""
        ...

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        """Calls `listener` on the loop when a member's state or roles change."""
        ...
