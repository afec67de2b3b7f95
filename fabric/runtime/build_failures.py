"""Which hosts failed to build lately: soft knowledge of whoever schedules, made of what it sees applied.

A host that fails every build is the emptiest there is, so without this it would be given every server (Nova's
"black hole"; its build failure weigher counts alike). Failures are forgotten after a while, and by a success.
"""

from __future__ import annotations

from fabric.core.queries import AppliedEntry
from proto.commands.servers import ServerObserved
from proto.ids import NodeId

REMEMBERED_MS = 600_000


class BuildFailures:
    def __init__(self) -> None:
        self._failures: dict[NodeId, tuple[int, int]] = {}  # host -> (failures in a row, when it failed last)

    def note(self, entry: AppliedEntry, now_ms: int) -> None:
        command = entry.command
        if not isinstance(command, ServerObserved) or command.generation is None:
            return
        if command.fault_message is None:
            self._failures.pop(command.host_id, None)
        else:
            count, _ = self._failures.get(command.host_id, (0, 0))
            self._failures[command.host_id] = (count + 1, now_ms)

    def counts(self, now_ms: int) -> dict[NodeId, int]:
        """Of the hosts that failed lately, in a row."""
        for host_id, (_, failed_ms) in list(self._failures.items()):
            if now_ms - failed_ms > REMEMBERED_MS:
                del self._failures[host_id]
        return {host_id: count for host_id, (count, _) in self._failures.items()}
