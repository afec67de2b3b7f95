"""Which hosts failed to build lately.

A host that fails every build is the emptiest there is, so without this it would be given every server (Nova's
"black hole"; its build failure weigher counts alike). Failures are forgotten after a while, and by a success.
Each host counts its own and says so in its gossip. Whoever schedules also counts what it sees applied, which
it knows before any gossip comes: a burst within a second must not all go to one such host.
"""

from __future__ import annotations

from collections import defaultdict

from fabric.core.queries import AppliedEntry
from proto.commands.servers import ServerObserved
from proto.ids import NodeId

REMEMBERED_MS = 600_000


class FailuresInARow:
    """Of one host."""

    def __init__(self) -> None:
        self._count = 0
        self._failed_ms = 0

    def failed(self, now_ms: int) -> None:
        self._count, self._failed_ms = self.count(now_ms) + 1, now_ms

    def succeeded(self) -> None:
        self._count = 0

    def count(self, now_ms: int) -> int:
        return 0 if now_ms - self._failed_ms > REMEMBERED_MS else self._count


class BuildFailures:
    """Soft knowledge of whoever schedules, made of what it sees applied."""

    def __init__(self) -> None:
        self._failures: defaultdict[NodeId, FailuresInARow] = defaultdict(FailuresInARow)

    def note(self, entry: AppliedEntry, now_ms: int) -> None:
        command = entry.command
        if not isinstance(command, ServerObserved) or command.generation is None:
            return
        if command.fault_message is None:
            self._failures.pop(command.host_id, None)
        else:
            self._failures[command.host_id].failed(now_ms)

    def counts(self, now_ms: int) -> dict[NodeId, int]:
        """Of the hosts that failed lately, in a row."""
        counts = {host_id: each.count(now_ms) for host_id, each in self._failures.items()}
        for host_id, count in counts.items():
            if not count:
                del self._failures[host_id]
        return {host_id: count for host_id, count in counts.items() if count}
