"""How long a grant lasts that nobody renews. A lease says when to grant anew, and never that the old holder
has stopped: that is what the fence is for (design/log.md, 4: TTLs give liveness only, never safety).

Renewals are calls to the leader and no entries, so a new leader knows none of them. It gives every grant it
finds one more term first; otherwise each election would take all roles from their holders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proto.ids import Fence, NodeId

TTL_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    role: str
    holder: NodeId
    fence: Fence


class LeaseTable:
    def __init__(self, grants: Iterable[Grant], now_ms: int, *, ttl_ms: int = TTL_MS) -> None:
        """`grants` are those that the rows hold at the moment this node begins to lead."""
        self._ttl_ms = ttl_ms
        self._leases: dict[tuple[str, NodeId], tuple[Grant, int]] = {}
        for grant in grants:
            self.grant(grant, now_ms)

    def grant(self, grant: Grant, now_ms: int) -> None:
        """The log granted it. An older grant than the one that is known changes nothing."""
        known = self._leases.get((grant.role, grant.holder))
        if known is None or grant.fence > known[0].fence:
            self._leases[grant.role, grant.holder] = grant, now_ms + self._ttl_ms

    def renew(self, role: str, holder: NodeId, fence: Fence, now_ms: int) -> bool:
        """Whether it holds on. False: it has another fence now, or none, or is late: stop, and ask anew."""
        known = self._leases.get((role, holder))
        if known is None or known[0].fence != fence or now_ms >= known[1]:
            return False
        self._leases[role, holder] = known[0], now_ms + self._ttl_ms
        return True

    def end(self, role: str, holder: NodeId) -> None:
        """The log took it, or gave it to another."""
        self._leases.pop((role, holder), None)

    def left_ms(self, role: str, now_ms: int) -> tuple[Grant, int] | None:
        """The newest grant of that role, and how long it lasts if nobody renews it; None: there is none."""
        held = [(grant, until_ms) for grant, until_ms in self._leases.values() if grant.role == role]
        if not held:
            return None
        grant, until_ms = max(held, key=lambda each: each[0].fence)
        return grant, max(0, until_ms - now_ms)

    def expired(self, now_ms: int) -> list[Grant]:
        """Nobody renewed these in time, oldest grant first. They stay until the log ends them."""
        late = [grant for grant, until_ms in self._leases.values() if now_ms >= until_ms]
        return sorted(late, key=lambda grant: (grant.fence, grant.role, grant.holder))
