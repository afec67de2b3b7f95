"""The hosts as one scheduling round sees them: rows, liveness, and claims made in the round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabric.core.membership.model import MemberState
from fabric.core.nodes.model import Host, HostUsage
from fabric.core.placement.claim import Claim, limits_of
from proto.ids import NodeId

# A suspect is not dead yet: refusing it would empty the table at each lost heartbeat, and a host that
# does die is caught by the build deadline. A stalled agent and one that is stopping build nothing.
USABLE_STATES = frozenset({MemberState.ALIVE, MemberState.SUSPECT})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """One host. `free` may be negative in parts: a ratio was lowered under running servers."""

    host: Host
    state: MemberState | None  # None: the membership table has never heard of it
    used: Claim

    @property
    def is_alive(self) -> bool:
        return self.state in USABLE_STATES

    @property
    def free(self) -> Claim:
        limits = limits_of(self.host)
        return Claim(
            vcpus=limits.vcpus - self.used.vcpus,
            memory_mb=limits.memory_mb - self.used.memory_mb,
            disk_gb=limits.disk_gb - self.used.disk_gb,
        )


class HostTable:
    """Mutable only by `claim`, so that placements made so far in a batch count."""

    def __init__(self, views: Iterable[HostView]) -> None:
        self._views = {view.host.host_id: view for view in views}

    @classmethod
    def of(cls, usages: Iterable[HostUsage], states: Mapping[NodeId, MemberState]) -> HostTable:
        """From `ListHosts` rows and the membership table's states."""
        return cls(
            HostView(
                host=usage.host,
                state=states.get(usage.host.host_id),
                used=Claim(
                    vcpus=usage.vcpus_used, memory_mb=usage.memory_mb_used, disk_gb=usage.disk_gb_used
                ),
            )
            for usage in usages
        )

    def views(self) -> tuple[HostView, ...]:
        """In the order given: `ListHosts` answers by number."""
        return tuple(self._views.values())

    def view(self, host_id: NodeId) -> HostView:
        return self._views[host_id]

    def claim(self, host_id: NodeId, claim: Claim) -> None:
        """Counts a placement of this round. The next round reads it back from rows."""
        view = self._views[host_id]
        self._views[host_id] = HostView(host=view.host, state=view.state, used=view.used.plus(claim))
