"""What is known of a lease by who asked for it. See `role_lease`."""

from __future__ import annotations

from dataclasses import dataclass

from proto.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease:
    """A taking of a role. What is proposed under it is refused once another took the role."""

    role: str
    node_id: NodeId
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """`epoch`: of the asker's own lease, None where another holds it, which has it for `left_ms`."""

    epoch: int | None
    left_ms: int
